"""Softmax over prototypes on the sphere, with a margin that makes the right identity harder to reach.

    L = mean over i of −log softmax(s · z)[y],   z_j = cos θ_j for the other identities,   z_y = ψ(θ_y)

    SphereFace  ψ(θ) = (−1)ᵏ cos(m θ) − 2k,  k = ⌊m θ / π⌋   Liu et al., CVPR 2017, equation 7
    CosFace     ψ(θ) = cos θ − m                             Wang et al., CVPR 2018, equation 4
    ArcFace     ψ(θ) = cos(θ + m)                            Deng et al., CVPR 2019, equation 3

Each has one prototype an identity, its own parameter: give it to the optimizer and to the checkpoint.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from losses.base import FeatureLoss


class MarginSoftmax(FeatureLoss):
    """The common part. num_classes: identities, labels are in [0, num_classes). dim: D of the features."""

    def __init__(self, num_classes, dim, margin, scale):
        super().__init__()
        self.margin, self.scale = margin, scale
        self.prototypes = nn.Parameter(torch.randn(num_classes, dim))

    def compute(self, features, labels):
        return F.cross_entropy(self.logits(features, labels), labels)

    def logits(self, features, labels):
        """Scaled cosines (N, num_classes), with the margin at the labels; features of unit length."""
        cosines = features @ F.normalize(self.prototypes.float()).T
        labels = labels[:, None]
        return self.scale * cosines.scatter(1, labels, self.with_margin(cosines.gather(1, labels)))

    def with_margin(self, cosines):
        """ψ as a function of cos θ, elementwise."""
        raise NotImplementedError


class ArcFaceLoss(MarginSoftmax):
    """margin: in degrees. Beyond θ = π − m, where cos(θ + m) would rise again, ψ goes on as cos θ − m sin m."""

    def __init__(self, num_classes, dim, margin=28.6, scale=64.0):
        super().__init__(num_classes, dim, math.radians(margin), scale)

    def with_margin(self, cosines):
        sines = (1 - cosines.square()).clamp(min=1e-12).sqrt()  # the floor: a finite gradient on the prototype itself
        turned = cosines * math.cos(self.margin) - sines * math.sin(self.margin)
        return turned.where(cosines >= -math.cos(self.margin), cosines - self.margin * math.sin(self.margin))


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
        turns = (cosines.detach().clamp(-1, 1).acos() * (self.margin / math.pi)).floor()
        before, multiple = torch.ones_like(cosines), cosines
        for _ in range(self.margin - 1):  # cos(mθ) by Chebyshev's recurrence: acos has no gradient at ±1
            before, multiple = multiple, 2 * cosines * multiple - before
        return (1 - 2 * (turns % 2)) * multiple - 2 * turns
