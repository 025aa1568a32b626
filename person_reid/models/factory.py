"""Build a network from a NetworkSpec: a backbone, and a head that turns its output into a feature and class scores.

network = create_model("resnet50", num_classes=751)
features, logits = network(images)       # training: (B, 512), (B, 751)
features = network.embed(images)         # test: (B, 512)
"""

import logging
from dataclasses import fields, replace
from pathlib import Path

import torch
from torch import nn

from person_reid.basics import UserError, did_you_mean
from person_reid.models.attention import add_attention, parse_attention
from person_reid.models.backbone import fits_images
from person_reid.models.heads import CLASSIFIERS
from person_reid.models.lightmbn import LightMBN
from person_reid.models.mgn import MGN
from person_reid.models.network import Network, PlainNetwork, USAMNetwork, unused_classifiers
from person_reid.models.pcb import PCB as PartNetwork
from person_reid.models.registry import build_backbone, find_backbone
from person_reid.models.spec import NetworkSpec
from person_reid.models.weights import load_weights

BRANCHED = {"mgn": MGN, "lightmbn": LightMBN}  # by the name of their backbone in BACKBONES
# The fields of NetworkSpec that each kind of network ignores.
IGNORED: dict[type[Network], tuple[str, ...]] = {
    PartNetwork: ("neck", "linear_num"),
    MGN: ("neck", "linear_num", "droprate"),
    LightMBN: ("neck", "linear_num", "droprate"),
}
log = logging.getLogger(__name__)


def create_model(
    backbone: str,
    num_classes: int | None = None,
    weights: str | Path = "imagenet",
    size: tuple[int, int] | None = None,
    **settings: object,
) -> Network:
    """Build a network by name: `create_model("osnet_x0_25", num_classes=751, pool="gem")`.

    size: (height, width) of the images, by default the network's own; in place of the settings height and width.
    settings: other fields of NetworkSpec. The rest is as for build_model.

    Raises UserError for an unknown setting, too.
    """
    known = [field.name for field in fields(NetworkSpec)][1:]  # without backbone
    for name in settings:
        if name not in known:
            raise UserError(
                f"create_model: no setting {name!r}.{did_you_mean(name, known)} There are: {', '.join(known)}."
            )
    if size is not None:
        if {"height", "width"} & settings.keys():
            raise UserError("create_model: size and height or width at once: give only one of them.")
        settings["height"], settings["width"] = size
    return build_model(NetworkSpec(backbone, **settings), num_classes, weights)  # type: ignore[arg-type]


def build_model(spec: NetworkSpec, num_classes: int | None = None, weights: str | Path = "imagenet") -> Network:
    """Build the network that `spec` describes.

    num_classes: the number of identities; None leaves the classifiers out.
    weights: "imagenet", "none", or the file of a whole network or a backbone; tensors that do not fit are logged.

    Raises UserError if the network cannot be built, or if the weights cannot be fetched or belong to another network.
    """
    if spec.head not in CLASSIFIERS:
        near = did_you_mean(str(spec.head), CLASSIFIERS)
        raise UserError(f"head {spec.head!r}: expected {', '.join(CLASSIFIERS)}.{near}")
    kind = network_kind(spec)
    size = input_size(spec)
    kept = spec.PCB and find_backbone(spec.backbone).can_keep_resolution
    module, entry = build_backbone(
        spec.backbone, weights == "imagenet", 1 if kept else spec.stride, size, spec.drop_path
    )
    if spec.attention:
        images = torch.zeros(1, 3, *size, device=next(module.parameters()).device)
        with fits_images(spec.backbone, size):
            add_attention(module, spec.attention, images, entry.feature)
    network = kind(module, entry, spec, num_classes)
    for layer in unused_classifiers(network):
        layer.requires_grad_(False)
    if weights not in ("imagenet", "none"):
        log.info("%s: %s.", weights, load_weights(network, weights))
    return network


def check_size(
    network: Network,
    name: str,
    size: tuple[int, int],
    batch_size: int | None = None,
    advice: str = "--height and --width",
) -> None:
    """Raise UserError if the network cannot process images of `size`, or cannot learn from batches of `batch_size`.

    advice: see fits_images.

    It tries, with two images at most, and leaves weights, statistics and random numbers as they were.
    """
    forward, kept = (network.eval().embed, 1) if batch_size is None else (network.train(), min(batch_size, 2))
    before = [buffer.clone() for buffer in network.buffers()]
    with fits_images(name, size, batch_size, advice), torch.no_grad(), torch.random.fork_rng(devices=[]):
        forward(torch.zeros(kept, 3, *size))
    for buffer, value in zip(network.buffers(), before, strict=True):
        buffer.copy_(value)


def parameter_count(network: nn.Module) -> int:
    """Count the parameters that training changes."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def network_kind(spec: NetworkSpec) -> type[Network]:
    """Return the class of the network that `spec` describes. Raises UserError if it describes two at once."""
    asked: dict[str, type[Network] | None] = {
        f"--backbone {spec.backbone}": BRANCHED.get(spec.backbone),
        "--usam": USAMNetwork if spec.usam else None,
        "--PCB": PartNetwork if spec.PCB else None,
    }
    kinds = {flag: kind for flag, kind in asked.items() if kind}
    if len(kinds) > 1:
        raise UserError(f"{' and '.join(kinds)} exclude each other: choose one.")
    return next(iter(kinds.values()), PlainNetwork)


def input_size(spec: NetworkSpec) -> tuple[int, int]:
    """Return the (height, width) of the images: those of the spec, or the network's own if the spec has none."""
    height, width = PartNetwork.size if spec.PCB else find_backbone(spec.backbone).size
    return spec.height or height, spec.width or width


def resolve(spec: NetworkSpec) -> NetworkSpec:
    """Fill in what a spec leaves to the network: the size of the images and the stochastic depth."""
    height, width = input_size(spec)
    drop_path = find_backbone(spec.backbone).drop_path if spec.drop_path is None else spec.drop_path
    return replace(spec, height=height, width=width, drop_path=drop_path)


def check_network(spec: NetworkSpec) -> None:
    """Raise UserError for settings that exclude each other, and for those that the network would ignore."""
    kind = network_kind(spec)
    if spec.attention:
        parse_attention(spec.attention)
    plain = kind in (PlainNetwork, USAMNetwork)
    ignored = ("linear_num", "droprate") if plain and spec.neck != "linear" else IGNORED.get(kind, ())
    for name in ignored:
        value = getattr(spec, name)
        if value not in (getattr(NetworkSpec(), name), 0):
            what = f"--neck {spec.neck}" if plain else kind.__name__
            raise UserError(f"--{name} {value} means nothing to {what}; leave it out.")
