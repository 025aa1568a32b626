"""Files and numbers that no ranking can be made of, and names of files that are not text."""

import io
import json
import math
import zipfile
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse
import torch

from person_reid.config.evaluate import RerankOptions
from person_reid.errors import UserError
from person_reid.retrieval.metrics import evaluate
from person_reid.retrieval.protocols import evaluate_single_shot
from person_reid.retrieval.rerank import rescorer
from person_reid.retrieval.results import FeatureSet, load_result, multi_query_file, save_result
from person_reid.retrieval.thresholds import accepts, load_threshold
from tests.support.scripts import refused, run

NOT_UTF8 = "caf\udce9.jpg"  # as os.fsdecode gives b"caf\xe9.jpg"


def people(labels=(1, 2, 3), cameras=(1, 1, 2), names=None):
    return FeatureSet(np.eye(3, 4), np.array(labels), np.array(cameras), names)


@pytest.fixture
def change(tmp_path):
    """A function that writes a result file in which some values are others."""

    def write(**values):
        content: dict[str, Any] = {"query_f": np.eye(3, 4), "gallery_f": np.eye(3, 4)}
        content |= {
            f"{name}_{part}": np.arange(3)
            for name in ("query", "gallery")
            for part in ("label", "cam")
        }
        scipy.io.savemat(tmp_path / "r.mat", content | values)
        return tmp_path / "r.mat"

    return write


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"gallery_label": ["a", "b", "c"]}, "labels: expected real numbers, found text"),
        (
            {"gallery_label": np.array([1, "b", 2.5], object)},
            "labels: expected real numbers, found cells",
        ),
        ({"query_cam": {"a": 1}}, "cameras: expected real numbers, found a struct"),
        (
            {"query_f": scipy.sparse.eye(3, 4, format="csc")},
            "features: expected real numbers, found cells or a sparse",
        ),
        ({"query_f": np.eye(3, 4) * 1j}, "features: expected real numbers, found complex numbers"),
        (
            {"gallery_label": [1, 2.5, 3]},
            r"gallery: labels: expected whole numbers below 2\^63, found 2\.5 at 1",
        ),
        ({"gallery_label": [1, 2, np.nan]}, "found nan at 2"),
        ({"query_cam": [np.inf, 2, 3]}, "cameras: .* found inf at 0"),
        ({"query_label": np.array([1, 2, 2**63], np.uint64)}, "found 9223372036854775808 at 2"),
        ({"query_label": [1, 2, -1e19]}, r"found -1e\+19 at 2"),
        (
            {"query_f": np.zeros((3, 4, 2))},
            r"query: features of shape \(3, 4, 2\); expected \(images, dimension\)",
        ),
        ({"query_f": np.eye(3, 4) * 1e300}, "NaN or infinite"),
    ],
)
def test_values_that_are_no_labels_or_features_are_refused(change, values, words):
    with pytest.raises(UserError, match=rf"r\.mat: .*{words}"):
        load_result(change(**values))


def test_whole_numbers_of_any_type_are_labels(change):
    for kind in (np.float64, np.uint8, np.int64, np.float32):
        assert load_result(change(query_label=np.array([0, 1, 2], kind)))[0].labels.tolist() == [
            0,
            1,
            2,
        ]
    largest = np.array([0, 2**63 - 1, -1])
    assert FeatureSet(np.eye(3), largest, largest).labels.tolist() == largest.tolist()


def test_lists_and_tensors_of_any_kind_are_features():
    for kind in (torch.bfloat16, torch.float16, torch.float32, torch.float64):
        tensor = torch.eye(2, dtype=kind, requires_grad=True)
        found = FeatureSet(tensor, torch.tensor([1.0, 2]), [3, 4])
        assert found.features.dtype == np.float32
        assert np.array_equal(found.features, np.eye(2))
        assert found.labels.tolist() == [1, 2]
    assert FeatureSet(
        [[1, 0]], torch.tensor([2.0**24 + 1], dtype=torch.float64), [0]
    ).labels.tolist() == [2**24 + 1]
    with pytest.raises(
        UserError, match="features: expected an array, found rows of different lengths"
    ):
        FeatureSet([[1.0, 2.0], [3.0]], [1, 2], [1, 2])


