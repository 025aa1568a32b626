"""Instance loss: every image of the batch is a class of its own, to be told from all others.

    L = mean over i of −log softmax(γ · F F(i)ᵀ)[i]

Zheng et al., Dual-Path Convolutional Image-Text Embeddings with Instance Loss, ACM TOMM 2020, equation 4, with the
batch as the classifier.
"""

import torch
from torch.nn import functional as F

from person_reid.losses.base import FeatureLoss, cosine_similarities, unit_length


class InstanceLoss(FeatureLoss):
    """gamma: γ, the scale of the cosines. by_identity: the images of an identity are averaged first, and the mean over
    i, the softmax and the classes are over the identities of the batch; zero where there is only one.
    """

    def __init__(self, gamma=32.0, by_identity=False):
        super().__init__()
        self.gamma, self.by_identity = gamma, by_identity

    def compute(self, features, labels):
        if not self.by_identity:
            scores = self.gamma * cosine_similarities(features)
            return F.cross_entropy(scores, torch.arange(len(labels), device=labels.device))
        # The number of identities is a value, not a shape: each image stands for its identity, and weighs 1 / images.
        same = (labels[:, None] == labels[None, :]).to(features.dtype)
        weights = 1 / same.sum(1)
        scores = self.gamma * cosine_similarities(unit_length(same @ features))
        losses = (scores + weights.log()).logsumexp(1) - scores.diagonal()
        return (weights * losses).sum() / weights.sum()
