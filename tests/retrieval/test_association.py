"""Linking tracks into people: against a slow loop, and what must hold whatever the tracks are."""

import itertools
import unicodedata
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage

from benchmarks.support.references import dense_k_reciprocal
from person_reid.errors import UserError
from person_reid.retrieval.association import (
    SHARED,
    compare_tracks,
    link_tracks,
    read_travel,
    two_people,
)
from person_reid.retrieval.normalization import level_cameras
from person_reid.retrieval.track_features import USUAL, TrackCosines


def drawn_tracks(seed, count=24, people=6) -> tuple[Any, tuple[Any, Any, Any]]:
    """Features of tracks that show some people in some noise; their cameras, starts and ends."""
    random = np.random.default_rng(seed)
    who = random.integers(people, size=count)
    features = random.normal(size=(people, 8))[who] + 0.7 * random.normal(size=(count, 8))
    starts = random.uniform(0, 40, count)
    features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    cameras, lengths = random.integers(3, size=count), random.uniform(0, 9, count)
    return features, (cameras, starts, starts + lengths)


def slow_apart(cameras, starts, ends, travel):
    """Pairs of tracks that cannot be one person, a pair at a time."""
    found = set()
    for i, j in itertools.permutations(range(len(cameras)), 2):
        pause = max(starts[i] - ends[j], starts[j] - ends[i])
        pair = str(cameras[i]), str(cameras[j])
        least = travel.get(pair, travel.get(pair[::-1]))
        too_soon = least is not None and pause < least
        shorter = min(ends[i] - starts[i], ends[j] - starts[j])
        at_once = pause <= 0 if shorter == 0 else -pause > min(1, shorter / 2)
        if at_once if cameras[i] == cameras[j] else too_soon:
            found.add((i, j))
    return found


def compared(features, cameras, threshold):
    """What link_tracks compares, and the least that it links at a threshold of cosines."""
    similar, share = compare_tracks(level_cameras(features, cameras))
    return similar, (1 - share) * threshold + share * SHARED


def slow_groups(similar, apart, limit, same=()):
    """The most similar two groups, all pairs of tracks compared each time, become one.

    limit: of as many groups.
    """
    groups = [{i} for i in range(len(similar))]
    for i, j in same:
        first, second = (next(group for group in groups if k in group) for k in (i, j))
        if first is not second:
            groups.remove(second)
            first |= second
    while True:
        found = [
            (np.mean([similar[i, j] for i in first for j in second]), first, second)
            for first, second in itertools.combinations(groups, 2)
            if not any((i, j) in apart for i in first for j in second)
        ]
        best: Any = max(found, key=lambda each: each[0], default=(-2, None, None))
        if best[0] < limit(len(groups)):
            return groups
        groups.remove(best[2])
        best[1].update(best[2])


def groups_of(labels):
    return sorted(sorted(np.flatnonzero(labels == label).tolist()) for label in set(labels))


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.sampled_from([-0.2, 0.3, 0.6, 0.9]))
def test_groups_are_those_of_a_slow_loop(seed, threshold):
    features, when = drawn_tracks(seed, 18)
    travel = {("0", "1"): 3.0, ("2", "1"): 8.0}
    found = link_tracks(features, *when, threshold=threshold, travel=travel)
    similar, limit = compared(features, when[0], threshold)
    expected = slow_groups(similar, slow_apart(*when, travel=travel), lambda _: limit)
    assert groups_of(found.labels) == sorted(map(sorted, expected))


def test_without_times_the_groups_are_those_of_scipy():
    features, (cameras, *_) = drawn_tracks(3, 60)
    unknown = np.full(60, np.nan)
    found = link_tracks(features, cameras, unknown, unknown, 0.6)
    similar, limit = compared(features, cameras, 0.6)
    distances = 1 - similar[np.triu_indices(60, 1)]
    expected = fcluster(linkage(distances, "average"), 1 - limit, "distance")
    assert groups_of(found.labels) == groups_of(expected)
    assert 5 < found.labels.max() < 50


@settings(max_examples=20)
@given(
    st.integers(0, 2**32),
    st.sampled_from([None, -1.0, 0.4]),
    st.data(),
)
def test_no_person_is_ever_at_two_places_and_the_order_does_not_matter(seed, threshold, data):
    features, when = drawn_tracks(seed)
    features[data.draw(st.lists(st.integers(0, 23), max_size=6))] = features[0]  # ties
    pairs = st.lists(
        st.tuples(st.integers(0, 23), st.integers(0, 23)).filter(lambda pair: pair[0] != pair[1]),
        max_size=4,
    )
    same, different = data.draw(pairs), data.draw(pairs)
    travel = {("0", "1"): 5.0}
    settings: dict[str, Any] = {
        "threshold": threshold,
        "travel": travel,
    }
    found = link_tracks(features, *when, **settings, same=same, different=different)
    forbidden = slow_apart(*when, travel=travel) | set(different)
    assert not any(found.labels[i] == found.labels[j] for i, j in forbidden)

    order = np.array(data.draw(st.permutations(range(24))))
    place = np.argsort(order)
    same, different = ([(place[i], place[j]) for i, j in each] for each in (same, different))
    moved = when[0][order], when[1][order], when[2][order]
    again = link_tracks(features[order], *moved, **settings, same=same, different=different)
    assert (again.labels == found.labels[order]).all()
    assert again.threshold == found.threshold
    np.testing.assert_array_equal(again.margins, found.margins[order])


