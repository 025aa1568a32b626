"""Create losses by name.

>>> triplet = create_loss("triplet", margin=0.3)                # a torch.nn.Module
>>> arcface = create_loss("arcface", num_classes=751, dim=512)  # has parameters: optimise them
>>> loss = triplet(torch.randn(32, 512), torch.randint(0, 8, (32,)))

All take features (N, D) and labels (N,) and return a float32 scalar. A loss whose `takes` is
"logits" takes class scores (N, C) instead; one that `needs_teacher` takes a teacher's features (N,
E) in place of labels. Each file in this folder holds one family, with its formula and paper.
"""

import inspect
import math
from collections.abc import Collection, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import torch
from torch import Tensor

from person_reid.config.option import computable
from person_reid.errors import UserError
from person_reid.losses.base import FeatureLoss
from person_reid.text import did_you_mean

if TYPE_CHECKING:  # each is imported when it is asked for, see __getattr__
    from person_reid.losses.center import CenterLoss as CenterLoss
    from person_reid.losses.circle import CircleLoss as CircleLoss
    from person_reid.losses.classification import CrossEntropyLoss as CrossEntropyLoss
    from person_reid.losses.classification import FocalLoss as FocalLoss
    from person_reid.losses.contrastive import ContrastiveLoss as ContrastiveLoss
    from person_reid.losses.distillation import ClassesLoss as ClassesLoss
    from person_reid.losses.distillation import FeaturesLoss as FeaturesLoss
    from person_reid.losses.distillation import NeighboursLoss as NeighboursLoss
    from person_reid.losses.distillation import RelationsLoss as RelationsLoss
    from person_reid.losses.distillation import SimilarityLoss as SimilarityLoss
    from person_reid.losses.instance import InstanceLoss as InstanceLoss
    from person_reid.losses.lifted import LiftedLoss as LiftedLoss
    from person_reid.losses.margin_softmax import ArcFaceLoss as ArcFaceLoss
    from person_reid.losses.margin_softmax import CosFaceLoss as CosFaceLoss
    from person_reid.losses.margin_softmax import SphereFaceLoss as SphereFaceLoss
    from person_reid.losses.multi_similarity import MultiSimilarityLoss as MultiSimilarityLoss
    from person_reid.losses.ranked import ClusteredRankedListLoss as ClusteredRankedListLoss
    from person_reid.losses.ranked import RankedListLoss as RankedListLoss
    from person_reid.losses.softmax_heads import ArcFaceSoftmaxLoss as ArcFaceSoftmaxLoss
    from person_reid.losses.softmax_heads import CircleSoftmaxLoss as CircleSoftmaxLoss
    from person_reid.losses.softmax_heads import CosineSoftmaxLoss as CosineSoftmaxLoss
    from person_reid.losses.triplet import TripletLoss as TripletLoss
    from person_reid.losses.verification import VerificationLoss as VerificationLoss


class Entry(NamedTuple):
    """A loss by its name: where its class is, its settings and summary, and whether it needs pairs.

    place: the module in this folder and the class, which is imported when it is asked for.
    """

    place: str
    settings: dict[str, Any]
    summary: str
    needs_positives: bool = False

    @property
    def loss(self) -> type[FeatureLoss]:
        """Return the class."""
        module, _, name = self.place.partition(":")
        found: type[FeatureLoss] = getattr(import_module(f"{__name__}.{module}"), name)
        return found


