"""Linking tracks into people: against a slow loop, and what must hold whatever the tracks are."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import silhouette_score

from benchmarks.support.references import dense_k_reciprocal
from person_reid.errors import UserError
from person_reid.retrieval.association import (
    link_tracks,
    read_travel,
    reranked,
    silhouette,
    two_people,
)
from person_reid.retrieval.normalization import CameraNorm


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
        if pause <= 0 if cameras[i] == cameras[j] else too_soon:
            found.add((i, j))
    return found


def slow_groups(features, apart, threshold, same=()):
    """The most similar two groups, all pairs of tracks compared each time, become one."""
    groups = [{i} for i in range(len(features))]
    for i, j in same:
        first, second = (next(group for group in groups if k in group) for k in (i, j))
        if first is not second:
            groups.remove(second)
            first |= second
    while True:
        found = [
            (np.mean([features[i] @ features[j] for i in first for j in second]), first, second)
            for first, second in itertools.combinations(groups, 2)
            if not any((i, j) in apart for i in first for j in second)
        ]
        best: Any = max(found, key=lambda each: each[0], default=(-2, None, None))
        if best[0] < threshold:
            return groups
        groups.remove(best[2])
        best[1].update(best[2])


def groups_of(labels):
    return sorted(sorted(np.flatnonzero(labels == label).tolist()) for label in set(labels))


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.sampled_from([-0.2, 0.3, 0.6, 0.9]))
def test_groups_are_those_of_a_slow_loop(seed, threshold):
    features, when = drawn_tracks(seed)
    travel = {("0", "1"): 3.0, ("2", "1"): 8.0}
    found = link_tracks(features, *when, threshold=threshold, travel=travel)
    expected = slow_groups(features, slow_apart(*when, travel=travel), threshold)
    assert groups_of(found.labels) == sorted(map(sorted, expected))


def test_without_times_the_groups_are_those_of_scipy():
    features, (cameras, *_) = drawn_tracks(3, 60)
    unknown = np.full(60, np.nan)
    found = link_tracks(features, cameras, unknown, unknown, 0.6)
    expected = fcluster(linkage(features, "average", "cosine"), 0.4, "distance")
    assert groups_of(found.labels) == groups_of(expected)
    assert 5 < found.labels.max() < 50


@settings(max_examples=60)
@given(
    st.integers(0, 2**32),
    st.sampled_from([None, -1.0, 0.4]),
    st.booleans(),
    st.booleans(),
    st.data(),
)
def test_no_person_is_ever_at_two_places_and_the_order_does_not_matter(
    seed, threshold, camera_norm, rerank, data
):
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
        "camera_norm": camera_norm,
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
    expected = slow_groups(features, set(), 0.5, same)
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
def test_two_tracks_of_a_camera_share_a_moment_or_not(flush, request):
    torch.set_flush_denormal(flush)  # as some libraries do on import
    request.addfinalizer(lambda: torch.set_flush_denormal(False))
    apart = two_people(["a", "a", "a", "b", "a"], [0, 5, 5.04, 3, np.nan], [5, 9, 9, 4, np.nan])
    assert np.argwhere(np.triu(apart)).tolist() == [[0, 1], [1, 2]]


def test_the_way_between_cameras_takes_its_time_in_both_directions():
    travel = {("a", "b"): 10.0, ("x", "y"): 99.0}
    apart = two_people(["a", "b", "b", "b"], [20, 0, 31, 22], [21, 10.5, 32, 23], travel)
    assert apart[0].tolist() == [False, True, False, True]
    assert (apart == apart.T).all()


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_the_silhouette_is_that_of_scikit_learn(seed):
    features, (cameras, *_) = drawn_tracks(seed)
    expected = silhouette_score(features, cameras, metric="cosine")
    assert silhouette(features @ features.T, cameras) == pytest.approx(expected, abs=1e-6)


def test_the_silhouette_chooses_a_threshold_between_clear_people():
    features, (cameras, *_) = drawn_tracks(8, 60)
    features = np.repeat(np.eye(8), 5, axis=0) + 0.05 * features[:40]
    unknown = np.full(40, np.nan)
    found = link_tracks(features, cameras[:40], unknown, unknown)
    assert groups_of(found.labels) == [[5 * i + k for k in range(5)] for i in range(8)]
    assert 0.3 < found.threshold < 0.9
    assert (found.margins > 0.05).all()


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.sampled_from([0.3, 0.6]))
def test_margins_are_those_of_a_slow_loop(seed, threshold):
    features, when = drawn_tracks(seed)
    found = link_tracks(features, *when, threshold=threshold)
    apart = slow_apart(*when, travel={})
    for i, label in enumerate(found.labels):
        groups = [group for group in groups_of(found.labels) if i not in group]
        possible = [group for group in groups if not any((i, j) in apart for j in group)]
        nearest = max(
            (np.mean(features[group] @ features[i]) for group in possible), default=-np.inf
        )
        others = np.flatnonzero((found.labels == label) & (np.arange(24) != i))
        own = np.mean(features[others] @ features[i]) if len(others) else None
        margin = threshold - nearest if own is None else min(own - threshold, own - nearest)
        assert found.margins[i] == pytest.approx(margin, abs=1e-5)
        means = {found.labels[each[0]]: np.mean(features[each] @ features[i]) for each in possible}
        assert found.nearest[i] == max(means, key=means.__getitem__, default=-1)


def test_reranked_similarities_are_those_of_dense_distances():
    features, _ = drawn_tracks(9, 60)
    jaccard = dense_k_reciprocal(features[:20], features[20:], 20, 6, 0.0)
    expected = 0.3 * features[:20] @ features[20:].T + 0.7 * (1 - jaccard)
    np.testing.assert_allclose(reranked(features)[:20, 20:], expected, atol=1e-3)


@pytest.mark.parametrize("rerank", [False, True])
def test_a_single_track_is_a_person(rerank):
    found = link_tracks(np.ones((1, 4), np.float32), ["a"], [0.0], [1.0], rerank=rerank)
    assert found.labels.tolist() == [0]
    assert found.nearest.tolist() == [-1]


def test_travel_times_are_read_from_a_table(tmp_path, caplog):
    file = tmp_path / "travel.csv"
    file.write_text("from,to,seconds\ndoor,yard,12.5\nyard,gate,40\n")
    assert read_travel(file, {"door", "yard"}) == {("door", "yard"): 12.5}
    assert "gate" in caplog.text
    assert "door" not in caplog.text


@pytest.mark.parametrize(
    "line, said",
    [
        ("door,yard,soon", "line 2: seconds 'soon'"),
        ("door,yard,inf", "line 2: seconds 'inf'"),
        ("door,yard,-3", "line 2: seconds '-3'"),
        ("door,door,3", "line 2: expected two cameras"),
        ("door,,3", "line 2: expected two cameras"),
        ("door,yard,3\nyard,door,4", "line 3: another line says 3"),
        ("dor,gate,3", "none of its pairs.*door, yard"),
    ],
)
def test_a_table_of_travel_times_that_makes_no_sense_is_refused(tmp_path, line, said):
    file = tmp_path / "travel.csv"
    file.write_text(f"from,to,seconds\n{line}\n")
    with pytest.raises(UserError, match=said):
        read_travel(file, {"door", "yard"})


def test_what_a_camera_adds_to_every_feature_is_taken_away_if_asked():
    features, when = drawn_tracks(3)
    shifted = features + 2 * np.eye(3, 8, dtype=np.float32)[when[0]]
    shifted /= np.linalg.norm(shifted, axis=1, keepdims=True)
    asked, as_they_are = (
        link_tracks(shifted, *when, 0.4, camera_norm=norm).labels for norm in (True, False)
    )
    normed = CameraNorm(shifted, when[0])(shifted, when[0])
    assert groups_of(asked) == groups_of(link_tracks(normed, *when, 0.4).labels)
    assert groups_of(asked) != groups_of(as_they_are)


@pytest.mark.parametrize("name", ["starts", "ends"])
def test_infinite_times_are_refused(name):
    features, (cameras, starts, ends) = drawn_tracks(0)
    times = {"starts": starts, "ends": ends, name: np.full(24, np.inf)}
    with pytest.raises(UserError, match=f"{name}: expected seconds, or NaN .*, found infinity"):
        link_tracks(features, cameras, **times)
