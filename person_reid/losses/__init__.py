"""Create losses by name.

>>> triplet = create_loss("triplet", margin=0.3)                # a torch.nn.Module
>>> arcface = create_loss("arcface", num_classes=751, dim=512)  # has parameters: optimise them
>>> loss = triplet(torch.randn(32, 512), torch.randint(0, 8, (32,)))

Losses take features (N, D) and labels (N,) and return a float32 scalar. A loss whose `takes` is
"logits" takes class scores (N, C) instead; a loss that `needs_teacher` takes a teacher's features
(N, E) in place of labels. Each file in this folder holds one family, with its formula and paper.
"""

import inspect
from collections.abc import Collection
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import torch
from torch import Tensor

from person_reid.config.train import PUBLISHED_LOSSES
from person_reid.errors import UserError
from person_reid.losses.base import REGISTRY, FeatureLoss
from person_reid.text import did_you_mean

# The loss of each classifier of --head.
LOSS_OF_HEAD = {
    "linear": "cross_entropy",
    "cosine": "cosine_softmax",
    "arcface": "arcface_softmax",
    "circle": "circle_softmax",
}


class Weighted(torch.nn.Module):
    """A loss multiplied by `weight`, and divided by the number of images if `per_image`."""

    def __init__(self, loss: FeatureLoss, weight: float = 1.0, per_image: bool = False) -> None:
        super().__init__()
        self.loss = loss
        self.weight = weight
        self.per_image = per_image
        self.takes = loss.takes

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        return self.loss(features, labels) * (self.weight / (len(labels) if self.per_image else 1))


def create_loss(
    name: str,
    num_classes: int | None = None,
    dim: int | None = None,
    taught_dim: int | None = None,
    **settings: Any,
) -> FeatureLoss:
    """Create the loss called `name`.

    `settings` are passed to its class and override those that the name implies.

    num_classes, dim, taught_dim: for losses with trained weights; the others ignore them. arcface,
    cosface, sphere and center need the first two, verification needs dim, and teacher_features
    needs dim and taught_dim, the width of the teacher's features. Raises UserError for an unknown
    name or setting, and if the loss lacks one of these numbers.
    """
    entry = REGISTRY.named(name)
    settings = entry.settings | settings
    known = inspect.signature(entry.loss).parameters
    numbers = {"num_classes": num_classes, "dim": dim, "taught_dim": taught_dim}
    for setting in settings:
        check_setting(name, setting, known.keys() - numbers.keys())
    for number, value in numbers.items():
        if number in known:
            if value is None:
                raise UserError(f"loss {name}: expected {number}, since it has its own weights.")
            settings[number] = value
    return entry.loss(**settings)


def published_loss(
    flag: str, num_classes: int | None = None, dim: int | None = None, **settings: Any
) -> Weighted:
    """Create the loss for a published flag ("triplet" for `--triplet`), weighted as published."""
    return Weighted(
        create_loss(flag, num_classes, dim, **settings), per_image=PUBLISHED_LOSSES[flag]
    )


def check_setting(name: str, setting: str, known: Collection[str]) -> None:
    """Raise UserError if the loss called `name` has no setting called `setting`."""
    if setting not in known:
        expected = ", ".join(sorted(known)) or "none"
        raise UserError(
            f"loss {name}: no setting {setting!r}; it has {expected}.{did_you_mean(setting, known)}"
        )


def list_losses() -> list[str]:
    """Return the names of all losses."""
    return [*REGISTRY]


def table_of_losses() -> str:
    """Return, as text, a table of all losses, one line each, with their papers."""
    return "\n".join(f"{name:<20}{entry.summary}" for name, entry in REGISTRY.items())


# Each file of this folder registers its losses.
for module in iter_modules(__path__):
    import_module(f"{__name__}.{module.name}")
