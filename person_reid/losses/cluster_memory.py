"""Cluster contrast: tell an image's cluster from all others; each cluster is stored as a feature.

    L = mean over i of −log softmax(f_i · c / τ)[y_i]                          Dai et al., eq. 2
    c_k ← m·c_k + (1 − m)·f, then to unit length
    f: the image of k in the batch that is least similar to c_k

Dai et al., Cluster Contrast for Unsupervised Person Re-Identification, ACCV 2022, in the variant
with hard instances.

With proxies, c_k is part k: the images of a cluster from one camera. The loss has two terms: an
image of part y is compared with the parts A of its own camera, and, weighted by INSTANCE_WEIGHT,
with the parts P of its cluster in other cameras against Q, the HARDEST most similar parts of other
clusters:

    L = −log softmax over A of (f · c / τ)[y]
        − INSTANCE_WEIGHT / |P| · Σ over u in P of log (S_u / Σ over P and Q of S)
    S_u = exp(f · c_u / τ)

Wang et al., Camera-aware Proxies for Unsupervised Person Re-Identification, AAAI 2021, eq. 4, 6 and
7; the parts move as the clusters do above.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from person_reid.losses.base import FeatureLoss, unit_length

INSTANCE_WEIGHT = 0.5  # as in the paper
HARDEST = 50  # as in the paper


class ClusterMemory(FeatureLoss):
    """Compare features with the memory of C clusters; in training, update the memory afterwards.

    momentum: m, in [0, 1]. temperature: τ, above 0. centers: (C, D), each of unit length. They are
    not a buffer, because C changes whenever the images are clustered again; they are in the state
    dict nevertheless.
    """

    def __init__(self, momentum: float = 0.1, temperature: float = 0.05) -> None:
        super().__init__()
        self.momentum, self.temperature = momentum, temperature
        self.centers = torch.zeros(0, 0)

    def compute(self, features: Tensor, labels: Tensor) -> Tensor:
        loss = self.contrast(self.scores(features), labels)
        if self.training:
            self.update(features, labels)
        return loss

    def contrast(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the loss for scores (N, C) of images whose clusters are `labels` (N,)."""
        return F.cross_entropy(scores, labels)

    def scores(self, features: Tensor) -> Tensor:
        """Return the cosines between features and centers, divided by τ: (N, D) → (N, C).

        features: of unit length.
        """
        return features @ self.centers.T / self.temperature

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor) -> None:
        """Move the center of every cluster in a batch towards its hardest image.

        features: (N, D) of unit length.
        """
        similarity = (features * self.centers[labels]).sum(1)
        hardest = torch.full_like(self.centers[:, 0], torch.inf).scatter_reduce(
            0, labels, similarity, "amin"
        )
        # Several images may be equally hard: the one that comes first in the batch is taken,
        # whatever the device.
        order = torch.arange(len(labels), device=labels.device)
        hard = torch.where(similarity == hardest[labels], order, len(labels))
        first = torch.full_like(hardest, len(labels), dtype=torch.long).scatter_reduce(
            0, labels, hard, "amin"
        )
        seen = first < len(labels)
        chosen = features[first.clamp(max=len(labels) - 1)]
        moved = unit_length(self.momentum * self.centers + (1 - self.momentum) * chosen)
        # The centers are not changed in place: the gradient needs the old ones.
        self.centers = torch.where(seen[:, None], moved, self.centers)

    def get_extra_state(self) -> Tensor:
        """Return the centers, for the state dict."""
        return self.centers

    def set_extra_state(self, state: Any) -> None:
        """Load any number of centers from a state dict."""
        self.centers = torch.as_tensor(state)


class ProxyMemory(ClusterMemory):
    """A ClusterMemory for C parts of clusters, where each part comes from one camera.

    clusters, cameras: (C,) int64, the cluster and camera of each part. They are not in the state
    dict: the caller sets them after clustering.
    """

    clusters: Tensor
    cameras: Tensor

    def contrast(self, scores: Tensor, labels: Tensor) -> Tensor:
        mine = self.clusters == self.clusters[labels, None]
        here = self.cameras == self.cameras[labels, None]
        within = F.cross_entropy(scores.masked_fill(~here, -torch.inf), labels)
        elsewhere = mine & ~here
        others = scores.masked_fill(mine, -torch.inf).topk(min(HARDEST, scores.shape[1])).values
        compared = torch.cat([scores.masked_fill(~elsewhere, -torch.inf), others], 1).logsumexp(1)
        count = elsewhere.sum(1)
        across = torch.where(
            count > 0, compared - (scores * elsewhere).sum(1) / count.clamp(min=1), 0
        )
        return within + INSTANCE_WEIGHT * across.mean()
