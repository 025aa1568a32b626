"""Load the tensors of a weight file into a network, by name and shape."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from person_reid.config.option import NAMED, OptionError
from person_reid.models.hub import weight_file
from person_reid.models.network import Network
from person_reid.models.transformer_weights import resampled
from person_reid.models.weight_files import read_state_dict

# The prefixes of the backbone in the files of other programs: MoCo, LUPerson and LUPerson-NL; DINO,
# TransReID-SSL, SOLIDER and fast-reid; TransReID and reid-strong-baseline; CLIP; Roboflow's
# trackers, if a projection follows; apex in half precision.
CONTAINERS = (
    "encoder_q.", "encoder.", "base_encoder.", "backbone.", "base.", "visual.", "image_encoder.",
    "0.", "1.",
)  # fmt: skip

# The last linear layers: our classifiers, and the ImageNet classifiers of the libraries.
CLASSIFIER = re.compile(
    r"(.*\.)?classifier\.(0\.)?(weight|bias)|(model\.)?(fc|_fc|head|head\.fc|last_linear)\.(weight|bias)"
)


@dataclass
class LoadReport:
    """The result of loading a file, as names of tensors.

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
    """Load every tensor of `state_dict` that `module` has with the same name and shape; return a
    LoadReport.

    Position embeddings and biases of another grid are resampled to the module's.
    """
    own = module.state_dict()
    # of norms, not in files of PyTorch before 0.4.1; nothing depends on them
    counters = "num_batches_tracked"
    report = LoadReport(
        missing=[name for name in own if name not in state_dict and not name.endswith(counters)]
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
    """Load the weight file of a whole network or of a backbone into a Network; return a LoadReport.

    path: the file, or the name of a published network.

    A whole network may be a published checkpoint, an average, or have `module.` prefixes. A
    classifier of other identities is not loaded: the feature does not depend on it. If a network
    has copies of a backbone's stages, each gets the tensors. Raises OptionError if the file belongs
    to another network: a tensor of the backbone has another shape, most are missing or, with
    strict, anything is missing that the feature depends on.
    """
    path = weight_file(path)
    state_dict = _read_for(network, path)
    whole = any(name.startswith("model.") for name in state_dict)
    matters = [name for name in network.state_dict() if not CLASSIFIER.fullmatch(name)]
    further = strict and not all(name.startswith("model.") for name in matters)  # are found missing
    report = load_matching(network if whole or further else network.model, state_dict)
    _verify(report, path, strict, whole, network.entry.foreign)
    return report


def _read_for(network: Network, path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a file under the network's names, without a classifier that the network
    lacks.
    """
    own = {*network.state_dict(), *network.model.state_dict()}
    state_dict = without_container(
        read_state_dict(path), lambda names: len(own & network.renamed(names).keys())
    )
    state_dict = network.renamed(state_dict)
    network.entry.adopt(network.model, state_dict)
    if network.num_classes is not None or not any(name.startswith("model.") for name in state_dict):
        return state_dict
    layers = network.state_dict()
    return {
        name: value
        for name, value in state_dict.items()
        if name in layers or name.startswith("model.")
    }


def _verify(
    report: LoadReport, path: str | Path, strict: bool, whole: bool, foreign: tuple[str, ...]
) -> None:
    """Raise OptionError if the report shows that the file belongs to another network."""
    matters = "" if strict or not whole else "model."
    wrong = [
        name
        for name in report.mismatched
        if name.startswith(matters) and not CLASSIFIER.fullmatch(name)
    ]
    wrong += [n for n in report.unknown if n.removeprefix("model.").startswith(foreign)]
    lacking = [name for name in report.missing if strict and not CLASSIFIER.fullmatch(name)]
    if wrong or lacking or len(report.loaded) < len(report.missing):
        raise OptionError(
            f"{path}: the weights of another network ({report}). Expected those of the network "
            "that the options describe: check {backbone} and the options beside it ({PCB}, "
            f"{{linear_num}}, …), or the run's opts.yaml.",
            **dict.fromkeys(("backbone", "PCB", "linear_num"), NAMED),
        )


def without_container(
    state_dict: dict[str, Tensor], fitting: Callable[[dict[str, Tensor]], int]
) -> dict[str, Tensor]:
    """Remove the prefix that another program gives its backbone (`encoder_q.`, `backbone.`, …).

    fitting: fitting(state_dict) → how many of its names the network has; the prefix whose removal
    gives most goes. Tensors without the prefix, such as heads and momentum encoders, keep their
    names.
    """
    found = [prefix for prefix in CONTAINERS if any(name.startswith(prefix) for name in state_dict)]
    readings = [
        {name.removeprefix(prefix): value for name, value in state_dict.items()} for prefix in found
    ]
    return max([state_dict, *readings], key=fitting)