def test_a_file_of_hdf5_is_not_a_result(tmp_path):
    with h5py.File(tmp_path / "r.mat", "w") as file:
        file["query_f"] = np.eye(3)
    with pytest.raises(UserError, match=r"r\.mat: damaged, or not a file of test\.py"):
        load_result(tmp_path / "r.mat")


def test_an_npz_file_runs_no_code_and_claims_no_more_than_it_holds(tmp_path):
    def refused(**values):
        parts = [f"{name}_{part}" for name in ("query", "gallery") for part in ("label", "cam")]
        np.savez(tmp_path / "r.npz", **(dict.fromkeys(parts, np.arange(3)) | values))
        with pytest.raises(UserError, match=r"r\.npz: .*Extract the features again"):
            load_result(tmp_path / "r.npz", paths=True)

    sets = {"query_f": np.eye(3), "gallery_f": np.eye(3)}
    refused(**sets | {"query_f": np.array([print, None, 1], object)})
    refused(**sets | {"query_f": np.array(["a", "b", "c"])})
    refused(**sets | {"query_path": np.array("one")})
    content = io.BytesIO()
    huge = {"descr": "<f4", "fortran_order": False, "shape": (10**7, 10**7)}
    np.lib.format.write_array_header_1_0(content, huge)
    with zipfile.ZipFile(tmp_path / "r.npz", "w") as file:
        file.writestr("query_f.npy", content.getvalue())
    with pytest.raises(UserError, match=r"r\.npz: damaged, or not a file of test\.py"):
        load_result(tmp_path / "r.npz")


def test_names_that_are_not_utf8_come_back(tmp_path):
    names = [NOT_UTF8, "b.jpg", "ü\U0001f600.jpg"]
    save_result(tmp_path / "r.mat", people(names=names), people(names=names[::-1]))
    query, gallery = load_result(tmp_path / "r.mat", paths=True)
    assert query.paths == names
    assert gallery.paths == names[::-1]


def test_names_that_are_not_text_are_listed_without_what_a_terminal_would_obey(tmp_path):
    names = [NOT_UTF8, "\x1b[2Jb.jpg", "c.jpg"]
    save_result(tmp_path / "r.mat", people(names=names), people(cameras=(2, 2, 1)))
    output = run("evaluate", "--result", "r.mat", "--save_per_query", "q.csv", cwd=tmp_path)
    for text in (output, (tmp_path / "q.csv").read_text(encoding="utf-8")):
        assert "caf\ufffd.jpg" in text
        assert "\ufffd[2Jb.jpg" in text
        assert "\x1b" not in text


def test_scores_that_are_nan_are_refused_with_the_query():
    torch = pytest.importorskip("torch")

    def scores(start, stop):
        found = np.ones((stop - start, 3), np.float32)
        found[np.arange(start, stop) == 1, 2] = np.nan
        return found

    for function in (scores, lambda start, stop: torch.from_numpy(scores(start, stop))):
        with pytest.raises(UserError, match="query 1: NaN scores cannot be ranked"):
            evaluate(people(), people(cameras=(2, 2, 1)), scores=function)


