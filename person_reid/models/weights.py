"""Load the tensors of a weight file into a network, by name and shape."""

import logging
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn
from torch.nn import Module

from person_reid.errors import UserError
from person_reid.models.network import Network
from person_reid.models.published.hub import weight_file
from person_reid.models.published.transformer_weights import resampled
from person_reid.models.weight_files import read_state_dict

# Norms have counted their batches since PyTorch 0.4.1. Older files lack the counts; nothing depends
# on them.
COUNTERS = "num_batches_tracked"
log = logging.getLogger(__name__)

# The last linear layers: our classifiers, and the ImageNet classifiers of the libraries.
CLASSIFIER = re.compile(
    r"(.*\.)?classifier\.(0\.)?(weight|bias)|(model\.)?(fc|_fc|head|head\.fc|last_linear)\.(weight|bias)"
)


@dataclass
class LoadReport:
    """The result of loading a weight file, as lists of tensor names.

    loaded: into the network. unknown: not in the network. mismatched: of another shape. missing:
    not in the file.
    """

    loaded: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors loaded"]
        for names, what in (
            (self.unknown, "of the file not used"),
            (self.mismatched, "of another shape skipped"),
            (self.missing, "left as initialised"),
        ):
            more = ", …" if len(names) > 3 else ""
            parts += [f"{len(names)} ({', '.join(names[:3])}{more}) {what}"] if names else []
        return "; ".join(parts)


def load_matching(module: nn.Module, state_dict: dict[str, Tensor]) -> LoadReport:
    """Load every tensor in `state_dict` that has the same name and shape as one in `module`.

    Returns a LoadReport. Position embeddings and biases of another grid are resampled to the
    module's.
    """
    own = module.state_dict()
    report = LoadReport(
        missing=[name for name in own if name not in state_dict and not name.endswith(COUNTERS)]
    )
    fitting = {}
    for name, value in state_dict.items():
        if name in own and own[name].shape != value.shape:
            value = resampled(module, name, value)
        if name not in own:
            report.unknown.append(name)
        elif own[name].shape != value.shape:
            report.mismatched.append(name)
        else:
            fitting[name] = value
            report.loaded.append(name)
    module.load_state_dict(fitting, strict=False)
    return report


def load_weights(network: Network, path: str | Path, strict: bool = False) -> LoadReport:
    """Load weights of a whole network or a backbone into a Network, and return a LoadReport.

    path: the file, or the name of a published network.

    A whole network may be a published checkpoint, an average, or have `module.` prefixes. A
    classifier for other identities is not loaded: the feature does not depend on it. If a network
    has copies of a backbone's stages, each gets the tensors. The log warns of tensors of the
    backbone that the file lacks. Raises UserError if the file belongs to another network: a tensor
    of the backbone has another shape, most tensors are missing, unknown tensors have the shapes of
    the missing ones or, with strict, anything is missing that the feature depends on.
    """
    path = weight_file(path)
    tensors = _renamed(read_state_dict(path), network)
    of_network = any(name.startswith("model.") for name in tensors)  # otherwise a backbone's
    report = load_matching(_place(network, of_network, strict), tensors)

    # Outside its backbone, a whole network may differ if no feature is needed.
    compared = "model." if of_network and not strict else ""
    fits = _fits(report, compared, strict, network.architecture.foreign)
    if not fits or len(report.loaded) < len(report.missing):
        raise UserError(
            f"{path}: the weights of another network ({report}). Expected the weights of "
            "the network that the options describe: check backbone and the options beside it "
            "(PCB, linear_num, …), or the run's opts.yaml."
        )
    _check_missing(report, network, tensors, path)
    return report


def _check_missing(
    report: LoadReport, network: Network, tensors: dict[str, Tensor], path: Path
) -> None:
    """Warn about tensors of the backbone that a file lacks.

    Raises UserError if it has as many unknown tensors of the same shapes: these are the missing
    ones under other names.
    """
    own = {**network.module.state_dict(), **network.state_dict()}
    beside = {name for name in network.state_dict() if not name.startswith("model.")}
    lost = [name for name in {*report.missing} - beside if not CLASSIFIER.fullmatch(name)]
    if not lost:
        return
    said = (
        f"{path}: {len(lost)} tensors of the backbone are missing ({', '.join(sorted(lost)[:3])})"
    )
    others = [name for name in report.unknown if tensors[name].ndim]
    if Counter(own[name].shape for name in lost) <= Counter(tensors[name].shape for name in others):
        raise UserError(
            f"{said}, and the file has as many of their shapes under other names "
            f"({', '.join(others[:3])}). Rename them as the network's are."
        )
    log.warning("%s, and keep their initial values.", said)


def _renamed(tensors: dict[str, Tensor], network: Network) -> dict[str, Tensor]:
    """Return the tensors from a file under the network's names.

    A classifier that the network lacks is skipped.
    """
    own = {*network.state_dict(), *network.module.state_dict()}
    tensors = without_container(tensors, lambda names: len(own & network.renamed(names).keys()))
    tensors = network.renamed(tensors)
    network.architecture.adopt(network.module, tensors)
    tensors = network.architecture.converted(network.module, tensors)
    if network.num_classes is not None or not any(name.startswith("model.") for name in tensors):
        return tensors
    layers = network.state_dict()
    return {
        name: value
        for name, value in tensors.items()
        if name in layers or name.startswith("model.")
    }


def _place(network: Network, of_network: bool, strict: bool) -> Module:
    """Return the module to load tensors into: the network, or only its backbone.

    With strict, it is the network if the feature needs layers outside the backbone, so that these
    are found missing.
    """
    needed = (name for name in network.state_dict() if not CLASSIFIER.fullmatch(name))
    beside = strict and not all(name.startswith("model.") for name in needed)
    return network if of_network or beside else network.module


def _fits(report: LoadReport, compared: str, strict: bool, foreign: tuple[str, ...]) -> bool:
    """Return whether, according to a report, the file belongs to the network.

    compared: the prefix of tensors whose shapes count. strict: whether no tensor may be missing.
    foreign: how the tensor names of other networks begin. Classifiers never count.
    """
    wrong = (name for name in report.mismatched if name.startswith(compared))
    missing = report.missing if strict else []
    strange = any(name.removeprefix("model.").startswith(foreign) for name in report.unknown)
    return not strange and all(map(CLASSIFIER.fullmatch, [*wrong, *missing]))


def without_container(
    state_dict: dict[str, Tensor], fitting: Callable[[dict[str, Tensor]], int]
) -> dict[str, Tensor]:
    """Remove the prefix that another program gives its backbone (`encoder_q.`, `model.model.`, …).

    fitting: fitting(state_dict) → how many of its names the network has; of the prefixes that a
    quarter of the names have, the one that makes most names fit is removed. Tensors without it,
    such as heads and momentum encoders, keep their names.
    """
    prefixes = Counter(name[: dot.end()] for name in state_dict for dot in re.finditer(r"\.", name))
    readings = [
        {name.removeprefix(prefix): value for name, value in state_dict.items()}
        for prefix, count in prefixes.items()
        if 4 * count >= len(state_dict)
    ]
    return max([state_dict, *readings], key=fitting)
