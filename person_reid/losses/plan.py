"""Losses as data: what a training minimises, decided before the network exists. Criterion builds the modules."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from person_reid.losses import PUBLISHED, REGISTRY, create


@dataclass(frozen=True)
class LossTerm:
    """One loss beside the classifier's: `weight` × the loss called `name` with these settings.

    per_image: whether to divide it by the number of images, as the published training does.
    """

    name: str
    weight: float = 1.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    per_image: bool = False

    @property
    def needs_positives(self) -> bool:
        """Return whether the loss learns from pairs of images of one identity."""
        return REGISTRY[self.name].needs_positives

    @property
    def before_dropout(self) -> bool:
        """Return whether the loss expects the features that enter the neck's dropout."""
        return REGISTRY[self.name].loss.before_dropout

    @property
    def learns(self) -> bool:
        """Return whether the loss has weights of its own that are trained, such as prototypes."""
        return any(True for _ in create(self.name, num_classes=2, dim=2, taught_dim=2).parameters())

    @property
    def needs_teacher(self) -> bool:
        """Return whether the loss compares features with a teacher's."""
        return REGISTRY[self.name].loss.needs_teacher


@dataclass(frozen=True)
class LossPlan:
    """Everything that is minimised: the classifier's loss and the terms added to it.

    head: the classifier, "linear", "cosine", "arcface" or "circle", which decides its loss.
    label_smoothing, classification_weight, classification_settings: of the classifier's loss; the smoothing is in
        [0, 1).
    taught: further terms, which compare the network with a teacher.
    """

    head: str = "linear"
    label_smoothing: float = 0.0
    classification_weight: float = 1.0
    classification_settings: Mapping[str, Any] = field(default_factory=dict)
    terms: tuple[LossTerm, ...] = ()
    taught: tuple[LossTerm, ...] = ()


def published_term(flag: str, **settings: Any) -> LossTerm:
    """Return the loss of a published flag (`--triplet` is "triplet") as the published training adds it."""
    return LossTerm(flag, settings=settings, per_image=PUBLISHED[flag])