def test_opposite_features_that_expansion_cancels_are_explained(tmp_path):
    features = np.array([[1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])
    both = FeatureSet(features, np.array([1, 1, 2]), np.array([1, 2, 2]))
    save_result(tmp_path / "r.mat", both.select([0]), both.select([1, 2]))
    output = refused(
        "evaluate_rerank", "--result", "r.mat", "--method", "aqe", "--k1", "1", cwd=tmp_path
    )
    assert "query 0: NaN scores" in output
    assert "opposite features cancel out" in output


@pytest.mark.parametrize("alpha", [1001.0, 1e8])
def test_a_power_that_overflows_is_refused(alpha):
    with pytest.raises(UserError, match="^alpha=.*: expected 0 .the plain average. to 1000"):
        rescorer(RerankOptions(method="aqe", alpha=alpha, k1=1))(np.eye(3, 4), np.eye(3, 4))
    query = rescorer(RerankOptions(method="aqe", alpha=1000.0, k1=1))(np.eye(3, 4), np.eye(3, 4))
    assert np.isfinite(query(0, 3)).all()


@pytest.mark.parametrize("value", [1e300, -1e300, 1e-300, 1e10])
def test_settings_of_re_ranking_are_not_absurd(value):
    for settings in ({"lambda_value": value}, {"alpha": value}):
        expected = "expected (0, or a number between 1e-12 and 1e.09|a number of 0 or above)"
        with pytest.raises(UserError, match=expected):
            RerankOptions(method="aqe" if "alpha" in settings else "gnn", **settings)
    with pytest.raises(UserError, match="^memory_gb="):
        RerankOptions(memory_gb=value)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_settings_of_re_ranking_are_finite(value):
    for settings in ({"lambda_value": value}, {"k1": value}):
        with pytest.raises(
            UserError, match=rf"={value}: (.*expected a finite number|invalid int value: {value})"
        ):
            RerankOptions(**settings)
    with pytest.raises(UserError, match="^memory_gb="):
        RerankOptions(memory_gb=value)


def test_a_single_shot_needs_an_image_to_draw(tmp_path):
    junk = people(labels=(-1, -1, -1))
    with pytest.raises(UserError, match="no gallery image can be drawn"):
        evaluate_single_shot(people(), junk)
    save_result(tmp_path / "r.mat", people(), junk)
    assert "are junk" in refused(
        "evaluate", "--single_shot", "--ignore_cameras", "--result", "r.mat", cwd=tmp_path
    )


def test_thresholds_are_cosines(tmp_path):
    for text in ("2", "-1.01", "nan", "inf", "-1e999"):
        with pytest.raises(UserError, match=f"threshold={text}: expected a cosine"):
            load_threshold(text)
    for value in ("85", "-3", "1.0001", "-1e300"):
        (tmp_path / "t.json").write_text(f'{{"threshold": {value}}}')
        with pytest.raises(
            UserError, match=r"t\.json: the threshold in it is .*; expected a cosine"
        ):
            load_threshold(tmp_path / "t.json")
    for value in ("NaN", "Infinity", "1" + "0" * 400, "[0.5]", "true", '"0.7"', "null"):
        (tmp_path / "t.json").write_text(f'{{"threshold": {value}}}')
        with pytest.raises(UserError, match="no threshold in it"):
            load_threshold(tmp_path / "t.json")


def test_a_verdict_agrees_with_the_digits_printed():
    assert accepts(1.0, float(np.float32(1) - np.float32(6e-8)))
    assert accepts(0.7, 0.69996)
    assert not accepts(0.7, 0.69994)
    assert not accepts(1.0, 0.9999)


def test_names_with_points_stay_apart(tmp_path):
    assert multi_query_file("osnet_x0.25").name == "osnet_x0.25_multi_query.mat"
    assert multi_query_file("a/osnet_x0.25.mat").as_posix() == "a/osnet_x0.25_multi_query.mat"
    save_result(tmp_path / "pytorch_result.mat", people(), people(cameras=(2, 2, 1)))
    for name in ("osnet_x0.25", "osnet_x0.5", "ours.json", "theirs.png"):
        run("threshold", "--save", name, cwd=tmp_path)
    stems = ("osnet_x0.25", "osnet_x0.5", "ours", "theirs")
    expected = {f"{stem}{ending}" for stem in stems for ending in (".json", ".png")}
    assert {path.name for path in tmp_path.iterdir()} == expected | {"pytorch_result.mat"}
    assert json.loads((tmp_path / "ours.json").read_text())["rule"] == "eer"
