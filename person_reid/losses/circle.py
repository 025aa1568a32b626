"""Circle loss: pull every similarity to its optimum, harder the farther it is from there.

    L = log(1 + Σₙ exp(γ αₙ (sₙ − m)) · Σₚ exp(−γ αₚ (sₚ − 1 + m)))
    αₚ = [1 + m − sₚ]₊, αₙ = [sₙ + m]₊, constants for the gradient; each pair counts once

Sun et al., Circle Loss: A Unified Perspective of Pair Similarity Optimization, CVPR 2020, equations
4 to 6.
"""

from torch import Tensor
from torch.nn import functional as F

from person_reid.losses.base import FeatureLoss, masked_logsumexp, pair_masks, register_loss


class CircleLoss(FeatureLoss):
    """Compute the circle loss. margin: m, the relaxation, in cosines. gamma: γ, the scale."""

    needs_positives = True

    def __init__(self, margin: float = 0.25, gamma: float = 32.0) -> None:
        super().__init__()
        self.margin, self.gamma = margin, gamma

    def compute(self, features: Tensor, labels: Tensor) -> Tensor:
        similarities = features @ features.T
        constant = similarities.detach()
        positive, negative = (mask.triu(diagonal=1) for mask in pair_masks(labels))
        pull = F.relu(1 + self.margin - constant) * (1 - self.margin - similarities)
        push = F.relu(constant + self.margin) * (similarities - self.margin)
        logit = masked_logsumexp((self.gamma * pull).flatten(), positive.flatten(), dim=0)
        logit = logit + masked_logsumexp((self.gamma * push).flatten(), negative.flatten(), dim=0)
        return F.softplus(logit).where(positive.any() & negative.any(), 0)


register_loss("circle", CircleLoss, "circle, pairwise (Sun 2020)")
