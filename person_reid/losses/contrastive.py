"""Contrastive loss: pull images of an identity together, keep images of different identities apart.

    L = mean [ d(i, p) − m₊ ]₊ + mean [ m₋ − d(i, n) ]₊,  means over the pairs not yet satisfied

Hadsell et al., Dimensionality Reduction by Learning an Invariant Mapping, CVPR 2006, equation 4,
without its squares.
"""

from torch import Tensor
from torch.nn import functional as F

from person_reid.losses.base import (
    FeatureLoss,
    euclidean_distances,
    masked_mean,
    pair_masks,
    register_loss,
)


class ContrastiveLoss(FeatureLoss):
    """Compute the contrastive loss.

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
