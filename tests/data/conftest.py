"""Pixels and a small download in Market-1501's folders, for all tests that read images."""

import numpy as np
import pytest
from PIL import Image

FILES = {
    "bounding_box_train": [
        "0002_c1s1_000451_03.jpg",
        "0002_c1s1_000551_01.jpg",
        "0002_c2s1_000001_01.jpg",
        "0007_c3s1_000451_03.JPG",
        "0007_c1s1_ünï çode.png",
        "0011_c6s1_000451_03.jpg.jpg",
    ],
    "bounding_box_test": [
        "-1_c1s1_000401_03.jpg",
        "0000_c4s1_000401_03.jpg",
        "0001_c2s1_000401_03.jpg",
    ],
    "query": ["0001_c1s1_001051_00.jpg"],
    "gt_bbox": ["0001_c1s1_001051_00.jpg", "0001_c1s1_002301_00.jpg"],
}


def noise(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def write_image(path, colour=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (2 + colour, 4), (colour, 0, 0)).save(path, format="PNG")
    return path


def write_images(folder, names):
    """Write an image of another colour under each name."""
    for colour, name in enumerate(names):
        write_image(folder / name, colour)


@pytest.fixture
def download(tmp_path):
    """Four people in Market-1501's folders, with the files that lie about in them."""
    root = tmp_path / "download"
    for folder, names in FILES.items():
        write_images(root / folder, names)
        (root / folder / "Thumbs.db").write_bytes(b"thumbs")
    write_image(root / "query" / "._0001_c1s1_001051_00.jpg")
    (root / "readme.txt").write_text("read me")
    return root
