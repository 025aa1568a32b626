"""Run exported networks without the code that trained them: ONNX, TorchScript and torch.export files.

    engine = Engine("osnet.onnx")
    features = engine.features(bank)        # uint8 (N, H, W, 3) → (N, D), of unit length

tools/export.py writes them. Each file says in JSON what it expects and returns: see Contents.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from person_reid.basics import UserError, progress
from person_reid.data.augment import normalise
from person_reid.retrieval.features import CPU_BATCH, Bank, unit_length
from person_reid.retrieval.similarity import Features

Opened = tuple[str, Callable[[torch.Tensor], torch.Tensor]]  # the JSON in a file, and the network
KINDS = {".onnx": "onnx", ".pt": "torchscript", ".pt2": "export"}
LARGEST = 4096  # pixels of a side
KEY = "person-reid"  # under which a file holds its Contents


@dataclass(frozen=True)
class Contents:
    """What an exported file expects and returns.

    height, width: of the images, in pixels.
    dim: width of the feature.
    pieces: number of equal pieces of the feature that are normalised separately.
    source: the network and its weights, in words.
    normalised: the file takes uint8 RGB images (B, H, W, 3) and applies ImageNet's normalisation itself; otherwise it
        takes normalised float32 images (B, 3, H, W).
    flip: the file adds the mirrored image's feature itself.
    l2: the feature has unit length.
    precision: float32, float16 or int8.
    tensorrt: run by TensorRT if it is installed.
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

    def to_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Contents:
        """Read the JSON in a file and ignore entries of later versions.

        Raises ValueError or TypeError for an entry that is missing or cannot be true.
        """
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError(f"its description is {text[:40]}")
        contents = cls(**{field.name: found[field.name] for field in fields(cls) if field.name in found})
        for field in fields(cls):
            value = getattr(contents, field.name)
            if type(value).__name__ != field.type:
                raise ValueError(f"its description says {field.name} {value!r}, expected a value of type {field.type}")
        if not (0 < contents.height <= LARGEST and 0 < contents.width <= LARGEST):
            raise ValueError(f"its description says {contents.height} x {contents.width} pixels")
        if contents.dim < 1 or contents.pieces < 1 or contents.dim % contents.pieces:
            raise ValueError(f"its description says a feature of width {contents.dim} in {contents.pieces} pieces")
        return contents

    def images(self, batch: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """Return random images in the form that the file expects."""
        pixels = torch.randint(0, 256, (batch, self.height, self.width, 3), dtype=torch.uint8, generator=generator)
        return pixels if self.normalised else normalise(pixels).contiguous()


class Engine:
    """An exported file, ready to run.

    path: the file.
    device: runs the network; ONNX files run on a GPU only if the installed onnxruntime supports it, else on the CPU.
    kind: onnx, torchscript or export; by default the file's suffix decides.

    Raises FileNotFoundError; also UserError for a file not written by tools/export.py, for one that does not do what it
    says of itself, and if onnxruntime is missing.
    """

    def __init__(self, path: str | Path, device: torch.device | None = None, kind: str | None = None) -> None:
        self.path, self.device = path, device = Path(path), device or torch.device("cpu")
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no such exported network. Write one: python tools/export.py --output FILE"
            )
        kind = kind or KINDS.get(path.suffix.lower(), "")
        if kind not in OPENERS:
            raise UserError(f"{path}: expected an exported network, a file name that ends in {', '.join(KINDS)}.")
        try:
            with quiet():
                text, self._run = OPENERS[kind](path, self.device)
            self.contents = Contents.from_json(text)
        except UserError:
            raise
        except Exception as error:  # each library fails in its own way on a file that it cannot read
            found = f"not a network written by tools/export.py, or damaged ({_first_line(error)})"
            raise UserError(f"{path}: {found}.") from error
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
        self, bank: Bank, batch_size: int = CPU_BATCH, flip: bool = True, description: str = "features"
    ) -> Features:
        """Return the features (N, D) float32, of unit length, of a bank of N images, uint8 (N, H, W, 3).

        flip: add the mirrored image's output, unless the file does so itself or gives the unit-length feature of a
        single view (`l2`).
        """
        contents, found = self.contents, [torch.empty(0, self.contents.dim)]
        flip = flip and not contents.flip and not contents.l2
        with progress(total=len(bank), desc=description, unit=" images") as bar:
            for chunk in bank.split(batch_size) if len(bank) else ():
                images = chunk if contents.normalised else normalise(chunk.to(self.device))
                total = self(images)
                if flip:
                    total = total + self(images.flip(2 if contents.normalised else 3))
                found.append(unit_length(total, contents.pieces))
                bar.update(len(chunk))
        return torch.cat(found).numpy()


def _first_line(error: Exception) -> str:
    """Return the first line of an exception's message, or its name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


@contextmanager
def quiet() -> Iterator[None]:
    """Silence PyTorch's deprecation notices."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def import_onnxruntime() -> Any:
    """Return the module. Raises UserError, with the command that installs it, if it is missing."""
    try:
        import onnxruntime
    except ImportError:
        raise UserError(
            "ONNX files need onnxruntime: python -m pip install onnxruntime  (onnxruntime-gpu for an NVIDIA GPU)"
        ) from None
    return onnxruntime


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
    settings.log_severity_level = 3
    content = path.read_bytes()
    session = onnxruntime.InferenceSession(content, settings, providers=[("CPUExecutionProvider", {})])
    text = session.get_modelmeta().custom_metadata_map[KEY]
    chosen = providers(device, Contents.from_json(text).tensorrt)
    if len(chosen) > 1:
        session = onnxruntime.InferenceSession(content, settings, providers=chosen)
    name = session.get_inputs()[0].name
    return text, lambda images: torch.from_numpy(session.run(None, {name: images.contiguous().cpu().numpy()})[0])


def _open_torchscript(path: Path, device: torch.device) -> Opened:
    extra = {KEY: ""}
    module = torch.jit.load(path, device, _extra_files=extra)  # type: ignore[no-untyped-call, unused-ignore]
    module.eval()
    return extra[KEY], lambda images: module(images.to(device))


def _open_export(path: Path, device: torch.device) -> Opened:
    extra = {KEY: ""}
    program = torch.export.load(path, extra_files=extra)
    if device.type != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    module = program.module()
    return extra[KEY], lambda images: module(images.to(device))


OPENERS = {"onnx": _open_onnx, "torchscript": _open_torchscript, "export": _open_export}
