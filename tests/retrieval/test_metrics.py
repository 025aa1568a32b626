import re

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from benchmarks.support.references import loop_evaluate
from person_reid.config.evaluate import RerankOptions
from person_reid.distributed import World
from person_reid.errors import UserError
from person_reid.retrieval import similarity
from person_reid.retrieval.metrics import (
    count_ahead,
    count_ahead_torch,
    evaluate,
)
from person_reid.retrieval.normalization import CameraNorm
from person_reid.retrieval.protocols import merge_multi_query
from person_reid.retrieval.remarks import remark_own_camera
from person_reid.retrieval.rerank import rescorer
from person_reid.retrieval.similarity import CosineScores, EuclideanScores, Scores
from tests.retrieval.conftest import data_sets, figures, image_set, signs


def one_query(scores, labels, cameras, **options):
    """Metrics of a query of identity 1 in camera 1 whose gallery has these scores."""
    query = image_set([[1.0]], [1], [1])
    gallery = image_set(np.ones((len(labels), 1)), labels, cameras)
    return evaluate(
        query, gallery, scores=lambda start, stop: np.array([scores], np.float32), **options
    )


def test_single_queries_have_the_published_figures(published):
    query, gallery, _, expected = published
    metrics = evaluate(query, gallery)
    np.testing.assert_allclose(figures(metrics), expected["single_query"], atol=1e-6)
    assert (metrics.num_matches == 0).sum() >= 3


def test_multiple_queries_have_the_published_figures(published):
    query, gallery, multi_query, expected = published
    metrics = evaluate(merge_multi_query(query, multi_query), gallery)
    np.testing.assert_allclose(figures(metrics), expected["multi_query"], atol=1e-6)


@given(data_sets(), st.integers(0, 2**32))
def test_euclidean_scores_order_as_distances_do(sets, seed):
    query, gallery = sets
    random = np.random.default_rng(seed)
    for images in sets:  # whole numbers, whose products are exact
        images.features = np.float32(random.integers(-8, 9, images.features.shape))
    distances = ((query.features[:, None] - gallery.features[None]) ** 2).sum(2)
    scores = EuclideanScores(query.features, gallery.features)(0, len(query))
    for row, line in zip(scores, distances, strict=True):
        assert np.array_equal(np.argsort(-row, kind="stable"), np.argsort(line, kind="stable"))


def test_euclidean_and_cosine_rank_unit_features_alike(published):
    query, gallery, _, expected = published
    metrics = evaluate(query, gallery, scores=EuclideanScores(query.features, gallery.features))
    np.testing.assert_allclose(figures(metrics), expected["single_query"], atol=1e-6)


def assert_equal_to_loop(metrics, expected):
    for found, wanted in zip(
        (metrics.average_precision, metrics.inverse_negative_penalty, metrics.first_match),
        expected,
        strict=True,
    ):
        np.testing.assert_allclose(found, wanted, atol=1e-12)


@given(
    data_sets(),
    st.sampled_from(["trapezoidal", "step"]),
    st.sampled_from(["numpy", "torch"]),
    st.integers(1, 9),
)
def test_counting_equals_sorting(sets, ap, library, rows):
    query, gallery = sets
    assume(len(set(query.cameras) | set(gallery.cameras)) > 1)
    matrix = query.features @ gallery.features.T
    convert = np.array if library == "numpy" else torch.tensor

    class Given(Scores):
        budget = 4 * rows * len(gallery)

        def __call__(self, start, stop):
            return convert(matrix[start:stop])

    assert_equal_to_loop(
        evaluate(query, gallery, ap, Given()), loop_evaluate(query, gallery, matrix, ap)
    )


def test_a_chunk_of_many_matches_is_counted_alike():
    """On a GPU in parts of 512; many scores are equal."""
    random = np.random.default_rng(0)
    scores = signs(random, 40) @ signs(random, 90).T
    rows, columns = np.divmod(np.sort(random.permutation(scores.size)[:1500]), 90)
    found = count_ahead_torch(torch.from_numpy(scores), rows, columns)
    np.testing.assert_array_equal(found, count_ahead(scores, rows, columns))


@given(data_sets())
def test_cosines_are_what_is_ranked_by_default(sets):
    query, gallery = sets
    assume(len(set(query.cameras) | set(gallery.cameras)) > 1)
    scaled = image_set(gallery.features * np.float32(4), gallery.labels, gallery.cameras)
    matrix = query.features @ gallery.features.T
    for images in (gallery, scaled):
        cosines = CosineScores(query.features, images.features)(0, len(query))
        np.testing.assert_allclose(cosines, matrix, atol=1e-3)  # norms differ from 1 by as much
        assert_equal_to_loop(evaluate(query, images), loop_evaluate(query, images, cosines))


def test_step_precision_is_scikit_learns():
    random = np.random.default_rng(0)
    scores, labels = random.normal(size=50), random.integers(1, 3, 50)
    expected = average_precision_score(labels == 1, scores.astype(np.float32))
    assert one_query(scores, labels, np.full(50, 2), ap="step").mAP == pytest.approx(
        expected, abs=1e-12
    )


