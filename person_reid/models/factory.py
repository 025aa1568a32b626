"""The one door to every network: a backbone, and the head that turns its output into a feature and into identities.

network = build_model("resnet50", num_classes=751)
features, logits = network(images)       # training: (B, 512), (B, 751)
features = network.embed(images)         # test: (B, 512)
"""

import re

import torch
from torch import nn

from person_reid.basics import UserError
from person_reid.models.attention import add_attention, parse_attention
from person_reid.models.lightmbn import LightMBN
from person_reid.models.mgn import MGN
from person_reid.models.network import HeadOptions, PlainNetwork, USAMNetwork
from person_reid.models.pcb import PCB as PartNetwork
from person_reid.models.registry import build_backbone, find_backbone
from person_reid.models.weights import load_matching, read_state_dict, without_container

BRANCHED = {"mgn": MGN, "lightmbn": LightMBN}  # under the names that their backbones have in BACKBONES
# The last linear layers: ours, and the ImageNet classifiers of the libraries.
CLASSIFIER = re.compile(
    r"(.*\.)?classifier\.(0\.)?(weight|bias)|(model\.)?(fc|_fc|head|head\.fc|last_linear)\.(weight|bias)"
)


def build_model(
    backbone, num_classes, linear_num=512, droprate=0.5, stride=2, weights="imagenet", size=None,
    pool=None, neck="linear", head="linear", attention=None, usam=False, PCB=False, drop_path=None,
):  # fmt: skip
    """A Network for `num_classes` identities; num_classes None leaves the classifiers out.

    weights: "imagenet", "none" or a file (a whole network's or a backbone's; what does not fit is reported).
    size: (height, width) of the images, by default the network's own. The other arguments are the flags of train.py.
    """
    kind = network_kind(backbone, usam, PCB)
    size = size or input_size(backbone, PCB)
    if PCB and find_backbone(backbone).keep_resolution:
        stride = 1
    module, entry = build_backbone(backbone, weights == "imagenet", stride, size, drop_path)
    if attention:
        images = torch.zeros(1, 3, *size, device=next(module.parameters()).device)
        add_attention(module, attention, images, entry.feature)
    network = kind(module, entry, HeadOptions(num_classes, linear_num, droprate, pool, neck, head))
    _freeze_unused(network)
    if weights not in ("imagenet", "none"):
        print(f"{weights}: {load_weights(network, weights)}.")
    return network


def build_from_options(options, num_classes, weights):
    """build_model with the flags of train.py; weights: see there."""
    return build_model(
        options.backbone, num_classes, options.linear_num, options.droprate, options.stride, weights,
        (options.height, options.width), options.pool, options.neck, options.head, options.attention, options.usam,
        options.PCB, options.drop_path,
    )  # fmt: skip


def _freeze_unused(network):
    """The ImageNet classifiers that published checkpoints carry along (`model.fc`) are never trained."""
    for name in ("fc", "_fc", "classifier"):
        layer = getattr(network.model, name, None)
        if isinstance(layer, nn.Linear) and layer.out_features == 1000:
            layer.requires_grad_(False)


def load_weights(network, path, strict=False):
    """Load a weight file into a Network: a whole network's (published checkpoints, `module.` prefixes, averages) or a
    backbone's alone. Returns a LoadReport.

    A classifier of other identities is left as it is: the feature does not depend on it. Where a network has copies of
    a backbone's stages, each gets the tensors. Raises UserError where the file belongs to another network: a tensor of
    the backbone has another shape, most are missing or, with strict, anything is missing that the feature depends on.
    """
    own = {*network.state_dict(), *network.model.state_dict()}
    state_dict = without_container(read_state_dict(path), lambda names: len(own & network.renamed(names).keys()))
    state_dict = network.renamed(state_dict)
    whole = any(name.startswith("model.") for name in state_dict)
    if whole and network.num_classes is None:
        own = network.state_dict()
        state_dict = {name: value for name, value in state_dict.items() if name in own or name.startswith("model.")}
    bare = all(name.startswith("model.") for name in network.state_dict())
    report = load_matching(network if whole or (strict and not bare) else network.model, state_dict)
    matters = "" if strict or not whole else "model."
    wrong = [name for name in report.mismatched if name.startswith(matters) and not CLASSIFIER.fullmatch(name)]
    lacking = [name for name in report.missing if strict and not CLASSIFIER.fullmatch(name)]
    if wrong or lacking or len(report.loaded) < len(report.missing):
        raise UserError(
            f"{path}: the weights of another network ({report}). Expected those of the network that the options "
            "describe: check --backbone and the flags beside it (--PCB, --linear_num, …), or the run's opts.yaml."
        )
    return report


def parameter_count(network):
    """Number of parameters that training changes."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def network_kind(backbone, usam, parts):
    """The class of network that --backbone, --usam and --PCB (parts) name. Raises UserError where they name two."""
    asked = {
        f"--backbone {backbone}": BRANCHED.get(backbone),
        "--usam": usam and USAMNetwork,
        "--PCB": parts and PartNetwork,
    }
    asked = {flag: kind for flag, kind in asked.items() if kind}
    if len(asked) > 1:
        raise UserError(f"{' and '.join(asked)} exclude each other: choose one.")
    return next(iter(asked.values()), PlainNetwork)


def input_size(backbone, parts=False):
    """(height, width) of the images where no other is asked for."""
    return PartNetwork.size if parts else find_backbone(backbone).size


def check_network(options, defaults):
    """Raise UserError for flags that contradict each other, and for those that the network would ignore.

    options: with the network's flags of train.py. defaults(flag): the default of one, which is never refused.
    """
    kind = network_kind(options.backbone, options.usam, options.PCB)
    if options.attention:
        parse_attention(options.attention)
    ignored = {
        PartNetwork: ["neck", "linear_num"],
        MGN: ["neck", "linear_num", "droprate"],
        LightMBN: ["neck", "linear_num", "droprate"],
    }.get(kind, ["linear_num", "droprate"] if options.neck != "linear" else [])
    for flag in ignored:
        value = getattr(options, flag)
        if value not in (defaults(flag), 0):
            what = f"--neck {options.neck}" if kind in (PlainNetwork, USAMNetwork) else kind.__name__
            raise UserError(f"--{flag} {value} means nothing to {what}; leave it out.")
