"""Known people by several images each: their scores against a loop over images."""

import numpy as np
import pytest

from person_reid.errors import UserError
from person_reid.gallery.identification import best_and_mean, identify, person_scores
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.metadata import About, Filter
from person_reid.retrieval.similarity import unit_rows

RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.standard_normal((60, 16), np.float32)
FEATURES /= np.linalg.norm(FEATURES, axis=1, keepdims=True)
NAMES = [f"name{number}" for number in RANDOM.integers(5, 12, 60)]


def in_chunks(*starts):
    """The known images, in chunks that begin at these."""
    return [(NAMES[a:b], FEATURES[a:b]) for a, b in zip(starts, [*starts[1:], 60], strict=True)]


def slow_score(track, name):
    """The equation, image by image."""
    own = [feature for feature, other in zip(FEATURES, NAMES, strict=True) if other == name]
    best = max(float(q @ g) for q in track for g in own)
    means = [sum(images) / np.linalg.norm(sum(images)) for images in (track, own)]
    return (best + means[0] @ means[1]) / 2


@pytest.mark.parametrize("starts", [(0,), (0, 1, 17, 40)])
def test_a_score_is_that_of_the_best_images_and_of_the_means(starts):
    noise = RANDOM.standard_normal((60, 16), np.float32) / 8
    queries = unit_rows(np.asarray(FEATURES[::-1] + noise, np.float32))
    tracks = [queries[:1], queries[1:4], queries[4:20]]
    names, scores = person_scores(tracks, in_chunks(*starts))
    assert names == sorted(set(NAMES))
    expected = [[slow_score(track, name) for name in names] for track in tracks]
    np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_of_one_image_a_person_is_the_image():
    names, best, mean = best_and_mean([FEATURES[:1]], [(["one"], FEATURES[1:2])])
    assert names == ["one"]
    assert best.item() == pytest.approx(mean.item()) == pytest.approx(FEATURES[0] @ FEATURES[1])


def test_without_people_there_is_a_word():
    with pytest.raises(
        UserError, match=r"nobody is known yet\. Enroll people: python tools/search\.py enroll NAME"
    ):
        person_scores([FEATURES[:1]], [])


@pytest.fixture
def index(tmp_path):
    """Five images of Anna in camera 1, one of Ben in camera 2, and one that nobody has named."""
    index = SearchIndex(tmp_path / "people.index", codes="float32")
    paths = [f"{number}.jpg" for number in range(7)]
    who = [About("Anna", "1")] * 5 + [About("Ben", "2"), About(None, "3")]
    index.add(paths, FEATURES[:7], dict(zip(paths, who, strict=True)))
    return index


def test_each_person_is_named_if_the_score_reaches_the_threshold(index):
    queries = FEATURES[[5, 6]]
    ben, stranger = identify(index, queries, threshold=0.9)
    assert ben.identity == ben.nearest == "Ben"
    assert ben.known
    assert ben.score == pytest.approx(1)
    assert stranger.identity is None
    assert stranger.known is False
    assert stranger.nearest
    names, scores = person_scores([queries[:1]], [(["Anna"] * 5 + ["Ben"], FEATURES[:6])])
    assert ben.second == names[0] == "Anna"
    assert ben.margin == pytest.approx(scores[0, 1] - scores[0, 0])
    assert identify(index, []) == []


def test_without_a_threshold_it_says_who_is_nearest_and_names_nobody(index):
    (found,) = identify(index, FEATURES[5:6])
    assert found.nearest == "Ben"
    assert found.known is None
    assert found.identity is None


def test_all_images_of_a_track_are_one_person(index):
    track, single = identify(index, [FEATURES[1:4], FEATURES[5]], threshold=0.5)
    assert track.identity == "Anna"
    assert single.identity == "Ben"
    means = FEATURES[1:4].mean(axis=0), FEATURES[:5].mean(axis=0)
    cosine = means[0] @ means[1] / np.linalg.norm(means[0]) / np.linalg.norm(means[1])
    assert track.score == pytest.approx((1 + cosine) / 2, abs=1e-6)


def test_a_filter_leaves_people_out_and_says_so_if_nobody_is_left(index):
    (found,) = identify(index, FEATURES[5:6], threshold=0.9, among=Filter(camera="1"))
    assert found.nearest == "Anna"
    assert (found.second, found.margin, found.identity) == (None,) * 3
    for which, words in (
        (Filter(identity="Ana"), r"No image has the identity Ana\. Did you mean 'Anna'\?"),
        (Filter(camera="7"), r"No image has the camera 7\. There are: 1, 2, 3\."),
        (Filter(camera="3"), "$"),
    ):
        with pytest.raises(
            UserError, match=f"no image of a known person passes the filters. ?{words}"
        ):
            identify(index, FEATURES[5:6], among=which)


def test_features_that_the_gallery_cannot_compare_are_refused(index, tmp_path):
    with pytest.raises(UserError, match="width 16, not 8"):
        identify(index, FEATURES[:1, :8])
    with pytest.raises(UserError, match="queries: 1 of 2 features are all zero.* query 1"):
        identify(index, FEATURES[:2] * np.array([[1], [0]]))
    with pytest.raises(UserError, match="nobody is known yet"):
        identify(SearchIndex(tmp_path / "empty.index"), FEATURES[:1])
