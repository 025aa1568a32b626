"""The base class of the losses, and the operations on pairs that they share.

Every operation depends on shapes alone, never on values: rows are masked, not selected. A loss
therefore compiles without a graph break and never makes the accelerator wait for the host.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from person_reid.errors import UserError
from person_reid.registration import Registry


class FeatureLoss(nn.Module):
    """A loss, called as `loss(features, labels)`.

    Subclasses define `compute` on float32 and can ignore autocast.

    features: (N, D), any floating type. labels: (N,) int64. Returns a differentiable float32
        scalar, zero if the batch has no pair to learn from. Raises ValueError if the shapes do not
        fit.

    takes: "features" of the network, or "logits", its class scores.
    normalised: whether `compute` receives features of unit length, whose products are cosines;
        "logits" do not change.
    needs_positives: whether it learns from pairs of images of the same identity.
    before_dropout: whether the loss expects the features that enter the neck's dropout.
    needs_teacher: whether it takes a teacher's features (N, E) instead of labels or, if it takes
        "logits", the cosines (N, C) between these features and the classes.
    """

    normalised = True
    takes = "features"
    needs_positives = False
    before_dropout = False
    needs_teacher = False

    def __init__(self) -> None:  # without the settings of torch's Module
        super().__init__()

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        if (features.ndim, labels.ndim, len(labels)) != (2, 1 + self.needs_teacher, len(features)):
            expected = "the teacher's (N, E)" if self.needs_teacher else "labels (N,)"
            raise ValueError(
                f"expected {self.takes} (N, D) and {expected}, found "
                f"{tuple(features.shape)} and {tuple(labels.shape)}"
            )
        with torch.autocast(features.device.type, enabled=False):
            labels = self.prepared(labels) if self.needs_teacher else labels
            loss = self.compute(self.prepared(features), labels.to(features.device))
        if loss.ndim:
            raise UserError(
                f"{type(self).__name__}.compute returned a loss of shape {tuple(loss.shape)}; "
                "expected a scalar, such as its mean()."
            )
        return loss

    def prepared(self, features: Tensor) -> Tensor:
        """Return features in the form that `compute` expects."""
        changed = self.normalised and self.takes == "features"
        return unit_length(features.float()) if changed else features.float()

    def compute(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, a scalar, for float32 features (N, D) and labels (N,)."""
        raise NotImplementedError


class Entry(NamedTuple):
    """A named loss: its class, settings that differ from the class's own, and a summary."""

    loss: type[FeatureLoss]
    settings: dict[str, Any]
    summary: str


REGISTRY: Registry[Entry] = Registry("loss")


def register_loss(name: str, loss: type[FeatureLoss], summary: str, **settings: Any) -> None:
    """Register a loss under a name for --loss and create_loss.

    summary: a few words and the paper, for --loss list. settings: arguments of the class
    under this name.
    """
    REGISTRY.register(name, Entry(loss, settings, summary))


def unit_length(features: Tensor) -> Tensor:
    """Divide each row of (N, D) by its length; a row of zeros does not change."""
    return F.normalize(features)


def euclidean_distances(similarities: Tensor) -> Tensor:
    """Return the distances √(2 − 2·cos), in [0, 2], between unit vectors with these cosines.

    float32 resolves the square to about 1e-6. A smaller square counts as distance zero, with zero
    gradient, so that two copies of an image do not cause a division by zero.
    """
    squared = 2 - 2 * similarities
    apart = squared > 1e-6
    return torch.where(apart, squared, 1).sqrt().where(apart, 0)


def pair_masks(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return two boolean masks (N, N) for labels (N,).

    The first marks the other images of the same identity, the second the images of other
    identities.
    """
    same = labels[:, None] == labels[None, :]
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return same & ~itself, ~same


def multi_similarity_pairs(
    similarities: Tensor, positive: Tensor, negative: Tensor, epsilon: float
) -> tuple[Tensor, Tensor]:
    """Return two masks (N, N) of the pairs worth learning from: positives and negatives.

    These are the positives that are less similar than the most similar negative + ε, and the
    negatives that are more similar than the least similar positive − ε. Wang et al.,
    Multi-Similarity Loss with General Pair Weighting for Deep Metric Learning, CVPR 2019, equations
    7 and 8.
    """
    similarities = similarities.detach()
    nearest_negative = similarities.masked_fill(~negative, -torch.inf).amax(1, keepdim=True)
    farthest_positive = similarities.masked_fill(~positive, torch.inf).amin(1, keepdim=True)
    return (
        positive & (similarities - epsilon < nearest_negative),
        negative & (similarities + epsilon > farthest_positive),
    )


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of `values` where `mask`, of the same shape, is true.

    If the mask is empty, the mean and its gradient are zero.
    """
    return values.where(mask, 0).sum() / mask.sum().clamp(min=1)


def masked_logsumexp(values: Tensor, mask: Tensor, dim: int) -> Tensor:
    """Return log Σ exp(values) over `dim` under `mask`.

    Where the mask is empty, the result and its gradient are zero.
    """
    smallest = torch.finfo(values.dtype).min  # not -inf, whose logsumexp has no gradient
    return values.masked_fill(~mask, smallest).logsumexp(dim).where(mask.any(dim), 0)
