"""Arguments of users become arrays, or are refused under the argument's name."""

import numpy as np
import pytest
import torch

from person_reid.arrays import (
    as_array,
    as_features,
    names_or_numbers,
    real_number,
    whole_number,
    whole_numbers,
)
from person_reid.errors import UserError

GOOD = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
TENSOR = torch.from_numpy(GOOD)
SAME = {
    "a list": GOOD.tolist(),
    "rows": list(GOOD),
    "rows that are tensors with a gradient": [row.clone().requires_grad_() for row in TENSOR],
    "double": GOOD.astype(np.float64),
    "another order of bytes": GOOD.astype(">f4"),
    "another order in memory": np.asfortranarray(GOOD),
    "a tensor": TENSOR,
    "a tensor with a gradient": TENSOR.clone().requires_grad_(),
    "a masked array that masks nothing": np.ma.masked_array(GOOD, False),
}
REFUSED = {
    "None": None,
    "text": "features",
    "a generator": (row for row in GOOD),
    "a dict": {"a": 1},
    "rows of different lengths": [[1.0, 2.0], [1.0]],
    "found text": np.array([["a"] * 3] * 4),
    "objects": GOOD.astype(object),
    "masked": np.ma.masked_less(GOOD, 0),
    "masked entries": list(np.ma.masked_less(GOOD, 0)),
    "complex": GOOD.astype(complex),
    "dates": np.full((4, 3), np.datetime64("2026-11-01")),
}


@pytest.mark.parametrize("values", SAME.values(), ids=SAME)
def test_the_same_numbers_in_any_form_are_the_same_features(values):
    found = as_features(values, "features")
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, GOOD)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn])
def test_tensors_that_numpy_lacks_keep_their_values(dtype):
    rounded = TENSOR.to(dtype)
    np.testing.assert_array_equal(as_features(rounded, "features"), rounded.float().numpy())


def test_tables_and_columns_of_pandas_are_arrays():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(GOOD, columns=["a", "b", "c"])
    np.testing.assert_array_equal(as_features(table, "features"), GOOD)
    names = pandas.Series(["hall", "door"])
    assert names_or_numbers(names, "cameras").tolist() == ["hall", "door"]
    missing = pandas.Series([1, None], dtype="Int64")
    with pytest.raises(UserError, match="^labels: expected whole numbers .* found nan at 1"):
        whole_numbers(missing, "labels")


@pytest.mark.parametrize("title", REFUSED)
def test_anything_else_is_refused_under_the_arguments_name(title):
    with pytest.raises(UserError, match=f"^mine: expected .*{title}"):
        as_array(REFUSED[title], "mine")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_features_are_finite_in_float32(value):
    features = GOOD.astype(np.float64)
    features[2, 1] = value
    with pytest.raises(UserError, match=r"^mine: 1 of 4 features .* the first is index 2\.$"):
        as_features(features, "mine")


@pytest.mark.parametrize("shape", [(3,), (1, 3), (3, 1)])
def test_labels_may_be_a_row_or_a_column(shape):
    numbers = np.array([1, 2, 3]).reshape(shape)
    assert whole_numbers(numbers, "labels").tolist() == [1, 2, 3]


def test_whole_numbers_reach_as_far_as_64_bits():
    assert whole_numbers([-(2.0**63), 2.0**63 - 1024], "labels").tolist() == [
        -(2**63),
        2**63 - 1024,
    ]
    with pytest.raises(UserError, match="below 2.63, found 9.2.*e.18 at 0"):
        whole_numbers([2.0**63], "labels")


@pytest.mark.parametrize("shape", [(), (2, 3), (1, 1, 2, 2)])
def test_labels_of_another_shape_are_refused(shape):
    with pytest.raises(UserError, match="^labels: .* found shape"):
        whole_numbers(np.zeros(shape), "labels")


@pytest.mark.parametrize("value", [1.5, True, "2", None, -1, torch.tensor(1.0), np.arange(2)])
def test_a_whole_number_is_nothing_else(value):
    with pytest.raises(UserError, match="^k: expected a whole number, 0 or above, found "):
        whole_number(value, "k")


@pytest.mark.parametrize("value", [2, np.int16(2), np.array(2), torch.tensor(2)])
def test_whole_numbers_of_any_type_are_taken(value):
    assert whole_number(value, "k", least=2) == 2


@pytest.mark.parametrize("value", ["0.5", None, True, float("nan"), np.inf, np.ones(2), 1j])
def test_a_threshold_is_one_finite_number(value):
    with pytest.raises(UserError, match="^threshold: expected "):
        real_number(value, "threshold")


def test_numbers_of_any_type_are_real():
    assert {real_number(value, "x") for value in (0.5, np.float16(0.5), torch.tensor(0.5))} == {0.5}


def test_cameras_that_are_not_numbers_are_refused():
    with pytest.raises(UserError, match="^cameras: .* NaN"):
        names_or_numbers([1.0, np.nan], "cameras")