def test_pairs_that_somebody_linked_are_linked_first():
    features, (cameras, *_) = drawn_tracks(5)
    unknown = np.full(24, np.nan)
    same = [(0, 1), (2, 3), (1, 2), (7, 20)]
    found = link_tracks(features, cameras, unknown, unknown, 0.5, same=same)
    similar, limit = compared(features, cameras, 0.5)
    expected = slow_groups(similar, set(), lambda _: limit, same)
    assert groups_of(found.labels) == sorted(map(sorted, expected))


def test_a_pair_that_contradicts_the_others_is_not_linked():
    features, (cameras, *_) = drawn_tracks(6)
    unknown = np.full(24, np.nan)
    labels = link_tracks(
        features, cameras, unknown, unknown, 0.99, same=[(0, 1), (1, 2)], different=[(0, 2)]
    ).labels
    assert labels[0] != labels[2]


def test_people_are_numbered_in_the_order_in_which_they_came():
    features, when = drawn_tracks(7)
    labels = link_tracks(features, *when, threshold=0.5).labels
    first = [when[1][labels == label].min() for label in range(labels.max() + 1)]
    assert first == sorted(first)


@pytest.mark.parametrize("flush", [False, True], ids=["", "smallest numbers taken for 0"])
def test_two_tracks_of_a_single_moment_share_it_or_not(flush, request):
    torch.set_flush_denormal(flush)  # as some libraries do on import
    request.addfinalizer(lambda: torch.set_flush_denormal(False))
    apart = two_people(["a", "a", "a", "b", "a"], [5, 5, 5.04, 5, np.nan], [5, 5, 5.04, 5, np.nan])
    assert np.argwhere(np.triu(apart)).tolist() == [[0, 1]]


@pytest.mark.parametrize(
    "one, other, two",
    [
        ((0, 20), (19.86, 40), False),  # the old track drifts off while the new one has begun
        ((0, 20), (18.5, 40), True),
        ((0, 20), (5, 5.5), True),  # somebody passes
        ((0, 1.0), (0.3, 1.3), True),  # two people cross a narrow view, one behind the other
        ((0, 5), (5, 9), False),
        ((0, 5), (6, 9), False),
    ],
)
def test_a_handover_between_tracks_is_no_proof_of_two_people(one, other, two):
    starts, ends = zip(one, other, strict=True)
    for camera in ("hall", "yard"):
        apart = two_people(["hall", camera], starts, ends)
        assert apart[0, 1] == apart[1, 0] == (two and camera == "hall")


def test_the_way_between_cameras_takes_its_time_in_both_directions():
    travel = {("a", "b"): 10.0, ("x", "y"): 99.0}
    apart = two_people(["a", "b", "b", "b"], [20, 0, 31, 22], [21, 10.5, 32, 23], travel)
    assert apart[0].tolist() == [False, True, False, True]
    assert (apart == apart.T).all()


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_the_threshold_is_that_of_as_many_people_as_are_left(seed):
    features, when = drawn_tracks(seed, 16)
    cosines = TrackCosines((0.0, 0.2), (0.6, 0.2))
    found = link_tracks(features, *when, cosines=cosines)
    cosines = cosines.corrected(level_cameras(features, np.asarray(when[0])))
    limits = [compared(features, when[0], cosines.threshold(groups))[1] for groups in range(1, 17)]
    expected = slow_groups(
        compared(features, when[0], 0)[0],
        slow_apart(*when, travel={}),
        lambda groups: limits[groups - 1],
    )
    assert groups_of(found.labels) == sorted(map(sorted, expected))
    assert found.threshold == pytest.approx(cosines.threshold(len(expected)), abs=1e-6)


def test_a_place_with_more_people_has_a_higher_threshold():
    few, many = USUAL.threshold(2), USUAL.threshold(1000)
    assert USUAL.strangers[0] < few < USUAL.same[0] < many < 1
    # halfway, where both deviations agree and somebody else is as frequent
    assert few == pytest.approx((USUAL.strangers[0] + USUAL.same[0]) / 2, abs=0.03)


@pytest.mark.parametrize("known", [None, TrackCosines((0.5, 0.1), (0.9, 0.1))])
def test_the_cosines_of_a_network_are_corrected_for_the_place(known):
    features, (cameras, starts, ends) = drawn_tracks(4, 150, 20)
    usual = known or USUAL
    found = link_tracks(features, cameras, starts, ends, cosines=known)
    level = level_cameras(features, cameras)
    median = np.median([level[i] @ level[j] for i, j in itertools.combinations(range(150), 2)])
    expected = 0.75 * median + 0.25 * usual.strangers[0]
    assert found.cosines.strangers[0] == pytest.approx(expected, abs=1e-4)
    assert found.cosines.same == usual.same
    alike = link_tracks(features + 1, cameras, starts, ends, cosines=known)
    assert alike.cosines == usual  # more alike says nothing
    people = len({*found.labels.tolist()})
    assert found.threshold == found.cosines.threshold(people) < USUAL.threshold(people)


