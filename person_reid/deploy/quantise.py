"""Quantise an ONNX network to int8, with the ranges of its activations measured on images.

ONNX Runtime's quantiser does the work. Weights get one scale per channel and activations one per
tensor, which cuts off the largest of 100,000 values.
"""

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from person_reid.data.images.bank import load_bank
from person_reid.data.layout import list_images
from person_reid.deploy.engine import quiet
from person_reid.deploy.exported_files import import_runtime, onnx_session
from person_reid.device import available_cores
from person_reid.errors import UserError
from person_reid.retrieval.similarity import unit_rows_or_zeros

log = logging.getLogger(__name__)
QUANTISED_OPERATORS = ["Conv", "Gemm", "MatMul"]
# The most images from a folder; every HELD_OUT-th one measures the result, the others the ranges.
MOST_IMAGES = 256
HELD_OUT = 4
CALIBRATION_BATCH = 8


def read_calibration(folder: str | Path, height: int, width: int) -> torch.Tensor:
    """Return up to MOST_IMAGES images of a folder at any depth, uint8 (N, height, width, 3).

    They are evenly spaced in the list of its images.

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
    """Return an ONNX file with 8-bit weights, whose layers compute with 8 bits.

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
    """Write a network in int8, with the ranges of its activations measured on batches."""
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
        """Make get_next return these batches."""
        self.left = iter(self.batches[start_index:end_index])

    def get_next(self) -> dict[str, Any] | None:
        """Return the next batch, or None after the last."""
        batch = next(self.left, None)
        return None if batch is None else {"images": batch}


def _parted(images: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the images for the ranges, and held-out images to measure the result.

    If there are few images, the ranges are measured on all of them.
    """
    held_out = np.arange(len(images)) % HELD_OUT == 0
    return images[~held_out] if len(images) >= HELD_OUT else images, images[held_out]


def _features(file: Path, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the features (N, D) of N images, of unit length."""
    session = onnx_session(file, available_cores())
    found = [session.run(None, {"images": batch})[0] for batch in _Batches(images).batches]
    return unit_rows_or_zeros(np.concatenate(found))
