"""Run exported networks without the code that trained them: ONNX, OpenVINO, TorchScript and torch.export files.

    engine = Engine("osnet.onnx")                       # run by ONNX Runtime
    engine = Engine("osnet.onnx", kind="openvino")      # the same file, run by OpenVINO
    features = engine.features(bank)        # uint8 (N, H, W, 3) → (N, D), of unit length

tools/export.py writes them. Each file says in JSON what it expects and returns: see Contents.
"""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from person_reid.basics import UserError, progress
from person_reid.deploy.contents import KEY, Contents
from person_reid.deploy.foreign import Preparation, adapt
from person_reid.retrieval.features import CPU_BATCH, Bank, unit_length
from person_reid.retrieval.similarity import Features

KINDS = {".onnx": "onnx", ".pt": "torchscript", ".pt2": "export"}  # those that tools/export.py writes
READABLE = {**KINDS, ".xml": "openvino"}
ONNX_TYPES = {"tensor(float16)": torch.float16, "tensor(uint8)": torch.uint8}  # of inputs; else float32
STREAM_BATCH = 8  # images in each of the batches that run side by side; larger ones are not faster


class Opened(NamedTuple):
    """An open file.

    text: the JSON in it, or None. run: the network. streams: how many batches to give it at a time. shape, dtype: of
    its input, if the file says them; None for a length that is free.
    """

    text: str | None
    run: Callable[[torch.Tensor], torch.Tensor]
    streams: int = 1
    shape: Sequence[int | None] = ()
    dtype: torch.dtype = torch.float32


class Engine:
    """An exported file, ready to run.

    path: the file.
    device: runs the network; ONNX files run on a GPU only if the installed onnxruntime supports it, else on the CPU.
    kind: onnx, openvino (reads .onnx and .xml), torchscript or export; by default the file's suffix decides.
    preparation: how a file of another program wants its pixels; for ONNX and OpenVINO.

    Raises FileNotFoundError; also UserError for a file that is no network, for one that does not do what it says of
    itself, for a preparation that would be ignored, and if onnxruntime or openvino is missing.
    """

    def __init__(
        self,
        path: str | Path,
        device: torch.device | None = None,
        kind: str | None = None,
        preparation: Preparation | None = None,
    ) -> None:
        self.path, self.device = path, device = Path(path), device or torch.device("cpu")
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no such exported network. Write one: python tools/export.py --output FILE"
            )
        self.kind = kind = kind or READABLE.get(path.suffix.lower(), "")
        if kind not in OPENERS:
            raise UserError(f"{path}: expected an exported network, a file name that ends in {', '.join(READABLE)}.")
        try:
            with quiet():
                text, self._run, self._streams, shape, dtype = OPENERS[kind](path, self.device)
            if text is None and shape:
                self.contents, self._run = adapt(path, shape, dtype, self._run, preparation or Preparation())
            else:
                self.contents = Contents.from_json(text or "")
        except UserError:
            raise
        except Exception as error:  # each library fails in its own way on a file that it cannot read
            found = f"not a network written by tools/export.py, or damaged ({_first_line(error)})"
            raise UserError(f"{path}: {found}.") from error
        if text and preparation:
            raise UserError(f"{path}: {preparation.given} was decided when the file was written; leave it out.")
        self.size = (self.contents.height, self.contents.width)

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features (B, D) float32, on the CPU, of images in the form that `contents` describes.

        Raises UserError if the network in the file fails or gives something else.
        """
        try:
            features = self._run(images).float().cpu()
        except Exception as error:  # each library fails in its own way
            raise UserError(
                f"{self.path}: fails on images {tuple(images.shape)}, which it says it takes ({_first_line(error)}). "
                "Export the network again, or take a smaller --batchsize."
            ) from error
        if features.shape != (len(images), self.contents.dim):
            raise UserError(
                f"{self.path}: gives {tuple(features.shape)} for {len(images)} images, but says that its features have "
                f"{self.contents.dim} dimensions. Export the network again."
            )
        return features

    def features(
        self,
        bank: Bank,
        batch_size: int = CPU_BATCH,
        flip: bool = True,
        description: str = "features",
        unit: bool = True,
    ) -> Features:
        """Return the features (N, D) float32 of a bank of N images, uint8 (N, H, W, 3).

        batch_size: images at a time, at most; OpenVINO runs batches of STREAM_BATCH side by side.
        flip: add the mirrored image's output, unless the file does so itself or gives the unit-length feature of a
        single view (`l2`).
        unit: scale the features to unit length.
        """
        contents, found = self.contents, [torch.empty(0, self.contents.dim)]
        flip = flip and not contents.flip and not contents.l2
        batch_size = min(batch_size, STREAM_BATCH) if self._streams > 1 else batch_size

        def embed(chunk: torch.Tensor) -> torch.Tensor:
            images = contents.input(chunk.to(self.device))
            total = self(images)
            if flip:
                total = total + self(images.flip(2 if contents.normalised else 3))
            return unit_length(total, contents.pieces) if unit else total

        with progress(total=len(bank), desc=description, unit=" images") as bar:
            for features in _side_by_side(embed, bank.split(batch_size) if len(bank) else (), self._streams):
                found.append(features)
                bar.update(len(features))
        return torch.cat(found).numpy()


def _side_by_side(
    embed: Callable[[torch.Tensor], torch.Tensor], chunks: Iterable[torch.Tensor], streams: int
) -> Iterator[torch.Tensor]:
    """Yield embed(chunk) of each chunk, in order, `streams` of them at a time."""
    if streams == 1:
        yield from map(embed, chunks)
        return
    left = iter(chunks)
    with ThreadPoolExecutor(streams) as pool:
        running = deque(pool.submit(embed, chunk) for chunk in islice(left, 2 * streams))
        while running:
            yield running.popleft().result()
            running.extend(pool.submit(embed, chunk) for chunk in islice(left, 1))


def file_size(path: Path) -> int:
    """Return the bytes of an exported network; OpenVINO's has its weights in a second file."""
    files = [path, path.with_suffix(".bin")] if path.suffix.lower() == ".xml" else [path]
    return sum(file.stat().st_size for file in files)


