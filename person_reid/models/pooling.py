"""Pooling: reduce the values of a channel at all positions of a feature map to one.

Every pooling maps (B, C, h, w) to (B, C), in float32 even inside autocast. The N tokens of a
transformer are a map of h = N, w = 1.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from person_reid.errors import UserError
from person_reid.text import did_you_mean

LEAST_ACTIVATION = 1e-6  # least activation that a generalised mean sees


class AveragePool(nn.Module):
    """The mean over all positions."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.float().mean((2, 3))


class MaxPool(nn.Module):
    """The largest value."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.float().amax((2, 3))


class AverageMaxPool(nn.Module):
    """Half the mean plus half the largest value."""

    def forward(self, maps: Tensor) -> Tensor:
        maps = maps.float()
        return (maps.mean((2, 3)) + maps.amax((2, 3))) / 2


class GeneralizedMeanPool(nn.Module):
    """f = (1/N · Σ x^p)^(1/p) over the N positions: the mean at p = 1, the largest value as p → ∞.

    p: the initial power. learn: make it a parameter, `p` in the state dict. Activations below
        LEAST_ACTIVATION count as LEAST_ACTIVATION.
    Radenović, Tolias, Chum: Fine-tuning CNN Image Retrieval with No Human Annotation, TPAMI 2019,
        equation 3.
    """

    def __init__(self, p: float = 3.0, learn: bool = False) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([float(p)])) if learn else float(p)

    def forward(self, maps: Tensor) -> Tensor:
        maps = maps.float().clamp(min=LEAST_ACTIVATION)
        # Dividing by the largest value keeps the powers from under- or overflowing; f and its
        # gradient do not change.
        largest = maps.detach().amax((2, 3), keepdim=True)
        mean = (maps / largest).pow(self.p).mean((2, 3))
        return mean.pow(1 / self.p) * largest.flatten(1)


POOLINGS: dict[str, Callable[[], nn.Module]] = {
    "avg": AveragePool,
    "max": MaxPool,
    "avgmax": AverageMaxPool,
    "gem": GeneralizedMeanPool,  # p = 3: FastReID's GeneralizedMeanPooling
    # p is learned and starts at 3, as in FastReID's GeneralizedMeanPoolingP.
    "gemp": lambda: GeneralizedMeanPool(learn=True),
}


def build_pooling(name: str) -> nn.Module:
    """Build the pooling of `--pool`, a module (B, C, h, w) → (B, C).

    Raises UserError for an unknown name.
    """
    if name not in POOLINGS:
        raise UserError(
            f"pool {name!r}: expected {', '.join(POOLINGS)}.{did_you_mean(name, POOLINGS)}"
        )
    return POOLINGS[name]()


def pool_stripes(maps: Tensor, count: int, pooling: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Pool each of `count` horizontal stripes of maps (B, C, h, w).

    Returns a list of (B, C), from top to bottom.

    Stripe i has the rows from ⌊i·h/count⌋ to before ⌈(i + 1)·h/count⌉, as in PyTorch's adaptive
    pooling: neighbouring stripes share a row if h is not a multiple of count.
    """
    height = maps.shape[2]
    bounds = [(i * height // count, -(-(i + 1) * height // count)) for i in range(count)]
    return [pooling(maps[:, :, top:bottom]) for top, bottom in bounds]
