"""Verification loss: do two images show the same identity? A two-way classifier on the product of their features.

    L = ½ mean over positive pairs of −log p(same) + ½ mean over negative pairs of −log p(different)
    p = softmax(W dropout(x ∘ y) + b),  x and y of unit length

Zheng et al., A Discriminatively Learned CNN Embedding for Person Re-identification, ACM TOMM 2017, equation 4, with the
product of Person-reID-verification in place of the square of the difference. All pairs of the batch are classified;
the two means keep the many negatives from outweighing the few positives.
"""

from torch import nn
from torch.nn import functional as F

from person_reid.losses.base import FeatureLoss, masked_mean, pair_masks


class VerificationLoss(FeatureLoss):
    """dim: D. dropout: of the product, in training mode; the default is that of Person-reID-verification. Zero for
    kinds of pairs that the batch lacks.
    """

    before_dropout = True  # the one above is for the pairs what the neck's is for the classifier of identities

    def __init__(self, dim, dropout=0.75):
        super().__init__()
        self.dropout = dropout
        self.classifier = nn.Linear(dim, 2)
        nn.init.normal_(self.classifier.weight, std=0.001)
        nn.init.zeros_(self.classifier.bias)

    def compute(self, features, labels):
        weight, bias = self.classifier.weight.float(), self.classifier.bias.float()
        # W dropout(x ∘ y) is (W ∘ dropout(x)) y: a matrix product, and no (N, N, D) is ever formed. All pairs of an x
        # share its mask, which leaves the expected loss what it is with a mask for each pair.
        dropped = F.dropout(features, self.dropout, self.training)
        scores = (dropped[:, None] * weight) @ features.T + bias[:, None]  # (N, 2, N)
        positive, negative = pair_masks(labels)
        losses = F.cross_entropy(scores, positive.long(), reduction="none")  # (N, N)
        return (masked_mean(losses, positive) + masked_mean(losses, negative)) / 2
