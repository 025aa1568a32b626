import numpy as np
import pytest

from person_reid.errors import UserError
from person_reid.retrieval.metrics import evaluate
from person_reid.retrieval.protocols import evaluate_single_shot
from tests.retrieval.conftest import clusters, image_set


def two_cameras(num_people=12, images=3, seed=0):
    """Queries of camera 1 and a gallery of camera 2, `images` of each identity."""
    random = np.random.default_rng(seed)
    labels = np.arange(1, num_people + 1)
    query = image_set(clusters(random, num_people), labels, np.ones(num_people))
    count = num_people * images
    return query, image_set(clusters(random, count), labels.repeat(images), np.full(count, 2))


def test_a_gallery_of_one_image_each_leaves_no_choice():
    query, gallery = two_cameras(images=1)
    found, expected = evaluate_single_shot(query, gallery, trials=3), evaluate(query, gallery)
    assert found.line() == expected.line() + " (single gallery shot)"
    assert len(found.average_precision) == 3 * len(query)


def expected_rank_1(query, gallery):
    cosine = (query.features @ gallery.features.T).reshape(12, 12, 3)  # query, person, image
    expected = np.zeros(12)
    for i in range(12):
        # Each own image is drawn in a third of the trials, and all else independently of it.
        for score in cosine[i, i]:
            others = [np.mean(cosine[i, j] < score) for j in range(12) if j != i]
            expected[i] += np.prod(others) / 3
    return expected.mean()


def test_the_mean_over_trials_is_the_expectation():
    query, gallery = two_cameras(seed=4)  # of which a single draw is far from the mean
    found = evaluate_single_shot(query, gallery, trials=200)
    assert found.rank(1) == pytest.approx(expected_rank_1(query, gallery), abs=0.02)
    assert found.gallery_size == 12
    assert found.num_matches.tolist() == [1] * 12 * 200


def test_queries_in_other_clothes_are_those_of_prcc(caplog):
    """Camera 1 sees the clothes of the gallery, camera 3 others; one image of each is drawn."""
    (same, gallery), (other, _) = two_cameras(), two_cameras(seed=1)
    other.cameras[:] = 3
    query = image_set(
        np.concatenate([same.features, other.features]),
        np.concatenate([same.labels, other.labels]),
        np.concatenate([same.cameras, other.cameras]),
    )
    clothes = np.repeat([1, 2], 12), np.ones(len(gallery), int)
    for queries, same_clothes, words in ((same, True, "the same"), (other, False, "other")):
        found = evaluate_single_shot(
            query, gallery, trials=200, clothes=clothes, same_clothes=same_clothes
        )
        assert found.num_matches.tolist() == [1] * 12 * 200
        assert found.rank(1) == pytest.approx(expected_rank_1(queries, gallery), abs=0.02)
        assert found.protocol == f"matches in {words} clothes, single gallery shot"
        assert f"2400 of 4800 queries of all draws have no match in {words} clothes" in caplog.text
    with pytest.raises(UserError, match="no query has a match in other clothes"):
        evaluate_single_shot(same, gallery, clothes=(clothes[0][:12], clothes[1]))


def test_the_same_seed_draws_the_same_galleries():
    query, gallery = two_cameras()
    lines = [evaluate_single_shot(query, gallery, seed=seed).line() for seed in (3, 3, 4)]
    assert lines[0] == lines[1] != lines[2]


def test_junk_is_never_drawn_and_own_camera_is_not_seen():
    query = image_set([[1.0, 0]], [1], [1])
    gallery = image_set([[1.0, 0], [1, 0], [0, 1], [0.6, 0.8]], [-1, 1, 1, 2], [2, 1, 2, 2])
    found = evaluate_single_shot(query, gallery)
    assert found.gallery_size == 2
    assert found.first_match.tolist() == [1] * 10
    assert evaluate_single_shot(query, gallery, ignore_cameras=True).gallery_size == 2


def test_one_camera_is_refused():
    query, gallery = two_cameras()
    gallery.cameras[:] = 1
    with pytest.raises(UserError, match="count these matches: ignore_cameras"):
        evaluate_single_shot(query, gallery)
    assert evaluate_single_shot(query, gallery, ignore_cameras=True).num_matches.min() == 1
