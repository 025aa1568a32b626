"""Read the MATLAB files of data sets, in version 7.3 (HDF5) or earlier."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.io

from person_reid.errors import UserError, first_line, optional_module
from person_reid.files import TENSORS, regular_file


def open_hdf5(*files: Path) -> Any:
    """Open the first HDF5 file that exists.

    Raises UserError if none does, if it is damaged, or if h5py is not installed.
    """
    h5py = optional_module(
        "h5py",
        UserError(f"{files[0].name} is an HDF5 file; reading it needs h5py: pip install h5py"),
    )
    path = next((file for file in files if file.exists()), None)
    if path is None:
        others = "".join(f", nor in {file.parent.name}" for file in files[1:])
        raise UserError(f"{files[0]}: no such file{others}.")
    try:
        return h5py.File(regular_file(path, TENSORS), "r")
    except OSError as error:
        raise UserError(
            f"{path}: not readable as HDF5 ({error}). Was the download complete?"
        ) from error


def read_hdf5(file: Path, names: list[str]) -> dict[str, Any]:
    """Return variables from a version 7.3 file: matrices, and cells of strings as lists."""
    with open_hdf5(file) as content:  # in which matrices are transposed
        found = {name: content[name][()].T for name in names if name in content}
        for name, values in found.items():
            if values.dtype == object:  # references to the cells
                letters = (content[cell][()].ravel() for cell in values.ravel())
                found[name] = ["".join(map(chr, each)) for each in letters]
    return found


def read_integers(file: Path, name: str) -> npt.NDArray[np.int64]:
    """Return a matrix of whole numbers. Raises UserError if the file or the matrix is missing."""
    if not file.exists():
        raise UserError(f"{file}: no such file. Was the download unpacked completely?")
    regular_file(file, TENSORS)
    try:
        try:
            values = scipy.io.loadmat(file, variable_names=[name])[name]
        except NotImplementedError:  # version 7.3
            values = read_hdf5(file, [name])[name]
        return np.asarray(values).astype(np.int64)
    except UserError:
        raise
    except Exception as error:  # the readers may raise any exception for a damaged file
        raise UserError(
            f"{file}: no matrix {name} to be read in it ({first_line(error)}). Unpack the download "
            "again."
        ) from error
