"""Read weight files from any source as data: nothing in them is executed."""

import argparse
import logging
import re
import sys
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, load_file
from torch import Tensor

from person_reid.config.zoo import network_names
from person_reid.errors import UserError, first_line
from person_reid.files import TENSORS, regular_file
from person_reid.models.published.intel import read_openvino
from person_reid.models.published.transformer_weights import timm_names_of_mmdetection
from person_reid.text import did_you_mean, printable

log = logging.getLogger(__name__)
SAFETENSORS = "model.safetensors"  # the weight file in a folder
OTHER_SAFETENSORS = "weights.safetensors"  # in a folder of Roboflow's save_pretrained
# What wrappers put into a name: DataParallel and AveragedModel before it, torch.compile, FSDP and
# activation checkpoints anywhere.
WITHIN = "_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module"
WRAPPERS = re.compile(rf"^((module|{WITHIN})\.)+|(?<=\.)({WITHIN})\.")
NETWORK_SUFFIXES = (".onnx", ".xml", ".pt2")
RUNS_ITSELF = "an exported network, not a weight file. Run it as it is: --engine"
DATA_OF_PYTHON = (
    "argparse.Namespace", "builtins.dict", "builtins.list", "builtins.set", "collections.",
    "datetime.", "pathlib.",
)  # fmt: skip
# Keys under which training states hold the weights, and their average, which is better.
ENVELOPES = ("state_dict", "model", "network", "teacher", "student")
AVERAGES = ("state_dict_ema", "model_ema", "ema")


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the state dict in a file, as plain names and tensors on the CPU.

    Unpacks training states that keep it under its own key, preferring an average; removes
    what DataParallel, DDP, FSDP, torch.compile and AveragedModel add to names; and gives Swin
    Transformers of mmdetection timm's names. Raises FileNotFoundError, or UserError if the
    file is not a state dict.
    """
    content = read_tensors(path)
    beside = content if isinstance(content, dict) else {}
    averages = [key for key in AVERAGES if isinstance(beside.get(key), dict)]
    if key := next((key for key in averages if _tensors_in(beside[key], path)), None):
        log.info("%s: the weights are the average under %r.", path, key)
        content = beside[key]
    for key in ENVELOPES:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    tensors = {WRAPPERS.sub("", name): value for name, value in _tensors_in(content, path).items()}
    if not tensors:
        found = type(content).__name__
        if foreign := foreign_objects(path):
            found = (
                f"{', '.join(foreign[:3])}. Save the weights alone: "
                "torch.save(model.state_dict(), FILE)"
            )
        raise UserError(f"{path}: expected a state dict (names and tensors), found {found}.")
    return timm_names_of_mmdetection(tensors)


def _tensors_in(content: Any, path: str | Path) -> dict[str, Tensor]:
    """Return the largest group of named tensors in a file's content, at top level or under any key.

    Files of other programs also contain other objects, or a module that was saved whole. An object
    may contain itself.
    """
    left, seen = [("", content)], set()
    groups: dict[str, dict[str, Tensor]] = {}
    for key, value in left:  # which grows
        if isinstance(value, dict) and id(value) not in seen:
            seen.add(id(value))
            tensors = {
                name: entry
                for name, entry in value.items()
                if isinstance(name, str) and isinstance(entry, Tensor) and name != "n_averaged"
            }
            groups.setdefault(key, tensors or _tensors_of_module(value))
            left += [
                (str(name), entry) for name, entry in value.items() if "optim" not in str(name)
            ]
    key = max(groups, key=lambda key: len(groups[key]), default="")
    if key:
        log.info("%s: the weights are those under %r.", path, key)
    return groups.get(key, {})


def _tensors_of_module(content: Any) -> dict[str, Tensor]:
    """Return the tensors of a module that was saved whole, or {} for any other content."""
    left, seen = [("", content)], set()
    tensors: dict[str, Tensor] = {}
    for name, value in left:  # which grows
        if isinstance(value, Tensor):
            tensors[name] = value
        elif isinstance(value, OrderedDict) and id(value) not in seen:  # it may refer to itself
            seen.add(id(value))
            for kind in ("_parameters", "_buffers", "_modules"):
                entries = vars(value).get(kind)
                if isinstance(entries, dict):
                    left += [(f"{name}.{key}".strip("."), entry) for key, entry in entries.items()]
    return tensors


def read_tensors(path: str | Path, device: str | torch.device = "cpu") -> Any:
    """Read a file written by torch.save or safetensors as pure data: nothing in it is executed.

    path: the file, or a folder with a model.safetensors or Roboflow's weights.safetensors.

    Besides tensors, the file may hold NumPy arrays, scalars and the flags of a training program, as
    the files of DINO, MoCo and torchreid do. Objects of other programs are read as empty dicts.
    Raises FileNotFoundError, or UserError if the file is cut short, an exported network, or holds a
    Python object that is not data.
    """
    path = Path(path)
    if path.is_dir():
        other = path / OTHER_SAFETENSORS
        path = other if other.exists() else path / SAFETENSORS
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such weight file.{did_you_mean(path.name, network_names())}"
        )
    if path.suffix.lower() == ".xml" and (tensors := read_openvino(path)):
        return {name: value.to(device) for name, value in tensors.items()}
    if path.suffix.lower() in NETWORK_SUFFIXES:
        raise UserError(f"{path}: {RUNS_ITSELF} {path}")
    regular_file(path, TENSORS, "a weight file")
    scalar, array = np.float64().__reduce__()[0], np.zeros(1).__reduce__()[0]
    kinds = {
        type(np.dtype(code)) for code in "?" + np.typecodes["AllInteger"] + np.typecodes["AllFloat"]
    }
    data: list[Any] = [argparse.Namespace, np.ndarray, np.dtype, *kinds]
    for core in ("core", "_core"):  # of NumPy 1 and 2
        data += [
            (scalar, f"numpy.{core}.multiarray.scalar"),
            (array, f"numpy.{core}.multiarray._reconstruct"),
        ]
    data += [(Unread, name) for name in foreign_objects(path)]
    try:
        if path.suffix == ".safetensors":
            if printable(path) != str(path):  # safetensors accepts only names in UTF-8
                tensors = load(path.read_bytes())
                return {name: tensor.to(device) for name, tensor in tensors.items()}
            return load_file(path, str(device))
        _check_sums(path)
        with torch.serialization.safe_globals(data), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's, about how others wrote a file
            return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch.load may fail in any way on a damaged file
        raise UserError(f"{path}: {_problem(path, str(error), first_line(error))}") from error


def _problem(path: Path, message: str, reason: str) -> str:
    """Describe the fault in a file and the remedy.

    message: the error from PyTorch. reason: its first line.
    """
    if "TorchScript archive" in message:
        return f"{RUNS_ITSELF} {path}"
    if code := _objects(path) or re.findall(r"GLOBAL (\S+)", message):
        return (
            f"not a readable weight file: PyTorch would have to run {', '.join(code[:3])}. "
            "Save the weights alone in the program that wrote it: "
            "torch.save(model.state_dict(), FILE)"
        )
    # PyTorch's own advice comes before it
    explained = re.search(r"WeightsUnpickler error:\s*(.*)", message)
    reason = shorten(explained[1] if explained else reason, 100, placeholder=" …")
    return (
        f"not a readable weight file, perhaps cut short ({reason}). "
        "Expected tensors as torch.save or safetensors writes them; copy or train it again."
    )


class Unread:
    """The stand-in for another program's object in a file.

    It becomes a dict, and no code of that program is run.
    """

    def __new__(cls, *arguments: object) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        """Return an empty dict, whatever the arguments; PyTorch's reader can then fill it."""
        return OrderedDict()


def foreign_objects(path: str | Path) -> list[str]:
    """Return the kinds of foreign objects in a file, as `module.name`.

    They are objects of other programs, and Python's own that hold data. Python's other objects are
    skipped, because they could be code to run.
    """
    return [
        name
        for name in _objects(path)
        if name.split(".")[0] not in {*sys.stdlib_module_names, "numpy"}
        or name.startswith(DATA_OF_PYTHON)
    ]


def _objects(path: str | Path) -> list[str]:
    """Return the kinds of objects that PyTorch refuses to read as data from a file.

    Files from PyTorch before 1.6 do not list them.
    """
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # it may fail in any way on a damaged file
        return []


def _check_sums(path: str | Path) -> None:
    """Raise ValueError if a part of a file does not match its checksum.

    torch.load does not check them.
    """
    if zipfile.is_zipfile(path):  # files from before PyTorch 1.6 are not
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise ValueError(f"{damaged} in it differs from its checksum")
