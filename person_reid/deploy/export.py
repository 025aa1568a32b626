"""Write a network to a file that runs without the code that trained it.

    contents = Contents(256, 128, network.dim, network.pieces, "osnet_x0_25", l2=True)
    export(network, contents, "osnet.onnx", "onnx")

The file is in ONNX, TorchScript or torch.export format. person_reid/deploy/engine.py runs it.

ONNX Runtime's quantiser makes int8 files. Weights get one scale per channel and activations one per
tensor, which clips the largest of 100,000 values that it takes on images.
"""

import io
import logging
import tempfile
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from person_reid.data.images.augment import MEAN, STD
from person_reid.data.images.bank import load_bank
from person_reid.data.layout import list_images
from person_reid.deploy.engine import Engine, providers, quiet
from person_reid.deploy.exported_files import CONTENTS_KEY, Contents, import_runtime, onnx_session
from person_reid.device import available_cores
from person_reid.errors import UserError
from person_reid.files import atomic_write, with_ending
from person_reid.models.network import Network
from person_reid.retrieval.features import CPU_BATCH, fused_embedding, unit_pieces
from person_reid.retrieval.similarity import unit_rows_or_zeros

CHECKED_BATCHES = (1, CPU_BATCH)
# Deviations relative to the largest feature; int8 is measured but has no limit. The test images are
# noise, for which bfloat16 deviates by up to 0.2, so its limit only finds gross errors.
TOLERANCE_OF_DTYPE = {"float32": 1e-4, "float16": 5e-2, "bfloat16": 0.5}
OPSET = 18
log = logging.getLogger(__name__)
QUANTISED_OPERATORS = ["Conv", "Gemm", "MatMul"]
# The most images from a folder; every HELD_OUT-th one measures the result, the others the ranges.
MOST_IMAGES = 256
HELD_OUT = 4
CALIBRATION_BATCH = 8


class Deployed(nn.Module):
    """The module to export: the embedding and the steps that Contents describes.

    embed: a module (B, 3, H, W) → (B, D). The output is float32.
    """

    pixel_mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, embed: nn.Module, contents: Contents) -> None:
        super().__init__()
        self.contents = contents
        self.embed = deepcopy(embed).half() if contents.precision == "float16" else embed
        up_to = contents.up_to or 255
        self.register_buffer("pixel_mean", up_to * torch.tensor(MEAN)[:, None, None])
        self.register_buffer("deviation", up_to * torch.tensor(STD)[:, None, None])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        contents = self.contents
        if contents.normalised:
            images = images.permute(0, 3, 1, 2).float().contiguous()
        if contents.bgr:
            images = images.flip(1)
        if contents.normalised or contents.up_to:
            images = (images - self.pixel_mean) / self.deviation
        if contents.precision == "float16":
            images = images.half()
        features: torch.Tensor = self.embed(images).float()
        if contents.flip:
            features = features + self.embed(images.flip(3)).float()
        return unit_pieces(features, contents.pieces) if contents.l2 else features


def export(
    network: Network,
    contents: Contents,
    path: str | Path,
    kind: str,
    calibration: torch.Tensor | None = None,
    scales: Sequence[float] = (1.0,),
) -> float:
    """Write a network to a file, completely or not at all, and check it.

    The file is built in memory, because PyTorch would end the process on a full disk.

    kind: onnx, torchscript or export.
    calibration: N images, uint8 (N, H, W, 3), on which int8 measures the ranges of the activations
    (ONNX only). Without them, int8 measures each batch while the file runs, which is slow.
    scales: see fused_embedding.

    Each convolution is fused with the norm after it. The file is run (ONNX by onnxruntime) at the
    CHECKED_BATCHES and compared with PyTorch. Returns the largest deviation as a fraction of the
    largest feature. Raises UserError if the network cannot be exported, if its file deviates by
    more than TOLERANCE_OF_DTYPE, or if a library is missing. Raises OSError if the file cannot be
    written, if possible before the work.
    """
    if kind == "onnx":
        check_onnx()
    with atomic_write(path) as temporary:
        temporary.touch()
        embedding = fused_embedding(network, torch.device("cpu"), scales).requires_grad_(False)
        expected = references(embedding, contents)
        try:
            with quiet(), torch.no_grad():
                content = EXPORT_WRITERS[kind](Deployed(embedding, contents).eval(), contents)
            if contents.precision == "int8":
                images = None if calibration is None else contents.input(calibration)
                content = int8(content, images)
        except OSError:
            raise
        except Exception as error:  # exporters fail in many ways
            found = " ".join(str(error).split())[:300]
            # PyTorch 2.6 exports batch norms only after convolutions, with which it fuses them
            advice = " PyTorch 2.7 or newer may write it." if torch.__version__ < "2.7" else ""
            raise UserError(
                f"{contents.source}: this network cannot be written as {kind} ({found}).{advice}"
            ) from error
        temporary.write_bytes(content)
        difference = deviation(Engine(temporary, kind=kind), expected)
        limit = TOLERANCE_OF_DTYPE.get(contents.precision, float("inf"))
        check_deviation(path, f"as {kind}", difference, limit, "Try another --format.")
    return difference


