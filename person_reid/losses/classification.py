"""Losses on the classifier's scores: cross entropy with label smoothing, and focal loss.

    cross entropy  L = −Σⱼ qⱼ log pⱼ,  q_y = 1 − ε + ε/C,  qⱼ = ε/C
                   Szegedy et al., CVPR 2016, section 7
    focal          L = −(1 − p_y)^γ log p_y
                   Lin et al., ICCV 2017, equation 4

p is the softmax of the scores of C identities. Both losses are means over the batch.
"""

from torch import Tensor
from torch.nn import functional as F

from person_reid.losses.base import FeatureLoss, register_loss


class CrossEntropyLoss(FeatureLoss):
    """Compute cross entropy.

    smoothing: ε in [0, 1), the share of the target that is spread over all identities in training.
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

    gamma: γ ≥ 0; the higher, the less well-classified images count; 0 is cross entropy.
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