def test_the_trapezoid_is_that_worked_out_by_hand():
    # Right, wrong, right: (1 + 1) / 2 and (1/2 + 2/3) / 2, over two matches.
    metrics = one_query([3, 2, 1], [1, 2, 1], [2, 2, 2])
    assert metrics.mAP == pytest.approx((1 + (1 / 2 + 2 / 3) / 2) / 2)
    assert metrics.mINP == pytest.approx(2 / 3)
    assert metrics.cmc.tolist() == [1, 1, 1]


def test_junk_is_neither_right_nor_wrong():
    # Own camera, label -1, a distractor, the match.
    metrics = one_query([9, 8, 7, 6], [1, -1, 0, 1], [1, 2, 2, 2])
    assert metrics.first_match.tolist() == [1]
    assert metrics.num_matches.tolist() == [1]


@pytest.mark.parametrize(("labels", "rank"), [([1, 2, 2], 0), ([2, 1, 2], 1), ([2, 2, 1], 2)])
def test_equal_scores_are_ordered_by_gallery_index(labels, rank):
    assert one_query([5, 5, 5], labels, [2, 2, 2]).first_match.tolist() == [rank]


@pytest.mark.parametrize("convert", [np.array, torch.tensor])
def test_junk_is_not_ahead_of_a_match_that_scores_minus_infinity(convert):
    query = image_set(np.ones((2, 1)), [1, 1], [1, 1])
    # Own camera, label -1, the match, another person.
    gallery = image_set(np.ones((4, 1)), [1, -1, 1, 2], [1, 2, 2, 2])
    ruled_out = -np.inf
    scores = np.array(
        [[ruled_out, ruled_out, ruled_out, 0.5], [0.5, 0.5, ruled_out, ruled_out]], np.float32
    )
    found = evaluate(query, gallery, scores=lambda start, stop: convert(scores[start:stop]))
    assert found.first_match.tolist() == [1, 0]


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.float16, np.float64])
def test_scores_may_be_numbers_of_any_kind(kind):
    query = image_set([[1.0]], [1], [1])
    gallery = image_set(np.ones((4, 1)), [1, 2, 1, 2], [1, 2, 2, 2])
    scores = np.array([[9, 8, 7, 7]], kind)
    assert evaluate(
        query, gallery, scores=lambda start, stop: scores[start:stop]
    ).first_match.tolist() == [1]
    assert scores.tolist() == [[9, 8, 7, 7]]


def test_a_query_without_match_counts_zero():
    query = image_set(np.eye(2), [1, 7], [1, 1])
    metrics = evaluate(query, image_set(np.eye(2), [1, 2], [2, 2]))
    assert (metrics.mAP, metrics.mINP, metrics.rank(1)) == (0.5, 0.5, 0.5)
    assert metrics.first_match.tolist() == [0, -1]


@pytest.mark.parametrize(("label", "expected"), [(1, 1.0), (2, 0.0), (-1, 0.0)])
def test_a_gallery_of_one_image_is_right_or_wrong(label, expected):
    metrics = one_query([1], [label], [2])
    assert metrics.mAP == expected
    assert metrics.rank(10) == expected


def test_junk_query_matches_nothing():
    metrics = evaluate(image_set([[1.0]], [-1], [1]), image_set([[1.0]], [-1], [2]))
    assert metrics.mAP == 0
    assert metrics.num_matches.tolist() == [0]


def test_the_line_reads_as_published():
    metrics = one_query([3, 2, 1], [2, 2, 1], [2, 2, 2])
    expected = "multi Rank@1:0.000000 Rank@5:1.000000 Rank@10:1.000000 mAP:0.166667 mINP:0.333333"
    assert metrics.line("multi ") == expected
    assert re.search(
        r" mAP\(step\):0\.333333 ", one_query([3, 2, 1], [2, 2, 1], [2, 2, 2], ap="step").line()
    )


def test_one_camera_is_explained_rather_than_measured():
    images = image_set(np.eye(3), [1, 1, 2], [4, 4, 4])
    with pytest.raises(
        UserError, match=r"all images are of camera 4.*: ignore_cameras of evaluate,"
    ):
        evaluate(images, images)
    assert evaluate(images, images, ignore_cameras=True).rank(1) == 1


def test_first_answers_from_the_own_camera_are_remarked_until_it_is_taken_away(caplog):
    random = np.random.default_rng(0)
    people, cameras = np.arange(240) % 40, np.arange(240) // 40 % 3
    features = random.normal(size=(40, 16))[people] + random.normal(size=(240, 16))
    features += 8 * random.normal(size=(3, 16))[cameras]
    images = image_set(features, people, cameras)
    query, gallery = images.select(np.arange(120)), images.select(np.arange(120, 240))
    remark_own_camera(query, gallery)
    norm = CameraNorm(gallery.features, gallery.cameras)
    first = [
        np.ma.masked_array(row, (gallery.labels == label) & (gallery.cameras == camera)).argmax()
        for row, label, camera in zip(
            CosineScores(query.features, gallery.features)(0, 120),
            query.labels,
            query.cameras,
            strict=True,
        )
    ]
    share = 100 * (gallery.cameras[first] == query.cameras).mean()
    assert f"{share:.0f} % of the first answers are other people" in caplog.text
    assert "where 33 % of the gallery is" in caplog.text
    assert "--camera_norm" in caplog.text
    caplog.clear()
    remark_own_camera(norm.of(query), norm.of(gallery))
    assert not caplog.text