def check_deviation(path: str | Path, how: str, found: float, limit: float, advice: str) -> None:
    """Raise UserError if a file's features deviate by more than a limit, or are NaN."""
    if not found <= limit:
        raise UserError(
            f"{path}: not written: {how} the features deviate by {found:.1e} of their scale, "
            f"more than {limit:.0e}. {advice}"
        )


def check_onnx() -> None:
    """Raise UserError, with the command that installs it, if a library for ONNX is missing."""
    import_runtime("onnxruntime")
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise UserError(
            f"format=onnx: not installed: {', '.join(missing)}. "
            f"python -m pip install {' '.join(missing)}"
        )


def references(embedding: nn.Module, contents: Contents) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return random images for each of the CHECKED_BATCHES, and PyTorch's float32 features."""
    module = Deployed(embedding, replace(contents, precision="float32")).eval()
    batches = [
        contents.images(batch, torch.Generator().manual_seed(batch)) for batch in CHECKED_BATCHES
    ]
    with torch.inference_mode():
        return [(images, module(images)) for images in batches]


def deviation(engine: Engine, expected: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Return the deviation of an exported file's features from the `references`.

    The deviation is a fraction of the largest feature.
    """
    scale = max(features.abs().max() for _, features in expected)
    differences = [(engine(images) - features).abs().max() / scale for images, features in expected]
    return float(torch.stack(differences).max())  # NaN if any is, unlike Python's max


def _onnx(module: nn.Module, contents: Contents) -> bytes:
    import onnx
    import onnx.inliner

    # Without this, PyTorch 2.7 exports pooling as as_strided.
    module = deepcopy(module).to(memory_format=torch.contiguous_format)
    program = torch.onnx.export(
        module,
        (contents.images(2),),
        input_names=["images"],
        output_names=["features"],
        dynamo=True,
        dynamic_shapes={"images": {0: torch.export.Dim("batch", max=1 << 20)}},
        opset_version=OPSET,
        verbose=False,
    )
    assert program is not None, "without a file, the exporter returns what it made"
    # OpenVINO does not support model functions, which PyTorch 2.6 writes
    model = onnx.inliner.inline_local_functions(program.model_proto)
    onnx.helper.set_model_props(model, {CONTENTS_KEY: contents.to_json()})
    return model.SerializeToString()


def _torchscript(module: nn.Module, contents: Contents) -> bytes:
    example, file = (contents.images(2),), io.BytesIO()
    traced = torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call, unused-ignore]
    torch.jit.save(torch.jit.freeze(traced), file, _extra_files={CONTENTS_KEY: contents.to_json()})
    return file.getvalue()


def _exported(module: nn.Module, contents: Contents) -> bytes:
    file = io.BytesIO()
    batch = {"images": {0: torch.export.Dim("batch")}}
    program = torch.export.export(module, (contents.images(2),), dynamic_shapes=batch)
    torch.export.save(program, file, extra_files={CONTENTS_KEY: contents.to_json()})
    return file.getvalue()


EXPORT_WRITERS = {"onnx": _onnx, "torchscript": _torchscript, "export": _exported}


def tensorrt_advice(path: str | Path, contents: Contents) -> str:
    """Explain how to run an ONNX file with TensorRT.

    The text tells whether onnxruntime has TensorRT here, and gives the command that builds an
    engine for batches of 1 to 128 images.
    """
    here = any(
        name.startswith("Tensorrt") for name, _ in providers(torch.device("cuda"), tensorrt=True)
    )
    state = (
        "is installed and will run it"
        if here
        else "is not installed here; the ONNX file is written all the same"
    )
    shape = f"{contents.height}x{contents.width}"
    shape = f"{shape}x3" if contents.normalised else f"3x{shape}"
    batches = {"min": 1, "opt": 32, "max": 128}
    shapes = " ".join(f"--{name}Shapes=images:{batch}x{shape}" for name, batch in batches.items())
    half = " --fp16" if contents.precision == "float16" else ""
    return (
        f"TensorRT: onnxruntime's provider {state}. Its own engine:\n"
        f"  trtexec --onnx={path} --saveEngine={with_ending(path, '.engine', '.onnx')} "
        f"{shapes}{half}"
    )


def read_calibration(folder: str | Path, height: int, width: int) -> torch.Tensor:
    """Return up to MOST_IMAGES images from any depth below a folder, uint8 (N, height, width, 3).

    They are evenly spaced in the list of the folder's images.

    Raises UserError if the folder holds no image, or if chosen images cannot be read; the message
    names all of these.
    """
    paths = list_images(folder) if Path(folder).is_dir() else []
    if not paths:
        raise UserError(
            f"{folder}: no images there; expected a folder of people, such as pytorch/train."
        )
    count = min(len(paths), MOST_IMAGES)
    return load_bank([paths[i * len(paths) // count] for i in range(count)], height, width)


def int8(content: bytes, images: torch.Tensor | None = None) -> bytes:
    """Return an ONNX file with 8-bit weights and layers that compute in 8 bits.

    content: a float32 file, images → features.
    images: images on which to measure the ranges of the activations, in the form that the file
    expects. The log then reports the mean cosine between the int8 and float32 features of held-out
    images. Without images, the file itself measures each batch, which is slow, and a feature
    depends slightly on the other images in its batch.
    """
    import onnx

    import_runtime("onnxruntime")
    from onnxruntime.quantization import QuantType, quantize_dynamic

    if images is None:
        log.warning(
            "int8 without --calibrate: the file measures its activations in each batch, so that a "
            "feature depends a little on the other images of its batch."
        )

    model = onnx.load_from_string(content)
    about = {entry.key: entry.value for entry in model.metadata_props}
    del model.graph.value_info[:]  # the exporter's shapes are wrong once weights are reordered
    with quiet(), tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        plain, quantised = Path(folder, "plain.onnx"), Path(folder, "int8.onnx")
        if images is None:
            # Unsigned, because there is no convolution kernel for signed weights.
            quantize_dynamic(model, quantised, weight_type=QuantType.QUInt8)
        else:
            measured, held_out = _parted(images.contiguous().numpy())
            onnx.save(model, plain)
            _quantise(plain, quantised, _Batches(measured))
            features, expected = (_features(file, held_out) for file in (quantised, plain))
        result = onnx.load(quantised)
    if images is not None:
        cosine, count = float((features * expected).sum(1).mean()), len(held_out)
        log.info(f"int8: the features' mean cosine to float32 is {cosine:.4f} on {count} images.")
    del result.graph.value_info[:]
    onnx.helper.set_model_props(result, about)
    return result.SerializeToString()


def _quantise(plain: Path, quantised: Path, batches: "_Batches") -> None:
    """Write a network in int8, with activation ranges measured on `batches`."""
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(plain, plain, skip_symbolic_shape=True)
    quantize_static(
        plain,
        quantised,
        batches,
        op_types_to_quantize=QUANTISED_OPERATORS,
        per_channel=True,
        # A processor without VNNI adds 8-bit products in 16 bits, which 8-bit weights overflow.
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.Percentile,
        extra_options={"CalibStridedMinMax": 1},  # the histograms of one batch at a time
    )


class _Batches:
    """Batches of images for ONNX Runtime's quantiser (CalibrationDataReader)."""

    def __init__(self, images: np.ndarray[Any, Any]) -> None:
        self.batches = [
            images[i : i + CALIBRATION_BATCH] for i in range(0, len(images), CALIBRATION_BATCH)
        ]
        self.left = iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Have get_next return batches start_index to end_index."""
        self.left = iter(self.batches[start_index:end_index])

    def get_next(self) -> dict[str, Any] | None:
        """Return the next batch, or None after the last."""
        batch = next(self.left, None)
        return None if batch is None else {"images": batch}


def _parted(images: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return images for measuring activation ranges, and held-out images for measuring the result.

    If there are few images, the ranges are measured on all of them.
    """
    held_out = np.arange(len(images)) % HELD_OUT == 0
    return images[~held_out] if len(images) >= HELD_OUT else images, images[held_out]


def _features(file: Path, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the unit-length features (N, D) that the network in a file computes for N images."""
    session = onnx_session(file, available_cores())
    found = [session.run(None, {"images": batch})[0] for batch in _Batches(images).batches]
    return unit_rows_or_zeros(np.concatenate(found))
