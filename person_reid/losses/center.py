"""Center loss: keep every image near the center of its identity.

    L = ½ mean over i of ‖f_i − c_y‖²

Wen et al., A Discriminative Feature Learning Approach for Deep Face Recognition, ECCV 2016, equation 2, as a mean. The
centers are parameters of the loss and learn by its gradient. Weights around 5e-4 are usual (Luo et al., Bag of Tricks
and a Strong Baseline for Deep Person Re-Identification, CVPRW 2019).
"""

import torch
from torch import nn

from person_reid.losses.base import FeatureLoss


class CenterLoss(FeatureLoss):
    """Pull features, not normalised, towards their centers. num_classes: labels are in [0, num_classes). dim: D."""

    normalised = False

    def __init__(self, num_classes: int, dim: int) -> None:
        super().__init__()
        self.centers = nn.Parameter(torch.randn(num_classes, dim))

    def compute(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return (features - self.centers.float()[labels]).square().sum(1).mean() / 2
