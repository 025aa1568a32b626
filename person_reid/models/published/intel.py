"""Read the networks of Intel's Open Model Zoo as weights, without OpenVINO.

A network in OpenVINO's format is two files: the .xml lists its layers, in the order in which they
run, and the .bin has the constants.
"""

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch
from torch import Tensor

from person_reid.errors import UserError
from person_reid.files import TENSORS, content_of

FLOATS = {"f16": np.float16, "f32": np.float32}
BEFORE = 2  # constants: ImageNet's mean and deviation, with which the suite's images are normalised
EPSILON = 1e-5  # of a batch norm
# The endings of tensors with one value per channel, which OpenVINO stores with further axes.
VECTORS = ("bias", "norm.weight", "bn.weight", "fc.1.weight", "fc.2.weight")
LITE = ("conv1.weight", "conv2.weight", "bn.bias")
CONV_NORM = ("conv.weight", "bn.bias")
PAIR = ("weight", "bias")
STREAMS = [f"conv2{'abcd'[depth - 1]}.{i}" for depth in (2, 3, 4) for i in range(depth)]


def read_openvino(path: Path) -> dict[str, Tensor] | None:
    """Return the tensors of an OSNetLCT in OpenVINO's format, under that network's names.

    path: the .xml file; the .bin is beside it. Returns None for any other network.

    The file has layers for BGR images from 0 to 255. They are skipped: the network that gets the
    tensors takes the suite's images. Batch norms are folded into the convolutions before them, so
    here they only add a bias. Raises UserError if the .bin is missing or belongs to another file.
    """
    constants, names = _constants(path), list(_names())
    if len(constants) != BEFORE + len(names):
        return None
    values = path.with_suffix(".bin")
    if not values.exists():
        raise UserError(f"{values}: no such file. Put it beside {path.name}, which needs it.")
    content, tensors = content_of(values, TENSORS, "the constants of a network"), {}
    for name, (label, kind, offset, shape) in zip(names, constants[BEFORE:], strict=True):
        if label.endswith(".weight") and label != name:
            return None
        count = math.prod(shape)
        if offset + count * kind.itemsize > len(content):
            raise UserError(f"{values}: cut short, or not the file of {path.name}. Copy it again.")
        value = torch.from_numpy(np.frombuffer(content, kind, count, offset).astype(np.float32))
        if not name.endswith(VECTORS):  # a depthwise convolution has an axis more
            value = value.view(shape[0], *shape[-3:]) if len(shape) > 2 else value.view(shape)
        tensors[name] = value
    for name in names:
        if name.endswith(("bn.bias", "fc.1.bias")) and name != "conv1.bn.bias":
            norm, zeros = name.removesuffix("bias"), torch.zeros_like(tensors[name])
            tensors.setdefault(f"{norm}weight", zeros + 1)
            tensors |= {f"{norm}running_mean": zeros, f"{norm}running_var": zeros + 1 - EPSILON}
    return tensors


def _constants(path: Path) -> list[tuple[str, np.dtype[Any], int, list[int]]]:
    """Return the name, type, offset and shape of each floating-point constant, in order of use.

    A constant that several layers share is listed once. Returns an empty list for other files.
    """
    constants = {}
    try:
        for layer in ElementTree.fromstring(content_of(path, TENSORS, "a network")).iter("layer"):
            data = {} if (element := layer.find("data")) is None else element.attrib
            if layer.get("type") == "Const" and data.get("element_type") in FLOATS:
                label = str(layer.get("name")).removesuffix("_compressed")
                shape = [int(side) for side in re.findall(r"\d+", data["shape"])]
                kind, offset = np.dtype(FLOATS[data["element_type"]]), int(data["offset"])
                constants[offset] = label, kind, offset, shape
    except (ElementTree.ParseError, LookupError, ValueError):
        return []
    return list(constants.values())


def _names() -> Iterator[str]:
    """Yield the names of an OSNetLCT's tensors, in the order of a file."""
    yield from ("norm.weight", "norm.bias", "conv1.conv.weight", "conv1.bn.weight", "conv1.bn.bias")
    for stage in ("conv2", "conv3", "conv4"):
        for number, gate in enumerate((("fc1", "fc2"), ("norm",))):
            layers = [
                *_tensors(CONV_NORM, "conv1"),
                *_tensors(LITE, "conv2a"),
                *_tensors(PAIR, *(f"gate.{layer}" for layer in gate)),
                *_tensors(LITE, *STREAMS),
                *_tensors(CONV_NORM, "conv3", *(() if number else ("downsample",))),
            ]
            yield from (f"{stage}.{number}.{layer}" for layer in layers)
        if stage != "conv4":
            yield from _tensors(CONV_NORM, f"{stage}.2.0")
    yield from [
        *_tensors(CONV_NORM, "conv5"),
        *_tensors(PAIR, "pool", "fc.0", "fc.1"),
        "fc.2.weight",
    ]


def _tensors(names: Iterable[str], *layers: str) -> list[str]:
    return [f"{layer}.{name}" for layer in layers for name in names]
