import os
import zipfile
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
import scipy.io

from benchmarks.support.references import loop_evaluate
from person_reid.errors import UserError
from person_reid.retrieval import results
from person_reid.retrieval.metrics import Metrics, evaluate
from person_reid.retrieval.results import (
    NETWORK,
    QUERY_DIGEST,
    FeatureSet,
    load_multi_query,
    load_result,
    read_note,
    save_multi_query,
    save_result,
)
from person_reid.retrieval.similarity import CosineScores
from tests.retrieval.test_metrics import assert_equal_to_loop


def people(count, dimension=8, seed=0, paths=True):
    random = np.random.default_rng(seed)
    names = [f"gallery/{i % 7:04d}/{i:04d}_c{i % 3}ä.jpg" for i in range(count)] if paths else None
    return FeatureSet(
        random.normal(size=(count, dimension)),
        random.integers(-1, 9, count),
        random.integers(1, 4, count),
        names,
    )


def assert_same(found, expected, paths=True):
    np.testing.assert_array_equal(found.features, expected.features)
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.cameras, expected.cameras)
    assert found.paths == (expected.paths if paths else None)
    assert found.features.flags.c_contiguous  # sums over them are rounded as before they were saved
    assert found.features.dtype == np.float32
    assert found.labels.dtype == found.cameras.dtype == np.int64


@pytest.fixture(params=["matlab", "npz"])
def either_format(request, monkeypatch):
    if request.param == "npz":
        monkeypatch.setattr(results, "LARGEST_VARIABLE", 100)
    return request.param


@pytest.fixture
def saved(tmp_path):
    """A result file and a function that changes its variables."""
    path = tmp_path / "pytorch_result.mat"
    save_result(path, people(5), people(9))

    def change(**values):
        content = {
            key: value for key, value in scipy.io.loadmat(path).items() if not key.startswith("__")
        }
        content.update(values)
        scipy.io.savemat(path, {key: value for key, value in content.items() if value is not None})
        return path

    return change


def test_what_is_saved_is_loaded(tmp_path, either_format):
    query, gallery = people(5), people(200, seed=1)
    save_result(tmp_path / "r.mat", query, gallery)
    for paths in (True, False):
        loaded = load_result(tmp_path / "r.mat", paths=paths)
        assert_same(loaded[0], query, paths)
        assert_same(loaded[1], gallery, paths)
    save_multi_query(tmp_path / "m.mat", gallery, query)
    assert_same(load_multi_query(tmp_path / "m.mat", paths=True), gallery)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_device_or_pipe_is_written_from_beginning_to_end(tmp_path):
    save_result(os.devnull, people(5), people(9))
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor(1) as pool:
        content = pool.submit((tmp_path / "pipe").read_bytes)
        save_result(tmp_path / "pipe", people(5), people(9))
    (tmp_path / "file.mat").write_bytes(content.result())
    for found, expected in zip(
        load_result(tmp_path / "file.mat", paths=True), (people(5), people(9)), strict=True
    ):
        assert_same(found, expected)


def test_a_file_says_what_it_is_of(tmp_path, either_format):
    query, gallery = people(5), people(200, seed=1)
    save_result(tmp_path / "r.mat", query, gallery, "réseau 60")
    save_multi_query(tmp_path / "m.mat", gallery, query)
    assert read_note(tmp_path / "r.mat", NETWORK) == "réseau 60"
    assert (
        read_note(tmp_path / "m.mat", QUERY_DIGEST) == load_result(tmp_path / "r.mat")[0].digest()
    )
    assert query.digest() != people(5, seed=2).digest()
    save_result(tmp_path / "r.mat", query, gallery)
    assert read_note(tmp_path / "r.mat", NETWORK) == ""


def test_without_paths_none_are_invented(tmp_path, either_format):
    save_result(tmp_path / "r.mat", people(5, paths=False), people(200, paths=False))
    assert load_result(tmp_path / "r.mat", paths=True)[1].paths is None


def test_the_published_keys_and_shapes(tmp_path):
    save_result(tmp_path / "r.mat", people(5), people(9))
    content = scipy.io.loadmat(tmp_path / "r.mat")
    assert content["gallery_f"].shape == (9, 8)
    assert content["gallery_f"].dtype == np.float32
    assert content["gallery_label"].shape == content["gallery_cam"].shape == (1, 9)
    assert content["query_f"].shape == (5, 8)
    assert len(content["query_path"]) == 5


