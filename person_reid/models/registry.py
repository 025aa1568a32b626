"""The backbones by name: our own, the published ones, and every network of timm and torchvision.

A backbone maps (B, 3, H, W) normalised images to a feature map. It keeps its library's state-dict
keys, because published checkpoints use them. To add one, write an entry of `BACKBONES`
(CONTRIBUTING.md).
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

from person_reid.config.option import OptionError
from person_reid.config.zoo import network_names
from person_reid.errors import UserError, first_line
from person_reid.models.backbone import (
    OTHER_WEIGHTS,
    SIZE_ERRORS,
    Backbone,
    OwnBackbone,
    fits_images,
    stochastic_depth,
)
from person_reid.models.from_timm import current_name, find_timm, is_timm, timm_entry, timm_names
from person_reid.models.from_torchvision import (
    DenseNetBackbone,
    EfficientNetBackbone,
    NASNetBackbone,
    TorchvisionBackbone,
    find_torchvision,
    torchvision_names,
)
from person_reid.models.published.families import FAMILIES
from person_reid.models.published.from_authors import IBNBackbone, osnet
from person_reid.registration import OWN_CLASS, PLUGINS, Registry, check_loaded, module_of
from person_reid.text import as_command, did_you_mean

if TYPE_CHECKING:
    from torch import nn

LIST = Path(__file__).with_name("networks.txt")  # written by tools/docs/networks.py
_BACKBONES: dict[str, Backbone] = {
    "resnet18": TorchvisionBackbone("resnet18", 512),
    "resnet34": TorchvisionBackbone("resnet34", 512),
    "resnet50": TorchvisionBackbone("resnet50", 2048),
    "resnet101": TorchvisionBackbone("resnet101", 2048),
    "resnet152": TorchvisionBackbone("resnet152", 2048),
    "resnext50": TorchvisionBackbone("resnext50_32x4d", 2048),
    "resnet50_ibn_a": IBNBackbone("resnet50_ibn_a", 2048, "ibn_a", 50),
    "resnet101_ibn_a": IBNBackbone("resnet101_ibn_a", 2048, "ibn_a", 101),
    "resnet50_ibn_b": IBNBackbone("resnet50_ibn_b", 2048, "ibn_b", 50),
    "resnet101_ibn_b": IBNBackbone("resnet101_ibn_b", 2048, "ibn_b", 101),
    "resnet50d": timm_entry("resnet50d", 2048),
    "resnest50": timm_entry("resnest50d", 2048),
    "seresnet50": timm_entry("seresnet50", 2048),
    "seresnext50": timm_entry("seresnext50_32x4d", 2048),
    "densenet121": DenseNetBackbone("densenet121", 1024),
    "hrnet_w18": timm_entry("hrnet_w18", 2048, can_keep_resolution=False),
    "efficientnet_b0": timm_entry("efficientnet_b0", 1280),
    "efficientnet_b1": timm_entry("efficientnet_b1", 1280),
    "efficientnet_b2": timm_entry("efficientnet_b2", 1408),
    "efficientnet_b3": timm_entry("efficientnet_b3", 1536),
    "efficientnet_b4": EfficientNetBackbone("efficientnet-b4", 1792, drop_path=0.2),
    "mobilenetv3_small": timm_entry("mobilenetv3_small_100", 1024, channels=576),
    "mobilenetv3_large": timm_entry("mobilenetv3_large_100", 1280, channels=960),
    "nasnetalarge": NASNetBackbone("nasnetalarge", 4032),
    "convnext_tiny": timm_entry("convnext_tiny", 768),
    "convnext_small": timm_entry("convnext_small", 768),
    "convnext_base": timm_entry("convnext_base", 1024, without_head=True, drop_path=0.2),
    "osnet_x0_25": osnet("osnet_x0_25", 0.25),
    "osnet_x0_5": osnet("osnet_x0_5", 0.5),
    "osnet_x0_75": osnet("osnet_x0_75", 0.75),
    "osnet_x1_0": osnet("osnet_x1_0", 1.0),
    "osnet_ibn_x1_0": osnet("osnet_ibn_x1_0", 1.0, "ibn"),
    "osnet_ain_x0_25": osnet("osnet_ain_x0_25", 0.25, "ain"),
    "osnet_ain_x0_5": osnet("osnet_ain_x0_5", 0.5, "ain"),
    "osnet_ain_x0_75": osnet("osnet_ain_x0_75", 0.75, "ain"),
    "osnet_ain_x1_0": osnet("osnet_ain_x1_0", 1.0, "ain"),
    # factory.py branches this network.
    "lightmbn": replace(osnet("osnet_x1_0", 1.0), size=(384, 128)),
    "swin_tiny": timm_entry(
        "swin_tiny_patch4_window7_224", 768, "grid", size=(224, 224), drop_path=0.1
    ),
    "swin_small": timm_entry(
        "swin_small_patch4_window7_224", 768, "grid", size=(224, 224), drop_path=0.1
    ),
    "swin_base": timm_entry(
        "swin_base_patch4_window7_224", 1024, "grid", size=(224, 224), drop_path=0.2
    ),
    "swinv2_tiny": timm_entry("swinv2_tiny_window8_256", 768, "grid", drop_path=0.1),
    "swinv2_base": timm_entry("swinv2_base_window8_256", 1024, "grid", drop_path=0.2),
    "vit_small": timm_entry("vit_small_patch16_224", 384, "patches"),
    "vit_base": timm_entry("vit_base_patch16_224", 768, "patches"),
    "dinov3_vit_small": timm_entry("vit_small_patch16_dinov3", 384, "tokens"),
    "dinov3_vit_base": timm_entry("vit_base_patch16_dinov3", 768, "tokens", drop_path=0.2),
    "clip_vit_base": timm_entry("vit_base_patch16_clip_quickgelu_224.openai", 768, "patches"),
    "clip_resnet50": timm_entry("resnet50_clip.openai", 2048, own_feature=True),
}


BACKBONES: Registry[Backbone] = Registry("backbone", _BACKBONES)


def register_backbone(
    name: str, network: Backbone | Callable[..., nn.Module], **about: Any
) -> None:
    """Give a custom network a name, which --backbone and create_model then know.

    network: the class of a module, or a function that returns one. For images (B, 3, H, W) it
    returns its feature map (B, C, h, w) or its feature (B, D); no classifier. For more control, a
    Backbone (docs/extending.md). about: other fields of Backbone, such as size=(384, 128).
    """
    entry = network if isinstance(network, Backbone) else OwnBackbone(name, make=network, **about)
    BACKBONES.register(name, entry)


def own_backbones() -> list[str]:
    """Return the names that plugins have registered."""
    return [name for name in BACKBONES if name not in _BACKBONES]


def _of_plugin(name: str, place: str, attribute: str) -> Backbone:
    """Return the network MODULE:CLASS of a plugin.

    The name may come from another user's file. It must therefore be a class of networks in a module
    that was loaded as a plugin. Raises UserError for any other.
    """
    from torch import nn

    check_loaded([place], f"The backbone {name}", loaded=PLUGINS)
    found = getattr(PLUGINS[module_of(place)], attribute, None)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise OptionError(f"{{backbone}}: {place} has no network {attribute}.", backbone=name)
    return OwnBackbone(name, make=found)


def find_backbone(name: str) -> Backbone:
    """Return the Backbone called `name`.

    It is an entry of BACKBONES or FAMILIES, else the network that timm or torchvision calls so.
    Raises UserError, with the nearest known name, for an unknown name.
    """
    if known := BACKBONES.get(name) or FAMILIES.get(name):
        return known
    if own := OWN_CLASS.fullmatch(name):
        return _of_plugin(name, *own.groups())
    name = current_name(name)
    if is_timm(name):
        return find_timm(name)
    if name in torchvision_names():
        return find_torchvision(name)
    names = [*BACKBONES, *FAMILIES, *timm_names(), *torchvision_names()]
    raise OptionError(
        f"{{backbone}}: unknown network.{did_you_mean(name, names)} `{as_command('model.py')}` "
        "lists the networks; timm's and torchvision's keep their names. A plugin registers others.",
        backbone=name,
    )


def build_backbone(
    name: str,
    pretrained: bool = False,
    stride: int = 2,
    size: tuple[int, int] | None = None,
    drop_path: float | None = None,
    entry: Backbone | None = None,
) -> tuple[nn.Module, Backbone]:
    """Build the module of backbone `name` for images of `size` (height, width).

    Returns it and its Backbone entry.

    pretrained: load ImageNet weights.
    stride: 1 keeps the resolution of the last stage.
    drop_path: the probability of skipping the deepest block, and proportionally less for those
        before it (stochastic depth: Huang, Sun, Liu, Sedra, Weinberger, ECCV 2016); by default the
        entry's.
    entry: the backbone, if it is not the one of that name.

    Raises UserError if the weights cannot be fetched (it names the file), or if stride 1 or
    drop_path has no meaning for the network.
    """
    entry = entry or find_backbone(name)
    if stride == 1 and not entry.can_keep_resolution:
        raise OptionError(f"{{stride}} has no meaning for {name}; leave it out.", stride=1)
    size = size or entry.size
    with fits_images(name, size):
        module = _build(
            entry, name, pretrained, size, entry.drop_path if drop_path is None else drop_path
        )
    entry = entry.measured(module, size)
    if drop_path and not stochastic_depth(module):
        raise OptionError(
            f"{{drop_path}}: {name} has no stochastic depth; leave it out.", drop_path=drop_path
        )
    if stride == 1:
        with fits_images(name, size):
            entry.keep_resolution(module, size)
    return module, entry


def _build(
    entry: Backbone, name: str, pretrained: bool, size: tuple[int, int], drop_path: float
) -> nn.Module:
    """Build the module of an entry. Raises UserError if its weights cannot be fetched."""
    try:
        return entry.build(pretrained, size, drop_path)
    # Each library, and each layer of the network stack below it, raises its own errors.
    except Exception as error:
        if not pretrained or isinstance(error, (UserError, *SIZE_ERRORS)):
            raise
        reason = error.reason if isinstance(error, URLError) else first_line(error, 160)
        raise OptionError(
            f"The ImageNet weights of {name} are not in the cache and could not be fetched "
            f"({reason}). {entry.source()} {OTHER_WEIGHTS}",
            weights="FILE",
        ) from error


def list_models(pattern: str = "*", pretrained: bool = False) -> list[str]:
    """Return our names of networks, as `python model.py` orders them.

    timm's and torchvision's names also work.

    pattern: as of file names, such as "osnet*".
    pretrained: list the networks that have weights, in this package and published, by the names
        that weights take.

    >>> list_models("osnet_x*")
    ['osnet_x0_25', 'osnet_x0_5', 'osnet_x0_75', 'osnet_x1_0']
    """
    return fnmatch.filter(network_names() if pretrained else BACKBONES, pattern)
