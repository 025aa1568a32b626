"""Verification loss: classify whether two images show one identity, by their features' product.

    L = ½ mean over positive pairs of −log p(same) + ½ mean over negative pairs of −log p(different)
    p = softmax(W dropout(x ∘ y) + b),  x and y of unit length

Zheng et al., A Discriminatively Learned CNN Embedding for Person Re-identification, ACM TOMM 2017,
equation 4, with the product of Person-reID-verification in place of the squared difference. All
pairs of the batch are classified; the two means keep the many negatives from outweighing the few
positives.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from person_reid.errors import UserError
from person_reid.losses.base import FeatureLoss, masked_mean, pair_masks, register_loss


class VerificationLoss(FeatureLoss):
    """Compute the verification loss.

    dim: D. dropout: the rate for the product in training, by default as in Person-reID-
    verification. The mean over positive or negative pairs is zero if the batch has none.
    """

    needs_positives = True
    before_dropout = True  # it has its own dropout, as the classifier of identities has the neck's

    def __init__(self, dim: int, dropout: float = 0.75) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise UserError(f"dropout {dropout:g}: expected a number from 0 to below 1.")
        self.dropout = dropout
        self.classifier = nn.Linear(dim, 2)
        nn.init.normal_(self.classifier.weight, std=0.001)
        nn.init.zeros_(self.classifier.bias)

    def compute(self, features: Tensor, labels: Tensor) -> Tensor:
        weight, bias = self.classifier.weight.float(), self.classifier.bias.float()
        # W dropout(x ∘ y) equals (W ∘ dropout(x)) y: a matrix product, which never forms an (N, N,
        # D) tensor. All pairs with the same x share its dropout mask; the expected loss is the same
        # as with a mask for each pair.
        dropped = F.dropout(features, self.dropout, self.training)
        scores = (dropped[:, None] * weight) @ features.T + bias[:, None]  # (N, 2, N)
        positive, negative = pair_masks(labels)
        losses = F.cross_entropy(scores, positive.long(), reduction="none")  # (N, N)
        return (masked_mean(losses, positive) + masked_mean(losses, negative)) / 2


register_loss(
    "verification", VerificationLoss, "same or different, by x∘y through a classifier (Zheng 2017)"
)
