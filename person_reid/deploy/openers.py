"""Open exported networks with the library that runs them: ONNX Runtime, OpenVINO or PyTorch."""

from __future__ import annotations

import math
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch

from person_reid.basics import UserError
from person_reid.deploy.contents import KEY, Contents

# of inputs; else float32
ONNX_TYPES = {"tensor(float16)": torch.float16, "tensor(uint8)": torch.uint8}
PRECISIONS = {None: "f32", torch.float16: "f16", torch.bfloat16: "bf16"}  # their names in OpenVINO
STREAM_BATCH = 8  # images in each of the batches that run side by side; larger ones are not faster


class Opened(NamedTuple):
    """An open file.

    text: the JSON in it, or None. run: the network. streams: how many batches to give it at a time.
    shape, dtype: of its input, if the file says them; None for a length that is free. remark: which
    of several outputs is taken.
    """

    text: str | None
    run: Callable[[torch.Tensor], torch.Tensor]
    streams: int = 1
    shape: Sequence[int | None] = ()
    dtype: torch.dtype = torch.float32
    remark: str = ""


def import_onnxruntime() -> Any:
    """Return the module, without its telemetry.

    Raises UserError, with the command that installs it, if it is missing.

    When imported, ONNX Runtime would otherwise look up where to report its use.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError:
        raise UserError(
            "ONNX files need onnxruntime: python -m pip install onnxruntime  "
            "(onnxruntime-gpu for an NVIDIA GPU)"
        ) from None
    return onnxruntime


def import_openvino() -> Any:
    """Return the module, without its telemetry.

    Raises UserError, with the command that installs it, if it is missing.

    When imported, OpenVINO would otherwise report its use over the network, from a forked process.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # an import of it fails, as allowed for
    try:
        import openvino
    except ImportError:
        raise UserError("OpenVINO is not installed: python -m pip install openvino") from None
    return openvino


def providers(device: torch.device, tensorrt: bool = False) -> list[tuple[str, dict[str, Any]]]:
    """Return onnxruntime's installed execution providers for a device, with
    their settings, the fastest first.
    """
    available = import_onnxruntime().get_available_providers()
    wanted: list[tuple[str, dict[str, Any]]] = [("CPUExecutionProvider", {})]
    if device.type == "cuda":
        number = {"device_id": device.index or 0}
        wanted.insert(0, ("CUDAExecutionProvider", number))
        if tensorrt:
            cache = {"trt_engine_cache_enable": True, "trt_engine_cache_path": "trt_cache"}
            wanted.insert(0, ("TensorrtExecutionProvider", {**number, **cache}))
    return [(name, settings) for name, settings in wanted if name in available]


# How other programs call an embedding, and class scores, among several outputs.
EMBEDDING = re.compile(r"feat|emb|reid|descriptor|vector|neck|pre_?logit", re.IGNORECASE)
SCORES = re.compile(r"logit|class|cls|score|prob|softmax|output_id", re.IGNORECASE)


def chosen_output(
    path: Path, shapes: Mapping[str, Sequence[Any]], asked: str | None
) -> tuple[str, str]:
    """Return the output of a file that is the feature, and a remark that says which it is if it had
    to be guessed.

    shapes: {output: its shape}; a length that is not a number is free.
    asked: the name of --output. Without one, a map, which has a height and a width, comes last. Of
        the others, an output called like an embedding comes first, then one that is not called like
        class scores, then one whose length is a multiple of 64, as embeddings have and numbers of
        classes rarely, then a longer one.

    Raises UserError if there is no output of the name asked for.
    """
    rows = {name: tuple(shape[1:]) for name, shape in shapes.items()}
    widths = {
        name: math.prod(row) if all(isinstance(each, int) for each in row) else 0
        for name, row in rows.items()
    }
    listing = ", ".join(f"{name} ({width or '?'})" for name, width in widths.items())
    if asked is not None and asked not in rows:
        raise UserError(f"{path}: --output {asked}: no such output. There are: {listing}.")
    if asked is not None or len(rows) == 1:
        return asked or next(iter(rows)), ""

    def likely(name: str) -> tuple[bool, bool, bool, bool, int]:
        is_map, width = (
            any(side != 1 for side in rows[name][2:]) and len(rows[name]) == 3,
            widths[name],
        )
        embedding, scores = EMBEDDING.search(name), SCORES.search(name)
        return not is_map, bool(embedding), not scores, width > 0 and not width % 64, width

    best = max(rows, key=likely)
    return (
        best,
        f"its outputs are {listing}. {best} is taken for the feature; --output NAME chooses.",
    )


# In an ONNX file: the key of an entry that names a file of weights, and the length of the name.
LOCATION = re.compile(rb"\n\x08location\x12([\x01-\x7f])")


def weight_files(path: Path) -> list[Path]:
    """Return the files beside a network that hold its weights: OpenVINO's net.bin, or those that an
    ONNX file names.

    PyTorch 2.9 and newer write net.onnx.data. A file in another folder is left to the library that
    reads it.
    """
    if path.suffix.lower() == ".xml":
        return [path.with_suffix(".bin")]
    content = path.read_bytes() if path.suffix.lower() == ".onnx" else b""
    names = {
        os.fsdecode(content[found.end() :][: found[1][0]]) for found in LOCATION.finditer(content)
    }
    return [path.with_name(name) for name in sorted(names) if Path(name).name == name]


