"""Colour histograms as descriptors of people, the baseline of any network.

Histograms are joint in hue, saturation and value (16 × 4 × 4 bins) and compared by the
Bhattacharyya coefficient; "balanced" scales the colours of every image to a grey mean first, which
removes most of a camera's influence.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from person_reid.data.layout import parse_names
from person_reid.errors import UserError
from person_reid.progress import progress
from person_reid.retrieval.metrics import evaluate
from person_reid.retrieval.results import FeatureSet

BINS = (16, 4, 4)  # hue, saturation, value


def histogram(pixels, stripes=1, balanced=False):
    """Return a colour histogram of an image. pixels: (H, W, 3) uint8 RGB.

    The result is (stripes · 256,) float32, of norm 1.

    stripes: the number of horizontal stripes from head to feet, each with its own histogram. The
    square root makes the cosine of two histograms their Bhattacharyya coefficient.
    """
    if balanced:
        means = np.maximum(pixels.mean((0, 1)), 1)
        pixels = np.minimum(pixels * (means.mean() / means), 255).astype(np.uint8)
    hsv = np.asarray(Image.fromarray(pixels).convert("HSV")).astype(np.int64)
    bins = np.ravel_multi_index(tuple((hsv * BINS // 256).transpose(2, 0, 1)), BINS)
    counts = [
        np.bincount(part.ravel(), minlength=np.prod(BINS)) for part in np.array_split(bins, stripes)
    ]
    root = np.sqrt(np.concatenate(counts) / bins.size)
    return root.astype(np.float32)


def describe(folder, descriptor):
    """Return a FeatureSet of the images of a folder.

    descriptor: function of (H, W, 3) uint8 that returns (D,).
    """
    paths = sorted(Path(folder).glob("*.jpg"))
    if not paths:
        raise UserError(
            f"{folder}: no .jpg files there; expected a data set in Market-1501's layout."
        )
    labels, cameras = parse_names(paths)
    features = []
    for path in progress(paths, desc=Path(folder).name, unit="image"):
        with Image.open(path) as image:
            features.append(descriptor(np.asarray(image.convert("RGB"))))
    return FeatureSet(np.stack(features), labels, cameras)


DESCRIPTORS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "one histogram": histogram,
    "8 stripes": partial(histogram, stripes=8),
    "8 stripes, balanced": partial(histogram, stripes=8, balanced=True),
}


def measure(data_dir, descriptor):
    """Return a descriptor's Metrics on `data_dir`/query against `data_dir`/bounding_box_test."""
    return evaluate(
        *(describe(Path(data_dir, folder), descriptor) for folder in ("query", "bounding_box_test"))
    )
