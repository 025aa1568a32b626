"""Result files: the features that test.py writes and all later steps read.

The keys are the published ones: gallery_f (N, D), gallery_label and gallery_cam (1, N), the same for query_ and, in
multi_query.mat, for mquery_; also gallery_path and query_path, one image per row. Features too large for MATLAB 5 are
written as MATLAB 7.3, which is HDF5, under the same name.

    from person_reid.retrieval.results import load_result
    query, gallery = load_result("pytorch_result.mat")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.io

from person_reid.basics import UserError, atomic_write

RESULT = Path("pytorch_result.mat")  # unless --result says otherwise
MATLAB5_LIMIT = 2**31 - 1  # bytes in one variable, for MATLAB itself
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
USER_BLOCK = 512  # where HDF5 begins in a MATLAB 7.3 file


@dataclass
class FeatureSet:
    """Images of people as the network sees them. Other dtypes and (1, N) arrays are converted.

    features: (N, D) float32.
    labels: (N,) int64, -1 for junk, 0 for a distractor.
    cameras: (N,) int64.
    paths: N file names, or None if they were not asked for.
    """

    features: npt.NDArray[Any]
    labels: npt.NDArray[Any]
    cameras: npt.NDArray[Any]
    paths: list[str] | None = None

    def __post_init__(self) -> None:
        self.features = np.asarray(self.features, np.float32)
        self.labels = np.asarray(self.labels).ravel().astype(np.int64)
        self.cameras = np.asarray(self.cameras).ravel().astype(np.int64)

    def __len__(self) -> int:
        return len(self.features)

    def select(self, index: Sequence[int] | npt.NDArray[np.int64]) -> FeatureSet:
        """Return the images at these positions."""
        paths = None if self.paths is None else [self.paths[i] for i in index]
        return FeatureSet(self.features[index], self.labels[index], self.cameras[index], paths)

    def check(self, source: str) -> None:
        """Raise a UserError, opening with `source`, if no metric could rank these features."""
        if self.features.ndim != 2 or self.features.size == 0:
            raise UserError(f"{source}: empty features of shape {self.features.shape}; expected (images, dimension).")
        paths = self.labels if self.paths is None else self.paths
        lengths = {"features": len(self), "labels": len(self.labels), "cameras": len(self.cameras), "paths": len(paths)}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{count} {name}" for name, count in lengths.items())
            raise UserError(f"{source}: {found}; expected as many of each. Extract them again with test.py.")
        squares = np.einsum("nd,nd->n", self.features, self.features)
        for bad, what in ((~np.isfinite(squares), "NaN or infinite"), (squares == 0, "all zero")):
            if bad.any():
                first = int(bad.argmax())
                name = f"index {first}" if self.paths is None else f"{self.paths[first]} (index {first})"
                raise UserError(f"{source}: {bad.sum()} of {len(self)} features are {what}, the first is {name}.")


def multi_query_file(result: str | Path) -> Path:
    """Return the path, in the same folder, of the multiple-query features that belong to a result file.

    multi_query.mat for pytorch_result.mat, the published names; market_multi_query.mat for market.mat.
    """
    result = Path(result)
    own = "" if result.name == RESULT.name else f"{result.stem}_"
    return result.with_name(f"{own}multi_query.mat")


def save_result(path: str | Path, query: FeatureSet, gallery: FeatureSet) -> None:
    """Write two FeatureSets atomically to the file that evaluate.py reads. Raises OSError if the disk is full."""
    _save(path, {"gallery": gallery, "query": query})


def save_multi_query(path: str | Path, multi_query: FeatureSet) -> None:
    """Write multi_query.mat: the images of every query's identity in its camera."""
    _save(path, {"mquery": multi_query})


def load_result(path: str | Path = RESULT, paths: bool = False) -> tuple[FeatureSet, FeatureSet]:
    """Read (query, gallery) from a MATLAB 5 or 7.3 file.

    paths: also read the images' names, if the file has them. Raises UserError if the file is missing, damaged or unfit
    for a ranking.
    """
    query, gallery = _load(path, ("query", "gallery"), paths)
    if query.features.shape[1] != gallery.features.shape[1]:
        raise UserError(
            f"{path}: query features have {query.features.shape[1]} dimensions, gallery features "
            f"{gallery.features.shape[1]}; expected the same network for both."
        )
    return query, gallery


