"""The files of exported networks: their descriptions, and the programs that run them.

Neither needs PyTorch.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from person_reid.config.option import LARGEST_SIDE
from person_reid.errors import UserError, optional_module
from person_reid.files import TENSORS, content_of, regular_file
from person_reid.text import parse_json

if TYPE_CHECKING:
    import torch

CPU_ONLY = ("CPUExecutionProvider",)
INSTALL = {
    "onnxruntime": "ONNX files need onnxruntime: python -m pip install onnxruntime  "
    "(onnxruntime-gpu for an NVIDIA GPU)",
    "openvino": "OpenVINO is not installed: python -m pip install openvino",
}
CONTENTS_KEY = "person-reid"  # the key of the Contents in a file


def import_runtime(name: str) -> Any:
    """Import onnxruntime or openvino without the telemetry that it would start.

    Raises UserError, with the command that installs it, if it is missing.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    # Importing this module then fails, which OpenVINO tolerates.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return optional_module(name, UserError(INSTALL[name]))


def onnx_session(path: Path, threads: int, providers: Sequence[Any] = CPU_ONLY) -> Any:
    """Return a quiet ONNX Runtime session for a file.

    threads: the number of CPU threads. providers: other execution providers; see
    deploy.engine.providers.
    """
    onnxruntime = import_runtime("onnxruntime")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    # Other processes also need the cores.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.log_severity_level = 3
    with open_for_library(path) as source:
        return onnxruntime.InferenceSession(source, settings, providers=[*providers])


def openvino_model(path: Path) -> tuple[Any, Any]:
    """Return OpenVINO's Core, and a file's model, which the Core can compile."""
    core = import_runtime("openvino").Core()
    with open_for_library(path) as source:
        return core, core.read_model(source)


# In an ONNX file: the key of an entry that names a file of weights, and the length of the name.
LOCATION = re.compile(rb"\n\x08location\x12([\x01-\x7f])")


def weight_files(path: Path, content: bytes) -> list[Path]:
    """Return the weight files beside the file of a network.

    They are OpenVINO's net.bin, or the files that an ONNX file names: PyTorch 2.9 and newer write
    net.onnx.data. Files in other folders are left to the library that reads them.
    """
    if path.suffix.lower() == ".xml":
        return [path.with_suffix(".bin")]
    names = {
        os.fsdecode(content[name.end() :][: name[1][0]]) for name in LOCATION.finditer(content)
    }
    return [path.with_name(name) for name in sorted(names) if Path(name).name == name]


def file_size(path: Path) -> int:
    """Return the size in bytes of an exported network, including the files with its weights."""
    content = content_of(path, TENSORS)
    beside = weight_files(path, content) if path.suffix.lower() in (".onnx", ".xml") else []
    return len(content) + sum(file.stat().st_size for file in beside if file.exists())


@contextmanager
def open_for_library(path: Path) -> Iterator[bytes | str]:
    """Yield the content of a file or, if its weights are in files beside it, its path.

    The Hugging Face hub stores downloads as links, which libraries do not follow; the path then
    leads to a copy. Raises UserError if weights are missing.
    """
    content = content_of(path, TENSORS)
    beside = weight_files(path, content)
    if missing := [file.name for file in beside if not file.exists()]:
        raise UserError(
            f"{path}: its weights are in {', '.join(missing)}, to be copied into the same folder."
        )
    for file in beside:
        regular_file(file, TENSORS, "the weights of a network")
    if not any(file.is_symlink() for file in (path, *beside)):
        yield str(path) if beside else content
        return
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # Windows keeps files in use
        for file in (path, *beside):
            shutil.copyfile(file, Path(folder, file.name))
        yield str(Path(folder, path.name))


@dataclass(frozen=True)
class Contents:
    """The description of what an exported file expects and returns.

    height, width: the images' size in pixels.
    dim: the dimension of the feature.
    pieces: the number of equal pieces of the feature that are normalised separately.
    source: a description of the network and its weights.
    normalised: the file takes uint8 RGB images (B, H, W, 3) and applies ImageNet's normalisation
        itself. Otherwise it takes normalised float32 images (B, 3, H, W).
    flip: the file adds the mirrored image's feature itself.
    l2: the feature has unit length.
    precision: float32, float16 or int8.
    tensorrt: TensorRT runs the file if it is installed.
    up_to: 1 or 255 if the file takes float32 images (B, 3, H, W) with values from 0 to this number
        and applies ImageNet's normalisation itself; otherwise 0.
    bgr: the images' channels are blue, green and red.
    """

    height: int
    width: int
    dim: int
    pieces: int = 1
    source: str = ""
    normalised: bool = False
    flip: bool = False
    l2: bool = False
    precision: str = "float32"
    tensorrt: bool = False
    up_to: int = 0
    bgr: bool = False

    @property
    def takes(self) -> str:
        """Describe the type and shape of the images that the file takes."""
        if self.normalised:
            return f"uint8 (B, {self.height}, {self.width}, 3)"
        values = f", {'BGR' if self.bgr else 'RGB'} 0..{self.up_to}" if self.up_to else ""
        return f"float32 (B, 3, {self.height}, {self.width}){values}"

    def to_json(self) -> str:
        """Return the description as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Contents:
        """Read the description from a file's JSON, ignoring entries from later versions.

        Raises ValueError or TypeError for a missing or impossible entry.
        """
        found = parse_json(text)
        if not isinstance(found, dict):
            raise ValueError(f"its description is {text[:40]}")
        known = {field.name: field.type for field in fields(cls)}
        contents = cls(**{name: found[name] for name in known if name in found})
        for name, kind in known.items():
            value = getattr(contents, name)
            if type(value).__name__ != kind:
                raise ValueError(
                    f"its description says {name} {value!r}, expected a value of type {kind}"
                )
        problems = {
            f"{contents.height} x {contents.width} pixels": not is_image_size(
                contents.height, contents.width
            ),
            f"values from 0 to {contents.up_to}": contents.up_to not in (0, 1, 255),
            f"a feature of width {contents.dim} in {contents.pieces} pieces": contents.dim < 1
            or contents.pieces < 1
            or contents.dim % contents.pieces,
        }
        for problem, applies in problems.items():
            if applies:
                raise ValueError(f"its description says {problem}")
        return contents

    def images(self, batch: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """Return random images in the form that the file expects."""
        import torch

        shape = (batch, self.height, self.width, 3)
        pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        return self.input(pixels).contiguous()

    def input(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return RGB images, uint8 (B, H, W, 3), in the form that the file expects."""
        if self.normalised:
            return pixels
        if not self.up_to:
            from person_reid.data.images.augment import normalise  # loads torch

            return normalise(pixels)
        images = (pixels.flip(3) if self.bgr else pixels).permute(0, 3, 1, 2)
        return images.float() * (self.up_to / 255)


def is_image_size(height: int, width: int) -> bool:
    """Return whether images may have this height and width in pixels."""
    return 0 < height <= LARGEST_SIDE and 0 < width <= LARGEST_SIDE
