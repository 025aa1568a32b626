"""Images searched among themselves: as by sorting each row of the whole matrix."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from person_reid.retrieval import all_pairs
from person_reid.retrieval.all_pairs import pairs_by_similarity
from person_reid.retrieval.neighbours import ExactNeighbours
from tests.retrieval.conftest import signs


def search(features, k, budget):
    found = ExactNeighbours(budget=budget).search(features, features, k, itself=True, farthest=True)
    return found.indices, found.similarities, found.lowest


def by_sorting(cosine, k):
    """Search in a whole matrix (N, N) of similarities."""
    ordered = cosine.copy()
    np.fill_diagonal(ordered, np.inf)
    indices = np.argsort(-ordered, axis=1, kind="stable")[:, :k]
    return indices, np.take_along_axis(cosine, indices, axis=1), cosine.min(axis=1)


@given(
    st.integers(0, 2**32),
    st.integers(1, 70),
    st.integers(0, 40),
    st.sampled_from([1, 100, 1000, 2**20]),
    st.data(),
)
def test_each_row_is_the_sorted_one(seed, number, copies, budget, data):
    """Blocks are small, middle and large, and features have few signs.

    Many are therefore equally near or the same.
    """
    random = np.random.default_rng(seed)
    features = signs(random, number, data.draw(st.sampled_from([1, 4, 16])))
    features = random.permutation(
        np.concatenate([features, features[random.integers(0, number, copies)]])
    )
    k = data.draw(st.integers(1, len(features)))
    found = search(features, k, budget)
    for part, expected in zip(found, by_sorting(features @ features.T, k), strict=True):
        np.testing.assert_array_equal(part, expected)


@given(st.integers(0, 2**32), st.integers(0, 60), st.booleans())
def test_candidates_are_ordered_by_row_similarity_and_column(seed, number, equal):
    random = np.random.default_rng(seed)
    rows, columns = random.integers(0, 5, number), random.permutation(1000)[:number]
    # Many differ by less than 1e-12.
    similarities = (random.uniform(-1, 1, number) ** 99).astype(np.float32)
    if equal:
        similarities = random.choice(
            np.array([0, -0.0, 0.5, -0.5, 1e-40, -1e-40, 2], np.float32), number
        )
    expected = np.lexsort((columns, -similarities, rows))
    np.testing.assert_array_equal(pairs_by_similarity(rows, columns, similarities), expected)


def test_lists_that_are_trimmed_often_lose_nothing(monkeypatch):
    monkeypatch.setattr(all_pairs, "IMAGES_OF_PRODUCT", 20)
    random = np.random.default_rng(0)
    features = signs(random, 900, 64)
    # Later blocks are nearer than the next ones.
    features = features[np.argsort(features[:, 0] + features[:, 1])]
    found = search(features, 7, 2**20)
    for part, expected in zip(found, by_sorting(features @ features.T, 7), strict=True):
        np.testing.assert_array_equal(part, expected)


def test_copies_are_equally_near_however_a_product_rounds():
    random = np.random.default_rng(0)
    features = random.normal(size=(500, 64)).astype(np.float32)
    features[[3, 77, 499]] = features[0]
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    indices, similarities, lowest = search(features, 500, 4 * 37**2)
    near = np.empty_like(similarities)
    np.put_along_axis(near, indices, similarities, axis=1)
    assert (near[:, [3, 77, 499]] == near[:, [0]]).all()
    assert (near[[3, 77, 499]] == near[0]).all()
    assert (lowest[[3, 77, 499]] == lowest[0]).all()
    np.testing.assert_allclose(near, features @ features.T, atol=1e-6)


def test_the_only_image_is_its_own_neighbour():
    found = search(np.ones((1, 1), np.float32), 1, 2**20)
    assert [part.tolist() for part in found] == [[[0]], [[1.0]], [1.0]]
