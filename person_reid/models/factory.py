"""Build a network from a NetworkOptions: a backbone and a head.

The head turns the backbone's output into a feature and class scores.

network = create_model("resnet50", num_classes=751)
features, logits = network(images)       # in training: (B, 512), (B, 751)
features = network.eval()(images)        # in evaluation: (B, 512), the embedding that test.py tests
"""

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from inspect import signature
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from torch import nn

from person_reid.arrays import as_path, whole_numbers
from person_reid.config.network import PUBLISHED_CLASSES, NetworkOptions
from person_reid.config.option import OptionError, configured
from person_reid.config.zoo import implied, network_names
from person_reid.device import seeded
from person_reid.errors import UserError
from person_reid.models.attention import add_attention, parse_attention
from person_reid.models.backbone import Backbone, OwnBackbone, fits_images
from person_reid.models.lightmbn import LightMBN
from person_reid.models.network import Network, PlainNetwork, USAMNetwork, unused_classifiers
from person_reid.models.network import PCBNetwork as PartNetwork
from person_reid.models.registry import build_backbone, find_backbone
from person_reid.models.weights import load_weights
from person_reid.text import did_you_mean

# The fields of NetworkOptions that each kind of network ignores.
IGNORED: dict[type[Network], tuple[str, ...]] = {
    PartNetwork: ("neck", "linear_num"),
    LightMBN: ("neck", "linear_num", "droprate"),
}
log = logging.getLogger(__name__)


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
    num_classes: the number of identities; 0 for no classifier.
    pretrained: whether to begin with ImageNet weights; otherwise they are random. Or the end of a
        name of list_models(pretrained=True): "msmt17" is the published network `name`_msmt17.
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

    Raises OptionError for an unknown option, a value that does not fit, or one that the network
    would ignore, and UserError if the network cannot be built.
    """
    if size is not None:
        if {"height", "width"} & options.keys():
            raise UserError(
                "create_model: size and height or width at once: give only one of them."
            )
        options["height"], options["width"] = _checked_size(size)
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
    if weights is not None:
        as_path(weights, "create_model: weights")
    known = implied(weights, NetworkOptions.declared()) | backbone
    known = options_of(known["backbone"]) | known
    _check_classes(num_classes)
    num_classes = num_classes or (PUBLISHED_CLASSES if "neck" in known else 0)
    arguments = signature(create_model).parameters
    described = configured(NetworkOptions, {**known, **options}, others=arguments)
    check_network(described)
    with nullcontext() if seed is None else seeded(seed):
        return build_network(
            described, num_classes, weights or ("imagenet" if pretrained else "none")
        )


def _around(
    module: nn.Module, num_classes: int, seed: int | None, options: Mapping[str, Any]
) -> Network:
    """Build the network whose backbone is a custom module."""
    entry = OwnBackbone(type(module).__name__, make=lambda: module)
    described = configured(NetworkOptions, {**options, "backbone": entry.name})
    check_network(described)
    with nullcontext() if seed is None else seeded(seed):
        return build_network(described, num_classes, "none", entry)


def options_of(backbone: str) -> dict[str, Any]:
    """Return the options that come with a backbone, its name among them."""
    return {"backbone": backbone, **find_backbone(backbone).options}


def build_network(
    spec: NetworkOptions,
    num_classes: int | None = None,
    weights: str | Path = "imagenet",
    entry: Backbone | None = None,
) -> Network:
    """Build the network that `spec` describes.

    num_classes: the number of identities; None for no classifiers.
    weights: "imagenet", "none", or the file of a whole network or a backbone; tensors that do not
        fit are logged.
    entry: the backbone, if it is not the one that spec.backbone names.

    Raises UserError if the network cannot be built, or if the weights cannot be fetched or belong
    to another network.
    """
    _check_classes(num_classes)
    kind = network_kind(spec)
    entry = entry or find_backbone(spec.backbone)
    size = input_size(spec, entry)
    stride = 1 if spec.PCB and entry.can_keep_resolution else spec.stride
    pretrained = weights == "imagenet"
    module, found = build_backbone(spec.backbone, pretrained, stride, size, spec.drop_path, entry)
    if spec.attention:
        images = torch.zeros(1, 3, *size, device=next(module.parameters()).device)
        with fits_images(spec.backbone, size):
            add_attention(module, spec.attention, lambda: found.feature(module, images))
    network = kind(module, found, spec, num_classes)
    for layer in unused_classifiers(network):
        layer.requires_grad_(False)
    if weights not in ("imagenet", "none"):
        log.info("%s: %s.", weights, load_weights(network, weights))
    return network


def _checked_size(size: Any) -> list[int]:
    """Return height and width as whole numbers. Raises UserError for anything else."""
    try:
        height, width = whole_numbers(size, "size").tolist()
    except (UserError, TypeError, ValueError):
        raise UserError(
            f"create_model: size {size!r}: expected (height, width), such as (256, 128)."
        ) from None
    return [height, width]


def _check_classes(num_classes: Any) -> None:
    """Raise UserError if this is not a number of identities."""
    whole = isinstance(num_classes, Integral) and not isinstance(num_classes, bool)
    if num_classes is not None and (not whole or num_classes < 0):
        raise UserError(
            f"num_classes {num_classes!r}: expected the number of identities, or 0 for no "
            "classifier."
        )


def check_size(
    network: Network,
    name: str,
    size: tuple[int, int],
    batch_size: int | None = None,
    advice: str = "{height} and {width}",
) -> None:
    """Raise UserError if the network cannot process images of `size`.

    With batch_size, also if it cannot learn from batches of that many images. It tries, with two
    images at most, without changing weights, statistics or random numbers.

    advice: see fits_images.
    """
    if batch_size is None:
        count, forward = 1, network.eval().embed
    else:
        count, forward = min(batch_size, 2), network.train()
    before = [buffer.clone() for buffer in network.buffers()]
    place = next(network.parameters()).device
    try:
        with fits_images(name, size, batch_size, advice), torch.no_grad(), seeded(0, place):
            forward(torch.zeros(count, 3, *size, device=place))
    finally:
        for buffer, value in zip(network.buffers(), before, strict=True):
            buffer.copy_(value)


def parameter_count(network: nn.Module) -> int:
    """Count the trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def network_kind(options: NetworkOptions) -> type[Network]:
    """Return the class of the network that the options describe.

    Raises OptionError if they describe two.
    """
    asked: dict[str, type[Network] | None] = {
        "backbone": LightMBN if options.backbone == "lightmbn" else None,
        "usam": USAMNetwork if options.usam else None,
        "PCB": PartNetwork if options.PCB else None,
    }
    kinds = {name: kind for name, kind in asked.items() if kind}
    if len(kinds) > 1:
        words = " and ".join(f"{{{name}}}" for name in kinds)
        values = {name: getattr(options, name) for name in kinds}
        raise OptionError(f"{words} exclude each other: choose one.", **values)
    return next(iter(kinds.values()), PlainNetwork)


