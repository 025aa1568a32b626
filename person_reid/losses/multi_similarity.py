"""Multi-similarity loss: weight each pair by its own similarity and by the anchor's other pairs.

    L = mean over i of 1/α log(1 + Σₚ exp(−α (s(i, p) − λ))) + 1/β log(1 + Σₙ exp(β (s(i, n) − λ)))

Wang et al., Multi-Similarity Loss with General Pair Weighting for Deep Metric Learning, CVPR 2019,
equation 15.
"""

from torch import Tensor
from torch.nn import functional as F

from person_reid.losses.base import (
    FeatureLoss,
    multi_similarity_pairs,
    pair_masks,
    register_loss,
)


class MultiSimilarityLoss(FeatureLoss):
    """Compute the loss.

    alpha, beta: α and β. base: λ, in cosines. epsilon: ε of the miner; None takes all pairs.
    """

    needs_positives = True

    def __init__(
        self, alpha: float = 2.0, beta: float = 50.0, base: float = 0.5, epsilon: float | None = 0.1
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.beta = beta
        self.base = base
        self.epsilon = epsilon

    def compute(self, features: Tensor, labels: Tensor) -> Tensor:
        similarities = features @ features.T
        positive, negative = pair_masks(labels)
        if self.epsilon is not None:
            positive, negative = multi_similarity_pairs(
                similarities, positive, negative, self.epsilon
            )
        pull = one_plus_sum(self.alpha * (self.base - similarities), positive) / self.alpha
        push = one_plus_sum(self.beta * (similarities - self.base), negative) / self.beta
        return (pull + push).mean()


def one_plus_sum(exponents: Tensor, mask: Tensor) -> Tensor:
    """Return log(1 + Σ exp(exponents)) of each row under `mask`: (N, N) → (N,)."""
    return F.pad(exponents.masked_fill(~mask, -1e4), (1, 0)).logsumexp(1)


register_loss(
    "multi_similarity", MultiSimilarityLoss, "multi-similarity, with its miner (Wang 2019)"
)
