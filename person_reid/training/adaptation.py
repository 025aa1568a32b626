"""Learn from unlabelled images, whose clusters are the classes of the next epoch.

Before the first epoch and after each one, `Adaptation.refresh` extracts the features of all images
with the mean teacher (Tarvainen and Valpola, Mean teachers are better role models, NIPS 2017),
clusters them, fills the memory with the mean features of the clusters, and passes the clusters to
the sampler.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from person_reid.arrays import flaw
from person_reid.config.adapt import AdaptConfig
from person_reid.config.zoo import packaged
from person_reid.data.layout import Split, parse_names, read_further_splits
from person_reid.data.own.unlabelled import read_people
from person_reid.data.samplers import ClusterSampler
from person_reid.data.video.crops import tracks_of_crops
from person_reid.deploy.find import refuse_ignored
from person_reid.deploy.load import network_of_run
from person_reid.deploy.pretrained import open_pretrained
from person_reid.deploy.runtimes import present_extractor
from person_reid.device import emulates
from person_reid.errors import UserError
from person_reid.losses.base import unit_length
from person_reid.losses.cluster_memory import ClusterMemory, ProxyMemory
from person_reid.losses.plan import LossPlan
from person_reid.models.factory import network_kind
from person_reid.models.heads import LossFeature, heads_of
from person_reid.models.network import Network, PlainNetwork, USAMNetwork
from person_reid.models.surgery import evaluation_mode
from person_reid.retrieval.clusters import (
    Labels,
    agreement,
    camera_proxies,
    centred,
    cluster_means,
    clusters_of_epoch,
    clusters_of_tracks,
    nearest_others,
    report_clusters,
    separation,
)
from person_reid.retrieval.neighbours import overlap
from person_reid.retrieval.similarity import Features
from person_reid.run_folder import RunFolder, names_a_run
from person_reid.training.build import unlabelled_bank
from person_reid.training.criterion import Criterion
from person_reid.training.step import Averaging, TrainingStep
from person_reid.training.training_images import TrainingImages
from person_reid.training.training_run import Run
from person_reid.training.writers import drawing

log = logging.getLogger(__name__)


class ClusterCriterion(Criterion):
    """The loss for images whose clusters, and therefore classes, change between epochs."""

    def __init__(self, config: AdaptConfig, network: Network) -> None:
        super().__init__(LossPlan(), network)
        self.names = ["memory"]
        self.seen = LossFeature(dropped=False, normed=True)  # the feature that is tested
        kind = ProxyMemory if config.proxies else ClusterMemory
        self.memory = kind(config.momentum, config.temperature)

    def forward(self, features: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, (1,). features: (B, D). labels: (B,), the classes from `begin`.

        The logits are not used.
        """
        return self.memory(features, labels)[None]

    @torch.no_grad()
    def logits_of(self, features: Tensor, logits: Tensor) -> Tensor:
        """Return the similarity (B, C) of features to every cluster.

        It is used for the error, and has no gradient.
        """
        return self.memory.scores(unit_length(features.float()))

    def begin(
        self,
        clusters: Labels,
        cameras: Labels,
        features: Features | None,
        device: torch.device,
    ) -> Labels:
        """Use `clusters` (N,) from now on, and return each image's class (N,).

        The classes are the clusters or, with --proxies, the images of a cluster in one camera.

        features: (N, D), whose means fill the memory; without them, the memory does not change.
        """
        classes, memory = clusters, self.memory
        if isinstance(memory, ProxyMemory):
            classes, of_proxies, cameras_of_proxies = camera_proxies(clusters, cameras)
            memory.clusters = torch.from_numpy(of_proxies).to(device)
            memory.cameras = torch.from_numpy(cameras_of_proxies).to(device)
        if features is not None:
            memory.centers = torch.from_numpy(cluster_means(features, classes)).to(device)
        return classes


