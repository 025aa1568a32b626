"""Losses on the pairs of images in a batch."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from person_reid.errors import UserError
from person_reid.losses.base import (
    FeatureLoss,
    euclidean_distances,
    masked_logsumexp,
    masked_mean,
    multi_similarity_pairs,
    pair_masks,
    register_loss,
    unit_length,
)

ITERATIONS = 10  # of k-means


class ContrastiveLoss(FeatureLoss):
    """Contrastive loss: pull images of one identity together, and push different identities apart.

        L = mean [ d(i, p) − m₊ ]₊ + mean [ m₋ − d(i, n) ]₊,  means over the pairs not yet satisfied

    Hadsell et al., Dimensionality Reduction by Learning an Invariant Mapping, CVPR 2006, equation
    4, without its squares.

    positive_margin, negative_margin: in distances of unit vectors, within [0, 2].
    """

    needs_positives = True

    def __init__(self, positive_margin: float = 0.0, negative_margin: float = 1.0) -> None:
        super().__init__()
        self.positive_margin, self.negative_margin = positive_margin, negative_margin

    def compute(self, features: Tensor, labels: Tensor) -> Tensor:
        distances = euclidean_distances(features @ features.T)
        positive, negative = pair_masks(labels)
        too_far = F.relu(distances - self.positive_margin)
        too_near = F.relu(self.negative_margin - distances)
        return masked_mean(too_far, positive & (too_far > 0)) + masked_mean(
            too_near, negative & (too_near > 0)
        )


register_loss(
    "contrast", ContrastiveLoss, "contrastive: pairs nearer or farther than a margin (Hadsell 2006)"
)


class LiftedLoss(FeatureLoss):
    """Generalised lifted structure loss: compare an image with all other images at once.

        L = mean over i of [ log Σₚ exp(d(i, p) − m₊) + log Σₙ exp(m₋ − d(i, n)) ]₊

    Song et al., Deep Metric Learning via Lifted Structured Feature Embedding, CVPR 2016, in the
    form of Hermans et al., In Defense of the Triplet Loss for Person Re-Identification, 2017,
    equation 8.

    positive_margin, negative_margin: in distances of unit vectors, within [0, 2].

    The first term of an image without a positive is zero, but the image still moves away from its
    negatives. The loss is thus zero only in a batch without any pair, not in every batch without
    positives.
    """

    needs_positives = True

    def __init__(self, positive_margin: float = 0.0, negative_margin: float = 1.0) -> None:
        super().__init__()
        self.positive_margin, self.negative_margin = positive_margin, negative_margin

    def compute(self, features: Tensor, labels: Tensor) -> Tensor:
        distances = euclidean_distances(features @ features.T)
        positive, negative = pair_masks(labels)
        pull = masked_logsumexp(distances - self.positive_margin, positive, dim=1)
        push = masked_logsumexp(self.negative_margin - distances, negative, dim=1)
        return F.relu(pull + push).mean()


register_loss("lifted", LiftedLoss, "generalised lifted structure (Song 2016, Hermans 2017)")


class MultiSimilarityLoss(FeatureLoss):
    """Multi-similarity loss: weight a pair by its similarity relative to the anchor's other pairs.

        L = mean over i of 1/α log(1 + Σₚ exp(−α (s(i, p) − λ)))
                         + 1/β log(1 + Σₙ exp(β (s(i, n) − λ)))

    Wang et al., Multi-Similarity Loss with General Pair Weighting for Deep Metric Learning, CVPR
    2019, equation 15.

    alpha, beta: α and β. base: λ, in cosines. epsilon: ε of the miner; None takes all pairs.
    """

    needs_positives = True

    def __init__(
        self, alpha: float = 2.0, beta: float = 50.0, base: float = 0.5, epsilon: float | None = 0.1
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.beta = beta
        self.base = base
        self.epsilon = epsilon

    def compute(self, features: Tensor, labels: Tensor) -> Tensor:
        similarities = features @ features.T
        positive, negative = pair_masks(labels)
        if self.epsilon is not None:
            positive, negative = multi_similarity_pairs(
                similarities, positive, negative, self.epsilon
            )
        pull = one_plus_sum(self.alpha * (self.base - similarities), positive) / self.alpha
        push = one_plus_sum(self.beta * (similarities - self.base), negative) / self.beta
        return (pull + push).mean()


def one_plus_sum(exponents: Tensor, mask: Tensor) -> Tensor:
    """Return log(1 + Σ exp(exponents)) for each row, summed where `mask` is True: (N, N) → (N,)."""
    return F.pad(exponents.masked_fill(~mask, -1e4), (1, 0)).logsumexp(1)


register_loss(
    "multi_similarity", MultiSimilarityLoss, "multi-similarity, with its miner (Wang 2019)"
)


class CircleLoss(FeatureLoss):
    """Circle loss: pull every similarity towards its optimum; the farther away it is, the harder.

        L = log(1 + Σₙ exp(γ αₙ (sₙ − m)) · Σₚ exp(−γ αₚ (sₚ − 1 + m)))
        αₚ = [1 + m − sₚ]₊, αₙ = [sₙ + m]₊, constants for the gradient; each pair counts once

    Sun et al., Circle Loss: A Unified Perspective of Pair Similarity Optimization, CVPR 2020,
    equations 4 to 6.
    """

    needs_positives = True

    def __init__(self, margin: float = 0.25, gamma: float = 32.0) -> None:
        super().__init__()
        self.margin, self.gamma = margin, gamma

    def compute(self, features: Tensor, labels: Tensor) -> Tensor:
        similarities = features @ features.T
        constant = similarities.detach()
        positive, negative = (mask.triu(diagonal=1) for mask in pair_masks(labels))
        pull = F.relu(1 + self.margin - constant) * (1 - self.margin - similarities)
        push = F.relu(constant + self.margin) * (similarities - self.margin)
        logit = masked_logsumexp((self.gamma * pull).flatten(), positive.flatten(), dim=0)
        logit = logit + masked_logsumexp((self.gamma * push).flatten(), negative.flatten(), dim=0)
        return F.softplus(logit).where(positive.any() & negative.any(), 0)


register_loss("circle", CircleLoss, "circle, pairwise (Sun 2020)")


class InstanceLoss(FeatureLoss):
    """Instance loss: every image of the batch is its own class.

        L = mean over i of −log softmax(γ · F F(i)ᵀ)[i]

    Zheng et al., Dual-Path Convolutional Image-Text Embeddings with Instance Loss, ACM TOMM 2020,
    equation 4, with the batch as the classifier.

    gamma: γ, the scale of the cosines.
    by_identity: average the images of each identity first; the classes are then the identities of
        the batch. The loss is zero if there is only one identity.
    """

    def __init__(self, gamma: float = 32.0, by_identity: bool = False) -> None:
        super().__init__()
        self.gamma, self.by_identity = gamma, by_identity

    def compute(self, features: Tensor, labels: Tensor) -> Tensor:
        if not self.by_identity:
            scores = self.gamma * (features @ features.T)
            return F.cross_entropy(scores, torch.arange(len(labels), device=labels.device))
        # The number of identities is a value, not a shape, so each image stands for it with weight
        # 1 / images.
        same = (labels[:, None] == labels[None, :]).to(features.dtype)
        weights = 1 / same.sum(1)
        means = unit_length(same @ features)
        scores = self.gamma * (means @ means.T)
        losses = (scores + weights.log()).logsumexp(1) - scores.diagonal()
        return (weights * losses).sum() / weights.sum()


register_loss("instance", InstanceLoss, "every image its own class (Zheng 2020)")
register_loss(
    "instance_id",
    InstanceLoss,
    "every identity of the batch its own class (Zheng 2020)",
    by_identity=True,
)


class VerificationLoss(FeatureLoss):
    """Verification loss: decide, from feature products, whether two images show the same identity.

        L = ½ mean over positive pairs of −log p(same)
          + ½ mean over negative pairs of −log p(different)
        p = softmax(W dropout(x ∘ y) + b),  x and y of unit length

    Zheng et al., A Discriminatively Learned CNN Embedding for Person Re-identification, ACM TOMM
    2017, equation 4, with the product of Person-reID-verification in place of the squared
    difference. All pairs of the batch are classified; the two means keep the many negatives from
    outweighing the few positives.

    dim: D. dropout: the rate for the product in training, by default as in Person-reID-
    verification. The mean over positive or negative pairs is zero if the batch has none.
    """

    needs_positives = True
    before_dropout = True  # it has its own dropout, as the classifier of identities has the neck's

    def __init__(self, dim: int, dropout: float = 0.75) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise UserError(f"dropout {dropout:g}: expected a number from 0 to below 1.")
        self.dropout = dropout
        self.classifier = nn.Linear(dim, 2)
        nn.init.normal_(self.classifier.weight, std=0.001)
        nn.init.zeros_(self.classifier.bias)

    def compute(self, features: Tensor, labels: Tensor) -> Tensor:
        weight, bias = self.classifier.weight.float(), self.classifier.bias.float()
        # W dropout(x ∘ y) equals (W ∘ dropout(x)) y: a matrix product, which never forms an (N, N,
        # D) tensor. All pairs with the same x share its dropout mask; the expected loss is the same
        # as with a mask for each pair.
        dropped = F.dropout(features, self.dropout, self.training)
        scores = (dropped[:, None] * weight) @ features.T + bias[:, None]  # (N, 2, N)
        positive, negative = pair_masks(labels)
        losses = F.cross_entropy(scores, positive.long(), reduction="none")  # (N, N)
        return (masked_mean(losses, positive) + masked_mean(losses, negative)) / 2


register_loss(
    "verification", VerificationLoss, "same or different, by x∘y through a classifier (Zheng 2017)"
)


class RankedListLoss(FeatureLoss):
    """Ranked list loss: pull positives into a ball of radius α − m, push negatives beyond radius α.

        L = mean over i of (1 − λ) Σₚ w [d(i, p) − (α − m)]₊ / Σ w + λ Σₙ w [α − d(i, n)]₊ / Σ w
        w = exp(T₊ (d(i, p) − (α − m))) or exp(T₋ (α − d(i, n))),
            over the pairs outside their radius

    Wang et al., Ranked List Loss for Deep Metric Learning, CVPR 2019, equations 4 to 10. The
    defaults follow Ranked_Person_ReID (Qian).

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
    """Compute the "cranked_loss" from Qian's Ranked_Person_ReID.

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
    """Take a weighted average of the entries of `violation` (N, N) that are positive and in `mask`.

    The weights are exp(temperature · violation). Returns the mean of each row, (N,), which is zero
    for a row without such entries.
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
