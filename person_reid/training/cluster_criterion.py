"""The loss of images without labels: a memory tells their clusters apart."""

import torch
from torch import Tensor

from person_reid.config.adapt import AdaptConfig
from person_reid.losses.base import unit_length
from person_reid.losses.cluster_memory import ClusterMemory, ProxyMemory
from person_reid.losses.plan import LossPlan
from person_reid.models.heads import Seen
from person_reid.models.network import Network
from person_reid.retrieval.clusters import Labels, camera_proxies, cluster_means
from person_reid.retrieval.similarity import Features
from person_reid.training.criterion import Criterion


class ClusterCriterion(Criterion):
    """The loss of images whose clusters, and so classes, change between epochs."""

    def __init__(self, config: AdaptConfig, network: Network) -> None:
        super().__init__(LossPlan(), network)
        self.seen = Seen(dropped=False, normed=True)  # the feature that is tested
        kind = ProxyMemory if config.proxies else ClusterMemory
        self.memory = kind(config.momentum, config.temperature)

    def forward(self, features: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Return a float32 scalar. features: (B, D). labels: (B,), the classes of `begin`.

        The logits are not used.
        """
        return self.memory(features, labels)

    @torch.no_grad()
    def scores(self, features: Tensor, logits: Tensor) -> Tensor:
        """Return the similarity (B, C) of features to every cluster.

        It gives the error, and no gradient.
        """
        return self.memory.scores(unit_length(features.float()))

    def begin(
        self,
        clusters: Labels,
        cameras: Labels,
        features: Features | None,
        device: torch.device,
    ) -> Labels:
        """Tell these clusters (N,) apart from now on. Return the class (N,) of each image.

        The classes are the clusters or, with --proxies, the images of a cluster in one camera.

        features: (N, D), whose means fill the memory; without them the memory stays as it is.
        """
        classes, memory = clusters, self.memory
        if isinstance(memory, ProxyMemory):
            classes, of_proxies, cameras_of_proxies = camera_proxies(clusters, cameras)
            memory.clusters = torch.from_numpy(of_proxies).to(device)
            memory.cameras = torch.from_numpy(cameras_of_proxies).to(device)
        if features is not None:
            memory.centers = torch.from_numpy(cluster_means(features, classes)).to(device)
        return classes
