"""Softmax over prototypes on the sphere, with a margin that makes the right identity harder to reach.

    L = mean over i of −log softmax(s · z)[y],   z_j = cos θ_j for the other identities,   z_y = ψ(θ_y)

    SphereFace  ψ(θ) = (−1)ᵏ cos(m θ) − 2k,  k = ⌊m θ / π⌋   Liu et al., CVPR 2017, equation 7
    CosFace     ψ(θ) = cos θ − m                             Wang et al., CVPR 2018, equation 4
    ArcFace     ψ(θ) = cos(θ + m)                            Deng et al., CVPR 2019, equation 3

Each has one prototype an identity, its own parameter: give it to the optimizer and to the checkpoint. The margins are
functions of the cosine, and the classifiers of person_reid/losses/softmax_heads.py train with the same ones.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from person_reid.losses.base import FeatureLoss, unit_length


def angular_margin(cosines, margin):
    """ArcFace's cos(θ + margin) of cosines of any shape; margin in radians.

    Beyond θ = π − margin, where it would rise again, it goes on as cos θ − margin · sin(margin).
    """
    sines = (1 - cosines.square()).clamp(min=1e-12).sqrt()  # the floor: a finite gradient on the prototype itself
    turned = cosines * math.cos(margin) - sines * math.sin(margin)
    return turned.where(cosines >= -math.cos(margin), cosines - margin * math.sin(margin))


def multiplied_angle(cosines, factor):
    """SphereFace's (−1)ᵏ cos(factor · θ) − 2k of cosines of any shape; factor: a whole number."""
    turns = (cosines.detach().clamp(-1, 1).acos() * (factor / math.pi)).floor()
    before, multiple = torch.ones_like(cosines), cosines
    for _ in range(factor - 1):  # cos(mθ) by Chebyshev's recurrence: acos has no gradient at ±1
        before, multiple = multiple, 2 * cosines * multiple - before
    return (1 - 2 * (turns % 2)) * multiple - 2 * turns


def replace_at_labels(cosines, labels, margin):
    """Cosines (N, C) with margin(cosine) in place of the cosine at each of labels (N,)."""
    labels = labels[:, None]
    return cosines.scatter(1, labels, margin(cosines.gather(1, labels)))


class MarginSoftmax(FeatureLoss):
    """The common part. num_classes: identities, labels are in [0, num_classes). dim: D of the features."""

    def __init__(self, num_classes, dim, margin, scale):
        super().__init__()
        self.margin, self.scale = margin, scale
        self.prototypes = nn.Parameter(torch.randn(num_classes, dim))

    def compute(self, features, labels):
        cosines = features @ unit_length(self.prototypes.float()).T
        return F.cross_entropy(self.scale * replace_at_labels(cosines, labels, self.with_margin), labels)

    def with_margin(self, cosines):
        """ψ as a function of cos θ, elementwise."""
        raise NotImplementedError


class ArcFaceLoss(MarginSoftmax):
    """margin: in degrees."""

    def __init__(self, num_classes, dim, margin=28.6, scale=64.0):
        super().__init__(num_classes, dim, math.radians(margin), scale)

    def with_margin(self, cosines):
        return angular_margin(cosines, self.margin)


class CosFaceLoss(MarginSoftmax):
    """margin: in cosines."""

    def __init__(self, num_classes, dim, margin=0.35, scale=64.0):
        super().__init__(num_classes, dim, margin, scale)

    def with_margin(self, cosines):
        return cosines - self.margin


class SphereFaceLoss(MarginSoftmax):
    """margin: a whole number, the factor of the angle. The scale of the paper, the feature's length, is 1 here."""

    def __init__(self, num_classes, dim, margin=4, scale=1.0):
        super().__init__(num_classes, dim, int(margin), scale)

    def with_margin(self, cosines):
        return multiplied_angle(cosines, self.margin)
