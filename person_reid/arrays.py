"""Convert what users pass (lists, arrays, tensors, pandas columns) to arrays and numbers.

Every public function checks its arguments here. A wrong argument raises an error that begins with
its name, before any work begins.
"""

import math
import numbers
import operator
from collections.abc import Callable, Sized
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from person_reid.errors import UserError

Array = npt.NDArray[Any]
Integers = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int64]  # (N,): identities, clusters or cameras
REAL = "biuf"  # kinds of NumPy's types
TEXT = "UST"
GOLDEN = 0x9E3779B97F4A7C15  # 2^64 divided by the golden ratio: its multiples spread evenly
OTHER_KINDS = {
    "O": "cells or a sparse matrix of MATLAB, or other objects",
    "V": "a struct",
    "c": "complex numbers",
    "U": "text",
    "S": "text",
    "T": "text",
    "M": "dates",
    "m": "durations",
}


def any_array(values: Any, name: str) -> Array:
    """Return values as an array, which may hold strings or objects.

    Raises a UserError that begins with `name` for values that do not form an array: rows of
    different lengths, masked entries, and tensors that are not dense.
    """
    if _is_tensor(values):
        return _of_tensor(values)
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise UserError(f"{name}: expected a value everywhere, found masked entries.")
    if isinstance(values, list | tuple) and any(
        isinstance(each, np.ma.MaskedArray) or _is_tensor(each) for each in values
    ):  # NumPy would drop a mask, and cannot read a tensor
        values = [any_array(each, name) for each in values]
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        if "inhomogeneous" in str(error):
            raise UserError(
                f"{name}: expected an array, found rows of different lengths."
            ) from None
        raise UserError(f"{name}: expected an array, found {_kind(values)} ({error}).") from None


def as_array(values: Any, name: str) -> Array:
    """Return real numbers of any shape as an array.

    values: an array, a number, a list of them, a tensor on any device, or a column or table of
        pandas. A tensor of less than 32 bits becomes float32.
    name: used in messages.

    Raises a UserError that begins with `name` for rows of different lengths, for masked entries and
    for anything but real numbers.
    """
    array = any_array(values, name)
    if array.dtype.kind not in REAL:
        raise UserError(f"{name}: expected real numbers, found {_found(values, array)}.")
    return array


def as_float32(values: Any, name: str) -> npt.NDArray[np.float32]:
    """Return features of any shape as row-major float32; arrays from .mat files are column-major.

    The memory order decides how sums are rounded. Raises UserError as as_array does.
    """
    array = as_array(values, name)
    with np.errstate(over="ignore"):  # check_features rejects what overflows float32
        return np.ascontiguousarray(array, np.float32)


def as_features(
    values: Any, name: str, row: Callable[[int], object] = "index {}".format
) -> npt.NDArray[np.float32]:
    """Return features (N, D) as as_float32 does, after checking that they can be compared.

    row: row(i) names row i in messages. Raises UserError as as_array and check_features do.
    """
    features = as_float32(values, name)
    check_features(features, name, row)
    return features


def whole_numbers(values: Any, name: str) -> npt.NDArray[np.int64]:
    """Return whole numbers (N,), (1, N) or (N, 1) as (N,) int64.

    Raises UserError as as_array does, for any other shape, and for a number that is not whole or
    does not fit.
    """
    array = in_a_row(as_array(values, name), name)
    if array.dtype.kind in "uf":
        bad = ~((array >= -(2.0**63)) & (array < 2.0**63) & (array == np.floor(array)))
        if bad.any():
            raise UserError(
                f"{name}: expected whole numbers below 2^63, "
                f"found {array[bad][0]} at {bad.argmax()}."
            )
    return array.astype(np.int64, copy=False)


