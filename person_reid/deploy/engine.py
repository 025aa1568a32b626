"""Run exported networks without the code that trained them.

    engine = Engine("osnet.onnx")                       # run by ONNX Runtime
    engine = Engine("osnet.onnx", kind="openvino")      # the same file, run by OpenVINO
    features = engine.features(bank)        # uint8 (N, H, W, 3) → (N, D), of unit length

tools/export.py writes such files, for ONNX, OpenVINO, TorchScript and torch.export. interface.py
describes their input and output.
"""

import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from person_reid.config.tested import READABLE
from person_reid.deploy.exported_files import (
    CONTENTS_KEY,
    Contents,
    import_runtime,
    onnx_session,
    openvino_model,
)
from person_reid.deploy.interface import (
    DeclaredInterface,
    Preparation,
    Run,
    adapt_interface,
    chosen_output,
)
from person_reid.errors import UserError, first_line
from person_reid.files import TENSORS, regular_file
from person_reid.retrieval.features import CPU_BATCH, extract_features
from person_reid.retrieval.similarity import Features
from person_reid.text import as_command

ONNX_TYPES = {"tensor(float16)": torch.float16, "tensor(uint8)": torch.uint8}  # else float32
PRECISIONS = {None: "f32", torch.float16: "f16", torch.bfloat16: "bf16"}  # OpenVINO's names
CAPABILITIES = "OPTIMIZATION_CAPABILITIES"  # the name of OpenVINO's property
SILENCE = threading.RLock()  # all threads of the process share logging and warnings


class OpenedFile(NamedTuple):
    """An exported file, opened by its library.

    run: computes the features of images. text: the JSON that tools/export.py wrote into the file.
    declared: what a file from another program declares about its input and output.
    """

    run: Run
    text: str | None
    declared: DeclaredInterface | None = None


