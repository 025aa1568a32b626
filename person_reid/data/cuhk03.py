"""Read CUHK03 as its authors distribute it: `cuhk-03.mat`, an HDF5 file of matrices.

`detected` and `labeled` are (5, 1) MATLAB cells, one for each pair of cameras, of (people, 10)
cells: five images from the first camera of the pair, then five from the second. Any cell may be
empty. An image is (height, width, 3) uint8; HDF5 stores MATLAB's axes in reverse order. Li et al.,
DeepReID, CVPR 2014.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from PIL import Image

from person_reid.data.matlab import open_hdf5
from person_reid.data.readers import GALLERY, QUERY, TRAIN, Picture, PicturesBySplit, by_name
from person_reid.errors import UserError
from person_reid.files import regular_file

FOLDER_OF_SPLIT = {TRAIN: "bounding_box_train", QUERY: "query", GALLERY: "bounding_box_test"}
PROTOCOL = "https://github.com/zhunzhong07/person-re-ranking"
PATTERN = r"(?P<id>\d+)_c(?P<camera>\d)_\d+"


@dataclass(frozen=True)
class Matrix:
    """An image inside cuhk-03.mat.

    name: `<camera pair>_<person>_<view>_<image>.png`, each counted from 1.
    """

    name: str
    dataset: Any

    def save(self, path: Path) -> None:
        """Write the image as a PNG file."""
        Image.fromarray(np.ascontiguousarray(self.dataset[()].T)).save(path, format="PNG")


def read_new_protocol(data_dir: Path, kind: str) -> PicturesBySplit:
    """Read the new split: 767 people for training, 700 for testing.

    kind: "detected" or "labeled". Reads the folders of images as the split is usually distributed,
    or `cuhk-03.mat` with `cuhk03_new_protocol_config_<kind>.mat`. Zhong et al., Re-ranking Person
    Re-identification with k-reciprocal Encoding, CVPR 2017.
    """
    if (data_dir / FOLDER_OF_SPLIT[QUERY]).is_dir():
        return by_name(data_dir, FOLDER_OF_SPLIT, PATTERN)
    images = {image.name: image for image in read_cuhk03(data_dir, kind)}
    file = data_dir / f"cuhk03_new_protocol_config_{kind}.mat"
    if not file.exists():
        raise UserError(f"{file}: no such file. It is in evaluation/data/CUHK03 of {PROTOCOL}.")
    config = scipy.io.loadmat(regular_file(file))
    names = [str(cell[0]) for cell in config["filelist"].flatten()]
    labels = config["labels"].flatten()
    missing = [name for name in names if name not in images]
    if missing:
        raise UserError(
            f"{file}: lists {len(missing)} images that are not in cuhk-03.mat, "
            f"such as {missing[0]}."
        )

    def pictures(key: str) -> list[Picture]:
        positions = config[key].flatten().astype(int) - 1  # MATLAB counts from 1
        return [
            Picture(images[names[i]], str(labels[i]), names[i].split("_")[2]) for i in positions
        ]

    return {
        TRAIN: pictures("train_idx"),
        QUERY: pictures("query_idx"),
        GALLERY: pictures("gallery_idx"),
    }


def read_original_protocol(data_dir: Path, kind: str, seed: int = 0) -> PicturesBySplit:
    """Read split `seed` of the 20 original splits: 100 people for testing, the rest for training.

    All images of the 100 people are both queries and gallery; evaluate.py --single_shot draws from
    them.
    """
    file = _open(data_dir)
    splits = file["testsets"][()].flatten()
    if not 0 <= seed < len(splits):
        raise UserError(f"seed={seed}: CUHK03 has the test sets 0 to {len(splits) - 1}.")
    tested = {f"{pair}_{person:03d}" for pair, person in file[splits[seed]][()].T.astype(int)}
    train: list[Picture] = []
    test: list[Picture] = []
    for image in read_cuhk03(data_dir, kind):
        person, view = image.name[:5], image.name[6]
        (test if person in tested else train).append(Picture(image, person.replace("_", ""), view))
    return {TRAIN: train, QUERY: test, GALLERY: test}


def read_cuhk03(data_dir: Path, kind: str) -> list[Matrix]:
    """Return all images of one kind, "detected" or "labeled"."""
    file = _open(data_dir)
    return [
        Matrix(f"{pair}_{person:03d}_{1 if number <= 5 else 2}_{number:02d}.png", file[reference])
        for pair, cell in enumerate(file[kind][()].flatten(), 1)
        for person, references in enumerate(file[cell][()].T, 1)
        for number, reference in enumerate(references, 1)
        if file[reference].ndim == 3
    ]


def _open(data_dir: Path) -> Any:
    return open_hdf5(data_dir / "cuhk-03.mat", data_dir / "cuhk03_release" / "cuhk-03.mat")
