"""Generalised lifted structure loss: each image against all its positives and all its negatives at once.

    L = mean over i of [ log Σₚ exp(d(i, p) − m₊) + log Σₙ exp(m₋ − d(i, n)) ]₊

Song et al., Deep Metric Learning via Lifted Structured Feature Embedding, CVPR 2016, in the form of Hermans et al.,
In Defense of the Triplet Loss for Person Re-Identification, 2017, equation 8.
"""

from torch.nn import functional as F

from person_reid.losses.base import FeatureLoss, cosine_similarities, euclidean_distances, masked_logsumexp, pair_masks


class LiftedLoss(FeatureLoss):
    """positive_margin, negative_margin: in distances of unit vectors, which lie in [0, 2].

    An image without a positive still moves away from its negatives: its first term is zero. So the loss is not zero in
    a batch without positives, only in one without any pair.
    """

    def __init__(self, positive_margin=0.0, negative_margin=1.0):
        super().__init__()
        self.positive_margin, self.negative_margin = positive_margin, negative_margin

    def compute(self, features, labels):
        distances = euclidean_distances(cosine_similarities(features))
        positive, negative = pair_masks(labels)
        pull = masked_logsumexp(distances - self.positive_margin, positive, dim=1)
        push = masked_logsumexp(self.negative_margin - distances, negative, dim=1)
        return F.relu(pull + push).mean()
