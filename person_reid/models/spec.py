"""NetworkSpec, the typed form of the network's flags and of a run's options file; it decides a network's layers."""

from collections.abc import Collection, Mapping
from dataclasses import Field, dataclass, fields
from numbers import Integral, Real
from typing import Any, get_args

from person_reid.basics import UserError

PUBLISHED_CLASSES = 751  # Market-1501's; some published opts.yaml files do not name it
# Published flags that choose a network.
NETWORK_FLAGS = {
    "ibn": "resnet50_ibn_a",
    "use_dense": "densenet121",
    "use_swin": "swin_base",
    "use_swinv2": "swinv2_base",
    "use_dino": "dinov3_vit_base",
    "use_efficient": "efficientnet_b4",
    "use_NAS": "nasnetalarge",
    "use_hr": "hrnet_w18",
    "use_convnext": "convnext_base",
}
# Those whose published networks ignore --stride; the opts.yaml of a run still has the value that was typed.
WITHOUT_STRIDE = ("use_swin", "use_swinv2", "use_dino", "use_hr", "use_convnext", "use_efficient", "use_NAS")

LARGEST_SIDE = 4096  # pixels
# The numbers that a field of NetworkSpec may have.
RANGES = {
    "height": (1, LARGEST_SIDE), "width": (1, LARGEST_SIDE), "linear_num": (0, 65536), "droprate": (0, 1),
    "stride": (1, 2), "drop_path": (0, 1),
}  # fmt: skip


@dataclass(frozen=True)
class NetworkSpec:
    """The layers of a network and the size of its images. The fields have the names of train.py's flags.

    backbone: a name of models.registry, timm or torchvision.
    height, width: the size of the images in pixels; None for the network's own.
    linear_num: the width of the bottleneck; 0 leaves its linear layer out.
    droprate: dropout before the classifier, 0 to 1.
    stride: 1 keeps the resolution of the last stage, 2 halves it.
    pool: see models.pooling; None for the network's own.
    attention: see models.attention; None for none.
    neck, head: see models.heads.
    usam: attention after the stem and the first stage, as published.
    PCB: six stripes, each with its own classifier.
    drop_path: stochastic depth, 0 to 1; None for the backbone's own.

    Raises UserError for a value of another type, or out of its range, wherever it comes from.
    """

    backbone: str = "resnet50"
    height: int | None = None
    width: int | None = None
    linear_num: int = 512
    droprate: float = 0.5
    stride: int = 2
    pool: str | None = None
    neck: str = "linear"
    head: str = "linear"
    attention: str | None = None
    usam: bool = False
    PCB: bool = False
    drop_path: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value, kinds = getattr(self, field.name), kinds_of(field)
            least, most = RANGES.get(field.name, (0, 0))
            if not _of_kind(value, kinds) or (most and value is not None and not least <= value <= most):
                number = f"a {'' if float in kinds else 'whole '}number from {least} to {most}"
                expected = number if most else "true or false" if bool in kinds else "text"
                raise UserError(f"{field.name} {value!r}: expected {expected}.")

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "NetworkSpec":
        """Return the spec that `options` describe: the resolved flags of train.py by name, as in opts.yaml.

        Names that are not fields are ignored, and None stands for the default.
        """
        named = {field.name: options[field.name] for field in fields(cls) if options.get(field.name) is not None}
        return cls(**named)


def kinds_of(field: Field[Any]) -> tuple[Any, ...]:
    """Return the types that a field of NetworkSpec may have."""
    return get_args(field.type) or (field.type,)


def _of_kind(value: Any, kinds: Collection[Any]) -> bool:
    """Return whether a value is of one of these types; numbers of NumPy are numbers, True is not."""
    if type(value) in kinds:
        return True
    numbers = Real if float in kinds else Integral if int in kinds else ()
    return not isinstance(value, bool) and isinstance(value, numbers)


def chosen_backbone(options: Mapping[str, Any]) -> str:
    """Return the one network that `backbone` or a published flag names; resnet50 if none does.

    Raises UserError if they name two different ones.
    """
    chosen = {f"--{flag}": name for flag, name in NETWORK_FLAGS.items() if options.get(flag)}
    if backbone := options.get("backbone"):
        chosen[f"--backbone {backbone}"] = backbone
    if len(set(map(str, chosen.values()))) > 1:
        raise UserError(f"Two networks at once: {' and '.join(chosen)}. Choose one.")
    return next(iter(chosen.values()), "resnet50")


def ignores_stride(options: Mapping[str, Any]) -> bool:
    """Say whether `options` are those of a published run with stride 1 whose network ignored it.

    Options that name the run but no backbone were written by the published code; ours always name both.
    """
    published = "name" in options and "backbone" not in options
    return published and options.get("stride") == 1 and any(options.get(flag) for flag in WITHOUT_STRIDE)
