"""Result files: the features that test.py writes and all later steps read.

The keys are those of the published code: gallery_f (N, D), gallery_label and gallery_cam (1, N),
and the same for query_ and, in multi_query.mat, for mquery_. The suite adds gallery_path and
query_path, one image per row; `network`, the network that computed the features; `flags`, the
options of test.py on which they depend ("plain" if there are none); and, in multi_query.mat,
query_digest, a digest of the queries' features. MATLAB's format cannot hold features above 2 GB or
image names that are not UTF-8. Such results are written in NumPy's .npz format, with the same keys
and under the same name. Their arrays begin at multiples of ALIGNED bytes, so that features are not
loaded into memory: the system reads them from the file when they are needed.

    from person_reid.retrieval.results import load_result
    query, gallery = load_result("pytorch_result.mat")
"""

from __future__ import annotations

import hashlib
import io
import logging
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import scipy.io

from person_reid.arrays import as_float32, check_features, check_lengths, whole_numbers
from person_reid.data.matlab import read_hdf5
from person_reid.errors import UserError
from person_reid.files import TENSORS, atomic_write, regular_file, with_ending
from person_reid.retrieval.similarity import check_dimensions
from person_reid.text import as_command

log = logging.getLogger(__name__)
RESULT = Path("pytorch_result.mat")  # the default of --result
LARGEST_VARIABLE = 2**31 - 1  # bytes, in MATLAB's format
ZIP = b"PK\3\4"  # the first bytes of a .npz file
ALIGNED = 64  # NumPy computes more slowly with features at odd addresses
ZIP_HEADER, ZIP_SIZES = 30, 20  # bytes before the name of an array in a ZIP file, and after it
PADDING = b"re"  # marks the bytes of a ZIP header that align what follows
NETWORK = "network"
FEATURE_FLAGS = "flags"
QUERY_DIGEST = "query_digest"
NOTES = (NETWORK, FEATURE_FLAGS, QUERY_DIGEST)
PLAIN = "plain"  # `flags` if no option affects the features


@dataclass(repr=False)
class FeatureSet:
    """The features of images of people, with their labels and cameras.

    Lists, tensors, other numbers and (1, N) arrays are converted.

    features: (N, D) float32.
    labels: (N,) int64, -1 for junk, 0 for a distractor.
    cameras: (N,) int64.
    paths: N file names, or None if not requested.

    Raises UserError for features that are not real numbers, for labels or cameras that are not
    whole numbers, or if the numbers of features, labels, cameras and paths differ.
    """

    features: npt.NDArray[Any]
    labels: npt.NDArray[Any]
    cameras: npt.NDArray[Any]
    paths: list[str] | None = None

    def __init__(
        self,
        features: npt.ArrayLike,
        labels: npt.ArrayLike,
        cameras: npt.ArrayLike,
        paths: list[str] | None = None,
    ) -> None:
        self.features = as_float32(features, "features")
        self.labels = whole_numbers(labels, "labels")
        self.cameras = whole_numbers(cameras, "cameras")
        self.paths = paths if paths is None else [*paths]
        named = {} if self.paths is None else {"paths": self.paths}
        check_lengths(features=self.features, labels=self.labels, cameras=self.cameras, **named)

    def __len__(self) -> int:
        return len(self.features)

    def __repr__(self) -> str:
        people, cameras = (len(np.unique(each)) for each in (self.labels, self.cameras))
        shape = "×".join(map(str, self.features.shape))
        return f"FeatureSet({shape} features of {people} identities in {cameras} cameras)"

    def select(self, index: Sequence[int] | npt.NDArray[np.int64]) -> FeatureSet:
        """Return the images at the indices `index`."""
        paths = None if self.paths is None else [self.paths[i] for i in index]
        return FeatureSet(self.features[index], self.labels[index], self.cameras[index], paths)

    def digest(self) -> str:
        """Return a checksum of the features."""
        return hashlib.sha256(self.features.tobytes()).hexdigest()

    def check(self, source: str) -> None:
        """Raise a UserError that begins with `source` unless these features can be ranked."""
        paths = self.paths
        check_features(
            self.features, source, lambda i: f"{paths[i]} (index {i})" if paths else f"index {i}"
        )


