"""Softmax losses over prototypes on the sphere, with a margin.

The margin makes the right identity harder to reach.

    L = mean over i of −log softmax(s · z)[y]
    z_j = cos θ_j for the other identities,   z_y = ψ(θ_y)

    SphereFace  ψ(θ) = (−1)ᵏ cos(m θ) − 2k,  k = ⌊m θ / π⌋   Liu et al., CVPR 2017, equation 7
    CosFace     ψ(θ) = cos θ − m                             Wang et al., CVPR 2018, equation 4
    ArcFace     ψ(θ) = cos(θ + m)                            Deng et al., CVPR 2019, equation 3

Each has one prototype per identity, a parameter for the optimizer and the checkpoint. The margins
are functions of the cosine, which person_reid/losses/classification.py also uses.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from person_reid.losses.base import FeatureLoss, register_loss, unit_length


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


class MarginSoftmax(FeatureLoss):
    """The base class of the three losses.

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
