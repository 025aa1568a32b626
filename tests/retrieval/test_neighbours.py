import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from person_reid.errors import UserError
from person_reid.retrieval import neighbours
from person_reid.retrieval.neighbours import (
    ExactNeighbours,
    FaissNeighbours,
    Neighbours,
    check_neighbours,
    open_faiss,
    put_itself_first,
    top_k,
    top_k_torch,
)
from person_reid.retrieval.similarity import CosineScores, twins
from tests.retrieval.conftest import clusters, signs


@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 900), st.data())
def test_top_k_is_a_stable_sort(seed, rows, columns, data):
    k = data.draw(st.integers(1, min(columns, 9)))
    levels = data.draw(st.sampled_from([1, 3, 50, 10**6]))
    scores = np.random.default_rng(seed).integers(-levels, levels, (rows, columns)).astype(
        np.float32
    ) / np.float32(levels)
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(top_k(scores, k), expected)
    np.testing.assert_array_equal(top_k_torch(torch.from_numpy(scores), k), expected)


def test_zero_equals_minus_zero():
    scores = np.array([[-0.0, 0.0, -1.0]], np.float32)
    assert (
        top_k(scores, 3).tolist()
        == top_k_torch(torch.from_numpy(scores), 3).tolist()
        == [[0, 1, 2]]
    )


def test_infinity_comes_first():
    scores = np.array([[1.0, np.inf, -np.inf]], np.float32)
    assert (
        top_k(scores, 3).tolist()
        == top_k_torch(torch.from_numpy(scores), 3).tolist()
        == [[1, 0, 2]]
    )


@pytest.mark.parametrize("budget", [1, 4000, 2**26])
def test_search_finds_the_nearest_and_the_farthest(budget):
    random = np.random.default_rng(0)
    queries, gallery = signs(random, 30), signs(random, 200)
    cosine = queries @ gallery.T
    found = ExactNeighbours(budget=budget).search(queries, gallery, 5, farthest=True)
    np.testing.assert_array_equal(found.indices, np.argsort(-cosine, axis=1, kind="stable")[:, :5])
    np.testing.assert_array_equal(
        found.similarities, np.take_along_axis(cosine, found.indices, axis=1)
    )
    np.testing.assert_array_equal(found.lowest, cosine.min(axis=1))


def test_twins_are_equally_near_wherever_they_stand():
    random = np.random.default_rng(0)
    queries, gallery = random.normal(size=(30, 64)), random.normal(size=(500, 64))
    gallery[[3, 77, 78, 499]] = gallery[0]
    gallery[400] = gallery[200]
    later, first = twins(gallery.astype(np.float32))
    assert later.tolist() == [3, 77, 78, 400, 499]
    assert first.tolist() == [0, 0, 0, 200, 0]
    scores = CosineScores(queries.astype(np.float32), np.asfortranarray(gallery, np.float32))(0, 30)
    assert (scores[:, [3, 77, 78, 499]] == scores[:, :1]).all()
    assert (scores[:, 400] == scores[:, 200]).all()


def test_every_image_is_first_among_its_own_even_with_twins():
    features = signs(np.random.default_rng(0), 1).repeat(6, axis=0)
    found = ExactNeighbours().search(features, features, 3, itself=True)
    assert found.indices.tolist() == [
        [0, 1, 2],
        [1, 0, 2],
        [2, 0, 1],
        [3, 0, 1],
        [4, 0, 1],
        [5, 0, 1],
    ]
    np.testing.assert_array_equal(found.similarities, 1)
    assert found.lowest is None
    with pytest.raises(AssertionError, match="the queries are not the gallery"):
        ExactNeighbours().search(features[:3], features, 2, itself=True)


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_faiss_finds_nearly_all_and_says_how_many(kind, capsys):
    pytest.importorskip("faiss")
    features = clusters(np.random.default_rng(0), 600, identities=30)
    exact = ExactNeighbours().search(features, features, 10, itself=True, farthest=True)
    found = FaissNeighbours(kind).search(features, features, 10, itself=True, farthest=True)
    recall = np.mean(
        [len(np.intersect1d(*rows)) / 10 for rows in zip(exact.indices, found.indices, strict=True)]
    )
    assert recall > 0.8
    assert found.indices[:, 0].tolist() == list(range(600))
    assert FaissNeighbours(kind).search(features[:50], features, 1).lowest is None
    assert all(len(set(row)) == 10 for row in found.indices.tolist())
    assert np.mean(np.abs(found.lowest - exact.lowest)) < 0.1
    printed = float(capsys.readouterr().err.split("recall ")[1].split()[0])
    assert printed == pytest.approx(recall, abs=0.05)


def test_faiss_computes_on_one_thread_on_macos(monkeypatch):
    faiss = pytest.importorskip("faiss")
    monkeypatch.setattr(os, "environ", os.environ.copy())
    os.environ.pop("KMP_DUPLICATE_LIB_OK", None)
    threads = faiss.omp_get_max_threads()
    try:
        monkeypatch.setattr("sys.platform", "darwin")
        assert open_faiss().omp_get_max_threads() == 1
        assert os.environ["KMP_DUPLICATE_LIB_OK"] == "TRUE"
    finally:
        faiss.omp_set_num_threads(threads)
    monkeypatch.setattr("sys.platform", "linux")
    assert open_faiss().omp_get_max_threads() == threads


def test_where_faiss_finds_too_few_the_search_is_exact(monkeypatch):
    pytest.importorskip("faiss")
    features = clusters(np.random.default_rng(0), 400, identities=40)
    search = FaissNeighbours("ivf")
    index = search._index(features)
    index.nprobe = 1  # a single list
    assert (index.search(features[:60], 120)[1] < 0).any()
    monkeypatch.setattr(search, "_index", lambda gallery: index)
    found = search.search(features[:60], features, 120)
    expected = np.take_along_axis(features[:60] @ features.T, found.indices, axis=1)
    np.testing.assert_allclose(found.similarities, expected, atol=1e-5)


def test_what_moves_to_the_front_of_its_list_keeps_the_similarities_of_the_others():
    found = Neighbours(np.array([[2, 0, 1]]), np.array([[0.9, 0.8, 0.7]], np.float32))
    put_itself_first(found)
    assert found.indices.tolist() == [[0, 2, 1]]
    np.testing.assert_allclose(found.similarities, [[1, 0.9, 0.7]])


@pytest.mark.parametrize(
    ("k1", "k2", "flag"), [(0, 1, "k1=0"), (11, 1, "k1=11"), (5, 0, "k2=0"), (5, 6, "k2=6")]
)
def test_impossible_neighbourhoods_are_refused(k1, k2, flag):
    with pytest.raises(UserError, match=f"^{flag}: expected 1 to"):
        check_neighbours(k1, k2, gallery_size=10)


def test_on_a_gpu_an_image_comes_before_those_that_equal_it(monkeypatch):
    """Without a GPU: the scores of the same loop are computed here."""
    monkeypatch.setattr(neighbours, "CosineScores", lambda *sets: CosineScores(*sets[:2]))
    features = clusters(np.random.default_rng(0), 12, identities=3)
    features[6:] = features[:6]
    found = ExactNeighbours(torch.device("cuda")).search(features, features, 3, itself=True)
    assert found.indices[:, 0].tolist() == list(range(12))
    np.testing.assert_allclose(found.similarities[:, :2], 1, atol=1e-4)
