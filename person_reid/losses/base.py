"""What all losses share: one place that checks, casts and normalises, and the few operations on pairs within a batch.

Nothing here depends on a value, only on shapes: no row is selected, rows are masked. A loss therefore compiles
without a graph break and never makes the accelerator wait for the host.
"""

import torch
from torch import nn


class FeatureLoss(nn.Module):
    """A loss called as `loss(features, labels)`; subclasses define `compute` on float32 and never think of autocast.

    features: (N, D), any floating type. labels: (N,) int64. Returns a scalar, float32, differentiable, zero where the
    batch has no pair to learn from. `normalised` says whether `compute` sees features of unit length, and `takes`
    what `features` are: the network's features, or its class scores ("logits"). `before_dropout` says whether it is
    made for features before the dropout of the neck.

    Raises ValueError where the shapes do not fit.
    """

    normalised = True
    takes = "features"
    before_dropout = False

    def forward(self, features, labels):
        if features.ndim != 2 or labels.shape != features.shape[:1]:
            raise ValueError(
                f"expected {self.takes} (N, D) and labels (N,), found {tuple(features.shape)} and {tuple(labels.shape)}"
            )
        with torch.autocast(features.device.type, enabled=False):
            features = features.float()
            return self.compute(unit_length(features) if self.normalised else features, labels)

    def compute(self, features, labels):
        """The loss, a scalar, of float32 features (N, D) and labels (N,)."""
        raise NotImplementedError


class UnitLength(torch.autograd.Function):
    """y = x / ‖x‖ of each row. The gradient is (g − y (y·g)) / ‖x‖; autograd, step by step, is slower and larger."""

    @staticmethod
    def forward(context, features):
        unit = features / lengths(features)
        context.save_for_backward(features, unit)
        return unit

    @staticmethod
    def backward(context, gradient):
        features, unit = context.saved_tensors
        along = (unit * gradient).sum(1, keepdim=True)
        return torch.addcmul(gradient, unit, -along) / lengths(features)


def lengths(features):
    """(N, D) -> (N, 1), at least 1e-12: a feature of zeros stays one."""
    return torch.linalg.vector_norm(features, dim=1, keepdim=True).clamp(min=1e-12)


def unit_length(features):
    """(N, D) -> (N, D), each row divided by its length."""
    return UnitLength.apply(features)


class SelfProduct(torch.autograd.Function):
    """F Fᵀ. Its gradient (G + Gᵀ) F is one matrix product; autograd, for two factors, would take two."""

    @staticmethod
    def forward(context, features):
        context.save_for_backward(features)
        return features @ features.T

    @staticmethod
    def backward(context, gradient):
        (features,) = context.saved_tensors
        return (gradient + gradient.T) @ features


def cosine_similarities(features):
    """(N, D) of unit length -> (N, N) cosines."""
    return SelfProduct.apply(features)


def euclidean_distances(similarities):
    """Distances between unit vectors, √(2 − 2·cos), in [0, 2], of the same shape as their cosines.

    float32 resolves the square to about 1e-6. Anything nearer is zero, with zero gradient, so that two copies of an
    image do not divide by their distance.
    """
    squared = 2 - 2 * similarities
    apart = squared > 1e-6
    return torch.where(apart, squared, 1).sqrt().where(apart, 0)


def pair_masks(labels):
    """Two (N, N) boolean masks of labels (N,): other images of the same identity, and images of other identities."""
    same = labels[:, None] == labels[None, :]
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return same & ~itself, ~same


def multi_similarity_pairs(similarities, positive, negative, epsilon):
    """The pairs worth learning from: positives less similar than the nearest negative + ε, negatives likewise.

    All (N, N); returns the two masks, smaller. Wang et al., Multi-Similarity Loss with General Pair Weighting for Deep
    Metric Learning, CVPR 2019, equations 7 and 8.
    """
    similarities = similarities.detach()
    nearest_negative = similarities.masked_fill(~negative, -torch.inf).amax(1, keepdim=True)
    farthest_positive = similarities.masked_fill(~positive, torch.inf).amin(1, keepdim=True)
    return (
        positive & (similarities - epsilon < nearest_negative),
        negative & (similarities + epsilon > farthest_positive),
    )


def masked_mean(values, mask):
    """Mean of `values` where `mask`, of the same shape; zero, with zero gradient, where nothing is left."""
    return values.where(mask, 0).sum() / mask.sum().clamp(min=1)


def mean_of_nonzero(values, mask):
    """Mean of the positive entries of `values` where `mask`: what is already satisfied does not dilute the rest."""
    return masked_mean(values, mask & (values > 0))


def masked_logsumexp(values, mask, dim):
    """log Σ exp(values) over `dim` where `mask`; zero, with zero gradient, where nothing is left."""
    smallest = torch.finfo(values.dtype).min  # not -inf, whose logsumexp has no gradient
    return values.masked_fill(~mask, smallest).logsumexp(dim).where(mask.any(dim), 0)
