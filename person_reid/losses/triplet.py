"""Triplet loss: an image should be nearer to its identity than to any other, by a margin.

    L = mean [ d(a, p) − d(a, n) + m ]₊        d: Euclidean distance of normalised features

Schroff et al., FaceNet: A Unified Embedding for Face Recognition and Clustering, CVPR 2015,
equation 3.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from person_reid.errors import UserError
from person_reid.losses.base import (
    FeatureLoss,
    euclidean_distances,
    masked_mean,
    multi_similarity_pairs,
    pair_masks,
    register_loss,
)
from person_reid.text import did_you_mean

MINING = ("multi_similarity", "all", "hard", "weighted")


class TripletLoss(FeatureLoss):
    """Compute the triplet loss over triplets in the batch, chosen by `mining`.

    "multi_similarity": all triplets of the pairs that the multi-similarity miner keeps (`epsilon`);
    "all": every triplet of the batch. Both average over the triplets that violate the margin.
    "hard": each anchor's farthest positive and nearest negative (Hermans et al., In Defense of the
    Triplet Loss, 2017, equation 5); "weighted": the mean of its positives with weights softmax(d),
    and of its negatives with softmax(−d) (Ristani and Tomasi, Features for Multi-Target
    Multi-Camera Tracking and Re-Identification, CVPR 2018, equation 4). Both average over the
    anchors that have a positive and a negative.

    margin: in distances of unit vectors, within [0, 2]. soft: use log(1 + exp(d(a, p) − d(a, n)))
    instead of the margin (Hermans et al., section 2), for "hard" and "weighted" only. Raises
    UserError for settings that do not exist.
    """

    needs_positives = True

    def __init__(
        self,
        margin: float = 0.3,
        mining: str = "multi_similarity",
        epsilon: float = 0.1,
        soft: bool = False,
    ) -> None:
        super().__init__()
        if mining not in MINING:
            raise UserError(
                f"mining {mining!r}: expected one of "
                f"{', '.join(MINING)}.{did_you_mean(mining, MINING)}"
            )
        if soft and mining not in ("hard", "weighted"):
            raise UserError(
                f"the soft margin needs mining=hard or mining=weighted, found mining={mining}."
            )
        self.margin = margin
        self.mining = mining
        self.epsilon = epsilon
        self.soft = soft

    def compute(self, features: Tensor, labels: Tensor) -> Tensor:
        similarities = features @ features.T
        distances = euclidean_distances(similarities)
        positive, negative = pair_masks(labels)
        if self.mining in ("hard", "weighted"):
            choose = hardest_pairs if self.mining == "hard" else weighted_pairs
            violation = torch.sub(*choose(distances, positive, negative))
            losses = F.softplus(violation) if self.soft else F.relu(violation + self.margin)
            return masked_mean(losses, positive.any(1) & negative.any(1))
        if self.mining == "multi_similarity":
            positive, negative = multi_similarity_pairs(
                similarities, positive, negative, self.epsilon
            )
        return mean_violation(distances, positive, negative, self.margin)


def hardest_pairs(distances: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    """Return each anchor's distances to its farthest positive and nearest negative, both (N,)."""
    return distances.where(positive, 0).amax(1), distances.where(negative, 2).amin(1)


def weighted_pairs(distances: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    """Return each anchor's mean distances to its positives and to its negatives, both (N,).

    Harder pairs weigh more.
    """
    return (
        (distances * distances.where(positive, -1e4).softmax(1)).sum(1),
        (distances * (-distances).where(negative, -1e4).softmax(1)).sum(1),
    )


def mean_violation(distances: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """Average d(a, p) − d(a, n) + margin over the triplets in the masks where it is positive.

    A batch of N has up to N³ triplets, but none has to be written out. If n(p) negatives violate
    the margin against a positive p, and p(n) positives against a negative n, the sum is Σ
    n(p)·(d(a, p) + m) − Σ p(n)·d(a, n). Sorting each row once gives the counts. They are constant
    almost everywhere, so the gradient of this sum is the gradient of the N³ terms. Violations below
    1e-6 are rounding errors and do not count.
    """
    with torch.no_grad():
        reach = (
            (distances + (margin - 1e-6))
            .where(positive, distances)
            .where(positive | negative, torch.inf)
        )
        order = reach.argsort(1)
        positive, negative = positive.gather(1, order), negative.gather(1, order)
        negatives_before = negative.cumsum(1, dtype=torch.int32)
        positives_before = positive.cumsum(1, dtype=torch.int32)
        violated_negatives = negatives_before.where(positive, 0)
        violated_positives = (positives_before[:, -1:] - positives_before).where(negative, 0)
        weights = torch.zeros_like(reach).scatter(
            1, order, (violated_negatives - violated_positives).to(reach.dtype)
        )
        count = violated_negatives.sum()
    return (weights * distances).sum() / count.clamp(min=1) + torch.where(count > 0, margin, 0.0)


register_loss(
    "triplet",
    TripletLoss,
    "triplets of the multi-similarity miner's pairs (Schroff 2015, Wang 2019)",
)
register_loss(
    "triplet_hard", TripletLoss, "hardest positive and negative (Hermans 2017)", mining="hard"
)
register_loss(
    "triplet_soft",
    TripletLoss,
    "the same with a soft margin (Hermans 2017)",
    mining="hard",
    soft=True,
)
register_loss(
    "triplet_weighted",
    TripletLoss,
    "softmax-weighted positives and negatives (Ristani 2018)",
    mining="weighted",
)
