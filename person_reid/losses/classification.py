"""Losses of the classifier's scores: cross entropy with label smoothing, and focal loss.

    cross entropy  L = −Σⱼ qⱼ log pⱼ,  q_y = 1 − ε + ε/C,  qⱼ = ε/C     Szegedy et al., CVPR 2016, section 7
    focal          L = −(1 − p_y)^γ log p_y                             Lin et al., ICCV 2017, equation 4

p = softmax of the scores of C identities; both are means over the batch.
"""

from torch.nn import functional as F

from person_reid.losses.base import FeatureLoss


class CrossEntropyLoss(FeatureLoss):
    """smoothing: ε in [0, 1), the share of the target that is spread over all identities; 0 in evaluation mode."""

    normalised = False
    takes = "logits"

    def __init__(self, smoothing=0.0):
        super().__init__()
        self.smoothing = smoothing

    def compute(self, features, labels):
        return F.cross_entropy(features, labels, label_smoothing=self.smoothing if self.training else 0.0)


class FocalLoss(FeatureLoss):
    """gamma: γ ≥ 0, how much less an image counts that is already classified well; 0 is cross entropy."""

    normalised = False
    takes = "logits"

    def __init__(self, gamma=2.0):
        super().__init__()
        self.gamma = gamma

    def compute(self, features, labels):
        log_probability = features.log_softmax(1).gather(1, labels[:, None])[:, 0]
        return ((-log_probability.expm1()).clamp(min=1e-12).pow(self.gamma) * -log_probability).mean()