def multi_query_file(result: str | Path) -> Path:
    """Return the path of the multiple-query features that belong to a result.

    The file is in the same folder: multi_query.mat for pytorch_result.mat, as published, and
    market_multi_query.mat for market.mat.
    """
    result = Path(result)
    own = "" if result.name == RESULT.name else f"{with_ending(result, '', RESULT.suffix).name}_"
    return result.with_name(f"{own}multi_query.mat")


def save_result(
    path: str | Path, query: FeatureSet, gallery: FeatureSet, network: str = "", flags: str = ""
) -> None:
    """Write query and gallery atomically to a file that evaluate.py reads.

    Raises OSError if the disk is full.

    network: a description of the network that computed the features. flags: the options of test.py
    that change them, such as "--no_flip", or PLAIN.
    """
    _save(path, {"gallery": gallery, "query": query}, {NETWORK: network, FEATURE_FLAGS: flags})


def save_multi_query(path: str | Path, multi_query: FeatureSet, query: FeatureSet) -> None:
    """Write multi_query.mat: for each query, all images of its identity from the same camera.

    query: the queries, of which the file records a digest.
    """
    _save(path, {"mquery": multi_query}, {QUERY_DIGEST: query.digest()})


def save_gallery(path: str | Path, gallery: FeatureSet) -> None:
    """Write a gallery without queries."""
    _save(path, {"gallery": gallery})


def load_result(path: str | Path = RESULT, paths: bool = False) -> tuple[FeatureSet, FeatureSet]:
    """Read (query, gallery) from a file written by test.py or the published code.

    paths: also read the images' names, if the file has them. Raises UserError if the file is
    missing, damaged or unsuitable for ranking.
    """
    query, gallery = _load(path, ("query", "gallery"), paths)
    check_dimensions(query.features, gallery.features, f"{path}: ")
    return query, gallery


def load_multi_query(path: str | Path = "multi_query.mat", paths: bool = False) -> FeatureSet:
    """Read the FeatureSet that save_multi_query wrote. Raises UserError as load_result does."""
    return _load(path, ("mquery",), paths)[0]


def check_same_images(
    sets: tuple[FeatureSet, FeatureSet],
    source: str | Path,
    others: tuple[FeatureSet, FeatureSet],
    other_source: str | Path,
) -> None:
    """Raise UserError unless two results have the same images in the same order.

    Only such results can be compared.

    sets, others: the (query, gallery) of each result, with paths if the files have them.

    source, other_source: names of the results, for the message.
    """
    for images, same, name in zip(sets, others, ("query", "gallery"), strict=True):
        names = [[Path(path).name for path in each.paths or []] for each in (images, same)]
        alike = names[0] == names[1] or not all(names)
        if not (
            alike
            and np.array_equal(images.labels, same.labels)
            and np.array_equal(images.cameras, same.cameras)
        ):
            raise UserError(
                f"{other_source}: its {len(same)} {name} images are not the {len(images)} "
                f"of {source}. Extract both with test.py from the same folder."
            )


