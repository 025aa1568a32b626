"""People of several images: their scores against a loop over images, their groups
against people who are far apart.
"""

import numpy as np
import pytest

from person_reid.basics import UserError
from person_reid.retrieval.people import best_and_mean, group_people, person_scores
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
    assert names == ["one"] and best.item() == pytest.approx(mean.item()) == pytest.approx(
        FEATURES[0] @ FEATURES[1]
    )


def test_without_people_there_is_a_word():
    with pytest.raises(
        UserError, match=r"nobody is known yet\. Enroll people: python tools/search\.py enroll NAME"
    ):
        person_scores([FEATURES[:1]], [])


def crowd(people, images, cameras=2):
    """Features of people who are far apart, seen by cameras that shift all of
    theirs; who, and by which camera.
    """
    random = np.random.default_rng(1)
    who = np.repeat(np.arange(people), images)
    camera = np.tile(np.arange(cameras), people * images // cameras)
    features = (
        np.eye(people, 64, dtype=np.float32)[who]
        + random.standard_normal((len(who), 64), np.float32) / 40
    )
    features += random.standard_normal((cameras, 64), np.float32)[camera] / 3
    return features / np.linalg.norm(features, axis=1, keepdims=True), who, camera


def test_people_are_grouped_across_cameras_and_keep_the_names_they_have():
    features, who, cameras = crowd(8, 12)
    known = [""] * len(who)
    known[0], known[1], known[12], known[24], known[36] = (
        "Anna",
        "Anna",
        "person 0001",
        "Ben",
        "Cleo",
    )
    known[37], known[38] = "Ben", "Ben"
    found = group_people(features, cameras, known)
    assert [name for name, own in zip(found, known, strict=True) if own] == [
        name for name in known if name
    ]
    groups = [
        {name for name, own, at in zip(found, known, who, strict=True) if at == i and not own}
        for i in range(8)
    ]
    # the last by two votes to one
    assert groups[:4] == [{"Anna"}, {"person 0001"}, {"Ben"}, {"Ben"}]
    assert sorted(name for group in groups[4:] for name in group) == [
        f"person {i:04}" for i in (2, 3, 4, 5)
    ]
    found = group_people(features, cameras, known, others={"person 0003", "person 0004"})
    assert set(found[48:]) == {f"person {i:04}" for i in (2, 5, 6, 7)}


def test_who_is_alone_is_in_no_group():
    features, who, cameras = crowd(8, 12)
    few = np.flatnonzero((who > 0) | (np.arange(len(who)) < 2))  # two images of the first person
    found = group_people(features[few], cameras[few], [""] * len(few))
    assert found[:2] == ["", ""] and len(set(found[2:])) == 7


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_identical_images_and_single_ones_are_grouped_without_a_warning():
    same = np.repeat(FEATURES[:1], 6, axis=0)
    assert group_people(same, np.full(6, -1), [""] * 6) == ["person 0001"] * 6
    assert group_people(same[:1], np.zeros(1, int), [""]) == [""]
