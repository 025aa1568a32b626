"""Create networks by name: an architecture, the module that it builds, and a head.

The table has our architectures and published ones; timm and torchvision provide the others. An
architecture's module maps (B, 3, H, W) normalised images to a feature map. It keeps its library's
state-dict keys, because published checkpoints use them. To add one, write an entry of the table
(CONTRIBUTING.md). The head turns the module's output into a feature and class scores.

network = create_model("resnet50", num_classes=751)
features, logits = network(images)       # in training: (B, 512), (B, 751)
features = network.eval()(images)        # in evaluation: (B, 512), the embedding that test.py tests
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import nn

from person_reid.config.network import PUBLISHED_CLASSES, NetworkOptions
from person_reid.config.option import configured, named
from person_reid.config.zoo import implied, network_names, published_network
from person_reid.device import seeded
from person_reid.errors import UserError
from person_reid.models.architecture import (
    REGISTERED,
    Architecture,
    OwnArchitecture,
    fits_images,
)
from person_reid.models.attention import add_attention, parse_attention
from person_reid.models.from_timm import current_name, find_timm, is_timm, timm_entry, timm_names
from person_reid.models.from_torchvision import (
    DenseNetArchitecture,
    EfficientNetArchitecture,
    NASNetArchitecture,
    TorchvisionArchitecture,
    find_torchvision,
    torchvision_names,
)
from person_reid.models.lightmbn import LightMBN
from person_reid.models.network import Network, PlainNetwork, USAMNetwork, unused_classifiers
from person_reid.models.network import PCBNetwork as PartNetwork
from person_reid.models.published.families import FAMILIES
from person_reid.models.published.from_authors import IBNArchitecture, osnet
from person_reid.models.weights import load_weights
from person_reid.registration import OWN_CLASS, PLUGINS, Registry, check_loaded, module_of
from person_reid.text import as_command, did_you_mean

log = logging.getLogger(__name__)
NETWORKS: dict[str, Architecture] = {
    "resnet18": TorchvisionArchitecture("resnet18", 512),
    "resnet34": TorchvisionArchitecture("resnet34", 512),
    "resnet50": TorchvisionArchitecture("resnet50", 2048),
    "resnet101": TorchvisionArchitecture("resnet101", 2048),
    "resnet152": TorchvisionArchitecture("resnet152", 2048),
    "resnext50": TorchvisionArchitecture("resnext50_32x4d", 2048),
    "resnet50_ibn_a": IBNArchitecture("resnet50_ibn_a", 2048, "ibn_a", 50),
    "resnet101_ibn_a": IBNArchitecture("resnet101_ibn_a", 2048, "ibn_a", 101),
    "resnet50_ibn_b": IBNArchitecture("resnet50_ibn_b", 2048, "ibn_b", 50),
    "resnet101_ibn_b": IBNArchitecture("resnet101_ibn_b", 2048, "ibn_b", 101),
    "resnet50d": timm_entry("resnet50d", 2048),
    "resnest50": timm_entry("resnest50d", 2048),
    "seresnet50": timm_entry("seresnet50", 2048),
    "seresnext50": timm_entry("seresnext50_32x4d", 2048),
    "densenet121": DenseNetArchitecture("densenet121", 1024),
    "hrnet_w18": timm_entry("hrnet_w18", 2048, can_keep_resolution=False),
    "efficientnet_b0": timm_entry("efficientnet_b0", 1280),
    "efficientnet_b1": timm_entry("efficientnet_b1", 1280),
    "efficientnet_b2": timm_entry("efficientnet_b2", 1408),
    "efficientnet_b3": timm_entry("efficientnet_b3", 1536),
    "efficientnet_b4": EfficientNetArchitecture("efficientnet-b4", 1792, drop_path=0.2),
    "mobilenetv3_small": timm_entry("mobilenetv3_small_100", 1024, channels=576),
    "mobilenetv3_large": timm_entry("mobilenetv3_large_100", 1280, channels=960),
    "nasnetalarge": NASNetArchitecture("nasnetalarge", 4032),
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
    # network_kind gives this network its branches.
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
ARCHITECTURES = Registry("backbone", NETWORKS, REGISTERED)


def register_backbone(
    name: str, network: Architecture | Callable[..., nn.Module], **about: Any
) -> None:
    """Register a custom network under a name for --backbone and create_model.

    network: the class of a module, or a function that returns one. For images (B, 3, H, W) it
    returns its feature map (B, C, h, w) or its feature (B, D), and has no classifier. For more
    control, pass an Architecture (docs/extending.md). about: other fields of Architecture, such as
    size=(384, 128).
    """
    if not isinstance(network, Architecture):
        network = OwnArchitecture(name, code=network, **about)
    ARCHITECTURES.register(name, network)


def _of_plugin(name: str, place: str, attribute: str) -> Architecture:
    """Return the network MODULE:CLASS from a plugin.

    The name may come from another user's file. It must therefore be a class of networks in a module
    that was loaded as a plugin. Raises UserError for any other name.
    """
    check_loaded([place], f"The backbone {name}", loaded=PLUGINS)
    found = getattr(PLUGINS[module_of(place)], attribute, None)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise UserError(f"backbone={name}: {place} has no network {attribute}.")
    return OwnArchitecture(name, code=found)


def find_architecture(name: str) -> Architecture:
    """Return the Architecture called `name`.

    It is an entry of ARCHITECTURES or FAMILIES, or else a network of timm or torchvision. Raises
    UserError, with the closest existing name, for an unknown name.
    """
    if known := ARCHITECTURES.get(name) or FAMILIES.get(name):
        return known
    if own := OWN_CLASS.fullmatch(name):
        return _of_plugin(name, *own.groups())
    name = current_name(name)
    if is_timm(name):
        return find_timm(name)
    if name in torchvision_names():
        return find_torchvision(name)
    names = [*ARCHITECTURES, *FAMILIES, *timm_names(), *torchvision_names()]
    raise UserError(
        f"backbone={name}: unknown network.{did_you_mean(name, names)} `{as_command('model.py')}` "
        "lists the networks; timm's and torchvision's keep their names. A plugin registers others."
    )


# The fields of NetworkOptions that each kind of network ignores.
IGNORED: dict[type[Network], tuple[str, ...]] = {
    PartNetwork: ("neck", "linear_num"),
    LightMBN: ("neck", "linear_num", "droprate"),
}


def create_model(
    name: str | nn.Module,
    num_classes: int = 0,
    pretrained: bool | str = False,
    weights: str | Path | None = None,
    size: tuple[int, int] | None = None,
    seed: int | None = 0,
    **options: Any,
) -> Network:
    """Create a network by name, as timm does.

    name: a network of list_models(), timm or torchvision; or a custom module, which returns a
        feature map (B, C, h, w) or a feature (B, D) for images (B, 3, H, W) and has no classifier.
    num_classes: the number of identities, or 0 for no classifier.
    pretrained: whether to begin with ImageNet weights; otherwise they are random. It may also be
        the end of a name in list_models(pretrained=True): "msmt17" means the published network
        `name`_msmt17.
    weights: the file of a whole network or a backbone, or the name of a published one, instead of
        `pretrained`. A published network whose tested feature follows a neck has the 751 classes of
        Market-1501 by default.
    size: (height, width) of the images, by default the network's own.
    seed: draws the random weights; the same seed gives the same network. None draws them from
        torch's own generator.
    options: the other fields of NetworkOptions, such as neck="bnneck" or pool="gem".

    In training, a network with classes returns features and logits. In evaluation, and without
    classes, it returns the embedding (N, D) that test.py tests.

    >>> network = create_model("osnet_x0_25", num_classes=751).eval()
    >>> network(torch.zeros(2, 3, 256, 128)).shape
    torch.Size([2, 512])

    Raises UserError for an unknown option, for a value that does not fit or that the network would
    ignore, and if the network cannot be built.
    """
    if size is not None:
        if {"height", "width"} & options.keys():
            raise UserError(
                "create_model: size and height or width at once: give only one of them."
            )
        options["height"], options["width"] = size
    if isinstance(name, nn.Module):
        if pretrained or weights:
            raise UserError("create_model: your own module has its weights already.")
        return _around(name, num_classes, seed, options)
    backbone = {"backbone": name}
    if isinstance(pretrained, str):
        weights, backbone = f"{name}_{pretrained}", {}
        if weights not in (names := network_names()):
            raise UserError(
                f"create_model: no published network {weights!r}.{did_you_mean(weights, names)}"
            )
    known = implied(weights, NetworkOptions.declared()) | backbone
    known = options_of(known["backbone"]) | known
    num_classes = num_classes or (PUBLISHED_CLASSES if "neck" in known else 0)
    arguments = signature(create_model).parameters
    described = configured(NetworkOptions, {**known, **options}, others=arguments)
    check_network(described)
    architecture = find_architecture(described.backbone)
    if entry := published_network(weights):
        architecture = replace(architecture, flips=entry.shared.flip)
    start = weights or ("imagenet" if pretrained else "none")
    with nullcontext() if seed is None else seeded(seed):
        return build_network(described, num_classes, start, architecture)


def _around(
    module: nn.Module, num_classes: int, seed: int | None, options: Mapping[str, Any]
) -> Network:
    """Build a network whose backbone is a custom module."""
    own = OwnArchitecture(type(module).__name__, code=lambda: module)
    described = configured(NetworkOptions, {**options, "backbone": own.name})
    check_network(described)
    with nullcontext() if seed is None else seeded(seed):
        return build_network(described, num_classes, "none", own)


def options_of(backbone: str) -> dict[str, Any]:
    """Return the options that come with a backbone, including its name."""
    return {"backbone": backbone, **find_architecture(backbone).options}


def build_network(
    spec: NetworkOptions,
    num_classes: int | None = None,
    weights: str | Path = "imagenet",
    architecture: Architecture | None = None,
) -> Network:
    """Build the network that `spec` describes.

    num_classes: the number of identities, or None for no classifiers.
    weights: "imagenet", "none", or the file of a whole network or a backbone; tensors that do not
        fit are logged.
    architecture: by default the one that spec.backbone names.

    Raises UserError if the network cannot be built, or if the weights cannot be fetched or belong
    to another network.
    """
    kind = network_kind(spec)
    architecture = architecture or find_architecture(spec.backbone)
    size = input_size(spec, architecture)
    stride, pretrained = last_stride(spec, architecture), weights == "imagenet"
    module = architecture.build(pretrained, size, spec.drop_path, stride, called=spec.backbone)
    architecture = architecture.measured(module, size)
    if spec.attention:
        images = torch.zeros(1, 3, *size, device=next(module.parameters()).device)
        with fits_images(spec.backbone, size):
            add_attention(module, spec.attention, lambda: architecture.feature(module, images))
    network = kind(module, architecture, spec, num_classes)
    for layer in unused_classifiers(network):
        layer.requires_grad_(False)
    if weights not in ("imagenet", "none"):
        log.info("%s: %s.", weights, load_weights(network, weights))
    return network


def parameter_count(network: nn.Module) -> int:
    """Count the trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def network_kind(options: NetworkOptions) -> type[Network]:
    """Return the class of the network that the options describe.

    Raises UserError if they describe two.
    """
    asked: dict[str, type[Network] | None] = {
        "backbone": LightMBN if options.backbone == "lightmbn" else None,
        "usam": USAMNetwork if options.usam else None,
        "PCB": PartNetwork if options.PCB else None,
    }
    kinds = {name: kind for name, kind in asked.items() if kind}
    if len(kinds) > 1:
        words = " and ".join(named(name, getattr(options, name)) for name in kinds)
        raise UserError(f"{words} exclude each other: choose one.")
    return next(iter(kinds.values()), PlainNetwork)