STEPS = 1.25  # in an epoch, times the square root of the number of images
SETTLED = 0.99  # agreement of the clusters of three epochs in a row
# OSNet's front layers take half of the time, and hardly change.
OSNET: dict[str, Any] = {"lr": 1e-3, "balance": 0.1, "freeze_layers": "conv1,conv2"}
OTHERS: dict[str, Any] = {"lr": 3.5e-4}
LEAST_KEPT = 0.1  # docs/accuracy.md has measured values of good and bad runs
LAYER_OPTIONS = (
    "backbone",
    "stride",
    "pool",
    "attention",
    "neck",
    "linear_num",
    "drop_path",
    "usam",
)


def cluster_sampler(
    images: Split, options: Any, seed: int, rank: int, world_size: int
) -> ClusterSampler:
    """Return the sampler for clusters, which are assigned later. options: an AdaptConfig."""
    steps = options.steps or round(STEPS * len(images) ** 0.5)
    return ClusterSampler(
        len(images), options.batchsize, options.instances, steps, seed,
        images.cameras, rank, world_size, parts=images.targets > 0,
    )  # fmt: skip


class AdaptationImages(TrainingImages):
    """The images of an adaptation: first the unlabelled images, then those from labelled data sets.

    Unlabelled images have target 0 until they are clustered; the targets of the others are their
    identities.
    """

    options: AdaptConfig

    def _bank_of(self, folder: Path, split: Split, size: tuple[int, int]) -> torch.Tensor:
        """Return the bank of a folder's images.

        Unlabelled images have their own order, and therefore their own cache.
        """
        if split is not self.splits[0][1]:
            return super()._bank_of(folder, split, size)
        run = RunFolder(self.options.name).path
        return unlabelled_bank(split.paths, self.options.roots[0], size, run)

    def _listed_val(self) -> None:
        return None

    def assign(self, clusters: Labels, classes: Labels) -> None:
        """Draw batches from `clusters` (N,), with `classes` (N,) as targets."""
        cast(ClusterSampler, self.sampler).assign(clusters)
        self.targets = torch.from_numpy(classes).to(self.device)


def started(config: AdaptConfig) -> AdaptConfig:
    """Return the options, with the starting network, learning rates and precision filled in.

    Raises UserError if no network is named, or two are, and for a network with several features per
    image.
    """
    if config.resume and RunFolder(config.name).options_file.exists():
        return config
    if config.from_run:
        config = _from_run(config)
    elif config.weights == "imagenet" and not config.config:
        raise UserError(
            "Name the network to start from: from_run=RUN, or backbone=NAME and weights=FILE."
        )
    if network_kind(config) not in (PlainNetwork, USAMNetwork):
        raise UserError(
            f"{config.backbone}: this network has several features for the parts of an image, "
            "and one is clustered. Choose another."
        )
    osnet = config.backbone.startswith("osnet")
    usual = OSNET if osnet else OTHERS
    values = {name: it for name, it in usual.items() if getattr(config, name) is None}
    fast = osnet and not config.fp16 and not emulates(torch.device("cpu"), torch.bfloat16)
    return replace(config, **values, bf16=config.bf16 or fast)


def _from_run(config: AdaptConfig) -> AdaptConfig:
    """Return the options with the network and weights of the run to start from."""
    refuse_ignored(
        config,
        ("weights", *LAYER_OPTIONS),
        f"from_run={config.from_run} says what the network is.",
    )
    named = config.from_run or ""
    folder = Path(named).is_dir() or "/" in named or packaged(named)
    of_run = names_a_run(named) or not folder
    start = network_of_run(named) if of_run else open_pretrained(named)
    layers = {
        name: getattr(start.spec, name) for name in (*LAYER_OPTIONS, "PCB", "height", "width")
    }
    return replace(config, **layers, weights=str(start.weights))


def mean_teacher(config: AdaptConfig, steps: int) -> Averaging:
    """Return the moving average for the teacher. steps: the number of steps in an epoch."""
    return Averaging(1 - 1 / steps if config.decay is None else config.decay, buffers=True)


def read_images(config: AdaptConfig) -> list[tuple[Path, Split]]:
    """List the unlabelled images, and the images of the data sets that --keep_source names."""
    return [
        read_people(config.roots[0], config.cameras, config.pattern, config.skip_unreadable),
        *read_further_splits(config.roots),
    ]


