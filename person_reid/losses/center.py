"""Center loss: keep every image near the center of its identity.

    L = ½ mean over i of ‖f_i − c_y‖²          equation 2, as a mean
    c_j ← c_j + α Σ (f_i − c_j) / (1 + n_j)    equation 4, over the n_j images of j in the batch

Wen et al., A Discriminative Feature Learning Approach for Deep Face Recognition, ECCV 2016. The
centers follow the features at their own rate, regardless of the weight of the loss, and without
gradients or weight decay. The code of Luo et al., Bag of Tricks and a Strong Baseline for Deep
Person Re-Identification, CVPRW 2019, omits the ½, so its weight of 5e-4 is 1e-3 here; its centers
start at random and move by SGD.
"""

import torch
from torch import Tensor

from person_reid.errors import UserError
from person_reid.losses.base import FeatureLoss, register_loss


class CenterLoss(FeatureLoss):
    """Pull unnormalised features towards their centres and, in training, then move the centres.

    num_classes: labels are in [0, num_classes). dim: D. rate: α, in [0, 1]. Raises UserError for
    any other rate.
    """

    normalised = False
    centers: Tensor

    def __init__(self, num_classes: int, dim: int, rate: float = 0.5) -> None:
        super().__init__()
        if not 0 <= rate <= 1:
            raise UserError(f"rate {rate:g}: expected a number from 0 to 1.")
        self.rate = rate
        self.register_buffer("centers", torch.zeros(num_classes, dim))

    def compute(self, features: Tensor, labels: Tensor) -> Tensor:
        apart = features - self.centers[labels]
        if self.training:
            self.update(apart.detach(), labels)
        return apart.square().sum(1).mean() / 2

    def update(self, apart: Tensor, labels: Tensor) -> None:
        """Move the centers of `labels`. apart: (N, D), the offset of each image from its center."""
        same = (labels[:, None] == labels[None, :]).float()
        moves = self.rate * (same @ apart) / (1 + same.sum(1, keepdim=True))
        # A GPU would add the terms of a scattered sum in any order. Instead, all images of a class
        # write the same move, that of its first image.
        self.centers[labels] += moves[same.argmax(1)]


register_loss("center", CenterLoss, "distance to a learned center (Wen 2016)")