def input_size(
    options: NetworkOptions, architecture: Architecture | None = None
) -> tuple[int, int]:
    """Return the images' (height, width), from the options or else from the network."""
    own = PartNetwork.own_size if options.PCB else None
    height, width = own or (architecture or find_architecture(options.backbone)).size
    return options.height or height, options.width or width


def last_stride(options: NetworkOptions, architecture: Architecture) -> int:
    """Return the stride of the last stage: 1 for PCB, where the network can keep its resolution."""
    return 1 if options.PCB and architecture.can_keep_resolution else options.stride


def own_settings(options: NetworkOptions) -> dict[str, Any]:
    """Return the options that depend on the network: image size, stochastic depth and stride."""
    architecture = find_architecture(options.backbone)
    height, width = input_size(options, architecture)
    drop_path = architecture.drop_path if options.drop_path is None else options.drop_path
    stride = last_stride(options, architecture)
    return {"height": height, "width": width, "drop_path": drop_path, "stride": stride}


def check_network(options: NetworkOptions) -> None:
    """Raise UserError if options conflict or have no effect on the network."""
    kind = network_kind(options)
    if options.attention:
        parse_attention(options.attention)
    plain = kind in (PlainNetwork, USAMNetwork)
    ignored = (
        ("linear_num", "droprate") if plain and options.neck != "linear" else IGNORED.get(kind, ())
    )
    for name in ignored:
        value = getattr(options, name)
        # The value that requests nothing. A network of parts has its own linear layers.
        absent = 0 if plain or name == "droprate" else None
        if value not in (getattr(NetworkOptions(), name), absent):
            what = f"neck={options.neck}" if plain else kind.__name__
            raise UserError(f"{name}={value} means nothing to {what}; leave it out.")
