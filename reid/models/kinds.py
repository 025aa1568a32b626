"""Which kind of network the flags ask for, and which flags do not go together."""

from reid.models.attention import parse_attention
from reid.models.backbones import find_backbone
from reid.models.lightmbn import LightMBN
from reid.models.mgn import MGN
from reid.models.network import PlainNetwork, USAMNetwork
from reid.models.pcb import PCB
from utils import UserError

BRANCHED = {"mgn": MGN, "lightmbn": LightMBN}  # under the names that their backbones have in BACKBONES


def network_kind(backbone, usam, parts):
    """The class of network that --backbone, --usam and --PCB (parts) name. Raises UserError where they name two."""
    asked = {f"--backbone {backbone}": BRANCHED.get(backbone), "--usam": usam and USAMNetwork, "--PCB": parts and PCB}
    asked = {flag: kind for flag, kind in asked.items() if kind}
    if len(asked) > 1:
        raise UserError(f"{' and '.join(asked)} exclude each other: choose one.")
    return next(iter(asked.values()), PlainNetwork)


def input_size(backbone, parts=False):
    """(height, width) of the images where no other is asked for."""
    return PCB.size if parts else find_backbone(backbone).size


def check_network(options, defaults):
    """Raise UserError for flags that contradict each other, and for those that the network would ignore.

    options: with the network's flags of train.py. defaults(flag): the default of one, which is never refused.
    """
    kind = network_kind(options.backbone, options.usam, options.PCB)
    if options.attention:
        parse_attention(options.attention)
    ignored = {
        PCB: ["neck", "linear_num"],
        MGN: ["neck", "linear_num", "droprate"],
        LightMBN: ["neck", "linear_num", "droprate"],
    }.get(kind, ["linear_num", "droprate"] if options.neck != "linear" else [])
    for flag in ignored:
        value = getattr(options, flag)
        if value not in (defaults(flag), 0):
            what = f"--neck {options.neck}" if kind in (PlainNetwork, USAMNetwork) else kind.__name__
            raise UserError(f"--{flag} {value} means nothing to {what}; leave it out.")
