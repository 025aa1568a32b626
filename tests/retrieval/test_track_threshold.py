"""The threshold of tracks without labels, on people whose similarities are known."""

import numpy as np
import pytest

from person_reid.retrieval import track_threshold
from person_reid.retrieval.similarity import unit_rows
from person_reid.retrieval.track_threshold import threshold_of_tracks, track_halves

WAY = {("hall", "yard"): 0.0}  # nobody is in both at one moment


def seen_by_two_cameras(people=60, width=32, noise=0.3, seed=0):
    """(features, cameras, starts, ends, who): everybody is in two cameras, minutes apart."""
    rng = np.random.default_rng(seed)
    faces = np.repeat(unit_rows(rng.normal(size=(people, width)).astype(np.float32)), 2, axis=0)
    features = unit_rows(faces + noise * rng.normal(size=faces.shape).astype(np.float32) / 3)
    starts = np.arange(people)[:, None] * 2.0 + [0, 60]
    cameras = np.tile(["hall", "yard"], people)
    return features, cameras, starts.ravel(), starts.ravel() + 40, np.repeat(np.arange(people), 2)


def cosines_of_strangers(features, cameras, starts, ends):
    """The cosines of all pairs that are in two cameras at one moment."""
    return [
        float(features[i] @ features[j])
        for i in range(len(features))
        for j in range(i)
        if cameras[i] != cameras[j] and max(starts[i], starts[j]) < min(ends[i], ends[j])
    ]


def test_without_halves_a_hundredth_of_the_strangers_reach_it_as_counted_by_hand():
    features, cameras, starts, ends, _ = seen_by_two_cameras()
    found = threshold_of_tracks(features, cameras, starts, ends, WAY)
    strangers = cosines_of_strangers(features, cameras, starts, ends)
    assert found
    assert found.strangers == len(strangers) > 400
    reached = sum(cosine >= found.threshold for cosine in strangers)
    assert reached == int(0.01 * len(strangers))
    assert found.false_matches == pytest.approx(reached / len(strangers))
    assert found.false_matches < found.bound < 0.1
    assert found.halved == 0
    assert np.isnan(found.recall)


def test_it_separates_people_it_has_no_labels_of():
    features, cameras, starts, ends, who = seen_by_two_cameras()
    found = threshold_of_tracks(features, cameras, starts, ends, WAY)
    assert found
    same = who[:, None] == who
    similar = features @ features.T
    assert (similar[same] >= found.threshold).mean() > 0.95
    assert (similar[~same] >= found.threshold).mean() == pytest.approx(0.01, abs=0.005)


def test_the_bound_holds_for_other_people():
    """In 19 of 20 draws, strangers who were not measured keep to it."""
    kept = []
    for seed in range(20):
        features, cameras, starts, ends, _ = seen_by_two_cameras(seed=seed)
        found = threshold_of_tracks(features, cameras, starts, ends, WAY)
        others, *_, who = seen_by_two_cameras(people=300, seed=1000 + seed)
        similar = (others @ others.T)[who[:, None] != who]
        assert found
        kept.append(bool((similar >= found.threshold).mean() <= found.bound))
    assert np.mean(kept) >= 0.95


def test_one_camera_unknown_times_and_few_tracks_are_too_little():
    features, cameras, starts, ends, _ = seen_by_two_cameras()
    unknown = np.full(len(features), np.nan)
    assert threshold_of_tracks(features, cameras, unknown, unknown, WAY) is None
    assert threshold_of_tracks(features, ["hall"] * len(features), starts, ends, WAY) is None
    assert threshold_of_tracks(features, cameras, starts, ends, {}) is None
    assert threshold_of_tracks(features[:20], cameras[:20], starts[:20], ends[:20], WAY) is None


def halves_of(features, count):
    """Halves of the first tracks that differ from one another; the others have one image."""
    images = [np.stack([each, -each + 2 * np.roll(each, 1)]) for each in features[:count]]
    return track_halves([*images, *features[count:, None]])


