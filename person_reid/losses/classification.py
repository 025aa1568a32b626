"""Losses on the classifier's scores: cross entropy with label smoothing, and focal loss.

    cross entropy  L = −Σⱼ qⱼ log pⱼ,  q_y = 1 − ε + ε/C,  qⱼ = ε/C
                   Szegedy et al., CVPR 2016, section 7
    focal          L = −(1 − p_y)^γ log p_y
                   Lin et al., ICCV 2017, equation 4

p is the softmax of the scores of C identities. Both losses are means over the batch.
"""

import math

from torch import Tensor
from torch.nn import functional as F

from person_reid.losses.base import FeatureLoss, register_loss
from person_reid.losses.margin_softmax import angular_margin, replace_at_labels


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


class SoftmaxHead(FeatureLoss):
    """The base class of losses for a classifier that returns cosines (N, C), in [-1, 1].

        L = mean over i of −log softmax(s · z)[y],   z from the cosines of feature and class weights

        cosine   z_y = cos θ_y − m,      z_j = cos θ_j
                 Wang et al., CosFace, CVPR 2018, equation 4
        ArcFace  z_y = cos(θ_y + m),     z_j = cos θ_j
                 Deng et al., CVPR 2019, equation 3
        circle   z_y = [1 + m − cos θ_y]₊ (cos θ_y − 1 + m),   z_j = [cos θ_j + m]₊ (cos θ_j − m)
                 Sun et al., CVPR 2020, section 3.3; the factors in brackets have no gradient

    A prototype loss (margin_softmax.py) owns its class weights and is added to the classifier's
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
    """Compute cross entropy with an angular margin. margin: in degrees; 20° are 0.35 radians."""

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
