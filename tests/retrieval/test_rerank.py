"""k-reciprocal and graph re-ranking against published numbers and dense programs."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.support.references import dense_graph, dense_k_reciprocal
from person_reid.config.evaluate import RerankOptions
from person_reid.errors import UserError
from person_reid.retrieval.graph import GraphScores
from person_reid.retrieval.graph_dense import DenseGraphScores
from person_reid.retrieval.k_reciprocal import KReciprocalScores
from person_reid.retrieval.metrics import evaluate
from person_reid.retrieval.neighbours import ExactNeighbours
from person_reid.retrieval.rerank import RERANK_METHODS, plan_memory, rescorer
from person_reid.retrieval.similarity import thread_count
from tests.retrieval.conftest import clusters, figures, signs

GRAPHS = [GraphScores, DenseGraphScores]
PUBLISHED: dict[str, Any] = RERANK_METHODS["k-reciprocal"].defaults | {
    "neighbours": ExactNeighbours()
}


@pytest.fixture(scope="module")
def rerank(fixtures):
    with np.load(fixtures / "retrieval" / "rerank.npz") as arrays:
        return dict(arrays)


def whole(scores, rows):
    """The (rows, G) matrix of a Scores, in chunks of 7."""
    return np.concatenate(
        [np.asarray(scores(start, min(start + 7, rows))) for start in range(0, rows, 7)]
    )


@pytest.mark.parametrize("kind", [KReciprocalScores, *GRAPHS])
def test_scores_and_figures_are_the_published_ones(published, rerank, kind):
    query, gallery, _, expected = published
    if kind is KReciprocalScores:
        scores = kind(query.features, gallery.features, **PUBLISHED)
        matrix, key = -rerank["k_reciprocal_distance"], "k_reciprocal k1=20 k2=6 lambda=0.3"
    else:
        scores = kind(
            query.features,
            gallery.features,
            **RERANK_METHODS["gnn"].defaults,
            neighbours=ExactNeighbours(),
        )
        matrix, key = rerank["gnn_score"], "gnn k1=26 k2=7 lambda=0.3"
    np.testing.assert_allclose(whole(scores, 60), matrix, atol=1e-5)
    np.testing.assert_allclose(
        figures(evaluate(query, gallery, scores=scores)), expected[key], atol=1e-6
    )


@given(
    st.integers(0, 2**32),
    st.sampled_from([signs, clusters]),
    st.integers(1, 30),
    st.integers(1, 120),
    st.data(),
)
def test_sparse_equals_dense(seed, make, num_queries, num_gallery, data):
    random = np.random.default_rng(seed)
    query = make(random, num_queries)
    gallery = make(random, num_gallery)[:, : 16 if make is signs else 24]
    # Some images are twins.
    gallery[: num_gallery // 4] = gallery[num_gallery // 2 : num_gallery // 2 + num_gallery // 4]
    k1 = data.draw(st.integers(1, min(num_gallery, 25)))
    k2 = data.draw(st.integers(1, k1))
    weight = data.draw(st.sampled_from([0.0, 0.3, 1.0]))
    budget = data.draw(st.sampled_from([1, 2**26]))
    neighbours = ExactNeighbours(budget=budget)
    found = whole(KReciprocalScores(query, gallery, k1, k2, weight, neighbours), num_queries)
    np.testing.assert_allclose(
        -found, dense_k_reciprocal(query, gallery, k1, k2, weight), atol=1e-5
    )
    for graph in GRAPHS:
        found = whole(graph(query, gallery, k1, k2, weight, neighbours), num_queries)
        np.testing.assert_allclose(found, dense_graph(query, gallery, k1, k2, weight), atol=1e-5)


def test_features_of_any_length_are_ranked_by_angle(published, rerank):
    query, gallery, _, _ = published
    scores = KReciprocalScores(3 * query.features, 5 * gallery.features, **PUBLISHED)
    np.testing.assert_allclose(-whole(scores, 60), rerank["k_reciprocal_distance"], atol=1e-4)


@pytest.mark.parametrize(("name", "value"), [("method", "gn"), ("neighbours", "fais")])
def test_an_unknown_word_is_refused(name, value):
    with pytest.raises(UserError, match=rf"{name}={value}: expected .*Did you mean"):
        RerankOptions(**{name: value})


@pytest.mark.parametrize(
    ("value", "words"), [(3.7, "k1=3.7: invalid int value"), ("3", "k1=3: expected a number")]
)
def test_a_setting_is_a_number_of_its_kind(value, words):
    with pytest.raises(UserError, match=words):
        RerankOptions(k1=value)


@pytest.mark.parametrize("method", RERANK_METHODS)
def test_too_many_neighbours_are_named_before_the_memory_they_would_take(published, method):
    query, gallery, *_ = published
    with pytest.raises(UserError, match="^k1=100000: expected"):
        rescorer(RerankOptions(method=method, k1=100_000))(query.features, gallery.features)


@pytest.mark.parametrize("memory_gb", [0.011, 0.02, 4])
def test_chunks_of_all_threads_fit_into_the_memory_beside_what_is_kept(memory_gb):
    images, bytes_per_image = 10_000, 1_000
    chunk = plan_memory(RerankOptions(memory_gb=memory_gb), images, bytes_per_image)
    row = 4 * images
    assert chunk >= row
    assert images * bytes_per_image + thread_count() * chunk <= memory_gb * 1e9
    with pytest.raises(UserError, match="memory_gb=0.01: 10000 images need at least"):
        plan_memory(RerankOptions(memory_gb=0.01), images, bytes_per_image)


@pytest.mark.parametrize("method", RERANK_METHODS)
def test_features_of_double_precision_give_the_same_scores(published, method):
    query, gallery, *_ = published
    rescore = rescorer(RerankOptions(method=method))
    exact = [np.asarray(each.features, np.float64) for each in (query, gallery)]
    expected = whole(rescore(query.features, gallery.features), len(query))
    np.testing.assert_array_equal(whole(rescore(*exact), len(query)), expected)


def test_equal_images_everywhere_have_finite_scores():
    features = signs(np.random.default_rng(0), 1).repeat(9, axis=0)
    for method in (KReciprocalScores, *GRAPHS):
        assert np.isfinite(
            whole(method(features[:3], features, 4, 2, 0.3, ExactNeighbours()), 3)
        ).all()


@pytest.mark.parametrize("method", ["k-reciprocal", "gnn"])
def test_k1_larger_than_the_gallery_is_refused(method):
    features = clusters(np.random.default_rng(0), 12)
    with pytest.raises(UserError, match="^k1=13: expected 1 to 12, the number of gallery images"):
        rescorer(RerankOptions(method=method, k1=13))(features, features)


def test_the_least_memory_that_is_named_is_enough():
    options = RerankOptions(memory_gb=1.001)
    with pytest.raises(UserError, match="1000000 images need at least") as refused:
        plan_memory(options, 10**6, 1000)
    least = float(re.search(r"at least ([\d.]+)\.", str(refused.value))[1])
    assert least > 1.001
    assert plan_memory(replace(options, memory_gb=least + 1e-4), 10**6, 1000) > 0