def load_matrix(path: str | Path) -> npt.NDArray[Any]:
    """Open a matrix that numpy.save wrote; its rows are read when needed.

    Raises UserError if the file is missing, damaged or not a matrix.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file. numpy.save({str(path)!r}, matrix) writes one.")
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{path}: damaged, or not a matrix of numpy.save ({error}).") from None


def load_gallery(path: str | Path) -> FeatureSet:
    """Read the gallery of a result, with paths. Raises UserError as load_result does."""
    return _load(path, ("gallery",), paths=True)[0]


def read_notes(path: str | Path, *keys: str) -> list[str]:
    """Return, as text, the notes `keys` (see NOTES) in a file, or "" for a note that it lacks."""
    found = _read(Path(path), list(keys))
    return [str(np.ravel(found[key])[0]).rstrip(" ") if key in found else "" for key in keys]


def read_note(path: str | Path, key: str) -> str:
    """Return a single note in a file, as read_notes does."""
    return read_notes(path, key)[0]


def _save(
    path: str | Path, sets: Mapping[str, FeatureSet], notes: Mapping[str, str] | None = None
) -> None:
    path = Path(path)
    values: dict[str, Any] = {key: np.array([text]) for key, text in (notes or {}).items() if text}
    names = "".join((notes or {}).values())
    for name, images in sets.items():
        images.check(f"{path}: {name}")
        values[f"{name}_f"] = images.features
        values[f"{name}_label"] = images.labels[None]
        values[f"{name}_cam"] = images.cameras[None]
        if images.paths is not None:
            values[f"{name}_path"] = np.array([str(image) for image in images.paths])
            names += "".join(map(str, images.paths))
    large = any(value.nbytes > LARGEST_VARIABLE for value in values.values())
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        if large or re.search("[\ud800-\udfff]", names):  # bytes that are not UTF-8
            log.warning("%s: written as .npz, since it does not fit into MATLAB's format", path)
            _write_arrays(file, values)
        elif temporary.is_file():
            scipy.io.savemat(file, values)
        else:  # a device or pipe, in which SciPy cannot seek back to write lengths
            content = io.BytesIO()
            scipy.io.savemat(content, values)
            file.write(content.getbuffer())


def _write_arrays(file: IO[bytes], values: Mapping[str, Any]) -> None:
    """Write an .npz file in which each array is aligned."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, value in values.items():
            entry = zipfile.ZipInfo(f"{name}.npy")
            begin = archive.start_dir + ZIP_HEADER + len(entry.filename) + ZIP_SIZES
            space = -(begin + 4) % ALIGNED
            entry.extra = struct.pack("<2sH", PADDING, space) + bytes(space)
            with archive.open(entry, "w", force_zip64=True) as array:
                np.lib.format.write_array(array, value, allow_pickle=False)


def _mapped(path: Path, entry: zipfile.ZipInfo) -> npt.NDArray[Any]:
    """Return an array from an .npz file; it is read from the disk only when it is used."""
    with path.open("rb") as file:
        file.seek(entry.header_offset + ZIP_HEADER - 4)
        file.seek(sum(struct.unpack("<HH", file.read(4))), io.SEEK_CUR)
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        return np.memmap(path, dtype, "c", file.tell(), shape)


def _load(path: str | Path, names: Sequence[str], paths: bool) -> list[FeatureSet]:
    path = Path(path)
    wanted = [f"{name}_{part}" for name in names for part in ("f", "label", "cam")]
    values = _read(path, wanted + [f"{name}_path" for name in names if paths])
    missing = [key for key in wanted if key not in values]
    if missing:
        raise UserError(
            f"{path}: no {missing[0]!r} in it; expected {', '.join(wanted)}, "
            "as test.py writes them."
        )
    sets = []
    for name in names:
        text = values.get(f"{name}_path")
        lines = None
        if text is not None:  # a MATLAB cell is an array
            lines = ["".join(map(str, np.ravel(cell))).rstrip(" ") for cell in np.ravel(text)]
        try:
            images = FeatureSet(
                values[f"{name}_f"], values[f"{name}_label"], values[f"{name}_cam"], lines
            )
        except UserError as error:
            raise UserError(
                f"{path}: {name}: {error} Extract the features again with test.py."
            ) from None
        images.check(f"{path}: {name}")
        sets.append(images)
    return sets


def _read(path: Path, names: list[str]) -> dict[str, Any]:
    """Return the requested variables that a file contains.

    Raises UserError if the file is missing or damaged.
    """
    if not path.exists():
        raise UserError(
            f"{path}: no features there. Extract them first: {as_command('test.py')} --name NAME"
        )
    with regular_file(path, TENSORS, "a result of test.py").open("rb") as file:
        start = file.read(len(ZIP))
    try:
        if start == ZIP:
            with np.load(path) as arrays:
                entries = {n: arrays.zip.getinfo(f"{n}.npy") for n in names if n in arrays}
                return {
                    name: _mapped(path, entry)
                    if name.endswith("_f") and PADDING in entry.extra
                    else arrays[name]
                    for name, entry in entries.items()
                }
        try:
            with warnings.catch_warnings():  # about sparse matrices, which are refused
                warnings.simplefilter("ignore", DeprecationWarning)
                return dict(scipy.io.loadmat(path, variable_names=names))
        except NotImplementedError:  # MATLAB's format 7.3
            return read_hdf5(path, names)
    except Exception as error:  # the readers may raise any exception for a damaged file
        raise UserError(
            f"{path}: damaged, or not a file of test.py ({error}). Extract the features again."
        ) from None
