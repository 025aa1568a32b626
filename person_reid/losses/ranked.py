"""Ranked list loss: pull positives into a ball of radius α − m, push negatives beyond radius α.

    L = mean over i of (1 − λ) Σₚ w [d(i, p) − (α − m)]₊ / Σ w + λ Σₙ w [α − d(i, n)]₊ / Σ w
    w = exp(T₊ (d(i, p) − (α − m))) or exp(T₋ (α − d(i, n))), over the pairs outside their radius

Wang et al., Ranked List Loss for Deep Metric Learning, CVPR 2019, equations 4 to 10.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from person_reid.errors import UserError
from person_reid.losses.base import (
    FeatureLoss,
    euclidean_distances,
    pair_masks,
    register_loss,
)

ITERATIONS = 10  # of k-means


class RankedListLoss(FeatureLoss):
    """Compute the ranked list loss; the defaults follow Ranked_Person_ReID (Qian).

    alpha, margin: α, the largest distance, and m, both distances of unit vectors, within [0, 2].
    balance: λ.
    positive_temperature, negative_temperature: T₊ and T₋, 0 for equal weights; the weights also
        pass gradients.
    clusters: the number of k-means clusters of the batch. An image then has only the negatives in
        its own cluster, the hard ones (after Qian); 0 for all negatives.
    """

    fewest = 0  # clusters

    needs_positives = True

    def __init__(
        self,
        alpha: float = 2.0,
        margin: float = 1.3,
        balance: float = 0.5,
        positive_temperature: float = 0.0,
        negative_temperature: float = 1.0,
        clusters: int = 0,
    ) -> None:
        super().__init__()
        if clusters < self.fewest:
            raise UserError(f"clusters {clusters}: expected {self.fewest} or more.")
        self.alpha = alpha
        self.margin = margin
        self.balance = balance
        self.clusters = clusters
        self.positive_temperature = positive_temperature
        self.negative_temperature = negative_temperature

    def compute(self, features: Tensor, labels: Tensor) -> Tensor:
        distances = euclidean_distances(features @ features.T)
        positive, negative = pair_masks(labels)
        if self.clusters:
            negative = negative & in_one_cluster(features, self.clusters)
        too_far = weighted_violation(
            distances - (self.alpha - self.margin), positive, self.positive_temperature
        )
        too_near = weighted_violation(self.alpha - distances, negative, self.negative_temperature)
        return ((1 - self.balance) * too_far + self.balance * too_near).mean()


class ClusteredRankedListLoss(RankedListLoss):
    """Compute the "cranked_loss" of Qian, Ranked_Person_ReID.

    It is the sum of a mean per identity and a mean per cluster:

        L = (1 − λ) Σ over identities y of 1/|y|² Σᵢₚ [d(i, p) − (α − m)]₊,   i and p in y
          + λ Σ over clusters c of 1/|c| Σᵢ Σₙ w [α − d(i, n)]₊ / Σ w,
          i and n in c, of different identities

    Clusters of three images or fewer are skipped. The settings are the same as for RankedListLoss.
    Qian adds the two sums without λ, which gives twice this loss at λ = ½.
    """

    fewest = 1  # cluster

    def __init__(
        self,
        alpha: float = 2.0,
        margin: float = 1.3,
        balance: float = 0.5,
        negative_temperature: float = 1.0,
        clusters: int = 8,
    ) -> None:
        super().__init__(alpha, margin, balance, 0.0, negative_temperature, clusters)

    def compute(self, features: Tensor, labels: Tensor) -> Tensor:
        distances = euclidean_distances(features @ features.T)
        same = labels[:, None] == labels[None, :]
        cluster = in_one_cluster(features, self.clusters)
        images, neighbours = same.sum(1), cluster.sum(1)
        too_far = (
            F.relu(distances - (self.alpha - self.margin)).where(same, 0).sum(1) / images.square()
        )
        too_near = (
            weighted_violation(self.alpha - distances, cluster & ~same, self.negative_temperature)
            / neighbours
        )
        return (
            (1 - self.balance) * too_far + self.balance * too_near.where(neighbours > 3, 0)
        ).sum()


def weighted_violation(violation: Tensor, mask: Tensor, temperature: float) -> Tensor:
    """Average the positive entries of `violation` (N, N) under `mask`.

    The weights are exp(temperature · violation). Returns the mean of each row, (N,); zero for a row
    without such entries.
    """
    mask = mask & (violation > 0)
    exponent = temperature * violation
    # Without this, a high temperature would overflow.
    exponent = exponent - exponent.detach().where(mask, 0).amax(1, keepdim=True)
    weights = exponent.where(mask, -1e4).exp()
    # The largest weight of a row is 1; a row without weights divides by 0.5 instead of 0.
    return (weights * violation).sum(1) / weights.sum(1).clamp(min=0.5)


def in_one_cluster(features: Tensor, clusters: int) -> Tensor:
    """Return a mask (N, N) of the pairs of features (N, D) that k-means puts into one cluster."""
    cluster = k_means(features.detach(), min(clusters, len(features)))
    return cluster[:, None] == cluster[None, :]


def k_means(features: Tensor, clusters: int) -> Tensor:
    """Assign features (N, D) to clusters: (N,) int64 in [0, clusters).

    The same features give the same clusters.

    Lloyd's algorithm starts from a farthest-first traversal that begins at the first feature. A
    cluster that loses all its members keeps its center.
    """
    centers = features[:1]
    nearest = torch.cdist(features, centers)[:, 0]
    for _ in range(clusters - 1):
        centers = torch.cat([centers, features.index_select(0, nearest.argmax(0, keepdim=True))])
        nearest = nearest.minimum(torch.cdist(features, centers[-1:])[:, 0])
    numbers = torch.arange(clusters, device=features.device)
    for _ in range(ITERATIONS):
        members = (torch.cdist(features, centers).argmin(1) == numbers[:, None]).to(features.dtype)
        size = members.sum(1, keepdim=True)
        centers = (members @ features / size.clamp(min=1)).where(size > 0, centers)
    return torch.cdist(features, centers).argmin(1)


register_loss("ranked", RankedListLoss, "ranked list (Wang 2019)")
register_loss(
    "ranked_kmeans", RankedListLoss, "ranked list, negatives by k-means cluster (Qian)", clusters=8
)
register_loss(
    "cranked", ClusteredRankedListLoss, "the same, summed over clusters and identities (Qian)"
)