def test_lengths_near_one_do_not_count():
    """Features rounded to float16 have such lengths.

    An image that is similar to everybody is not the nearest to everybody.
    """
    random = np.random.default_rng(0)
    features = random.random((60, 8), np.float32) + 4
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    images = image_set(features, np.arange(60) // 4, np.arange(60) % 4)
    scaled = image_set(
        features * random.uniform(0.9991, 1.0009, (60, 1)).astype(np.float32),
        images.labels,
        images.cameras,
    )
    assert evaluate(images, scaled).line() == evaluate(images, images).line()


def test_queries_without_any_match_are_remarked(caplog):
    some, other = image_set([[1.0]], [1], [1]), image_set([[1.0]], [2], [2])
    assert evaluate(some, other).mAP == 0
    assert "No query has a match in the gallery" in caplog.text


def test_nothing_to_rank_is_said():
    some, none = image_set([[1.0]], [1], [1]), image_set(np.empty((0, 1)), [], [])
    for query, gallery in ((some, none), (none, some)):
        with pytest.raises(UserError, match="expected at least one of each"):
            evaluate(query, gallery)


def test_the_callers_scores_stay_as_they_are():
    query, gallery = image_set([[1.0]], [1], [1]), image_set([[1.0]] * 3, [1, -1, 1], [1, 2, 2])
    scores = np.ones((1, 3), np.float32)
    assert evaluate(query, gallery, scores=lambda start, stop: scores[start:stop]).mAP == 1
    assert (scores == 1).all()


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ([[1.0, 0.0]], "query features have 1 dimensions, gallery features 2"),
        ([1.0], r"gallery: features of shape \(1,\)"),
        ([[np.nan]], "gallery: 1 of 1 features are NaN or infinite"),
        ([[0.0]], "gallery: 1 of 1 features are all zero"),
    ],
)
def test_features_that_cannot_be_compared_are_refused(features, words):
    query, gallery = image_set([[1.0]], [1], [1]), image_set(features, [1], [2])
    with pytest.raises(UserError, match=words):
        evaluate(query, gallery)
    with pytest.raises(UserError, match=words):
        rescorer(RerankOptions(method="aqe", k1=1))(query.features, gallery.features)


def test_rank_0_is_refused():
    with pytest.raises(UserError, match="Rank@0: expected 1 or above"):
        one_query([1], [1], [2]).rank(0)


@pytest.mark.parametrize("cores", [(1, 1), (2, 8)])  # of the machines that the processes are on
def test_workers_share_the_chunks(published, cores, monkeypatch):
    query, gallery, _, _ = published
    scores = CosineScores(query.features, gallery.features)
    scores.budget = 4 * len(gallery) * 7
    parts = []

    class Worker(World):
        def sum(self, ranks):
            parts.append(ranks)
            return np.sum(parts, axis=0)

    monkeypatch.setattr(similarity, "available_cores", lambda: cores[0])
    evaluate(query, gallery, scores=scores, world=Worker(0, 2))
    monkeypatch.setattr(similarity, "available_cores", lambda: cores[1])
    shared = evaluate(query, gallery, scores=scores, world=Worker(1, 2))
    assert shared.line() == evaluate(query, gallery, scores=scores).line()
    assert not np.any((parts[0] > 0) & (parts[1] > 0))


def test_multi_query_is_the_mean_of_identity_and_camera():
    query = image_set(np.eye(3), [1, 1, 2], [1, 2, 1])
    images = image_set([[2, 0, 0], [0, 2, 0], [9, 9, 9], [5, 5, 5]], [1, 1, 1, 3], [1, 1, 3, 1])
    merged = merge_multi_query(query, images)
    # The second and third have no image of their identity in their camera and keep their own
    # feature
    np.testing.assert_array_equal(merged.features, [[1, 1, 0], [0, 1, 0], [0, 0, 1]])
    np.testing.assert_array_equal(query.features, np.eye(3))


def test_multi_query_of_another_network_is_refused():
    query = image_set(np.eye(3), [1, 1, 2], [1, 2, 1])
    with pytest.raises(UserError, match="features of 2 dimensions, the queries' have 3"):
        merge_multi_query(query, image_set(np.eye(2), [1, 1], [1, 1]))


def test_an_unknown_average_precision_is_refused_before_the_ranking():
    sets = image_set([[1.0]], [1], [1]), image_set(np.ones((3, 1)), [2, 2, 1], [2, 2, 2])
    with pytest.raises(UserError, match="ap='Step': expected one of trapezoidal, step"):
        evaluate(*sets, scores=lambda *_: pytest.fail("ranked"), ap="Step")
