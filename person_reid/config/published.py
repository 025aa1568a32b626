"""Interpret the options files of published runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from person_reid.config.network import NetworkOptions, PublishedNetworks
from person_reid.config.run import OF_RESNET50
from person_reid.config.zoo import implied
from person_reid.registration import OWN_CLASS

PUBLISHED_CLASSES = 751  # Market-1501's; some published opts.yaml files do not name it
# Published flags that choose a network, and the network of each.
NETWORK_FLAGS: dict[str, str] = {
    name: each.about.stands_for[1]
    for name, each in PublishedNetworks.declared().items()
    if each.about.stands_for
}


def run_name(options: Mapping[str, Any]) -> str:
    """Return the default name of a run: the published one for ResNet-50, else its backbone's.

    options: {name: value} of a training, as far as they were chosen.
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


# Those whose published networks ignore --stride; the opts.yaml of a run still has the value that
# was typed.
WITHOUT_STRIDE = tuple(name for name in NETWORK_FLAGS if name not in ("ibn", "use_dense"))


def ignores_stride(options: Mapping[str, Any]) -> bool:
    """Say whether `options` come from a published run with stride 1 whose network ignored it.

    Options that name the run but no backbone were written by the published code; ours always name
    both.
    """
    published = "name" in options and "backbone" not in options
    return (
        published
        and options.get("stride") == 1
        and any(options.get(flag) for flag in WITHOUT_STRIDE)
    )
