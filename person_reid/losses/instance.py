"""Instance loss: treat every image of the batch as its own class, to be told from all others.

    L = mean over i of −log softmax(γ · F F(i)ᵀ)[i]

Zheng et al., Dual-Path Convolutional Image-Text Embeddings with Instance Loss, ACM TOMM 2020,
equation 4, with the batch as the classifier.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from person_reid.losses.base import FeatureLoss, register_loss, unit_length


class InstanceLoss(FeatureLoss):
    """Compute the instance loss.

    gamma: γ, the scale of the cosines.
    by_identity: average the images of each identity first; mean, softmax and classes then run over
        the identities of the batch. The loss is zero if there is only one.
    """

    def __init__(self, gamma: float = 32.0, by_identity: bool = False) -> None:
        super().__init__()
        self.gamma, self.by_identity = gamma, by_identity

    def compute(self, features: Tensor, labels: Tensor) -> Tensor:
        if not self.by_identity:
            scores = self.gamma * (features @ features.T)
            return F.cross_entropy(scores, torch.arange(len(labels), device=labels.device))
        # The number of identities is a value, not a shape, so each image stands for it with weight
        # 1 / images.
        same = (labels[:, None] == labels[None, :]).to(features.dtype)
        weights = 1 / same.sum(1)
        means = unit_length(same @ features)
        scores = self.gamma * (means @ means.T)
        losses = (scores + weights.log()).logsumexp(1) - scores.diagonal()
        return (weights * losses).sum() / weights.sum()


register_loss("instance", InstanceLoss, "every image its own class (Zheng 2020)")
register_loss(
    "instance_id",
    InstanceLoss,
    "every identity of the batch its own class (Zheng 2020)",
    by_identity=True,
)
