"""The options for a network's layers, and their meaning in published runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from person_reid.config import zoo
from person_reid.config.option import PART, SIDE, Options, Range, option
from person_reid.config.run import OF_RESNET50
from person_reid.config.zoo import implied
from person_reid.registration import OWN_CLASS

POOL_NAMES = ("avg", "max", "avgmax", "gem", "gemp")
NECK_NAMES = ("linear", "bnneck", "none")
HEAD_NAMES = ("linear", "cosine", "arcface", "circle")
WIDTH_RANGE = Range("from 0 to 65536", lambda width: 0 <= width <= 65536)


class NetworkOptions(Options, title="network"):
    """The layers of a network, and the size of its images."""

    backbone: str = option(
        "resnet50", "network of `python model.py`, timm or torchvision", common=True
    )
    height: int | None = option(
        None, "height of the images (default: the network's)", range=SIDE, common=True
    )
    width: int | None = option(
        None, "width of the images (default: the network's)", range=SIDE, common=True
    )
    PCB: bool = option(
        False, "part-based convolutional baseline, six stripes", published=True, common=True
    )
    usam: bool = option(False, "attention after the stem and the first stage", published=True)
    stride: int = option(
        2, "1 keeps the last stage's resolution", choices=(1, 2), published=True, common=True
    )
    attention: str | None = option(
        None, "modules and where they go, such as cbam:layer3,layer4 or se:layer2"
    )
    pool: str | None = option(
        None, "pooling of the feature map (default: the network's)", choices=POOL_NAMES
    )
    neck: str = option(
        "linear", "layers between the feature and the classifier", choices=NECK_NAMES
    )
    head: str = option("linear", "classifier, with its margin if any", choices=HEAD_NAMES)
    linear_num: int = option(
        512, "width of the bottleneck; 0 for no linear layer", range=WIDTH_RANGE, published=True
    )
    droprate: float = option(0.5, "dropout before the classifier", range=PART, published=True)
    drop_path: float | None = option(
        None, "stochastic depth, 0 to 1 (default: the network's)", range=PART
    )

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "NetworkOptions":
        """Return the network options in a mapping that may hold others too, such as an opts.yaml.

        A value of None means the default.
        """
        known = NetworkOptions.declared()
        return NetworkOptions(
            **{name: options[name] for name in known if options.get(name) is not None}
        )


class WeightOptions(Options, title="network"):
    """The starting weights of a network."""

    weights: str = option(
        "imagenet",
        "imagenet, none, a file, or a name that `python model.py --published` lists",
        implies=zoo.implied,
        common=True,
    )


def _same_as(name: str) -> Any:
    """Declare a published flag that selects a backbone."""
    text = f"the same as --backbone {name}"
    return option(False, text, stands_for=("backbone", name), published=True)


class PublishedNetworks(Options, title="published names of networks"):
    """The flags with which the published code chooses a network."""

    ibn: bool = _same_as("resnet50_ibn_a")
    use_dense: bool = _same_as("densenet121")
    use_swin: bool = _same_as("swin_base")
    use_swinv2: bool = _same_as("swinv2_base")
    use_dino: bool = _same_as("dinov3_vit_base")
    use_efficient: bool = _same_as("efficientnet_b4")
    use_NAS: bool = _same_as("nasnetalarge")
    use_hr: bool = _same_as("hrnet_w18")
    use_convnext: bool = _same_as("convnext_base")


PUBLISHED_CLASSES = 751  # Market-1501's; some published opts.yaml files omit it
# Published flags that choose a network, and the network of each.
NETWORK_FLAGS: dict[str, str] = {
    name: each.about.stands_for[1]
    for name, each in PublishedNetworks.declared().items()
    if each.about.stands_for
}


def run_name(options: Mapping[str, Any]) -> str:
    """Return a run's default name: for ResNet-50 the published name, else the backbone's name.

    options: {name: value}, as chosen for the run.
    """
    flag = next((flag for flag in NETWORK_FLAGS if options.get(flag)), None)
    named = implied(options.get("weights"), NetworkOptions.declared()).get("backbone", "resnet50")
    backbone = NETWORK_FLAGS[flag] if flag else options.get("backbone") or named
    if own := OWN_CLASS.fullmatch(str(backbone)):
        backbone = f"{Path(own['plugin']).stem}-{own['name']}"
    plain = "".join(
        letter if letter.isalnum() or letter in "._-" else "-" for letter in str(backbone)
    )
    return OF_RESNET50 if backbone == "resnet50" else f"ft_{plain}".rstrip(".")


# Flags whose published networks ignore --stride; a run's opts.yaml still holds the typed value.
WITHOUT_STRIDE = tuple(name for name in NETWORK_FLAGS if name not in ("ibn", "use_dense"))


def ignores_stride(options: Mapping[str, Any]) -> bool:
    """Return whether `options` come from a published run whose network ignored `stride: 1`.

    Options with the run's name but no backbone are from the published code; ours always contain
    both.
    """
    published = "name" in options and "backbone" not in options
    return (
        published
        and options.get("stride") == 1
        and any(options.get(flag) for flag in WITHOUT_STRIDE)
    )
