"""The files of exported networks, and the programs that run them. Neither needs PyTorch."""

import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from person_reid.errors import UserError, optional_module
from person_reid.files import TENSORS, content_of, regular_file

CPU_ONLY = ("CPUExecutionProvider",)
INSTALL = {
    "onnxruntime": "ONNX files need onnxruntime: python -m pip install onnxruntime  "
    "(onnxruntime-gpu for an NVIDIA GPU)",
    "openvino": "OpenVINO is not installed: python -m pip install openvino",
}


def import_runtime(name: str) -> Any:
    """Return onnxruntime or openvino, without the telemetry that importing it would start.

    Raises UserError, with the command that installs it, if it is missing.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    # An import of this module then fails, which OpenVINO allows for.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return optional_module(name, UserError(INSTALL[name]))


def onnx_session(path: Path, threads: int, providers: Sequence[Any] = CPU_ONLY) -> Any:
    """Return a quiet session of ONNX Runtime with a file, on so many threads of a processor.

    providers: what else computes, see deploy.run.providers.
    """
    onnxruntime = import_runtime("onnxruntime")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    # Other processes need the cores as well.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.log_severity_level = 3
    with open_for_library(path) as source:
        return onnxruntime.InferenceSession(source, settings, providers=[*providers])


def openvino_model(path: Path) -> tuple[Any, Any]:
    """Return OpenVINO's Core, and the model in a file, of which it compiles what can be run."""
    core = import_runtime("openvino").Core()
    with open_for_library(path) as source:
        return core, core.read_model(source)


# In an ONNX file: the key of an entry that names a file of weights, and the length of the name.
LOCATION = re.compile(rb"\n\x08location\x12([\x01-\x7f])")


def weight_files(path: Path, content: bytes) -> list[Path]:
    """Return the files beside a network that hold its weights.

    They are OpenVINO's net.bin, or those that the content of an ONNX file names: PyTorch 2.9 and
    newer write net.onnx.data. A file in another folder is left to the library that reads it.
    """
    if path.suffix.lower() == ".xml":
        return [path.with_suffix(".bin")]
    names = {
        os.fsdecode(content[name.end() :][: name[1][0]]) for name in LOCATION.finditer(content)
    }
    return [path.with_name(name) for name in sorted(names) if Path(name).name == name]


def file_size(path: Path) -> int:
    """Return the bytes of an exported network and of the files that hold its weights."""
    content = content_of(path, TENSORS)
    beside = weight_files(path, content) if path.suffix.lower() in (".onnx", ".xml") else []
    return len(content) + sum(file.stat().st_size for file in beside if file.exists())


@contextmanager
def open_for_library(path: Path) -> Iterator[bytes | str]:
    """Yield what the libraries read: the content of a file, or its path if weights lie beside it.

    The Hugging Face hub keeps what it downloads as links, which libraries refuse to follow: then it
    is the path of a copy. Raises UserError if weights are missing.
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
