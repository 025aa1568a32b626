"""Learn from images without labels: the clusters that they form are the classes of the next epoch.

Before the first epoch and after each one, `Adaptation.refresh` extracts the features of all images with the mean
teacher (Tarvainen and Valpola, Mean teachers are better role models, NIPS 2017), clusters them, fills the memory with
the mean features of the clusters, and deals the images to the sampler.
"""

import logging
from typing import Any, cast

import numpy as np
import torch

from person_reid.basics import UserError
from person_reid.data.layout import Split, parse_names
from person_reid.data.samplers import ClusterSampler
from person_reid.deploy.runtimes import features_of
from person_reid.losses.cluster_memory import ProxyMemory
from person_reid.models.contexts import evaluation_mode
from person_reid.models.heads import heads_of
from person_reid.models.network import Network
from person_reid.retrieval.clusters import (
    Labels,
    agreement,
    alone,
    camera_proxies,
    cluster_means,
    dbscan,
    jaccard_graph,
    nearest,
    reliable,
)
from person_reid.retrieval.metrics import evaluate
from person_reid.retrieval.neighbours import overlap
from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.similarity import Features, flaw
from person_reid.retrieval.target import CameraNorm
from person_reid.run_folder import RunFolder
from person_reid.training.criterion import ClusterCriterion
from person_reid.training.spec import AdaptSpec
from person_reid.training.trainer import Trainer
from person_reid.training.writers import drawing

log = logging.getLogger(__name__)
LEAST_KEPT = 0.1  # docs/adaptation.md has measured values of good and bad runs
MOST_QUERIES = 2000  # of the report
MARGIN = 0.02  # of the radius: images whose cluster changes within it are not reliable


def prepare_network(network: Network) -> None:
    """Let the loss see the feature that is tested, and freeze the classifier, which has no classes to learn.

    Raises UserError for a network with several features per image.
    """
    if network.parts != 1:
        raise UserError("A network with parts has several features per image, and one is clustered. Choose another.")
    for head in heads_of(network):
        head.drops_for_losses, head.neck_for_losses = False, True
        head.classifier.requires_grad_(False)


