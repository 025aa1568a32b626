"""Generalised lifted structure loss: compare each image with all positives and negatives at once.

    L = mean over i of [ log Σₚ exp(d(i, p) − m₊) + log Σₙ exp(m₋ − d(i, n)) ]₊

Song et al., Deep Metric Learning via Lifted Structured Feature Embedding, CVPR 2016, in the form of
Hermans et al., In Defense of the Triplet Loss for Person Re-Identification, 2017, equation 8.
"""

from torch import Tensor
from torch.nn import functional as F

from person_reid.losses.base import (
    FeatureLoss,
    euclidean_distances,
    masked_logsumexp,
    pair_masks,
    register_loss,
)


class LiftedLoss(FeatureLoss):
    """Compute the lifted structure loss.

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