REGISTRY = {
    "triplet": Entry(
        "triplet:TripletLoss",
        {},
        "triplets of the multi-similarity miner's pairs (Schroff 2015, Wang 2019)",
        needs_positives=True,
    ),
    "triplet_hard": Entry(
        "triplet:TripletLoss",
        {"mining": "hard"},
        "hardest positive and negative (Hermans 2017)",
        needs_positives=True,
    ),
    "triplet_soft": Entry(
        "triplet:TripletLoss",
        {"mining": "hard", "soft": True},
        "the same with a soft margin (Hermans 2017)",
        needs_positives=True,
    ),
    "triplet_weighted": Entry(
        "triplet:TripletLoss",
        {"mining": "weighted"},
        "softmax-weighted positives and negatives (Ristani 2018)",
        needs_positives=True,
    ),
    "contrast": Entry(
        "contrastive:ContrastiveLoss",
        {},
        "contrastive: pairs nearer or farther than a margin (Hadsell 2006)",
        needs_positives=True,
    ),
    "lifted": Entry(
        "lifted:LiftedLoss",
        {},
        "generalised lifted structure (Song 2016, Hermans 2017)",
        needs_positives=True,
    ),
    "circle": Entry(
        "circle:CircleLoss",
        {},
        "circle, pairwise (Sun 2020)",
        needs_positives=True,
    ),
    "multi_similarity": Entry(
        "multi_similarity:MultiSimilarityLoss",
        {},
        "multi-similarity, with its miner (Wang 2019)",
        needs_positives=True,
    ),
    "ranked": Entry(
        "ranked:RankedListLoss",
        {},
        "ranked list (Wang 2019)",
        needs_positives=True,
    ),
    "ranked_kmeans": Entry(
        "ranked:RankedListLoss",
        {"clusters": 8},
        "ranked list, negatives by k-means cluster (Qian)",
        needs_positives=True,
    ),
    "cranked": Entry(
        "ranked:ClusteredRankedListLoss",
        {},
        "the same, summed over clusters and identities (Qian)",
        needs_positives=True,
    ),
    "instance": Entry(
        "instance:InstanceLoss",
        {},
        "every image its own class (Zheng 2020)",
    ),
    "instance_id": Entry(
        "instance:InstanceLoss",
        {"by_identity": True},
        "every identity of the batch its own class (Zheng 2020)",
    ),
    "verification": Entry(
        "verification:VerificationLoss",
        {},
        "same or different, by x∘y through a classifier (Zheng 2017)",
        needs_positives=True,
    ),
    "arcface": Entry(
        "margin_softmax:ArcFaceLoss",
        {},
        "prototypes with an angular margin (Deng 2019)",
    ),
    "cosface": Entry(
        "margin_softmax:CosFaceLoss",
        {},
        "prototypes with a cosine margin (Wang 2018)",
    ),
    "sphere": Entry(
        "margin_softmax:SphereFaceLoss",
        {},
        "prototypes with a multiplied angle (Liu 2017)",
    ),
    "center": Entry(
        "center:CenterLoss",
        {},
        "distance to a learnt center (Wen 2016)",
    ),
    "focal": Entry(
        "classification:FocalLoss",
        {},
        "cross entropy that favours hard images (Lin 2017)",
    ),
    "cross_entropy": Entry(
        "classification:CrossEntropyLoss",
        {},
        "cross entropy, label smoothing if wanted (Szegedy 2016)",
    ),
    "cosine_softmax": Entry(
        "softmax_heads:CosineSoftmaxLoss",
        {},
        "of --head cosine: a cosine margin (Wang 2018)",
    ),
    "arcface_softmax": Entry(
        "softmax_heads:ArcFaceSoftmaxLoss",
        {},
        "of --head arcface: an angular margin (Deng 2019)",
    ),
    "circle_softmax": Entry(
        "softmax_heads:CircleSoftmaxLoss",
        {},
        "of --head circle: circle, by class (Sun 2020)",
    ),
    "teacher_relations": Entry(
        "distillation:RelationsLoss",
        {},
        "of --teacher: its distances and angles (Park 2019)",
    ),
    "teacher_similarity": Entry(
        "distillation:SimilarityLoss",
        {},
        "of --teacher: its similarities within the batch (Tung 2019)",
    ),
    "teacher_neighbours": Entry(
        "distillation:NeighboursLoss",
        {},
        "of --teacher: its neighbours in the batch (Koohpayegani 2020)",
    ),
    "teacher_features": Entry(
        "distillation:FeaturesLoss",
        {},
        "of --teacher: its features, by a linear layer (Romero 2015)",
    ),
    "teacher_classes": Entry(
        "distillation:ClassesLoss",
        {},
        "of --teacher: its class probabilities (Hinton 2015)",
    ),
}
# The loss of each classifier of --head.
LOSS_OF_HEAD = {
    "linear": "cross_entropy",
    "cosine": "cosine_softmax",
    "arcface": "arcface_softmax",
    "circle": "circle_softmax",
}


# The published flags that add a loss of the same name, with its default settings and weight 1:
# whether the published training divides it by the number of images.
PUBLISHED_LOSSES = {
    "arcface": True,
    "circle": True,
    "contrast": False,
    "cosface": True,
    "instance": True,
    "instance_id": True,
    "lifted": False,
    "sphere": True,
    "triplet": False,
}