def test_what_matlab_cannot_hold_is_a_file_of_numpy(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(results, "LARGEST_VARIABLE", 100)
    save_result(tmp_path / "r.mat", people(5), people(9))
    assert "r.mat: written as .npz" in caplog.text
    with np.load(tmp_path / "r.mat") as arrays:
        assert arrays["gallery_f"].shape == (9, 8)
        assert arrays["gallery_label"].shape == (1, 9)
        assert arrays["query_path"].tolist() == people(5).paths


def test_features_of_a_large_result_stay_in_their_file(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "LARGEST_VARIABLE", 100)
    sets = people(40, 33), people(600, 33, seed=1)
    save_result(tmp_path / "r.mat", *sets)
    mapped = load_result(tmp_path / "r.mat")
    for images, expected in zip(mapped, sets, strict=True):
        assert isinstance(images.features.base, np.memmap)
        assert images.features.ctypes.data % results.ALIGNED == 0
        assert_same(images, expected, paths=False)
    found, usual = evaluate(*mapped), evaluate(*sets)
    for name in Metrics.PER_QUERY:
        np.testing.assert_array_equal(getattr(found, name), getattr(usual, name))
    assert_equal_to_loop(
        found, loop_evaluate(*sets, CosineScores(*(each.features for each in sets))(0, 40))
    )
    mapped[1].features[:] = 0  # in this process alone
    assert_same(load_result(tmp_path / "r.mat")[1], sets[1], paths=False)


def test_the_alignment_of_arrays_is_seen_by_no_reader(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "LARGEST_VARIABLE", 100)
    save_result(tmp_path / "r.mat", people(5), people(9), "réseau")
    with zipfile.ZipFile(tmp_path / "r.mat") as file:
        assert file.testzip() is None
    with np.load(tmp_path / "r.mat") as arrays:
        np.savez(tmp_path / "plain.npz", **arrays)
    for path in (tmp_path / "r.mat", tmp_path / "plain.npz"):
        for found, expected in zip(
            load_result(path, paths=True), (people(5), people(9)), strict=True
        ):
            assert_same(found, expected)


def test_the_published_file_is_read(fixtures):
    query, gallery = load_result(fixtures / "retrieval" / "pytorch_result.mat", paths=True)
    assert query.features.shape == (60, 24)
    assert gallery.features.shape == (520, 24)
    assert query.paths is None


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_a_file_of_matlab_is_read_with_its_cells(version, tmp_path):
    names = ["0001_c1_a.jpg", "0002_c2_ü.jpg", "0003_c3_c.jpg"]
    features, labels, cameras = np.eye(3), [[1, 2, 3]], [[1, 2, 3]]
    content: dict = {}
    for name in ("query", "gallery"):
        content |= {f"{name}_f": features * 2, f"{name}_label": labels, f"{name}_cam": cameras}
    if version == "5":
        cells = np.array(names, object)[:, None]
        scipy.io.savemat(tmp_path / "r.mat", content | {"query_path": cells, "gallery_path": cells})
    else:
        with h5py.File(tmp_path / "r.mat", "w", userblock_size=512) as file:
            for name, value in content.items():
                file[name] = np.transpose(value).astype(float)
            for i, text in enumerate(names):
                file[f"#refs#/{i}"] = np.array([[ord(letter)] for letter in text], np.uint16)
            cells = np.array([[file[f"#refs#/{i}"].ref for i in range(3)]], h5py.ref_dtype)
            file["query_path"] = file["gallery_path"] = cells
        header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
        with (tmp_path / "r.mat").open("r+b") as file:
            file.write(header)
    query, gallery = load_result(tmp_path / "r.mat", paths=True)
    assert query.paths == gallery.paths == names
    assert query.labels.tolist() == gallery.cameras.tolist() == [1, 2, 3]
    np.testing.assert_allclose(gallery.features, features * 2)


def test_missing_file_says_what_makes_it(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.mat.*python test\.py --name"):
        load_result(tmp_path / "nowhere.mat")


@pytest.mark.parametrize("size", [0, 60, 200, 700])
def test_truncated_file_is_refused(tmp_path, either_format, size):
    path = tmp_path / "r.mat"
    save_result(path, people(5), people(200))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match=r"r\.mat: (damaged|no 'query_f')"):
        load_result(path)


@pytest.mark.parametrize("key", ["query_f", "gallery_cam", "gallery_label"])
def test_missing_key_is_named(saved, key):
    with pytest.raises(UserError, match=f"no '{key}' in it"):
        load_result(saved(**{key: None}))


def test_unequal_lengths_are_counted(saved):
    with pytest.raises(UserError, match="9 features, 8 labels, 9 cameras"):
        load_result(saved(gallery_label=np.ones((1, 8))))


def test_unequal_dimensions_are_refused(saved):
    with pytest.raises(UserError, match="query features have 4 dimensions, gallery features 8"):
        load_result(saved(query_f=np.ones((5, 4), np.float32)))


@pytest.mark.parametrize(
    ("value", "words"),
    [(np.nan, "NaN or infinite"), (np.inf, "NaN or infinite"), (0.0, "all zero")],
)
def test_unusable_features_are_counted_and_the_first_is_named(saved, value, words):
    features = people(9).features
    features[[3, 7]] = value
    path = saved(gallery_f=features)
    with pytest.raises(
        UserError, match=rf"gallery: 2 of 9 features are {words}, the first is index 3\."
    ):
        load_result(path)
    with pytest.raises(UserError, match=r"the first is gallery/0003/0003_c0ä\.jpg \(index 3\)"):
        load_result(path, paths=True)


def test_empty_gallery_is_refused(saved):
    empty = np.zeros((1, 0))
    with pytest.raises(UserError, match="gallery: empty features"):
        load_result(
            saved(gallery_f=np.zeros((0, 8), np.float32), gallery_label=empty, gallery_cam=empty)
        )


def test_saving_refuses_what_loading_would(tmp_path):
    broken = people(5)
    broken.features[2] = np.nan
    with pytest.raises(UserError, match="query: 1 of 5 features"):
        save_result(tmp_path / "r.mat", broken, people(9))
    assert not list(tmp_path.iterdir())
