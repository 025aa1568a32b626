"""Tracks are cut where the person changes, against a slow loop over all cuts."""

import numpy as np
import pytest

from person_reid.errors import UserError
from person_reid.retrieval import track_splitting
from person_reid.retrieval.similarity import unit_rows
from person_reid.retrieval.track_splitting import change_threshold, split_tracks

NOISE = 0.5


def crowd(people=24, images=8, exchanged=(), width=64, noise=NOISE, seed=0):
    """Features, times and cameras of tracks that share their moments.

    exchanged: (track, other, place): the tracker exchanges the two from that image on.
    """
    rng = np.random.default_rng(seed)
    shown = np.repeat(np.arange(people)[:, None], images, axis=1)
    for one, other, place in exchanged:
        shown[[one, other], place:] = shown[[other, one], place:]
    faces = unit_rows(rng.normal(size=(people, width)).astype(np.float32))
    features = faces[shown] + noise * rng.normal(size=(people, images, width)) / width**0.5
    times = np.arange(images) + np.zeros((people, 1))
    return list(features), list(times), ["hall"] * people


def slow_change(rows):
    """(place, agreement) by loops over images, of the cut whose groups have the least squares."""
    rows = [row / np.linalg.norm(row) for row in np.asarray(rows, np.float64)]
    found = []
    for place in range(1, len(rows)):
        sides = rows[:place], rows[place:]
        squares = sum(
            np.square(side - np.mean(side, axis=0)).sum() for side in map(np.array, sides)
        )
        between = np.mean([a @ b for a in sides[0] for b in sides[1]])
        within = [s[i] @ s[j] for s in sides for i in range(len(s)) for j in range(i)]
        found.append((squares, place, between / np.mean(within)))
    return min(found)[1:]


def slow_pieces(rows, threshold):
    """The piece of each image, by cutting again and again."""
    if len(rows) < 3:
        return [0] * len(rows)
    place, agreement = slow_change(rows)
    if agreement >= threshold:
        return [0] * len(rows)
    first = slow_pieces(rows[:place], threshold)
    return [*first, *(max(first) + 1 + piece for piece in slow_pieces(rows[place:], threshold))]


@pytest.mark.parametrize("threshold", [0.3, 0.7, 0.9, 0.97])
def test_tracks_are_cut_as_a_slow_loop_cuts_them(threshold):
    features, times, cameras = crowd(exchanged=[(0, 1, 3), (2, 3, 7), (4, 5, 2), (4, 6, 5)])
    features += [features[0][:1], features[0][2:4], features[0][1:4]]
    times += [np.zeros(1), np.zeros(2), np.arange(3)]
    found = split_tracks(features, times, [*cameras, "a", "b", "c"], threshold)
    assert [each.tolist() for each in found] == [slow_pieces(each, threshold) for each in features]
    assert any(each.any() for each in found)


def test_the_limit_has_equal_errors():
    """As many tracks are below it as made ones, of two halves each, are above."""
    features, times, cameras = crowd(noise=2.0)
    limit = change_threshold(features, times, cameras)
    assert limit is not None
    same = [slow_change(each)[1] for each in features]
    changed = [
        slow_change(np.concatenate([unit_rows(one)[:4], unit_rows(other)[4:]]))[1]
        for i, one in enumerate(features)
        for j, other in enumerate(features)
        if i != j
    ]
    tried = np.arange(0, 1, 1e-4)
    errors = [np.mean(np.array(same) < t) - np.mean(np.array(changed) >= t) for t in tried]
    assert limit == pytest.approx(tried[np.abs(errors).argmin()], abs=2e-4)
    assert 0 < np.mean(np.array(changed) >= limit) < 0.3


def test_who_was_exchanged_is_found_without_labels():
    features, times, cameras = crowd(exchanged=[(0, 1, 3), (4, 5, 5)])
    found = split_tracks(features, times, cameras)
    assert {i: each.tolist() for i, each in enumerate(found) if each.any()} == {
        0: [0] * 3 + [1] * 5,
        1: [0] * 3 + [1] * 5,
        4: [0] * 5 + [1] * 3,
        5: [0] * 5 + [1] * 3,
    }


def test_images_may_come_in_any_order():
    features, times, cameras = crowd(exchanged=[(0, 1, 3)])
    mixed = np.random.default_rng(1).permutation(8)
    found = split_tracks(features, times, cameras)
    again = split_tracks(
        [each[mixed] for each in features], [each[mixed] for each in times], cameras
    )
    np.testing.assert_array_equal([each[mixed] for each in found], again)


@pytest.mark.parametrize("alone", ["cameras", "times", "unknown", "few"])
def test_nothing_is_cut_where_nobody_is_known_to_be_two_people(alone):
    features, times, cameras = crowd(exchanged=[(0, 1, 3)])
    if alone == "cameras":
        cameras = [f"camera {i}" for i in range(len(features))]
    if alone == "times":
        times = [each + 10 * i for i, each in enumerate(times)]
    if alone == "unknown":
        times = [np.full(len(each), np.nan) for each in times]
    if alone == "few":
        features, times, cameras = (each[:10] for each in (features, times, cameras))
    assert change_threshold(features, times, cameras) is None
    assert not any(each.any() for each in split_tracks(features, times, cameras))


@pytest.mark.parametrize("few", [0, 1])
def test_a_limit_takes_exactly_as_many_pairs_as_it_says(monkeypatch, few):
    monkeypatch.setattr(track_splitting, "FEWEST_CHANGING", 10 * 9 + few)  # in both orders
    assert (change_threshold(*crowd(people=10)) is None) == bool(few)


def test_what_makes_no_sense_is_refused():
    features, times, cameras = crowd(people=3)
    with pytest.raises(UserError, match="3 features, 2 times"):
        split_tracks(features, times[:2], cameras)
    with pytest.raises(UserError, match="8 features, 7 times"):
        split_tracks(features, [each[:7] for each in times], cameras)
    with pytest.raises(UserError, match="3 features, 2 cameras"):
        split_tracks(features, times, cameras[:2])