class Weighted(torch.nn.Module):
    """`weight` × a loss, divided by the number of images if `per_image`; called like the loss."""

    def __init__(self, loss: FeatureLoss, weight: float = 1.0, per_image: bool = False) -> None:
        super().__init__()
        self.loss, self.weight, self.per_image = loss, weight, per_image
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

    `settings` go to its class and override those that the name stands for.

    num_classes, dim, taught_dim: for losses that own weights (arcface, cosface, sphere and center
    need the first two, verification dim, teacher_features dim and taught_dim, the width of the
    teacher's features); the others ignore them. Raises UserError for an unknown name or setting,
    and if the loss lacks one of these numbers.
    """
    check_name(name)
    entry = REGISTRY[name]
    settings = entry.settings | settings
    known = inspect.signature(entry.loss).parameters
    numbers = {"num_classes": num_classes, "dim": dim, "taught_dim": taught_dim}
    for setting in settings:
        _check_setting(name, setting, known.keys() - numbers.keys())
    for number, value in numbers.items():
        if number in known:
            if value is None:
                raise UserError(f"loss {name}: expected {number}, since it has weights of its own.")
            settings[number] = value
    return entry.loss(**settings)


def published_loss(
    flag: str, num_classes: int | None = None, dim: int | None = None, **settings: Any
) -> Weighted:
    """Create the loss of a published flag ("triplet" for `--triplet`), weighted as published."""
    return Weighted(
        create_loss(flag, num_classes, dim, **settings), per_image=PUBLISHED_LOSSES[flag]
    )


def parse_losses(text: str) -> dict[str, float]:
    """Parse a list such as "triplet:1.0,center:1e-3" into {name: weight}, as parse_terms does."""
    return {name: weight for name, (weight, _) in parse_terms(text).items()}


def parse_terms(text: str) -> dict[str, tuple[float, dict[str, str]]]:
    """Parse a list such as "triplet:0.5:margin=0.2,center" into {name: (weight, {setting: text})}.

    Raises UserError for an unknown name, a repeated name or setting, and a weight that is not a
    number of 0 or above.
    """
    terms: dict[str, tuple[float, dict[str, str]]] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, *words = part.split(":")
        check_name(name)
        pairs = [word.split("=", 1) for word in words if "=" in word]
        settings = dict(pairs)
        weights = [word for word in words if "=" not in word]
        try:
            weight = float("".join(weights) or 1.0)
        except ValueError:
            weight = math.nan
        if (
            not (weight >= 0 and computable(weight))
            or len(weights) > 1
            or name in terms
            or len(settings) < len(pairs)
        ):
            raise UserError(
                f"loss {part!r}: expected name:weight or name:weight:setting=value, "
                "such as triplet:0.5:margin=0.2, "
                "each name once, and each setting."
            )
        terms[name] = weight, settings
    return terms


def typed(name: str, settings: Mapping[str, str]) -> dict[str, Any]:
    """Return settings of the loss called `name`, given as text, as float, int, bool or str.

    Raises UserError for an unknown setting and for a value that does not fit.
    """
    parameters = inspect.signature(REGISTRY[name].loss).parameters.values()
    known = {each.name: each.default for each in parameters if each.default is not each.empty}
    optional = {each.name for each in parameters if type(None) in get_args(each.annotation)}
    values: dict[str, Any] = {}
    for setting, text in settings.items():
        _check_setting(name, setting, known)
        kind = type(known[setting])
        if setting in optional and text.lower() == "none":
            values[setting] = None
            continue
        try:
            values[setting] = (
                {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
            )
            if kind in (int, float) and not (values[setting] >= 0 and computable(values[setting])):
                raise ValueError
        except (KeyError, ValueError):
            expected = {bool: "true or false", int: "a whole number"}.get(
                kind, "a number of 0 or above"
            )
            raise UserError(
                f"loss {name}: {setting}={text}: expected {expected}, such as {known[setting]}."
            ) from None
    create_loss(name, num_classes=2, dim=2, taught_dim=2, **values)  # it checks them
    return values


def _check_setting(name: str, setting: str, known: Collection[str]) -> None:
    """Raise UserError if the loss called `name` has no such setting."""
    if setting not in known:
        expected = ", ".join(sorted(known)) or "none"
        raise UserError(
            f"loss {name}: no setting {setting!r}; it has {expected}.{did_you_mean(setting, known)}"
        )


def list_losses() -> list[str]:
    """Return the names of all losses."""
    return [*REGISTRY]


def table_of_losses() -> str:
    """Return a table of all losses as text: one line each, with the paper."""
    return "\n".join(f"{name:<20}{entry.summary}" for name, entry in REGISTRY.items())


def check_name(name: str) -> None:
    """Raise UserError if no loss is called `name`."""
    if name not in REGISTRY:
        raise UserError(
            f"no loss {name!r}.{did_you_mean(name, REGISTRY)} There are: {', '.join(REGISTRY)}."
        )


def __getattr__(name: str) -> type[FeatureLoss]:
    """Return the class of a loss."""
    for entry in REGISTRY.values():
        if entry.place.endswith(f":{name}"):
            return entry.loss
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