def _first_line(error: Exception) -> str:
    """Return the first line of an exception's message, or its name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the notices of libraries, and undo what they change about logging."""
    disabled, handlers = logging.root.manager.disable, logging.root.handlers[:]
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        logging.root.handlers[:] = handlers


def import_onnxruntime() -> Any:
    """Return the module. Raises UserError, with the command that installs it, if it is missing."""
    try:
        import onnxruntime
    except ImportError:
        raise UserError(
            "ONNX files need onnxruntime: python -m pip install onnxruntime  (onnxruntime-gpu for an NVIDIA GPU)"
        ) from None
    return onnxruntime


def import_openvino() -> Any:
    """Return the module, without its telemetry. Raises UserError, with the command that installs it, if it is missing.

    When imported, OpenVINO would otherwise report its use over the network, from a forked process.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # an import of it fails, as allowed for
    try:
        import openvino
    except ImportError:
        raise UserError("OpenVINO is not installed: python -m pip install openvino") from None
    return openvino


def providers(device: torch.device, tensorrt: bool = False) -> list[tuple[str, dict[str, Any]]]:
    """Return onnxruntime's installed execution providers for a device, with their settings, the fastest first."""
    available = import_onnxruntime().get_available_providers()
    wanted: list[tuple[str, dict[str, Any]]] = [("CPUExecutionProvider", {})]
    if device.type == "cuda":
        number = {"device_id": device.index or 0}
        wanted.insert(0, ("CUDAExecutionProvider", number))
        if tensorrt:
            cache = {"trt_engine_cache_enable": True, "trt_engine_cache_path": "trt_cache"}
            wanted.insert(0, ("TensorrtExecutionProvider", {**number, **cache}))
    return [(name, settings) for name, settings in wanted if name in available]


def _open_onnx(path: Path, device: torch.device) -> Opened:
    onnxruntime = import_onnxruntime()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other processes need the cores, too
    settings.log_severity_level = 3
    content = path.read_bytes()
    session = onnxruntime.InferenceSession(content, settings, providers=[("CPUExecutionProvider", {})])
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    chosen = providers(device, bool(text) and Contents.from_json(text).tensorrt)
    if len(chosen) > 1:
        session = onnxruntime.InferenceSession(content, settings, providers=chosen)
    taken = session.get_inputs()[0]
    shape = [length if isinstance(length, int) else None for length in taken.shape]

    def run(images: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(session.run(None, {taken.name: images.contiguous().cpu().numpy()})[0])

    return Opened(text, run, shape=shape, dtype=ONNX_TYPES.get(taken.type, torch.float32))


def _open_openvino(path: Path, device: torch.device) -> Opened:
    """Compile a network for several batches at a time, each on its own cores, with float32 where it is not int8.

    It is compiled once for any number of images, and again when the first full batch comes: a fixed shape is faster.
    """
    openvino = import_openvino()
    if device.type != "cpu":
        raise UserError(f"{path}: OpenVINO computes on the CPU: --gpu_ids -1.")
    core, threads = openvino.Core(), torch.get_num_threads()
    settings = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    model = core.read_model(path)
    compiled = {0: core.compile_model(model, "CPU", settings)}
    place = ["framework", KEY]  # where OpenVINO keeps the metadata of ONNX
    text = model.get_rt_info(place).astype(str) if model.has_rt_info(place) else None
    taken = model.inputs[0]
    shape = [length.get_length() if length.is_static else None for length in taken.get_partial_shape()]
    dtype = torch.from_numpy(np.empty(0, taken.get_element_type().to_dtype())).dtype
    one_compiles = threading.Lock()

    def run(images: torch.Tensor) -> torch.Tensor:
        batch = STREAM_BATCH if len(images) == STREAM_BATCH else 0
        with one_compiles:
            if batch not in compiled:
                fixed = model.clone()
                fixed.reshape(list(images.shape))
                compiled[batch] = core.compile_model(fixed, "CPU", settings)
        return torch.tensor(compiled[batch].infer_new_request([images.contiguous().numpy()])[0])

    return Opened(text, run, compiled[0].get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"), shape, dtype)


def _open_torchscript(path: Path, device: torch.device) -> Opened:
    extra = {KEY: ""}
    module = torch.jit.load(path, device, _extra_files=extra)  # type: ignore[no-untyped-call, unused-ignore]
    module.eval()
    return Opened(extra[KEY], lambda images: module(images.to(device)))


def _open_export(path: Path, device: torch.device) -> Opened:
    extra = {KEY: ""}
    program = torch.export.load(path, extra_files=extra)
    if device.type != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    module = program.module()
    return Opened(extra[KEY], lambda images: module(images.to(device)))


OPENERS = {
    "onnx": _open_onnx, "openvino": _open_openvino, "torchscript": _open_torchscript, "export": _open_export,
}  # fmt: skip