@contextmanager
def with_weights(path: Path) -> Iterator[Path]:
    """Yield the path of a network that has its weights beside it, as files: libraries refuse to
    follow links.

    The Hugging Face hub keeps what it downloads as links. Raises UserError if weights are missing.
    """
    beside = weight_files(path)
    if missing := [file.name for file in beside if not file.is_file()]:
        raise UserError(
            f"{path}: its weights are in {', '.join(missing)}, to be copied into the same folder."
        )
    if not beside or not any(file.is_symlink() for file in (path, *beside)):
        yield path
        return
    # Windows keeps files that are in use
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for file in (path, *beside):
            shutil.copyfile(file, Path(folder, file.name))
        yield Path(folder, path.name)


def _open_onnx(path: Path, device: torch.device, output: str | None = None) -> Opened:
    onnxruntime = import_onnxruntime()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    # other processes need the cores, too
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.log_severity_level = 3
    with with_weights(path) as file:
        folder = str(file.absolute().parent)
        settings.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", folder
        )
        content = file.read_bytes()
        session = onnxruntime.InferenceSession(
            content, settings, providers=[("CPUExecutionProvider", {})]
        )
        text = session.get_modelmeta().custom_metadata_map.get(KEY)
        chosen = providers(device, bool(text) and Contents.from_json(text).tensorrt)
        if len(chosen) > 1:
            session = onnxruntime.InferenceSession(content, settings, providers=chosen)
    taken = session.get_inputs()[0]
    shape = [length if isinstance(length, int) else None for length in taken.shape]

    feature, remark = chosen_output(
        path, {each.name: each.shape for each in session.get_outputs()}, output
    )

    def run(images: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(
            session.run([feature], {taken.name: images.contiguous().cpu().numpy()})[0]
        )

    return Opened(text, run, 1, shape, ONNX_TYPES.get(taken.type, torch.float32), remark)


def open_openvino(
    path: Path, device: torch.device, output: str | None = None, dtype: torch.dtype | None = None
) -> Opened:
    """Compile a network for several batches at a time, each on its own cores.

    dtype: in which it computes where it is not int8; None is float32. Raises UserError if the
    processor cannot. It is compiled once for any number of images, and again when the first full
    batch comes: a fixed shape is faster.
    """
    openvino = import_openvino()
    if device.type != "cpu":
        raise UserError(f"{path}: OpenVINO computes on the CPU: --gpu_ids -1.")
    core, threads, precision = openvino.Core(), torch.get_num_threads(), PRECISIONS[dtype]
    if dtype and precision.upper() not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise UserError(
            f"OpenVINO does not compute in {dtype} on this processor: leave --fp16 and --bf16 out."
        )
    settings = {
        "PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision,
        # training leaves weights near 1e-40, which slow a processor down
        "CPU_DENORMALS_OPTIMIZATION": True,
    }  # fmt: skip
    with with_weights(path) as file:
        model = core.read_model(file)
        compiled = {0: core.compile_model(model, "CPU", settings)}
    place = ["framework", KEY]  # where OpenVINO keeps the metadata of ONNX
    text = model.get_rt_info(place).astype(str) if model.has_rt_info(place) else None
    taken = model.inputs[0]
    shape = _lengths(taken)
    input_dtype = torch.from_numpy(np.empty(0, taken.get_element_type().to_dtype())).dtype
    names = (
        (port.get_any_name() if port.get_names() else str(i), port)
        for i, port in enumerate(model.outputs)
    )
    shapes = {name: _lengths(port) for name, port in names}
    name, remark = chosen_output(path, shapes, output)
    feature = list(shapes).index(name)
    one_compiles = threading.Lock()
    of_thread = threading.local()

    def run(images: torch.Tensor) -> torch.Tensor:
        batch = STREAM_BATCH if len(images) == STREAM_BATCH else 0
        with one_compiles:
            if batch not in compiled:
                fixed = model.clone()
                fixed.reshape(list(images.shape))
                compiled[batch] = core.compile_model(fixed, "CPU", settings)
        # making one takes a tenth of a batch
        requests: dict[int, Any] = of_thread.__dict__.setdefault("requests", {})
        if batch not in requests:
            requests[batch] = compiled[batch].create_infer_request()
        found = requests[batch].infer(
            [images.contiguous().numpy()], share_inputs=True, share_outputs=True
        )
        return torch.tensor(found[feature])  # a copy: the next images overwrite the output

    streams = compiled[0].get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
    return Opened(text, run, streams, shape, input_dtype, remark)


def _lengths(port: Any) -> list[int | None]:
    """Return the shape of an input or output of OpenVINO, with None for a length that is free."""
    return [
        length.get_length() if length.is_static else None for length in port.get_partial_shape()
    ]


def _open_torchscript(path: Path, device: torch.device, output: str | None = None) -> Opened:
    extra = {KEY: ""}
    module = torch.jit.load(path, device, _extra_files=extra)  # type: ignore[no-untyped-call, unused-ignore]
    module.eval()
    return Opened(extra[KEY], lambda images: module(images.to(device)))


def _open_export(path: Path, device: torch.device, output: str | None = None) -> Opened:
    extra = {KEY: ""}
    program = torch.export.load(path, extra_files=extra)
    if device.type != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    module = program.module()
    return Opened(extra[KEY], lambda images: module(images.to(device)))


OPENERS = {
    "onnx": _open_onnx, "openvino": open_openvino, "torchscript": _open_torchscript,
    "export": _open_export,
}  # fmt: skip