class Engine:
    """An exported file, ready to run.

    path: the file.
    device: the device that runs the network. ONNX files run on a GPU only if the installed
        onnxruntime supports it, and otherwise on the CPU.
    kind: onnx, openvino (reads .onnx and .xml), torchscript or export; by default, the file's
        suffix decides.
    preparation: the preprocessing for an ONNX or OpenVINO file from another program.
    dtype: torch.bfloat16 or torch.float16, which OpenVINO then uses for all float32 layers of the
        file.
    output: which of several outputs of another program's file is the feature; by default, one is
        chosen and logged.

    Raises FileNotFoundError for a missing file. Raises UserError for a file that is not a network
    or does not behave as it declares, for a preparation, dtype or output that would be ignored, and
    if onnxruntime or openvino is missing.
    """

    def __init__(
        self,
        path: str | Path,
        device: torch.device | None = None,
        kind: str | None = None,
        preparation: Preparation | None = None,
        dtype: torch.dtype | None = None,
        output: str | None = None,
    ) -> None:
        self.path = path = Path(path)
        self.device = device = device or torch.device("cpu")
        self.kind = kind or READABLE.get(path.suffix.lower(), "")
        if not path.exists():
            raise FileNotFoundError(
                f"{path}: no such exported network. Write one: "
                f"{as_command('tools/export.py')} --output FILE"
            )
        if self.kind not in OPENERS:
            raise UserError(
                f"{path}: expected an exported network, "
                f"a file name that ends in {', '.join(READABLE)}."
            )
        if dtype and self.kind != "openvino":
            raise UserError(
                f"{path}: its precision was decided when it was written; "
                "leave fp16 and bf16 out. They are for OpenVINO, "
                "which runs ONNX and its own files: runtime=openvino."
            )
        regular_file(path, TENSORS, "an exported network")
        try:
            with quiet():
                run, text, declared = OPENERS[self.kind](path, device, dtype, output)
            if text is None and declared:
                preparation = preparation or Preparation()
                self.contents, self.run = adapt_interface(path, declared, run, preparation)
            else:
                self.contents, self.run = Contents.from_json(text or ""), run
        except UserError:
            raise
        except Exception as error:  # libraries raise different errors for an unreadable file
            raise UserError(
                f"{path}: not a network written by tools/export.py, or damaged "
                f"({first_line(error)})."
            ) from error
        if text and (given := (preparation and preparation.given) or (output and "--output")):
            raise UserError(f"{path}: {given} was decided when the file was written; leave it out.")
        self.size = (self.contents.height, self.contents.width)
        self.pieces = self.contents.pieces

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features, float32 (B, D) on the CPU, of images as described by `contents`.

        Raises UserError if the network in the file fails or returns anything else.
        """
        try:
            features = self.run(images).float().cpu()
        except Exception as error:  # each library fails in its own way
            raise UserError(
                f"{self.path}: fails on images {tuple(images.shape)}, although it declares that "
                f"size ({first_line(error)}). Export the network again, or take a smaller "
                "batchsize."
            ) from error
        if features.shape != (len(images), self.contents.dim):
            raise UserError(
                f"{self.path}: gives {tuple(features.shape)} for {len(images)} images, but says "
                f"that its features have {self.contents.dim} dimensions. Export the network again."
            )
        return features

    def features(
        self,
        bank: torch.Tensor,
        batch_size: int = CPU_BATCH,
        flip: bool = True,
        description: str = "features",
        unit: bool = True,
    ) -> Features:
        """Return the features, float32 (N, D), of a bank of N images, uint8 (N, H, W, 3).

        batch_size: the maximum number of images at a time.
        flip: add the mirrored image's output, unless the file does so itself or returns a
        unit-length feature without the mirrored image's (`l2`).
        unit: scale the features to unit length.
        """
        contents = self.contents
        if not len(bank):
            return np.empty((0, contents.dim), np.float32)
        flip = flip and not contents.flip and not contents.l2
        return extract_features(
            self,
            bank,
            self.device,
            batch_size,
            flip,
            description=description,
            unit=unit,
            prepare=contents.input,
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Silence notices from libraries, and undo their changes to logging.

    Only one thread at a time does so. Messages of other threads below the level of errors are also
    lost.
    """
    with SILENCE, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        level, handlers = logging.root.manager.disable, logging.root.handlers[:]
        logging.disable(max(level, logging.WARNING))
        try:
            yield
        finally:
            logging.disable(level)
            logging.root.handlers[:] = handlers


def providers(device: torch.device, tensorrt: bool = False) -> list[tuple[str, dict[str, Any]]]:
    """Return onnxruntime's installed execution providers for a device, the fastest first.

    Each is returned with its settings.
    """
    available = import_runtime("onnxruntime").get_available_providers()
    wanted: list[tuple[str, dict[str, Any]]] = [("CPUExecutionProvider", {})]
    if device.type == "cuda":
        number = {"device_id": device.index or 0}
        wanted.insert(0, ("CUDAExecutionProvider", number))
        if tensorrt:
            cache = {"trt_engine_cache_enable": True, "trt_engine_cache_path": "trt_cache"}
            wanted.insert(0, ("TensorrtExecutionProvider", {**number, **cache}))
    return [(name, settings) for name, settings in wanted if name in available]


def _open_onnx(
    path: Path, device: torch.device, dtype: torch.dtype | None, output: str | None
) -> OpenedFile:
    session = onnx_session(path, torch.get_num_threads())
    text: str | None = session.get_modelmeta().custom_metadata_map.get(CONTENTS_KEY)
    tensorrt = bool(text and Contents.from_json(text).tensorrt)
    chosen = providers(device, tensorrt)
    if len(chosen) > 1:
        session = onnx_session(path, torch.get_num_threads(), chosen)
    taken = session.get_inputs()[0]
    shape = [length if isinstance(length, int) else None for length in taken.shape]
    shapes = {each.name: each.shape for each in session.get_outputs()}
    feature, remark = chosen_output(path, shapes, output)
    declared = DeclaredInterface(shape, ONNX_TYPES.get(taken.type, torch.float32), remark)

    def run(images: torch.Tensor) -> torch.Tensor:
        given = {taken.name: images.contiguous().cpu().numpy()}
        return torch.from_numpy(session.run([feature], given)[0])

    return OpenedFile(run, text, declared)


