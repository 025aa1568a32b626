"""Computed identities against true ones, by other programs and by hand.

IDF1 is compared with the paper's bipartite graph and with motmetrics, pairs with scikit-learn, and
both with cases that are counted by hand.
"""

from itertools import combinations, permutations

import numpy as np
import pytest
from sklearn.metrics import pair_confusion_matrix

from person_reid.data.video.tracked_boxes import Track
from person_reid.retrieval.identities import identity_f1, listed_boxes, matching_boxes, pair_f1


def tracks(seed, people=4, frames=30, cameras=2):
    """(truth, found) of a random scene, each (frames, identities, boxes (N, 4))."""
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for camera in range(cameras):
        for frame in range(frames):
            names = rng.permutation(people) if rng.random() < 0.3 else np.arange(people)
            for person in np.flatnonzero(rng.random(people) < 0.8):
                low = rng.uniform(0, 60, 2)
                box = np.concatenate([low, low + rng.uniform(20, 40, 2)])
                truth.append((1000 * camera + frame, person, box))
                if rng.random() < 0.9:
                    track = 10 * camera + names[person]
                    found.append((1000 * camera + frame, track, box + rng.normal(0, 4, 4)))
    return (tuple(map(np.array, zip(*boxes, strict=True))) for boxes in (truth, found))


def iou(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


def slow_identity_f1(truth, found, pairs):
    """(IDF1, IDP, IDR) from the paper's graph; all assignments are tried.

    The graph has a node for each true and each computed identity, a false positive for each true
    one and a false negative for each computed one.
    """
    people, computed = sorted(set(truth)), sorted(set(found))
    pairs = [(truth[i], found[j]) for i, j in pairs]
    left = [*people, *[None] * len(computed)]
    right = [*computed, *[None] * len(people)]
    costs = []
    for order in permutations(range(len(right))):
        missed = wrong = 0
        for person, track in zip(left, (right[index] for index in order), strict=True):
            both = sum(pair == (person, track) for pair in pairs)
            missed += 0 if person is None else sum(each == person for each in truth) - both
            wrong += 0 if track is None else sum(each == track for each in found) - both
        costs.append((missed + wrong, missed, wrong))
    _, missed, wrong = min(costs)
    agreeing = len(truth) - missed
    parts = 0.5 * wrong + 0.5 * missed, wrong, missed
    return tuple(agreeing / (agreeing + part) for part in parts)


def test_boxes_match_in_one_frame_at_half_of_their_union():
    """Against two loops."""
    (frames, _, boxes), (others_frames, _, others) = tracks(0)
    expected = [
        (i, j)
        for i in range(len(boxes))
        for j in range(len(others))
        if frames[i] == others_frames[j] and iou(boxes[i], others[j]) >= 0.5
    ]
    found = matching_boxes(frames, boxes, others_frames, others)
    assert sorted(map(tuple, found.tolist())) == expected
    assert len(expected) > 100
    half = np.array([[0, 0, 10, 10], [0, 0, 10, 5.0], [0, 0, 10, 4.9]])
    names = np.array(["cam1 7"])
    assert matching_boxes(names, half[:1], names, half[1:2]).tolist() == [[0, 0]]
    assert matching_boxes(names, half[:1], names, half[2:]).tolist() == []
    assert matching_boxes(names, half[:1], np.array(["cam2 7"]), half[:1]).tolist() == []


@pytest.mark.parametrize("seed", range(8))
def test_idf1_is_that_of_the_best_assignment_in_the_paper(seed):
    rng = np.random.default_rng(seed)
    truth, found = rng.integers(0, 3, 12), rng.integers(0, 1 + seed % 4, 10)
    pairs = np.argwhere(rng.random((12, 10)) < 0.1)
    expected = slow_identity_f1(truth.tolist(), found.tolist(), pairs.tolist())
    assert identity_f1(truth, found, pairs) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(4))
def test_idf1_equals_that_of_motmetrics(seed):
    motmetrics = pytest.importorskip("motmetrics")
    (frames, people, boxes), (others_frames, found, others) = tracks(seed)
    score = identity_f1(people, found, matching_boxes(frames, boxes, others_frames, others))
    accumulator = motmetrics.MOTAccumulator()
    for frame in np.unique(frames):
        here, there = frames == frame, others_frames == frame
        distances = np.array([[1 - iou(a, b) for b in others[there]] for a in boxes[here]])
        distances[distances > 0.5] = np.nan
        accumulator.update(people[here], found[there], distances, frameid=int(frame))
    metrics = ["idf1", "idp", "idr"]
    theirs = motmetrics.metrics.create().compute(accumulator, metrics=metrics)
    assert score == pytest.approx(theirs[metrics].to_numpy()[0])
    assert 0.2 < score.f1 < 0.8


def test_idf1_counts_one_identity_a_person_in_all_cameras():
    people = ["a"] * 6 + ["b"] * 4
    score = identity_f1(people, [1, 1, 1, 1, 2, 2, 3, 3, 3, 1])  # 4 and 3 are right
    assert score == pytest.approx((0.7, 0.7, 0.7))
    assert identity_f1(people, people) == (1, 1, 1)
    nothing = np.zeros((0, 2), int)
    assert identity_f1(people, [], nothing) == identity_f1([], [], nothing) == (0, 0, 0)


@pytest.mark.parametrize("seed", range(4))
def test_pairs_are_those_that_scikit_learn_counts(seed):
    rng = np.random.default_rng(seed)
    people, found = rng.integers(0, 5, 40), rng.integers(0, 7, 40)
    (_, wrong), (missed, right) = pair_confusion_matrix(people, found)
    expected = (2 * right / (2 * right + wrong + missed), right / (right + wrong))
    assert pair_f1(people, found)[:2] == pytest.approx(expected)
    assert pair_f1(people, found).recall == pytest.approx(right / (right + missed))


def test_boxes_of_tracks_are_listed_with_camera_and_identity():
    boxes = np.arange(12.0).reshape(3, 4)
    one = Track(7, np.array([4, 6]), boxes[:2], 0.6, 1.0)
    two = Track(7, np.array([4]), boxes[2:], 0.6, 0.6)
    none = Track(9, np.array([], int), boxes[:0], 0.0, 0.0)
    frames, who, sides = listed_boxes([("hall", "a", one), ("yard", "a", two), ("yard", "b", none)])
    assert frames.tolist() == ["hall 4", "hall 6", "yard 4"]
    assert who.tolist() == ["a"] * 3
    np.testing.assert_array_equal(sides, boxes)
    assert listed_boxes([])[2].shape == (0, 4)


def test_pairs_of_names_are_counted_by_hand():
    people, found = list("aaabb"), list("xxyyy")
    together = [(i, j) for i, j in combinations(range(5), 2) if found[i] == found[j]]
    right = sum(people[i] == people[j] for i, j in together)
    assert (len(together), right) == (4, 2)
    assert pair_f1(people, found) == (0.5, 0.5, 0.5)
    assert pair_f1(["a"], ["x"]) == (0, 0, 0)