def test_a_range_holds_the_count_and_grows_with_what_is_doubtful():
    features, when = drawn_tracks(4, 60, 20)
    found = link_tracks(features, *when, 0.5)
    for cameras, lower, higher, more in [
        (1, found.labels, found.most, 1.15),
        (3, found.fewest, found.labels, 1.3),
    ]:
        people, fewest, most = found.count(np.arange(60), cameras)
        assert people == len({*found.labels.tolist()})
        assert fewest == int(0.9 * len({*lower.tolist()}))
        assert most == np.ceil(more * len({*higher.tolist()}))


def test_all_cameras_have_a_range_only_where_it_is_known_how_alike_tracks_are():
    """With a network that said nothing, it held the true number in two of three draws."""
    features, when = drawn_tracks(4, 60, 20)
    for known in ({"cosines": USUAL}, {"threshold": 0.5}, {}):
        found = link_tracks(features, *when, **known)
        people = len({*found.labels.tolist()})
        assert (None in found.count(np.arange(60), 3)) == (not known)
        assert found.count(np.arange(60), 3)[0] == people
        assert None not in found.count(np.arange(60), 1)


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.sampled_from([0.3, 0.6]))
def test_margins_are_those_of_a_slow_loop(seed, threshold):
    features, when = drawn_tracks(seed)
    found = link_tracks(features, *when, threshold=threshold)
    apart = slow_apart(*when, travel={})
    similar, threshold = compared(features, when[0], threshold)
    for i, label in enumerate(found.labels):
        groups = [group for group in groups_of(found.labels) if i not in group]
        possible = [group for group in groups if not any((i, j) in apart for j in group)]
        nearest = max((np.mean(similar[group, i]) for group in possible), default=-np.inf)
        others = np.flatnonzero((found.labels == label) & (np.arange(24) != i))
        own = np.mean(similar[others, i]) if len(others) else None
        margin = threshold - nearest if own is None else min(own - threshold, own - nearest)
        assert found.margins[i] == pytest.approx(margin, abs=1e-5)
        means = {found.labels[each[0]]: np.mean(similar[each, i]) for each in possible}
        assert found.nearest[i] == max(means, key=means.__getitem__, default=-1)


def test_neighbours_count_as_dense_distances_say():
    features, _ = drawn_tracks(9, 300)
    found, share = compare_tracks(features)
    assert share == pytest.approx(0.5 * 300**2 / (300**2 + 200**2))
    jaccard = dense_k_reciprocal(features[:20], features[20:], 4, 2, 0.0)
    expected = (1 - share) * features[:20] @ features[20:].T + share * (1 - jaccard)
    np.testing.assert_allclose(found[:20, 20:], expected, atol=1e-3)


def test_a_single_track_is_a_person():
    found = link_tracks(np.ones((1, 4), np.float32), ["a"], [0.0], [1.0])
    assert found.labels.tolist() == [0]
    assert found.nearest.tolist() == [-1]


def test_travel_times_are_read_from_a_table(tmp_path, caplog):
    file = tmp_path / "travel.csv"
    file.write_text("from,to,seconds\ndoor,yard,12.5\nyard,gate,40\n")
    assert read_travel(file, {"door", "yard"}) == {("door", "yard"): 12.5}
    assert "gate" in caplog.text
    assert "door" not in caplog.text


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_travel_times_name_cameras_in_either_form_of_unicode(tmp_path, forms):
    of_file, of_camera = (unicodedata.normalize(form, "Küche") for form in forms)
    file = tmp_path / "travel.csv"
    file.write_text(f"from,to,seconds\n{of_file},till,20\n", encoding="utf-8")
    assert read_travel(file, {of_camera, "till"}) == {(of_camera, "till"): 20}


@pytest.mark.parametrize(
    "line, said",
    [
        ("door,yard,soon", "line 2: seconds 'soon'"),
        ("door,yard,inf", "line 2: seconds 'inf'"),
        ("door,yard,-3", "line 2: seconds '-3'"),
        ("door,door,3", "line 2: expected two cameras"),
        ("door,,3", "line 2: expected two cameras"),
        ("door,yard,3\nyard,door,4", "line 3: another line gives 3"),
        ("dor,gate,3", "none of its pairs.*door, yard"),
    ],
)
def test_a_table_of_travel_times_that_makes_no_sense_is_refused(tmp_path, line, said):
    file = tmp_path / "travel.csv"
    file.write_text(f"from,to,seconds\n{line}\n")
    with pytest.raises(UserError, match=said):
        read_travel(file, {"door", "yard"})


@pytest.mark.parametrize("name", ["starts", "ends"])
def test_infinite_times_are_refused(name):
    features, (cameras, starts, ends) = drawn_tracks(0)
    times = {"starts": starts, "ends": ends, name: np.full(24, np.inf)}
    with pytest.raises(UserError, match=f"{name}: expected seconds, or NaN .*, found infinity"):
        link_tracks(features, cameras, **times)
