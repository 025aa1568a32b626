"""Learn from a teacher, a better network that sees the same images.

t and s are features of teacher and student.

    relations    L = huber(d(s), d(t)) + w · huber(a(s), a(t))
                 d: distances of two images, divided by their mean
                 a: cosines of the angles of three images
                 Park et al., Relational Knowledge Distillation, CVPR 2019, equations 5 to 9
    similarity   L = ‖G(s) − G(t)‖² / N²; G: cosines, rows of norm 1
                 Tung, Mori, Similarity-Preserving Knowledge Distillation, ICCV 2019, equation 4
    neighbours   L = mean over i of KL(p(t, i) ‖ p(s, i))
                 p(t, i) = softmax over j ≠ i of cos(t_i, t_j) / τ
                 Koohpayegani et al., CompRess, NeurIPS 2020, equations 1 and 2
    classes      L = mean over i of KL(softmax(c_i / τ) ‖ softmax(z))
                 Hinton et al., Distilling the Knowledge in a Neural Network, 2015, section 2
    features     L = mean over i of 1 − cos(W · norm(s_i), t_i)
                 Romero et al., FitNets, ICLR 2015, section 2.2, with the cosine that features
                 are compared by

z are the student's class scores, and c the cosines between the teacher's feature and its mean
feature of each class, so that the teacher needs no classifier. W is learnt, and testing leaves it
out; norm gives each dimension the mean 0 and the variance 1 over the batch, as `bnneck` does for
the classifier. The teacher's features may have any width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from person_reid.losses.base import (
    FeatureLoss,
    euclidean_distances,
    register_loss,
)


class DistillationLoss(FeatureLoss):
    """A loss called as `loss(features, taught)`; see FeatureLoss."""

    needs_teacher = True


class RelationsLoss(DistillationLoss):
    """Compare distances and angles. angle_weight: w ≥ 0, of the angles; 0 leaves them out."""

    def __init__(self, angle_weight: float = 2.0) -> None:
        super().__init__()
        self.angle_weight = angle_weight

    def compute(self, features: Tensor, taught: Tensor) -> Tensor:
        loss = F.smooth_l1_loss(_distances(features), _distances(taught))
        if self.angle_weight:
            loss = loss + self.angle_weight * F.smooth_l1_loss(_angles(features), _angles(taught))
        return loss


class SimilarityLoss(DistillationLoss):
    """Compare the rows of the batch's cosines."""

    def compute(self, features: Tensor, taught: Tensor) -> Tensor:
        student, teacher = (F.normalize(each @ each.T) for each in (features, taught))
        return (student - teacher).square().mean()


class NeighboursLoss(DistillationLoss):
    """Compare the neighbours of each image in the batch.

    temperature: τ > 0; the lower, the fewer neighbours count.
    """

    def __init__(self, temperature: float = 0.05) -> None:
        super().__init__()
        self.temperature = temperature

    def compute(self, features: Tensor, taught: Tensor) -> Tensor:
        itself = torch.eye(len(features), dtype=torch.bool, device=features.device)
        student, teacher = (
            (each @ each.T / self.temperature).masked_fill(itself, -1e4).log_softmax(1)
            for each in (features, taught)
        )
        return F.kl_div(student, teacher, reduction="batchmean", log_target=True)


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
    """Reach the teacher's feature through a linear layer.

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


def _distances(features: Tensor) -> Tensor:
    """Return the distances (N, N) of features of unit length.

    They are divided by the mean of those that are not zero.
    """
    distances = euclidean_distances(features @ features.T)
    apart = distances > 0
    mean: Tensor = distances.sum() / apart.sum().clamp(min=1)
    return distances / mean.clamp(min=1e-12)


def _angles(features: Tensor) -> Tensor:
    """Return the cosines (N, N, N) of the angles at each image between two others."""
    directions = features[None] - features[:, None]
    # The direction from an image to itself, or to its copy, is zero, and so is its gradient.
    squares = directions.square().sum(2, keepdim=True)
    directions = directions / squares.clamp(min=1e-6).sqrt()
    return directions @ directions.transpose(1, 2)


register_loss(
    "teacher_relations", RelationsLoss, "of --teacher: its distances and angles (Park 2019)"
)
register_loss(
    "teacher_similarity",
    SimilarityLoss,
    "of --teacher: its similarities within the batch (Tung 2019)",
)
register_loss(
    "teacher_neighbours",
    NeighboursLoss,
    "of --teacher: its neighbours in the batch (Koohpayegani 2020)",
)
register_loss(
    "teacher_features", FeaturesLoss, "of --teacher: its features, by a linear layer (Romero 2015)"
)
register_loss("teacher_classes", ClassesLoss, "of --teacher: its class probabilities (Hinton 2015)")