def names_or_numbers(values: Any, name: str) -> Array:
    """Return numbers or words, such as the cameras of N images, as an array (N,).

    Raises UserError as as_array does, and for NaN, which equals no camera.
    """
    array = any_array(values, name)
    if array.dtype.kind == "O" and all(isinstance(each, str) for each in array.flat):
        array = array.astype(str)  # a column of pandas
    if array.dtype.kind not in REAL + TEXT:
        raise UserError(f"{name}: expected numbers or words, found {_found(values, array)}.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UserError(f"{name}: expected numbers or words, found NaN or infinity.")
    return in_a_row(array, name)


def in_a_row(array: Array, name: str) -> Array:
    """Return an array (N,), (1, N) or (N, 1) as (N,).

    Raises a UserError that begins with `name` for any other shape.
    """
    if array.ndim != 1 and array.size not in array.shape:
        raise UserError(f"{name}: expected one for each image, (N,), found shape {array.shape}.")
    return array.ravel()


def check_lengths(**arrays: Sized) -> None:
    """Raise a UserError that names the arguments unless all have the same number of rows."""
    if len({len(each) for each in arrays.values()}) > 1:
        found = ", ".join(f"{len(each)} {name}" for name, each in arrays.items())
        raise UserError(f"{found}: expected as many of each.")


def whole_number(value: Any, name: str, least: int = 0) -> int:
    """Return a value as a whole number after checking that it is at least `least`.

    Raises a UserError that begins with `name` for anything else, including 1.5, "1" and True.
    """
    with suppress(TypeError, RuntimeError):  # odd tensors raise the second
        if not isinstance(value, bool) and (number := operator.index(value)) >= least:
            return number
    raise UserError(f"{name}: expected a whole number, {least} or above, found {_shown(value)}.")


def real_number(value: Any, name: str) -> float:
    """Return a value as a float after checking that it is a finite number.

    Raises a UserError that begins with `name` for anything else, including NaN, "1" and True.
    """
    if isinstance(value, numbers.Real | np.ndarray) or _is_tensor(value):
        array = as_array(value, name)
        if array.size == 1 and array.dtype.kind != "b" and math.isfinite(array.item()):
            return float(array.item())
    raise UserError(f"{name}: expected a finite number, found {_shown(value)}.")


def flaw(features: Array, row: Callable[[int], object] = "index {}".format) -> str:
    """Return why features (N, D) cannot be compared: a row is not finite, or is all zero.

    Returns "" if they can be compared. row: row(i) names row i in messages.
    """
    squares = np.einsum("nd,nd->n", features, features)
    for bad, what in ((~np.isfinite(squares), "NaN or infinite"), (squares == 0, "all zero")):
        if bad.any():
            return (
                f"{bad.sum()} of {len(features)} features are {what}, "
                f"the first is {row(int(bad.argmax()))}"
            )
    return ""


def check_features(
    features: Array, source: str, row: Callable[[int], object] = "index {}".format
) -> None:
    """Raise a UserError that begins with `source` if no metric could rank these features.

    row: row(i) names row i in messages.
    """
    if features.ndim != 2 or features.size == 0:
        raise UserError(
            f"{source}: {'' if features.size else 'empty '}features of shape {features.shape}; "
            "expected (images, dimension)."
        )
    if found := flaw(features, row):
        raise UserError(f"{source}: {found}.")


def _is_tensor(values: Any) -> bool:
    return hasattr(values, "detach") and hasattr(values, "layout")  # without loading torch


def _of_tensor(tensor: Any) -> Array:
    tensor = tensor.detach().cpu().resolve_neg()
    if tensor.is_floating_point() and tensor.element_size() < 4:  # NumPy has no bfloat16
        tensor = tensor.float()
    return np.asarray(tensor)


def _found(values: Any, array: Array) -> str:
    """Describe a value that was passed instead of numbers."""
    single = array.ndim == 0 and array.dtype.kind == "O" and not hasattr(values, "toarray")
    return _kind(values) if single else OTHER_KINDS.get(array.dtype.kind, str(array.dtype))


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str | numbers.Number) else _kind(value)


def _kind(values: Any) -> str:
    return "None" if values is None else f"a {type(values).__name__}"


def row_hashes(rows: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """Return the 64-bit hashes (n,) of the rows (n, D), computed from their bytes.

    A hash is the sum of the row's words, each multiplied by its own odd number, modulo 2^64.
    """
    rows = np.ascontiguousarray(rows)
    size = next(size for size in (8, 4, 2, 1) if rows.shape[1] * rows.itemsize % size == 0)
    words = rows.view(f"<u{size}").astype(np.uint64, copy=False)
    weights = (np.arange(1, words.shape[1] + 1, dtype=np.uint64) * np.uint64(GOLDEN)) | np.uint64(1)
    hashes: npt.NDArray[np.uint64] = np.einsum("nd,d->n", words, weights)
    return hashes