def test_it_is_half_way_between_strangers_and_halves():
    features, cameras, starts, ends, _ = seen_by_two_cameras()
    halves = halves_of(features, 70)
    found = threshold_of_tracks(features, cameras, starts, ends, WAY, halves=halves)
    alike = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in halves[:70]]
    strangers = cosines_of_strangers(features, cameras, starts, ends)
    assert found
    assert found.halved == 70
    assert found.threshold == pytest.approx((np.mean(strangers) + np.mean(alike)) / 2, abs=1e-6)
    reached = np.mean([cosine >= found.threshold for cosine in strangers])
    assert found.false_matches == pytest.approx(reached)


@pytest.mark.parametrize("few", [0, 1])
def test_few_halves_have_no_say(few):
    features, cameras, starts, ends, _ = seen_by_two_cameras()
    without = threshold_of_tracks(features, cameras, starts, ends, WAY)
    halves = halves_of(features, track_threshold.FEWEST_HALVED - few)
    found = threshold_of_tracks(features, cameras, starts, ends, WAY, halves=halves)
    assert found
    assert without
    assert (found.threshold == without.threshold) == bool(few)


@pytest.mark.parametrize("few", [0, 1])
def test_a_threshold_takes_exactly_as_many_pairs_as_it_says(monkeypatch, few):
    features, cameras, starts, ends, _ = seen_by_two_cameras()
    found = threshold_of_tracks(features, cameras, starts, ends, WAY)
    assert found
    monkeypatch.setattr(track_threshold, "FEWEST_STRANGERS", found.strangers + few)
    again = threshold_of_tracks(features, cameras, starts, ends, WAY)
    assert (again is None) == bool(few)


def test_times_between_cameras_say_of_more_pairs_that_they_are_strangers():
    features, cameras, starts, ends, _ = seen_by_two_cameras()
    without = threshold_of_tracks(features, cameras, starts, ends, WAY)
    travel = {("hall", "yard"): 10.0}
    with_them = threshold_of_tracks(features, cameras, starts, ends, travel)
    assert with_them
    assert without
    assert with_them.strangers > without.strangers


@pytest.mark.parametrize("camera_norm", [False, True])
def test_halves_of_tracks_are_compared(camera_norm):
    features, cameras, starts, ends, _ = seen_by_two_cameras()
    images = [
        np.stack([each, each, -each + 2 * other])
        for each, other in zip(features, np.roll(features, 1, axis=0), strict=True)
    ]
    images[0] = images[0][:1]  # a single image has no halves
    halves = track_halves(images)
    assert not halves[0].any()
    np.testing.assert_allclose(halves[1, 0], features[1], atol=1e-6)
    found = threshold_of_tracks(
        features, cameras, starts, ends, WAY, camera_norm=camera_norm, halves=halves
    )
    assert found
    assert found.halved == len(features) - 1
    assert 0 <= found.recall <= 1
    same = track_halves([np.stack([each, each]) for each in features])
    again = threshold_of_tracks(features, cameras, starts, ends, WAY, halves=same)
    assert again
    assert again.recall == 1


def test_a_shift_of_one_camera_moves_the_threshold_unless_it_is_removed():
    """A colour that each camera adds to its tracks makes strangers of two cameras less alike."""
    features, cameras, starts, ends, _ = seen_by_two_cameras()
    colour = np.zeros(features.shape[1], np.float32)
    colour[0] = 1
    shifted = features + np.where(cameras == "hall", 1, -1)[:, None] * colour
    plain, moved, normed = (
        threshold_of_tracks(each, cameras, starts, ends, WAY, camera_norm=norm)
        for each, norm in ((features, False), (shifted, False), (shifted, True))
    )
    assert plain
    assert moved
    assert normed
    assert moved.threshold < plain.threshold - 0.2
    assert normed.threshold == pytest.approx(plain.threshold, abs=0.1)
