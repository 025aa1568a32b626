"""Quantise an ONNX network to int8, with the ranges of its activations measured on images.

Weights get a scale for each channel, activations one for each tensor; zero stays zero, which OpenVINO and ONNX Runtime
compute fastest. Layers that suffer most stay in float32.
"""

import logging
import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch

from person_reid.basics import UserError
from person_reid.data.bank import load_bank
from person_reid.data.layout import list_images
from person_reid.deploy.exported import quiet
from person_reid.deploy.openers import import_onnxruntime
from person_reid.progress import progress
from person_reid.retrieval.similarity import unit_rows_or_zeros

log = logging.getLogger(__name__)
LAYERS = ["Conv", "Gemm", "MatMul"]
MOST_IMAGES = 256  # of a folder; every HELD_OUT-th measures the result, the others the ranges
HELD_OUT = 4
PROBES = 8  # images on which each layer is tried alone
BATCH = 8
LEAST_COSINE = 0.995  # to the float32 features, on average


def read_calibration(folder: str | Path, height: int, width: int) -> torch.Tensor:
    """Return up to MOST_IMAGES images of a folder at any depth, uint8 (N, height, width, 3), evenly spaced in its list.

    Raises UserError if the folder holds no image, or naming all chosen images that cannot be read.
    """
    paths = list_images(folder) if Path(folder).is_dir() else []
    if not paths:
        raise UserError(f"--calibrate {folder}: no images there; expected a folder of people, such as pytorch/train.")
    count = min(len(paths), MOST_IMAGES)
    return load_bank([paths[i * len(paths) // count] for i in range(count)], height, width)


def static_int8(content: bytes, images: np.ndarray[Any, Any], about: dict[str, str]) -> bytes:
    """Return an ONNX file whose layers compute in int8, as many as the features allow.

    content: a float32 network, images → features. images: in the form that it expects. about: metadata of the new file.

    Each layer is quantised alone to see what it costs. Then all of them are, except the 0, 1, 2, 4, 8, ... worst, until
    the mean cosine to the float32 features of held-out images is LEAST_COSINE. At most half of the layers stay in
    float32. The log says how many are quantised, and the cosine.
    """
    import onnx

    with quiet(), tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        measured, held_out = _parted(images)
        model, ranges = _calibrated(content, measured, folder)
        layers = [node.name for node in model.graph.node if node.op_type in LAYERS]
        probes = images[:: -(-len(images) // PROBES)]
        expected, expected_of_probes = _features(model, held_out), _features(model, probes)
        harm = {}
        for layer in progress(layers, desc="layers", unit=" layers"):
            alone = _quantised(model, ranges, [layer])
            harm[layer] = 1 - _cosine(_features(alone, probes), expected_of_probes)
        best_first = sorted(layers, key=harm.__getitem__)
        counts = [0] + [2**power for power in range(20) if 2 * 2**power <= len(layers)]
        for in_float in counts:
            quantised = _quantised(model, ranges, best_first[: len(layers) - in_float])
            cosine = _cosine(_features(quantised, held_out), expected)
            if cosine >= LEAST_COSINE:
                break
    log.info(
        f"int8: {len(layers) - in_float} of {len(layers)} layers; the features' mean cosine to float32 is {cosine:.4f} "
        f"on {len(held_out)} images."
    )
    del quantised.graph.value_info[:]
    onnx.helper.set_model_props(quantised, about)
    return quantised.SerializeToString()


def _parted(images: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the images that ranges are measured on, all if they are few, and those held out to measure the result."""
    held_out = np.arange(len(images)) % HELD_OUT == 0
    return images[~held_out] if len(images) >= HELD_OUT else images, images[held_out]


def _calibrated(content: bytes, images: np.ndarray[Any, Any], folder: str) -> tuple[Any, Any]:
    """Return the network, with its constants folded, and the range of each of its activations on the images."""
    import onnx

    import_onnxruntime()
    from onnxruntime.quantization import CalibrationDataReader, create_calibrator
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Hand out the images batch by batch, then None, as the calibrator asks for them."""

        def __init__(self) -> None:
            self.batches = iter(range(0, len(images), BATCH))

        def get_next(self) -> dict[str, Any] | None:
            start = next(self.batches, None)
            return None if start is None else {"images": images[start : start + BATCH]}

    model = onnx.load_from_string(content)
    del model.graph.value_info[:]  # the exporter's shapes are wrong once weights are reordered
    written, plain = Path(folder) / "written.onnx", Path(folder) / "plain.onnx"
    onnx.save(model, written)
    quant_pre_process(written, plain, skip_symbolic_shape=True)
    calibrator = create_calibrator(plain, LAYERS, augmented_model_path=str(Path(folder) / "ranges.onnx"))
    calibrator.collect_data(Reader())
    return onnx.load(plain), calibrator.compute_data()


def _quantised(model: Any, ranges: Any, layers: list[str]) -> Any:
    """Return a copy of an ONNX model in which the named layers compute in int8."""
    from onnxruntime.quantization import QDQQuantizer, QuantType

    settings = {"ActivationSymmetric": True, "WeightSymmetric": True}
    int8 = QuantType.QInt8
    quantizer = QDQQuantizer(deepcopy(model), True, False, int8, int8, ranges, layers, [], LAYERS, settings)
    if layers:  # an empty list would mean all
        quantizer.quantize_model()
    return quantizer.model.model


def _features(model: Any, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the features (N, D) of N images, of unit length."""
    onnxruntime = import_onnxruntime()
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    batches = [session.run(None, {"images": images[i : i + BATCH]})[0] for i in range(0, len(images), BATCH)]
    return unit_rows_or_zeros(np.concatenate(batches))


def _cosine(features: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> float:
    return float((features * expected).sum(1).mean())