def input_size(options: NetworkOptions, entry: Backbone | None = None) -> tuple[int, int]:
    """Return the (height, width) of the images, from the options or else the network's own."""
    own = PartNetwork.own_size if options.PCB else None
    height, width = own or (entry or find_backbone(options.backbone)).size
    return options.height or height, options.width or width


def own_settings(options: NetworkOptions) -> dict[str, Any]:
    """Return the options that the network may decide: image size and stochastic depth."""
    height, width = input_size(options)
    own = find_backbone(options.backbone).drop_path
    drop_path = own if options.drop_path is None else options.drop_path
    return {"height": height, "width": width, "drop_path": drop_path}


def check_network(options: NetworkOptions) -> None:
    """Raise OptionError for options that exclude each other or have no effect on the network."""
    kind = network_kind(options)
    if options.attention:
        parse_attention(options.attention)
    plain = kind in (PlainNetwork, USAMNetwork)
    ignored = (
        ("linear_num", "droprate") if plain and options.neck != "linear" else IGNORED.get(kind, ())
    )
    for name in ignored:
        value = getattr(options, name)
        # The value that asks for nothing. A network of parts has its own linear layers.
        absent = 0 if plain or name == "droprate" else None
        if value not in (getattr(NetworkOptions(), name), absent):
            what = "{neck}" if plain else kind.__name__
            named = {"neck": options.neck} if plain else {}
            raise OptionError(
                f"{{{name}}} means nothing to {what}; leave it out.", **{name: value}, **named
            )
