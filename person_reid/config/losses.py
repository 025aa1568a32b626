"""The options of the losses, which are added to the cross entropy."""

from dataclasses import field, fields
from typing import Any

from person_reid.config.forms import texts
from person_reid.config.option import ANY, PART, POSITIVE, WEIGHT, Option, Options, option


def _loss(name: str, per_image: bool = False) -> Any:
    """Declare a published flag that adds the loss of its name, with weight 1.

    per_image: whether the published training divides it by the number of images.
    """
    about = Option(f"add the {name} loss", published=True)
    return field(default=False, metadata={"option": about, "per_image": per_image})


class LossOptions(Options, title="losses (added to cross entropy)"):
    """The losses that are minimised besides the cross entropy."""

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
    arcface: bool = _loss("arcface", per_image=True)
    circle: bool = _loss("circle", per_image=True)
    contrast: bool = _loss("contrast")
    cosface: bool = _loss("cosface", per_image=True)
    instance: bool = _loss("instance", per_image=True)
    instance_id: bool = _loss("instance_id", per_image=True)
    lifted: bool = _loss("lifted")
    sphere: bool = _loss("sphere", per_image=True)
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


# The flags that add a loss, and whether the published training divides it by the number of images.
PUBLISHED_LOSSES: dict[str, bool] = {
    each.name: each.metadata["per_image"]
    for each in fields(LossOptions)
    if "per_image" in each.metadata
}
