"""Classification losses: on the classifier's scores, or on prototypes that a loss owns.

    cross entropy  L = −Σⱼ qⱼ log pⱼ,  q_y = 1 − ε + ε/C,  qⱼ = ε/C
                   Szegedy et al., CVPR 2016, section 7
    focal          L = −(1 − p_y)^γ log p_y
                   Lin et al., ICCV 2017, equation 4

p is the softmax of the scores of C identities. Both losses are means over the batch. With a margin,
which makes the right identity harder to reach, the scores are cosines of an angle θ to each
identity (SoftmaxHead, MarginSoftmax).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from person_reid.losses.base import FeatureLoss, register_loss, unit_length


class CrossEntropyLoss(FeatureLoss):
    """Compute cross entropy.

    smoothing: ε in [0, 1), the share of the target that is spread over all identities during
    training.
    """

    takes = "logits"

    def __init__(self, smoothing: float = 0.0) -> None:
        super().__init__()
        self.smoothing = smoothing

    def compute(self, features: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(
            features, labels, label_smoothing=self.smoothing if self.training else 0.0
        )


class FocalLoss(FeatureLoss):
    """Compute the focal loss.

    gamma: γ ≥ 0. The higher it is, the lower the weight of well-classified images; 0 gives cross
    entropy.
    """

    takes = "logits"

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        self.gamma = gamma

    def compute(self, features: Tensor, labels: Tensor) -> Tensor:
        log_probability = features.log_softmax(1).gather(1, labels[:, None])[:, 0]
        return (
            (-log_probability.expm1()).clamp(min=1e-12).pow(self.gamma) * -log_probability
        ).mean()


register_loss("focal", FocalLoss, "cross entropy that favours hard images (Lin 2017)")
register_loss(
    "cross_entropy", CrossEntropyLoss, "cross entropy, label smoothing if wanted (Szegedy 2016)"
)


def angular_margin(cosines: Tensor, margin: float) -> Tensor:
    """Return ArcFace's cos(θ + margin) for cosines of any shape; margin in radians.

    Beyond θ = π − margin, where it would rise again, the function continues as cos θ − margin ·
    sin(margin).
    """
    # The floor keeps the gradient finite where a feature lies on its prototype.
    sines = (1 - cosines.square()).clamp(min=1e-12).sqrt()
    turned = cosines * math.cos(margin) - sines * math.sin(margin)
    return turned.where(cosines >= -math.cos(margin), cosines - margin * math.sin(margin))


def multiplied_angle(cosines: Tensor, factor: int) -> Tensor:
    """Return SphereFace's (−1)ᵏ cos(factor · θ) − 2k for cosines of any shape.

    factor: a whole number.
    """
    turns = (cosines.detach().clamp(-1, 1).acos() * (factor / math.pi)).floor()
    before, multiple = torch.ones_like(cosines), cosines
    for _ in range(factor - 1):  # cos(mθ) by Chebyshev's recurrence: acos has no gradient at ±1
        before, multiple = multiple, 2 * cosines * multiple - before
    return (1 - 2 * (turns % 2)) * multiple - 2 * turns


def replace_at_labels(
    cosines: Tensor, labels: Tensor, margin: Callable[[Tensor], Tensor]
) -> Tensor:
    """In the cosines (N, C), apply `margin` at each row's label, and keep the others."""
    labels = labels[:, None]
    return cosines.scatter(1, labels, margin(cosines.gather(1, labels)))


class SoftmaxHead(FeatureLoss):
    """The base class of losses for a classifier that returns cosines (N, C), in [-1, 1].

        L = mean over i of −log softmax(s · z)[y],   z from the cosines of feature and class weights

        cosine   z_y = cos θ_y − m,      z_j = cos θ_j
                 Wang et al., CosFace, CVPR 2018, equation 4
        ArcFace  z_y = cos(θ_y + m),     z_j = cos θ_j
                 Deng et al., CVPR 2019, equation 3
        circle   z_y = [1 + m − cos θ_y]₊ (cos θ_y − 1 + m),   z_j = [cos θ_j + m]₊ (cos θ_j − m)
                 Sun et al., CVPR 2020, section 3.3; the factors in brackets have no gradient

    A prototype loss (MarginSoftmax) owns its class weights and is added to the classifier's
    loss; these losses replace it. In evaluation mode they reduce to the plain cross entropy of s ·
    cos θ, without margin or smoothing. The default margins and scales are those with which FastReID
    (He et al., 2020) trains on Market-1501.

    scale: s. smoothing: the label smoothing, in [0, 1).
    """

    takes = "logits"

    def __init__(self, margin: float = 0.35, scale: float = 64.0, smoothing: float = 0.0) -> None:
        super().__init__()
        self.margin = margin
        self.scale = scale
        self.smoothing = smoothing

    def compute(self, features: Tensor, labels: Tensor) -> Tensor:
        if not self.training:
            return F.cross_entropy(self.scale * features, labels)
        return F.cross_entropy(
            self.scale * self.with_margin(features, labels), labels, label_smoothing=self.smoothing
        )

    def with_margin(self, cosines: Tensor, labels: Tensor) -> Tensor:
        """Return z, of the same shape as the cosines (N, C)."""
        raise NotImplementedError


