"""Score tracks by HOTA, which weighs finding people and keeping their identities alike.

found = hota_score(frames, people, boxes, others_frames, tracks, others)
found.hota, found.detection, found.association
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from person_reid.arrays import Array, Integers
from person_reid.retrieval.identities import Boxes, common_areas

OVERLAP_LEVELS = np.arange(1, 20) / 20  # IoUs at which two boxes match
LEVEL_ROUNDING = 1e-9


class Hota(NamedTuple):
    """Numbers from 0 to 1, means over the OVERLAP_LEVELS of DetA, AssA and √(DetA AssA)."""

    hota: float
    detection: float
    association: float


def hota_score(
    frames: npt.ArrayLike,
    people: npt.ArrayLike,
    boxes: Boxes,
    others_frames: npt.ArrayLike,
    found: npt.ArrayLike,
    others: Boxes,
) -> Hota:
    """Return the HOTA of computed tracks.

        DetA = TP / (TP + FN + FP)      AssA = Σ_TP A(p, t) / TP      HOTA = √(DetA AssA)
        A(p, t) = TP(p, t) / (boxes of p + boxes of t − TP(p, t))

    TP counts the true and computed boxes that match in a frame, TP(p, t) those of the person p and
    the track t. In each frame, boxes are matched one to one, so that the sum of IoU times the
    alignment of p and t over the whole video is greatest; a pair counts at the levels that its IoU
    reaches.

    frames, people, boxes: the N true boxes, see matching_boxes. others_frames, found, others: the
    M computed ones.
    Luiten et al., HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking, IJCV 2021.
    """
    _, person, sizes = np.unique(people, return_inverse=True, return_counts=True)
    _, track, lengths = np.unique(found, return_inverse=True, return_counts=True)
    pairs, shared, united = common_areas(frames, boxes, others_frames, others)
    meet = shared > 0
    pairs, overlap = pairs[meet], shared[meet] / united[meet]
    who = person[pairs[:, 0]] * len(lengths) + track[pairs[:, 1]]  # a number for each (p, t)
    both = np.add.outer(sizes, lengths).ravel()

    row, column = (
        np.bincount(pairs[:, side], overlap, length)[pairs[:, side]]
        for side, length in enumerate((len(person), len(track)))
    )
    together = np.bincount(who, overlap / (row + column - overlap), len(both))
    aligned = together / (both - together)
    matched = _matched_in_frames(np.asarray(frames)[pairs[:, 0]], pairs, aligned[who] * overlap)

    overlap, who = overlap[matched], who[matched]
    scores = []
    for level in OVERLAP_LEVELS:
        reached = who[overlap >= level - LEVEL_ROUNDING]
        counts = np.bincount(reached, minlength=len(both))
        right = len(reached)
        detection = right / max(len(person) + len(track) - right, 1)
        association = float((counts**2 / (both - counts)).sum()) / max(right, 1)
        scores.append((np.sqrt(detection * association), detection, association))
    return Hota(*np.mean(scores, axis=0).tolist())


def _matched_in_frames(frames: Array, pairs: Integers, values: Array) -> Integers:
    """Return which of P pairs to match, so that the sum of their values is greatest.

    frames: (P,). pairs: (P, 2), two boxes of a frame, each of which is matched once at most.
    """
    _, which = np.unique(frames, return_inverse=True)
    order = np.argsort(which, kind="stable")
    chosen = [np.zeros(0, np.int64)]
    for each in np.split(order, np.cumsum(np.bincount(which))[:-1]) if len(order) else ():
        (rows, i), (columns, j) = (np.unique(side, return_inverse=True) for side in pairs[each].T)
        table = np.zeros((len(rows), len(columns)))
        place = np.full(table.shape, -1)
        table[i, j], place[i, j] = values[each], each
        best = place[linear_sum_assignment(table, maximize=True)]
        chosen.append(best[best >= 0])
    return np.concatenate(chosen)