def _open_openvino(
    path: Path, device: torch.device, dtype: torch.dtype | None, output: str | None
) -> OpenedFile:
    """Compile a network for several batches at once, each on its own cores.

    The network is compiled once for any number of images, and again when the first full batch
    arrives, because a fixed shape is faster. Raises UserError if the processor does not support the
    requested type.
    """
    if device.type != "cpu":
        raise UserError(f"{path}: OpenVINO computes on the CPU: gpu_ids=-1.")
    (core, model), precision = openvino_model(path), PRECISIONS[dtype]
    if dtype and precision.upper() not in core.get_property("CPU", CAPABILITIES):
        raise UserError(
            f"OpenVINO does not compute in {dtype} on this processor: leave fp16 and bf16 out."
        )
    settings = {
        # With several streams on some processors, OpenVINO 2026.3 and 2026.4 corrupt the memory of
        # the process, which crashes later, elsewhere.
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": precision,
        # Training leaves weights near 1e-40, which slow down a processor.
        "CPU_DENORMALS_OPTIMIZATION": True,
    }
    compiled = {0: core.compile_model(model, "CPU", settings)}
    shapes = {
        port.get_any_name() if port.get_names() else str(i): _lengths(port)
        for i, port in enumerate(model.outputs)
    }
    name, remark = chosen_output(path, shapes, output)
    feature = list(shapes).index(name)
    taken = model.inputs[0]
    taken_type = torch.from_numpy(np.empty(0, taken.get_element_type().to_dtype())).dtype
    declared = DeclaredInterface(_lengths(taken), taken_type, remark)
    one_compiles = threading.Lock()
    of_thread = threading.local()

    def run(images: torch.Tensor) -> torch.Tensor:
        batch = CPU_BATCH if len(images) == CPU_BATCH else 0
        with one_compiles:
            if batch not in compiled:
                fixed = model.clone()
                fixed.reshape(list(images.shape))
                compiled[batch] = core.compile_model(fixed, "CPU", settings)
        # Creating a request takes a tenth of the time of a batch.
        requests: dict[int, Any] = of_thread.__dict__.setdefault("requests", {})
        if batch not in requests:
            requests[batch] = compiled[batch].create_infer_request()
        given = [images.contiguous().numpy()]
        found = requests[batch].infer(given, share_inputs=True, share_outputs=True)
        return torch.tensor(found[feature])  # a copy: the next images overwrite the output

    place = ["framework", CONTENTS_KEY]  # where OpenVINO stores ONNX metadata
    text = model.get_rt_info(place).astype(str) if model.has_rt_info(place) else None
    return OpenedFile(run, text, declared)


def _lengths(port: Any) -> list[int | None]:
    """Return the shape of an OpenVINO input or output, with None for a variable length."""
    shape = port.get_partial_shape()
    return [length.get_length() if length.is_static else None for length in shape]


def _open_torchscript(path: Path, device: torch.device, *_: object) -> OpenedFile:
    extra = {CONTENTS_KEY: ""}
    module = torch.jit.load(path, device, _extra_files=extra).eval()  # type: ignore[no-untyped-call, unused-ignore]
    return OpenedFile(lambda images: module(images.to(device)), extra[CONTENTS_KEY])


def _open_export(path: Path, device: torch.device, *_: object) -> OpenedFile:
    extra = {CONTENTS_KEY: ""}
    program = torch.export.load(path, extra_files=extra)
    if device.type != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    module = program.module()
    return OpenedFile(lambda images: module(images.to(device)), extra[CONTENTS_KEY])


OPENERS: dict[str, Callable[[Path, torch.device, torch.dtype | None, str | None], OpenedFile]] = {
    "onnx": _open_onnx,
    "openvino": _open_openvino,
    "torchscript": _open_torchscript,
    "export": _open_export,
}
