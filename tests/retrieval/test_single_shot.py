import numpy as np
import pytest

from person_reid.errors import UserError
from person_reid.retrieval.metrics import evaluate
from person_reid.retrieval.single_shot import evaluate_single_shot
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


def test_the_mean_over_trials_is_the_expectation():
    query, gallery = two_cameras()
    cosine = (query.features @ gallery.features.T).reshape(12, 12, 3)  # query, person, image
    expected = np.zeros(12)
    for i in range(12):
        # Each own image is drawn in a third of the trials, and all else independently of it.
        for score in cosine[i, i]:
            others = [np.mean(cosine[i, j] < score) for j in range(12) if j != i]
            expected[i] += np.prod(others) / 3
    found = evaluate_single_shot(query, gallery, trials=800)
    assert found.rank(1) == pytest.approx(expected.mean(), abs=0.02)
    assert found.gallery_size == 12
    assert found.num_matches.tolist() == [1] * 12 * 800


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
    with pytest.raises(UserError, match="ignore_cameras=True"):
        evaluate_single_shot(query, gallery)
    assert evaluate_single_shot(query, gallery, ignore_cameras=True).num_matches.min() == 1
