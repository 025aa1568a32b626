"""The options of the losses, which are added to the cross entropy."""

from dataclasses import dataclass
from typing import Any

from person_reid.config.forms import texts
from person_reid.config.option import ANY, PART, POSITIVE, WEIGHT, Options, option


def _loss(name: str) -> Any:
    """Declare a published flag that adds a loss."""
    return option(False, f"add the {name} loss", published=True)


@dataclass(frozen=True, kw_only=True)
class LossOptions(Options):
    """The losses that are minimised besides the cross entropy."""

    title = "losses (added to cross entropy)"
    loss: str | None = option(
        None,
        "losses with weights: triplet:1.0,center:1e-3; list shows all",
        form=texts,
        metavar="LIST",
        common=True,
    )
    teacher: str | None = option(
        None,
        "what the teacher_ losses learn from: a run, a folder, an exported file, or BACKBONE=FILE",
        metavar="NETWORK",
    )
    label_smoothing: float = option(
        0.0, "smoothing in the cross entropy, below 1", range=PART, published=True
    )
    arcface: bool = _loss("arcface")
    circle: bool = _loss("circle")
    contrast: bool = _loss("contrast")
    cosface: bool = _loss("cosface")
    instance: bool = _loss("instance")
    instance_id: bool = _loss("instance_id")
    lifted: bool = _loss("lifted")
    sphere: bool = _loss("sphere")
    triplet: bool = _loss("triplet")
    ins_gamma: float = option(
        32,
        "scale of the instance losses",
        range=POSITIVE,
        published=True,
        needs={"instance": ANY, "instance_id": ANY},
    )
    alpha: float = option(0.0, "weight of the verification loss", range=WEIGHT)
    adv: float = option(
        0.0, "weight of the loss on adversarial images", range=WEIGHT, published=True
    )
    aiter: float = option(
        10, "apply --adv every N batches", range=POSITIVE, published=True, needs={"adv": ANY}
    )
