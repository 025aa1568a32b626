"""Run exported networks without the code that trained them: ONNX, OpenVINO, TorchScript and
torch.export files.

    engine = Engine("osnet.onnx")                       # run by ONNX Runtime
    engine = Engine("osnet.onnx", kind="openvino")      # the same file, run by OpenVINO
    features = engine.features(bank)        # uint8 (N, H, W, 3) → (N, D), of unit length

tools/export.py writes them. Each file says in JSON what it expects and returns: see Contents.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import RLock

import torch

from person_reid.basics import UserError, first_line, in_order
from person_reid.deploy.contents import Contents
from person_reid.deploy.foreign import Preparation, adapt
from person_reid.deploy.openers import OPENERS, STREAM_BATCH, open_openvino, weight_files
from person_reid.progress import progress
from person_reid.retrieval.features import CPU_BATCH, unit_pieces
from person_reid.retrieval.similarity import Features

# by ending, as export.py writes them
EXPORT_FORMATS = {".onnx": "onnx", ".pt": "torchscript", ".pt2": "export"}
READABLE = {**EXPORT_FORMATS, ".xml": "openvino"}
log = logging.getLogger(__name__)
SILENCE = RLock()  # logging and warnings belong to the whole process


class Engine:
    """An exported file, ready to run.

    path: the file.
    device: runs the network; ONNX files run on a GPU only if the installed onnxruntime supports it,
        else on the CPU.
    kind: onnx, openvino (reads .onnx and .xml), torchscript or export; by default the file's suffix
        decides.
    preparation: how a file of another program wants its pixels; for ONNX and OpenVINO.
    dtype: torch.bfloat16 or torch.float16, in which OpenVINO then computes what is float32 in the
        file.
    output: which of several outputs of a file of another program is the feature; by default one is
        chosen, and said.

    Raises FileNotFoundError; also UserError for a file that is no network, for one that does not
    behave as it declares, for a preparation, dtype or output that would be ignored, and if
    onnxruntime or openvino is missing.
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
        self.path, self.device = path, device = Path(path), device or torch.device("cpu")
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no such exported network. Write one: python tools/export.py --output FILE"
            )
        self.kind = kind = kind or READABLE.get(path.suffix.lower(), "")
        if kind not in OPENERS:
            raise UserError(
                f"{path}: expected an exported network, a file name that "
                f"ends in {', '.join(READABLE)}."
            )
        if dtype and kind != "openvino":
            raise UserError(
                f"{path}: its precision was decided when it was written; leave "
                "--fp16 and --bf16 out. They are for "
                "OpenVINO, which runs ONNX and its own files: --runtime openvino."
            )
        open_file = partial(open_openvino, dtype=dtype) if dtype else OPENERS[kind]
        try:
            with quiet():
                text, self._run, self._streams, shape, input_dtype, remark = open_file(
                    path, self.device, output
                )
            if text is None and shape:
                if remark:
                    log.warning("%s: %s", path, remark)
                self.contents, self._run = adapt(
                    path, shape, input_dtype, self._run, preparation or Preparation()
                )
            else:
                self.contents = Contents.from_json(text or "")
        except UserError:
            raise
        # each library fails in its own way on a file that it cannot read
        except Exception as error:
            found = f"not a network written by tools/export.py, or damaged ({first_line(error)})"
            raise UserError(f"{path}: {found}.") from error
        if text and (given := (preparation and preparation.given) or (output and "--output")):
            raise UserError(f"{path}: {given} was decided when the file was written; leave it out.")
        self.size = (self.contents.height, self.contents.width)

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features (B, D) float32, on the CPU, of images in the form that `contents`
        describes.

        Raises UserError if the network in the file fails or gives something else.
        """
        try:
            features = self._run(images).float().cpu()
        except Exception as error:  # each library fails in its own way
            raise UserError(
                f"{self.path}: fails on images {tuple(images.shape)}, "
                "although it declares that size "
                f"({first_line(error)}). Export the network again, or take a smaller --batchsize."
            ) from error
        if features.shape != (len(images), self.contents.dim):
            raise UserError(
                f"{self.path}: gives {tuple(features.shape)} for {len(images)} images, "
                "but says that its features have "
                f"{self.contents.dim} dimensions. Export the network again."
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
        """Return the features (N, D) float32 of a bank of N images, uint8 (N, H, W, 3).

        batch_size: images at a time, at most; OpenVINO runs batches of STREAM_BATCH side by side.
        flip: add the mirrored image's output, unless the file does so itself or gives the
            unit-length feature of a single view (`l2`).
        unit: scale the features to unit length.
        """
        contents, found = self.contents, [torch.empty(0, self.contents.dim)]
        flip = flip and not contents.flip and not contents.l2
        if self.device.type == "cpu":
            batch_size = min(batch_size, STREAM_BATCH if self._streams > 1 else CPU_BATCH)

        def embed(chunk: torch.Tensor) -> torch.Tensor:
            images = contents.input(chunk.to(self.device))
            total = self(images)
            if flip:
                total = total + self(images.flip(2 if contents.normalised else 3))
            return unit_pieces(total, contents.pieces) if unit else total

        with progress(total=len(bank), desc=description, unit=" images") as bar:
            for features in _side_by_side(
                embed, bank.split(batch_size) if len(bank) else (), self._streams
            ):
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
    with ThreadPoolExecutor(streams) as pool:
        yield from in_order(pool, embed, chunks, ahead=2 * streams)


def file_size(path: Path) -> int:
    """Return the bytes of an exported network; OpenVINO's, and large ONNX files, have
    their weights in a second one.
    """
    return sum(file.stat().st_size for file in (path, *weight_files(path)) if file.exists())


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the notices of libraries, and undo what they change about logging.

    One thread at a time.
    """
    with SILENCE:
        disabled, handlers = logging.root.manager.disable, logging.root.handlers[:]
        logging.disable(logging.WARNING)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        finally:
            logging.disable(disabled)
            logging.root.handlers[:] = handlers
