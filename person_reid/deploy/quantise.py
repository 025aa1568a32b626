"""Quantise an ONNX network to int8, with the ranges of its activations measured on images.

ONNX Runtime's quantiser does the work. Weights get a scale for each channel, activations one for
each tensor, from which the largest of 100,000 values are cut off.
"""

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from person_reid.basics import UserError
from person_reid.data.bank import load_bank
from person_reid.data.layout import list_images
from person_reid.deploy.run import import_runtime, quiet
from person_reid.retrieval.similarity import unit_rows_or_zeros

log = logging.getLogger(__name__)
LAYERS = ["Conv", "Gemm", "MatMul"]
MOST_IMAGES = 256  # of a folder; every HELD_OUT-th measures the result, the others the ranges
HELD_OUT = 4
BATCH = 8


def read_calibration(folder: str | Path, height: int, width: int) -> torch.Tensor:
    """Return up to MOST_IMAGES images of a folder at any depth, uint8 (N, height, width, 3), evenly
    spaced in its list.

    Raises UserError if the folder holds no image, or naming all chosen images that cannot be read.
    """
    paths = list_images(folder) if Path(folder).is_dir() else []
    if not paths:
        raise UserError(
            f"--calibrate {folder}: no images there; expected a folder of "
            "people, such as pytorch/train."
        )
    count = min(len(paths), MOST_IMAGES)
    return load_bank([paths[i * len(paths) // count] for i in range(count)], height, width)


def static_int8(content: bytes, images: np.ndarray[Any, Any], about: dict[str, str]) -> bytes:
    """Return an ONNX file whose layers compute in int8.

    content: a float32 network, images → features. images: in the form that it expects. about:
    metadata of the new file.

    The log says the mean cosine between its features and the float32 ones of held-out images.
    """
    import onnx

    import_runtime("onnxruntime")
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    measured, held_out = _parted(images)
    with quiet(), tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        written, plain, quantised = (Path(folder) / f"{name}.onnx" for name in ("0", "1", "2"))
        model = onnx.load_from_string(content)
        del model.graph.value_info[:]  # the exporter's shapes are wrong once weights are reordered
        onnx.save(model, written)
        quant_pre_process(written, plain, skip_symbolic_shape=True)
        quantize_static(
            plain,
            quantised,
            _Batches(measured),
            op_types_to_quantize=LAYERS,
            per_channel=True,
            # a processor without VNNI adds products of 8 bits in 16, which 8-bit weights overflow
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"CalibStridedMinMax": 1},  # the histograms of one batch at a time
        )
        result = onnx.load(quantised)
        features, expected = (_features(each, held_out) for each in (result, onnx.load(plain)))
    cosine = float((features * expected).sum(1).mean())
    log.info(
        f"int8: the features' mean cosine to float32 is {cosine:.4f} on {len(held_out)} images."
    )
    del result.graph.value_info[:]
    onnx.helper.set_model_props(result, about)
    return result.SerializeToString()


class _Batches:
    """The images batch by batch, as ONNX Runtime's quantiser asks
    for them (CalibrationDataReader).
    """

    def __init__(self, images: np.ndarray[Any, Any]) -> None:
        self.batches = [images[i : i + BATCH] for i in range(0, len(images), BATCH)]
        self.left = iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Hand out these batches next."""
        self.left = iter(self.batches[start_index:end_index])

    def get_next(self) -> dict[str, Any] | None:
        """Return the next batch, or None after the last."""
        batch = next(self.left, None)
        return None if batch is None else {"images": batch}


def _parted(images: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the images that ranges are measured on, all if they are few, and those
    held out to measure the result.
    """
    held_out = np.arange(len(images)) % HELD_OUT == 0
    return images[~held_out] if len(images) >= HELD_OUT else images, images[held_out]


def _features(model: Any, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the features (N, D) of N images, of unit length."""
    onnxruntime = import_runtime("onnxruntime")
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
    )
    batches = [
        session.run(None, {"images": images[i : i + BATCH]})[0]
        for i in range(0, len(images), BATCH)
    ]
    return unit_rows_or_zeros(np.concatenate(batches))
