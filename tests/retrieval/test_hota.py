"""HOTA against TrackEval's formula as a slow loop, and cases that are counted by hand."""

from collections import defaultdict

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from person_reid.retrieval.identities import hota_score
from tests.retrieval.test_identities import iou, tracks


def slow_hota(truth, found):
    """(HOTA, DetA, AssA), frame by frame and level by level, as TrackEval computes them."""
    (frames, people, boxes), (others_frames, names, others) = truth, found
    similar = {
        (i, j): iou(boxes[i], others[j])
        for i in range(len(frames))
        for j in range(len(others_frames))
        if frames[i] == others_frames[j]
    }
    potential: defaultdict[tuple, float] = defaultdict(float)
    for (i, j), value in similar.items():
        row = float(sum(each for (k, _), each in similar.items() if k == i))
        column = float(sum(each for (_, k), each in similar.items() if k == j))
        if row + column - value > 0:
            potential[people[i], names[j]] += value / (row + column - value)
    sizes = {name: np.sum(people == name) for name in people}
    lengths = {name: np.sum(names == name) for name in names}
    scores = []
    for level in np.arange(0.05, 0.99, 0.05):
        counts: dict[tuple, int] = {}
        for frame in np.unique(frames):
            rows = np.flatnonzero(frames == frame).tolist()
            columns = np.flatnonzero(others_frames == frame).tolist()
            table = np.zeros((len(rows), len(columns)))
            for r, i in enumerate(rows):
                for c, j in enumerate(columns):
                    pair = people[i], names[j]
                    both = potential[pair]
                    table[r, c] = both / (sizes[pair[0]] + lengths[pair[1]] - both) * similar[i, j]
            for r, c in zip(*linear_sum_assignment(-table), strict=True):
                if similar[rows[r], columns[c]] >= level - 1e-9:
                    pair = people[rows[r]], names[columns[c]]
                    counts[pair] = counts.get(pair, 0) + 1
        right = sum(counts.values())
        detection = right / (len(frames) + len(others_frames) - right)
        ratios = [n * n / (sizes[p] + lengths[t] - n) for (p, t), n in counts.items()]
        association = sum(ratios) / max(right, 1)
        scores.append(((detection * association) ** 0.5, detection, association))
    return np.mean(scores, axis=0)


@pytest.mark.parametrize("seed", range(2))
def test_hota_is_that_of_a_slow_loop(seed):
    truth, found = tracks(seed, people=3, frames=8)
    score = hota_score(*truth, *found)
    np.testing.assert_allclose(score, slow_hota(truth, found))
    assert 0.1 < score.hota < 0.9


@pytest.mark.parametrize("unit", [1.0, 1e-3], ids=["pixels", "shares of a frame"])
def test_a_track_that_changes_person_half_way(unit):
    """DetA is 1; each box agrees with 5 of the 10 boxes of its person and the 10 of its track."""
    boxes = np.tile([0.0, 0, 10, 10], (20, 1))
    boxes[10:] += 100
    boxes *= unit
    frames, people = np.tile(np.arange(10), 2), np.repeat([1, 2], 10)
    swapped = np.where(frames < 5, people, 3 - people)
    score = hota_score(frames, people, boxes, frames, swapped, boxes)
    assert score == pytest.approx(((1 / 3) ** 0.5, 1, 1 / 3))
    assert hota_score(frames, people, boxes, frames, people, boxes) == pytest.approx((1, 1, 1))


def test_without_a_box_or_a_match_it_is_zero():
    nothing = np.zeros(0), np.zeros(0), np.zeros((0, 4))
    some = np.zeros(1), np.ones(1), np.array([[0.0, 0, 9, 9]])
    far = np.zeros(1), np.ones(1), np.array([[50.0, 0, 59, 9]])
    for truth, found in ((nothing, nothing), (some, nothing), (nothing, some), (some, far)):
        assert hota_score(*truth, *found) == (0, 0, 0)
