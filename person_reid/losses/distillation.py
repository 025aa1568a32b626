"""Learn from a teacher, a better network that sees the same images.

s and t are the features of the student and of its teacher.

    classes    L = mean over i of KL(softmax(c_i / τ) ‖ softmax(z))
               Hinton et al., Distilling the Knowledge in a Neural Network, 2015, section 2
    features   L = mean over i of 1 − cos(W · norm(s_i), t_i)
               Romero et al., FitNets, ICLR 2015, section 2.2, with the cosine by which features
               are compared

z are the student's class scores, and c the cosines between the teacher's feature and its mean
feature of each class, so that the teacher needs no classifier. W is learned, and not used in
testing; norm gives each dimension mean 0 and variance 1 over the batch, as `bnneck` does for the
classifier. The teacher's features may have any width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from person_reid.losses.base import FeatureLoss, register_loss


class DistillationLoss(FeatureLoss):
    """A loss called as `loss(features, taught)`; see FeatureLoss."""

    needs_teacher = True


class ClassesLoss(DistillationLoss):
    """Compare class scores with the teacher's cosines.

    temperature: τ > 0, by which the cosines are divided.
    """

    takes = "logits"

    def __init__(self, temperature: float = 0.05) -> None:
        super().__init__()
        self.temperature = temperature

    def compute(self, features: Tensor, taught: Tensor) -> Tensor:
        teacher = (taught / self.temperature).log_softmax(1)
        return F.kl_div(features.log_softmax(1), teacher, reduction="batchmean", log_target=True)


class FeaturesLoss(DistillationLoss):
    """Map features to the teacher's with a linear layer, and compare the two.

    dim, taught_dim: D and E, the widths of the features.
    """

    normalised = False

    def __init__(self, dim: int, taught_dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, taught_dim, bias=False)

    def compute(self, features: Tensor, taught: Tensor) -> Tensor:
        variance, mean = torch.var_mean(features, 0, correction=0)
        projected = self.project((features - mean) * (variance + 1e-5).rsqrt())
        return 1 - F.cosine_similarity(projected, taught).mean()


register_loss(
    "teacher_features", FeaturesLoss, "of --teacher: its features, by a linear layer (Romero 2015)"
)
register_loss("teacher_classes", ClassesLoss, "of --teacher: its class probabilities (Hinton 2015)")