def freeze_classifiers(network: Network) -> None:
    """Freeze the classifiers, which have no classes to learn."""
    for head in heads_of(network):
        head.classifier.requires_grad_(False)


class Adaptation:
    """The clusters of a run without labels.

    config: how to cluster. step: the training step, with these images and this criterion.
    """

    def __init__(
        self,
        config: AdaptConfig,
        step: TrainingStep,
        images: AdaptationImages,
        criterion: ClusterCriterion,
    ) -> None:
        self.config, self.step = config, step
        self.images, self.criterion = images, criterion
        self.split = split = images.split
        self.known = split.targets[split.targets > 0] - 1  # the identities of labelled images
        self.count = len(split) - len(self.known)  # images without labels
        self.paths, self.cameras = split.paths[: self.count], split.cameras[: self.count]
        self.labels: Labels = np.full(self.count, -1, np.int64)
        self.features: Features | None = None  # from the last refresh
        self.first: Labels | None = None  # the nearest neighbours at the start
        self.kept = 1.0
        self.start = {name: value.clone() for name, value in step.network.state_dict().items()}
        self.tracks = tracks_of_crops(self.paths)
        self.separation: float | None = None
        self.first_separation: float | None = None  # at the start
        self.people = parse_names(self.paths)[0] if config.report_labels else None
        if config.proxies and len(np.unique(split.cameras[split.cameras >= 0])) < 2:
            raise UserError(
                "proxies would be ignored: it tells cameras apart, "
                "and the images are not known to be of two. "
                "Say where their cameras are, by cameras or pattern, or leave it out."
            )
        if step.world.is_main and len(np.unique(self.cameras)) == 1 and self.cameras[0] >= 0:
            log.warning(
                "All images are of one camera: "
                "nothing in them shows how a person looks in another one."
            )

    @property
    def network(self) -> Network:
        """Return the teacher, or the network itself before the first step."""
        average = self.step.average
        return cast(Network, average.module) if average is not None else self.step.network

    def extract(self) -> Features:
        """Extract the features of all images, (N, D); the processes share the work."""
        step = self.step
        # the statistics of the first process are those that are saved
        step.world.broadcast_(self.network.buffers())
        bank, runtime = step.world.shard(step.images.bank), self.config.runtime or "torch"
        with evaluation_mode(self.network):
            extract = present_extractor(self.network, step.device, runtime, step.dtype)
            found = extract(bank, batch_size=self.config.batchsize, flip=False)
        return step.world.gather_shards(found, len(self.split))

    def refresh(self) -> dict[str, float]:
        """Cluster the images by their current features, and return measures of the clusters.

        The measures need no labels.

        agreement: between these clusters and the previous ones. kept: the share of the nearest
        neighbours at the start that are still nearest neighbours. Raises UserError for fewer than
        two clusters, and for features that are not finite.
        """
        everything, cameras = self.extract(), self.cameras
        config, world = self.config, self.step.world
        if reason := flaw(everything):
            raise UserError(f"{reason}: nothing can be clustered. Try a lower lr.")
        self.features = features = everything[: self.count]
        labels = clusters_of_epoch(features, cameras, config)
        if self.tracks:
            labels = clusters_of_tracks(labels, self.tracks.labels, self.tracks.apart)
            self.separation = separation(centred(features, cameras), self.tracks)
        # other machines may round differently
        labels = world.sum(labels if world.is_main else np.zeros_like(labels))
        found = {
            "clusters": float(labels.max(initial=-1) + 1),
            "clustered": float((labels >= 0).mean()),
        }
        neighbours = nearest_others(features)
        if self.first is None:
            self.first, self.first_separation = neighbours, self.separation
        self.kept = overlap(self.first, neighbours)
        found |= {"agreement": agreement(labels, self.labels), "kept": self.kept}
        if self.separation is not None:
            found["separation"] = self.separation
        if self.people is not None:
            found |= report_clusters(features, self.people, cameras, labels)
        if world.is_main:
            log.info(", ".join(f"{name} {round(value, 4):g}" for name, value in found.items()))
        self.use(labels, everything)
        return found

    def fault(self) -> str:
        """Return why the starting network is considered better than the teacher, else ""."""
        before, now = self.first_separation, self.separation
        if self.kept < LEAST_KEPT:
            return (
                f"of the nearest neighbours it had, {self.kept:.2f} are left, and less than "
                f"{LEAST_KEPT:.2f} means that it has forgotten what it could tell"
            )
        if before is not None and now is not None and now < before:
            return f"it separates strangers from halves of tracks by {now:.2f}, not {before:.2f}"
        return ""

    def conclude(self, run: RunFolder) -> None:
        """Write the teacher and the clusters.

        If the starting network is considered better than the teacher, it is kept instead.
        """
        run.save_weights("average", self.network.state_dict())
        if fault := self.fault():
            run.save_weights("last", self.start)
            log.warning(
                "The adapted network is judged worse than the start: %s. %s/net_last.pth holds the "
                "start; net_average.pth holds what was learned. Try a lower --lr.",
                fault, run.path,
            )  # fmt: skip
        if self.features is None:
            return
        cameras = [str(number + 1) if number >= 0 else "" for number in self.split.cameras.tolist()]
        with drawing(run.clusters):
            from person_reid.show.image_sheets import draw_clusters  # matplotlib loads slowly

            draw_clusters(self.split.paths, self.features, cameras, self.labels, run.clusters)

    def use(self, clusters: Labels, features: Features | None = None) -> None:
        """Train on `clusters` (N,) and the known identities as classes.

        features: all images' features, labelled images last; the classes' means fill the memory.
        """
        self.labels = clusters
        clusters = np.concatenate([clusters, self.known + clusters.max(initial=-1) + 1])
        classes = self.criterion.begin(clusters, self.split.cameras, features, self.images.device)
        self.images.assign(clusters, classes)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs besides the step's state, which includes the memory."""
        return {
            "labels": torch.from_numpy(self.labels),
            "first": torch.from_numpy(self.first),
            "kept": self.kept,
            "separation": self.first_separation,
            "start": self.start,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state that `state_dict` returned."""
        self.first = state["first"].cpu().numpy()
        self.kept = state["kept"]
        self.start = state["start"]
        self.first_separation = state["separation"]
        self.use(state["labels"].cpu().numpy())


def _settled(history: Sequence[dict[str, float]]) -> bool:
    """Return whether the last two epochs' clusters each agreed with those of the epoch before."""
    last = [each.get("agreement", 0) for each in history[-2:]]
    return len(last) == 2 and min(last) >= SETTLED


class AdaptationRun(Run):
    """A run of tools/adapt.py.

    net_last.pth holds the teacher; resume.pth also holds the clusters.
    """

    adapts = True

    def __init__(
        self,
        training: TrainingStep,
        config: AdaptConfig,
        images: AdaptationImages,
        criterion: ClusterCriterion,
    ) -> None:
        super().__init__(training, config)
        self.adaptation = Adaptation(config, training, images, criterion)

    @property
    def weights(self) -> dict[str, Any]:
        """The weights of the teacher."""
        return self.adaptation.network.state_dict()

    def finish(self, figures: dict[str, float]) -> None:
        """End an epoch, and also the run if the clusters no longer change."""
        if _settled([*self.history, figures]):
            self.last = self.epoch + 1
        super().finish(figures)

    def people(self) -> str:
        """Describe the people in the images."""
        known = self.training.images.num_classes - 1
        return f"{known} known and of unknown people" if known else "unknown people"

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {**super().state_dict(), "adaptation": self.adaptation.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state that `state_dict` returned."""
        super().load_state_dict(state)
        if _settled(self.history):
            self.last = self.epoch
        self.adaptation.load_state_dict(state["adaptation"])

    def conclude(self) -> None:
        """End the training: write the teacher and the clusters, and log how to test the run."""
        if self.world.is_main:
            self.adaptation.conclude(self.folder)
        self.say_done()
