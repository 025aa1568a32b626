"""Ranked list loss: positives within a ball of radius α − m, negatives outside one of radius α.

    L = mean over i of (1 − λ) Σₚ w [d(i, p) − (α − m)]₊ / Σ w + λ Σₙ w [α − d(i, n)]₊ / Σ w
    w = exp(T₊ (d(i, p) − (α − m))) or exp(T₋ (α − d(i, n))), over the pairs that violate their radius

Wang et al., Ranked List Loss for Deep Metric Learning, CVPR 2019, equations 4 to 10.
"""

import torch
from torch.nn import functional as F

from person_reid.losses.base import FeatureLoss, cosine_similarities, euclidean_distances, pair_masks


class RankedListLoss(FeatureLoss):
    """alpha, margin: α and m, in distances of unit vectors, which lie in [0, 2]. The defaults are those of
    Ranked_Person_ReID, whose α is the largest distance there is. balance: λ. positive_temperature,
    negative_temperature: T₊ and T₋, 0 for equal weights; the gradient flows through the weights too.

    clusters: cut the batch by k-means, and take the negatives of an image from its own cluster only, which are the
    hard ones (after Qian, Ranked_Person_ReID); 0: all negatives.
    """

    def __init__(
        self, alpha=2.0, margin=1.3, balance=0.5, positive_temperature=0.0, negative_temperature=1.0, clusters=0
    ):
        super().__init__()
        self.alpha, self.margin, self.balance, self.clusters = alpha, margin, balance, clusters
        self.positive_temperature, self.negative_temperature = positive_temperature, negative_temperature

    def compute(self, features, labels):
        distances = euclidean_distances(cosine_similarities(features))
        positive, negative = pair_masks(labels)
        if self.clusters:
            negative = negative & in_one_cluster(features, self.clusters)
        too_far = weighted_violation(distances - (self.alpha - self.margin), positive, self.positive_temperature)
        too_near = weighted_violation(self.alpha - distances, negative, self.negative_temperature)
        return ((1 - self.balance) * too_far + self.balance * too_near).mean()


class ClusteredRankedListLoss(FeatureLoss):
    """The "cranked_loss" of Qian, Ranked_Person_ReID: a mean for each identity and for each cluster, and their sum.

        L = (1 − λ) Σ over identities y of 1/|y|² Σᵢₚ [d(i, p) − (α − m)]₊,   i and p in y
          + λ Σ over clusters c of 1/|c| Σᵢ Σₙ w [α − d(i, n)]₊ / Σ w,   i and n in c, of different identities

    Clusters of three images or fewer are left out. The settings are those of RankedListLoss. Qian adds the two sums
    without λ, which is twice this loss with λ = ½.
    """

    def __init__(self, alpha=2.0, margin=1.3, balance=0.5, negative_temperature=1.0, clusters=8):
        super().__init__()
        self.alpha, self.margin, self.balance, self.clusters = alpha, margin, balance, clusters
        self.negative_temperature = negative_temperature

    def compute(self, features, labels):
        distances = euclidean_distances(cosine_similarities(features))
        same = labels[:, None] == labels[None, :]
        cluster = in_one_cluster(features, self.clusters)
        images, neighbours = same.sum(1), cluster.sum(1)
        too_far = F.relu(distances - (self.alpha - self.margin)).where(same, 0).sum(1) / images.square()
        too_near = weighted_violation(self.alpha - distances, cluster & ~same, self.negative_temperature) / neighbours
        return ((1 - self.balance) * too_far + self.balance * too_near.where(neighbours > 3, 0)).sum()


def weighted_violation(violation, mask, temperature):
    """Mean of each row of `violation` (N, N) where it is above zero and `mask`, weighted by exp(temperature·violation).

    Returns (N,); zero for a row without any.
    """
    mask = mask & (violation > 0)
    weights = (temperature * violation).where(mask, -1e4).exp()
    return (weights * violation).sum(1) / weights.sum(1).clamp(min=1)  # every weight is at least 1


def in_one_cluster(features, clusters):
    """(N, N) mask of the pairs of features (N, D) that k-means puts into one of so many clusters."""
    cluster = k_means(features.detach(), min(clusters, len(features)))
    return cluster[:, None] == cluster[None, :]


def k_means(features, clusters, iterations=10):
    """Cluster of each of features (N, D): (N,) int64 in [0, clusters). The same features give the same clusters.

    Lloyd's algorithm from the farthest-first traversal that begins at the first feature; a cluster that loses all its
    members keeps its center.
    """
    centers = features[:1]
    nearest = torch.cdist(features, centers)[:, 0]
    for _ in range(clusters - 1):
        centers = torch.cat([centers, features.index_select(0, nearest.argmax(0, keepdim=True))])
        nearest = nearest.minimum(torch.cdist(features, centers[-1:])[:, 0])
    numbers = torch.arange(clusters, device=features.device)
    for _ in range(iterations):
        members = (torch.cdist(features, centers).argmin(1) == numbers[:, None]).to(features.dtype)
        size = members.sum(1, keepdim=True)
        centers = (members @ features / size.clamp(min=1)).where(size > 0, centers)
    return torch.cdist(features, centers).argmin(1)