def load_multi_query(path: str | Path = "multi_query.mat", paths: bool = False) -> FeatureSet:
    """Read the FeatureSet that save_multi_query wrote. Raises UserError as load_result does."""
    return _load(path, ("mquery",), paths)[0]


def _save(path: str | Path, sets: Mapping[str, FeatureSet]) -> None:
    values = {}
    for name, images in sets.items():
        images.check(f"{path}: {name}")
        values[f"{name}_f"] = images.features
        values[f"{name}_label"] = images.labels[None]
        values[f"{name}_cam"] = images.cameras[None]
        if images.paths is not None:
            values[f"{name}_path"] = np.array([str(image) for image in images.paths])
    large = any(value.nbytes > MATLAB5_LIMIT for value in values.values())
    with atomic_write(path) as temporary:
        if large:
            _write_hdf5(temporary, values)
        else:
            with temporary.open("wb") as file:
                scipy.io.savemat(file, values)


def _write_hdf5(path: Path, values: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write MATLAB 7.3: MATLAB's header, then every array transposed and text as a matrix of UTF-16 units."""
    import h5py

    classes = {"f": "single", "i": "int64", "u": "char"}
    with h5py.File(path, "w", userblock_size=USER_BLOCK) as file:
        for name, value in values.items():
            if value.dtype.kind == "U":
                lines = [text.encode("utf-16-le") for text in value]
                width = max(map(len, lines))
                padded = b"".join(line + b" \0" * ((width - len(line)) // 2) for line in lines)
                value = np.frombuffer(padded, "<u2").reshape(len(lines), -1)
            data = file.create_dataset(name, value.shape[::-1], value.dtype)
            data.attrs["MATLAB_class"] = np.bytes_(classes[value.dtype.kind])
            for column in range(0, value.shape[1], 64):  # in blocks: transposing it whole would copy it
                data[column : column + 64] = value[:, column : column + 64].T
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    with path.open("rb+") as file:
        file.write(header)


def _load(path: str | Path, names: Sequence[str], paths: bool) -> list[FeatureSet]:
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no features there. Extract them first: python test.py --name NAME")
    wanted = [f"{name}_{part}" for name in names for part in ("f", "label", "cam")]
    texts = [f"{name}_path" for name in names] if paths else []
    with path.open("rb") as file:
        start = file.read(USER_BLOCK + len(HDF5_SIGNATURE))
    hdf5 = HDF5_SIGNATURE in (start[: len(HDF5_SIGNATURE)], start[USER_BLOCK:])
    read = _read_hdf5 if hdf5 else scipy.io.loadmat
    try:
        values = read(path, variable_names=wanted + texts)
    except Exception as error:  # the readers may raise any exception for a damaged file
        raise UserError(f"{path}: damaged, or not a MATLAB file ({error}). Extract the features again.") from None
    missing = [key for key in wanted if key not in values]
    if missing:
        raise UserError(f"{path}: no {missing[0]!r} in it; expected {', '.join(wanted)}, as test.py writes them.")
    sets = []
    for name in names:
        text = values.get(f"{name}_path")
        lines = None if text is None else [str(line).rstrip(" ") for line in text]
        images = FeatureSet(values[f"{name}_f"], values[f"{name}_label"], values[f"{name}_cam"], lines)
        images.check(f"{path}: {name}")
        sets.append(images)
    return sets


def _read_hdf5(path: Path, variable_names: list[str]) -> dict[str, Any]:
    import h5py

    values: dict[str, Any] = {}
    with h5py.File(path) as file:
        for key in variable_names:
            if key in file:
                values[key] = file[key][()].T
                if key.endswith("_path"):
                    values[key] = [row.astype("<u2").tobytes().decode("utf-16-le") for row in values[key]]
    return values
