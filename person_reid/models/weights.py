"""State dicts in and out: files of any origin are read as data, cleaned of wrappers' prefixes, and matched by name."""

import argparse
import pickle
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from person_reid.basics import UserError, describe
from person_reid.models.translation import resampled, timm_names_of_mmdetection

WRAPPERS = ("module.", "_orig_mod.")  # DataParallel and AveragedModel, torch.compile
ENVELOPES = ("state_dict", "model", "network", "teacher", "student")  # under which key training states keep the weights
# Under which name training programs keep the backbone: MoCo, LUPerson and LUPerson-NL; DINO, TransReID-SSL, SOLIDER and
# fast-reid; TransReID and reid-strong-baseline; CLIP.
CONTAINERS = ("encoder_q.", "encoder.", "base_encoder.", "backbone.", "base.", "visual.", "image_encoder.")

# The last linear layers: ours, and the ImageNet classifiers of the libraries.
CLASSIFIER = re.compile(
    r"(.*\.)?classifier\.(0\.)?(weight|bias)|(model\.)?(fc|_fc|head|head\.fc|last_linear)\.(weight|bias)"
)


@dataclass
class LoadReport:
    """What became of a file's tensors: the names loaded, those the network lacks, those of another shape, and the
    network's own that the file lacks."""

    loaded: list = field(default_factory=list)
    unknown: list = field(default_factory=list)
    mismatched: list = field(default_factory=list)
    missing: list = field(default_factory=list)

    def __str__(self):
        def some(names):
            return f"{len(names)} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"

        parts = [f"{len(self.loaded)} tensors loaded"]
        parts += [f"{some(self.unknown)} of the file not used"] if self.unknown else []
        parts += [f"{some(self.mismatched)} of another shape skipped"] if self.mismatched else []
        parts += [f"{some(self.missing)} left as initialised"] if self.missing else []
        return "; ".join(parts)


def read_state_dict(path):
    """The state dict in a file, as plain names and tensors on the CPU.

    Unpacks training states that keep it under a key of its own, removes the prefixes of DataParallel, DDP,
    torch.compile and AveragedModel, and gives mmdetection's Swin Transformers timm's names. Raises FileNotFoundError,
    or UserError where the file is not a state dict.
    """
    content = read_tensors(path)
    for key in ENVELOPES:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not any(isinstance(value, torch.Tensor) for value in content.values()):
        raise UserError(f"{path}: expected a state dict (names and tensors), found {type(content).__name__}.")
    return timm_names_of_mmdetection(
        {
            _without_wrappers(name): value
            for name, value in content.items()
            if isinstance(value, torch.Tensor) and name != "n_averaged"
        }
    )


def without_container(state_dict, fitting):
    """A state dict without the prefix under which another program keeps its backbone (`encoder_q.`, `backbone.`, …).

    fitting: fitting(state_dict) → how many of its names the network knows; the prefix that gives most is removed.
    Tensors outside the container, such as heads and momentum encoders, keep their names.
    """
    found = [prefix for prefix in CONTAINERS if any(name.startswith(prefix) for name in state_dict)]
    readings = [{name.removeprefix(prefix): value for name, value in state_dict.items()} for prefix in found]
    return max([state_dict, *readings], key=fitting)


def read_tensors(path, device="cpu"):
    """What torch.save wrote to a file, read as data: nothing in it is executed. Beside tensors that may be numbers of
    NumPy and the flags of a training program, as DINO, MoCo and torchreid leave them.

    Raises FileNotFoundError, or UserError where it is cut short or holds more than data.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such weight file.")
    scalar = np.float64().__reduce__()[0]
    data = [argparse.Namespace, scalar, np.dtype, *(type(np.dtype(kind)) for kind in ("f4", "f8", "i8"))]
    try:
        with torch.serialization.safe_globals(data):
            return torch.load(path, map_location=device, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise UserError(
            f"{path}: not a readable weight file, perhaps cut short ({describe(error).splitlines()[0][:100]}). "
            "Expected tensors as torch.save writes them; copy or train it again."
        ) from error


def _without_wrappers(name):
    while name.startswith(WRAPPERS):
        name = name.split(".", 1)[1]
    return name


def load_matching(module, state_dict):
    """Load every tensor of `state_dict` that `module` has under the same name and shape; returns a LoadReport.

    Position embeddings and biases of another grid are resampled to the module's.
    """
    own = module.state_dict()
    report = LoadReport(missing=[name for name in own if name not in state_dict])
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


def load_weights(network, path, strict=False):
    """Load a weight file into a Network: a whole network's (published checkpoints, `module.` prefixes, averages) or a
    backbone's alone. Returns a LoadReport.

    A classifier of other identities is left as it is: the feature does not depend on it. If a network has copies of a
    backbone's stages, each gets the tensors. Raises UserError if the file belongs to another network: a tensor of the
    backbone has another shape, most are missing or, with strict, anything is missing that the feature depends on.
    """
    state_dict = _read_for(network, path)
    whole = any(name.startswith("model.") for name in state_dict)
    report = load_matching(_target(network, whole, strict), state_dict)
    _verify(report, path, strict, whole)
    return report


def _read_for(network, path):
    """Read the tensors of a file under the network's names, without those of a classifier that it does not have."""
    own = {*network.state_dict(), *network.model.state_dict()}
    state_dict = without_container(read_state_dict(path), lambda names: len(own & network.renamed(names).keys()))
    state_dict = network.renamed(state_dict)
    if network.num_classes is not None or not any(name.startswith("model.") for name in state_dict):
        return state_dict
    own = network.state_dict().keys()
    return {name: value for name, value in state_dict.items() if name in own or name.startswith("model.")}


def _target(network: nn.Module, whole, strict):
    """Choose what the tensors go into: the network for the file of a whole one, else its backbone. A network with more
    layers than its backbone is also the target with strict, which then finds them missing."""
    bare = all(name.startswith("model.") for name in network.state_dict())
    return network if whole or (strict and not bare) else network.model


def _verify(report, path, strict, whole):
    """Raise UserError if the report shows that the file belongs to another network."""
    matters = "" if strict or not whole else "model."
    wrong = [name for name in report.mismatched if name.startswith(matters) and not CLASSIFIER.fullmatch(name)]
    lacking = [name for name in report.missing if strict and not CLASSIFIER.fullmatch(name)]
    if wrong or lacking or len(report.loaded) < len(report.missing):
        raise UserError(
            f"{path}: the weights of another network ({report}). Expected those of the network that the options "
            "describe: check --backbone and the flags beside it (--PCB, --linear_num, …), or the run's opts.yaml."
        )