class Adaptation:
    """The clusters of a training without labels.

    spec: how to cluster. split: the images, those without labels first, whose target is 0. bank: uint8 (N, H, W, 3),
    the same images. trainer: with a ClusterCriterion and a ClusterSampler.
    """

    def __init__(self, spec: AdaptSpec, split: Split, bank: torch.Tensor, trainer: Trainer) -> None:
        self.spec, self.split, self.bank, self.trainer = spec, split, bank, trainer
        self.known = split.targets[split.targets > 0] - 1  # the identities of labelled images
        self.count = len(split) - len(self.known)  # of images without labels
        self.paths, self.cameras = split.paths[: self.count], split.cameras[: self.count]
        self.labels: Labels = np.full(self.count, -1, np.int64)
        self.features: Features | None = None  # of the last refresh
        self.independence: float | None = None  # that a reliable cluster needs
        self.first: Labels | None = None  # the nearest neighbours at the start
        self.kept = 1.0
        self.start = {name: value.clone() for name, value in trainer.network.state_dict().items()}
        self.people = parse_names(self.paths)[0] if spec.report_labels else None
        if spec.proxies and len(np.unique(split.cameras[split.cameras >= 0])) < 2:
            raise UserError(
                "--proxies would be ignored: it tells cameras apart, and the images are not known to be of two. Say "
                "where their cameras are, by --cameras or --pattern, or leave it out."
            )
        if trainer.world.leads and len(np.unique(self.cameras)) == 1 and self.cameras[0] >= 0:
            log.warning("All images are of one camera: nothing in them shows how a person looks in another one.")

    @property
    def network(self) -> Network:
        """Return the teacher, or the network itself before the first step."""
        average = self.trainer.average
        return cast(Network, average.module) if average is not None else self.trainer.network

    def extract(self) -> Features:
        """Extract the features of all images, (N, D); the processes share the work."""
        trainer, world = self.trainer, self.trainer.world
        world.follow(self.network.buffers())  # the statistics of the first process are those that are saved
        spec, banks = trainer.spec, {"features": world.share(self.bank)}
        with evaluation_mode(self.network):
            found = features_of(
                self.network, banks, trainer.device, spec.data.batch_size, spec.runtime, flip=False, dtype=spec.dtype
            )["features"]
        return world.collect(found, len(self.split))

    def refresh(self) -> dict[str, float]:
        """Cluster the images with the present features; return what is known of the clusters without labels.

        agreement: of the clusters with those before. kept: the share of the nearest neighbours at the start that still
        are. Raises UserError if there are not two clusters, and if the features are not finite.
        """
        everything, cameras, spec, world = self.extract(), self.cameras, self.spec, self.trainer.world
        if reason := flaw(everything):
            raise UserError(f"{reason}: nothing can be clustered. Try a lower --lr.")
        self.features = features = everything[: self.count]
        labels = self.cluster(CameraNorm(features, cameras)(features, cameras) if spec.camera_norm else features)
        labels = world.sum(labels if world.leads else np.zeros_like(labels))  # other machines may round differently
        found = {"clusters": float(labels.max(initial=-1) + 1), "clustered": float((labels >= 0).mean())}
        neighbours = nearest(features)
        self.first = neighbours if self.first is None else self.first
        self.kept = overlap(self.first, neighbours)
        found |= {"agreement": agreement(labels, self.labels), "kept": self.kept}
        if self.people is not None:
            found |= report(features, self.people, cameras, labels)
        if world.leads:
            log.info(", ".join(f"{name} {round(value, 4):g}" for name, value in found.items()))
        self.use(alone(labels) if spec.outliers == "instances" else labels, everything)
        return found

    def cluster(self, features: Features) -> Labels:
        """Return the cluster (N,) of each image, -1 for outliers, by features (N, D)."""
        spec = self.spec
        smaller, larger = np.clip([spec.radius - MARGIN, spec.radius + MARGIN], 0.001, 0.999).tolist()
        graph = jaccard_graph(features, larger if spec.reliable else spec.radius, spec.k1, spec.k2)
        labels = dbscan(graph, spec.radius, spec.min_samples)
        if spec.reliable:
            tight, loose = (dbscan(graph, radius, spec.min_samples) for radius in (smaller, larger))
            labels, self.independence = reliable(labels, tight, loose, self.independence)
        return labels

    def conclude(self, run: RunFolder) -> None:
        """Write the teacher and the clusters; keep the start instead of the teacher if it is judged to be better."""
        run.save_weights("average", self.network.state_dict())
        if self.kept < LEAST_KEPT:
            run.save_weights("last", self.start)
            log.warning(
                "The adapted network is judged worse than the start: of the nearest neighbours it had, %.2f are left, "
                "and less than %.2f means that it has forgotten what it could tell. %s/net_last.pth holds the start; "
                "net_average.pth holds what was learnt. Try a lower --lr.",
                self.kept, LEAST_KEPT, run.path,
            )  # fmt: skip
        if self.features is None:
            return
        cameras = [str(number + 1) if number >= 0 else "" for number in self.split.cameras.tolist()]
        with drawing(run.clusters):
            from person_reid.show.clusters import draw_clusters  # matplotlib loads slowly

            draw_clusters(self.split.paths, self.features, cameras, self.labels, run.clusters)

    def use(self, labels: Labels, features: Features | None = None) -> None:
        """Make these clusters (N,) and the known identities the classes.

        features: of all images, those with labels last, to fill the memory with the means of the classes.
        """
        self.labels = labels
        batches, criterion = self.trainer.batches, self.trainer.criterion
        assert isinstance(batches.sampler, ClusterSampler) and isinstance(criterion, ClusterCriterion)
        labels, memory = np.concatenate([labels, self.known + labels.max(initial=-1) + 1]), criterion.memory
        batches.sampler.assign(labels)
        if isinstance(memory, ProxyMemory):
            labels, *parts = camera_proxies(labels, self.split.cameras)
            memory.clusters, memory.cameras = (torch.from_numpy(part).to(batches.device) for part in parts)
        batches.targets = torch.from_numpy(labels).to(batches.device)
        if features is not None:
            memory.centers = torch.from_numpy(cluster_means(features, labels)).to(batches.device)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs besides the trainer's state, which holds the memory."""
        return {
            "labels": torch.from_numpy(self.labels),
            "first": torch.from_numpy(self.first),
            "kept": self.kept,
            "independence": self.independence,
            "start": self.start,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state that `state_dict` returned."""
        self.first, self.kept, self.start = state["first"].cpu().numpy(), state["kept"], state["start"]
        self.independence = state.get("independence")  # older runs have none
        self.use(state["labels"].cpu().numpy())


def report(features: Features, people: Labels, cameras: Labels, clusters: Labels) -> dict[str, float]:
    """Return what labels say of the present state: nothing of it is learnt from.

    features (N, D); people, cameras, clusters (N,). purity: the share of clustered images whose cluster belongs mostly
    to their person. own_mAP: the mAP with some of these images as queries and all as gallery, not that of a test set.
    """
    inside = clusters >= 0
    pairs, sizes = np.unique(np.stack([clusters[inside], people[inside]]), axis=1, return_counts=True)
    largest = np.zeros(clusters.max(initial=-1) + 1, np.int64)
    np.maximum.at(largest, pairs[0], sizes)
    if not (cameras >= 0).all():
        cameras = np.arange(len(cameras))  # each image gets a camera of its own
    everyone = FeatureSet(features, people, cameras)
    asked = everyone.select(np.linspace(0, len(people) - 1, min(len(people), MOST_QUERIES)).astype(np.int64))
    return {"purity": float(largest.sum() / max(inside.sum(), 1)), "own_mAP": evaluate(asked, everyone).mAP}