class CosineSoftmaxLoss(SoftmaxHead):
    """Compute cross entropy with a cosine margin. margin: in cosines."""

    def with_margin(self, cosines: Tensor, labels: Tensor) -> Tensor:
        return replace_at_labels(cosines, labels, lambda cosine: cosine - self.margin)


class ArcFaceSoftmaxLoss(SoftmaxHead):
    """Compute cross entropy with an angular margin. margin: in degrees; 20° is 0.35 radians."""

    def __init__(self, margin: float = 20.0, scale: float = 64.0, smoothing: float = 0.0) -> None:
        super().__init__(math.radians(margin), scale, smoothing)

    def with_margin(self, cosines: Tensor, labels: Tensor) -> Tensor:
        return replace_at_labels(
            cosines, labels, lambda cosine: angular_margin(cosine, self.margin)
        )


class CircleSoftmaxLoss(SoftmaxHead):
    """Compute the circle loss with class labels. margin: m, the relaxation, in cosines."""

    def with_margin(self, cosines: Tensor, labels: Tensor) -> Tensor:
        push = F.relu(cosines.detach() + self.margin) * (cosines - self.margin)
        target = cosines.gather(1, labels[:, None])
        pull = F.relu(1 + self.margin - target.detach()) * (target - 1 + self.margin)
        return push.scatter(1, labels[:, None], pull)


register_loss("cosine_softmax", CosineSoftmaxLoss, "of --head cosine: a cosine margin (Wang 2018)")
register_loss(
    "arcface_softmax", ArcFaceSoftmaxLoss, "of --head arcface: an angular margin (Deng 2019)"
)
register_loss("circle_softmax", CircleSoftmaxLoss, "of --head circle: circle, by class (Sun 2020)")


class MarginSoftmax(FeatureLoss):
    """The base class of the losses that own a prototype for each class, on the unit sphere.

        L = mean over i of −log softmax(s · z)[y]
        z_j = cos θ_j for the other identities,   z_y = ψ(θ_y)

        SphereFace  ψ(θ) = (−1)ᵏ cos(m θ) − 2k,  k = ⌊m θ / π⌋   Liu et al., CVPR 2017, equation 7
        CosFace     ψ(θ) = cos θ − m                             Wang et al., CVPR 2018, equation 4
        ArcFace     ψ(θ) = cos(θ + m)                            Deng et al., CVPR 2019, equation 3

    The prototypes are parameters for the optimizer and the checkpoint.

    num_classes: identities; labels are in [0, num_classes). dim: D of the features.
    """

    def __init__(
        self, num_classes: int, dim: int, margin: float = 0.35, scale: float = 64.0
    ) -> None:
        super().__init__()
        self.margin, self.scale = margin, scale
        self.prototypes = nn.Parameter(torch.randn(num_classes, dim))

    def compute(self, features: Tensor, labels: Tensor) -> Tensor:
        cosines = features @ unit_length(self.prototypes.float()).T
        return F.cross_entropy(
            self.scale * replace_at_labels(cosines, labels, self.with_margin), labels
        )

    def with_margin(self, cosines: Tensor) -> Tensor:
        """Return ψ(θ) for each cos θ."""
        raise NotImplementedError


class ArcFaceLoss(MarginSoftmax):
    """Compute the ArcFace loss. margin: in degrees. scale: s."""

    def __init__(
        self, num_classes: int, dim: int, margin: float = 28.6, scale: float = 64.0
    ) -> None:
        super().__init__(num_classes, dim, math.radians(margin), scale)

    def with_margin(self, cosines: Tensor) -> Tensor:
        return angular_margin(cosines, self.margin)


class CosFaceLoss(MarginSoftmax):
    """Compute the CosFace loss. margin: in cosines. scale: s."""

    def with_margin(self, cosines: Tensor) -> Tensor:
        return cosines - self.margin


class SphereFaceLoss(MarginSoftmax):
    """Compute the SphereFace loss.

    margin: the angle's factor, an integer. scale: the feature's length in the paper.
    """

    def __init__(self, num_classes: int, dim: int, margin: int = 4, scale: float = 1.0) -> None:
        super().__init__(num_classes, dim, margin, scale)

    def with_margin(self, cosines: Tensor) -> Tensor:
        return multiplied_angle(cosines, int(self.margin))


register_loss("arcface", ArcFaceLoss, "prototypes with an angular margin (Deng 2019)")
register_loss("cosface", CosFaceLoss, "prototypes with a cosine margin (Wang 2018)")
register_loss("sphere", SphereFaceLoss, "prototypes with a multiplied angle (Liu 2017)")
