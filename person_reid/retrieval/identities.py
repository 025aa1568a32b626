"""Score computed identities against the true ones: IDF1, HOTA, and the F1 of pairs.

pairs = matching_boxes(frames, boxes, found_frames, found_boxes)
identity_f1(people, tracks, pairs).f1      # one number for all cameras
pair_f1(labels, clusters).f1               # for images with known labels
found = hota_score(frames, people, boxes, others_frames, tracks, others)
found.hota, found.detection, found.association

HOTA gives detection and identity equal weight.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from person_reid.arrays import Array, Integers
from person_reid.data.video.tracked_boxes import Track, shared_area

Boxes = npt.NDArray[np.float64]
T = TypeVar("T", int, str)
OVERLAP_LEVELS = np.arange(1, 20) / 20  # IoUs at which two boxes match
LEVEL_ROUNDING = 1e-9


class Score(NamedTuple):
    """A score with values from 0 to 1. f1 is the harmonic mean of precision and recall."""

    f1: float
    precision: float
    recall: float


def identity_f1(
    people: npt.ArrayLike, found: npt.ArrayLike, pairs: Integers | None = None
) -> Score:
    """Return IDF1, IDP and IDR of computed identities.

        IDF1 = 2 IDTP / (N + M)

    Each person is assigned at most one computed identity, and vice versa, so that as many boxes as
    possible agree; IDTP is their number. A person's boxes with another identity count as missed.

    people: (N,), the people in the true boxes of all cameras, as numbers or names. found: (M,), the
        identities of the computed boxes.
    pairs: (P, 2), the indices of true and computed boxes that match; see matching_boxes. By
        default, as for images, N = M and the i-th box matches the i-th.
    Ristani et al., Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking,
    ECCV Workshops 2016, section 4.
    """
    agreeing, sizes, others = _contingency(people, found, pairs)
    right = int(agreeing[linear_sum_assignment(agreeing, maximize=True)].sum())
    return _score(right, int(others.sum()), int(sizes.sum()))


def pair_f1(people: npt.ArrayLike, found: npt.ArrayLike) -> Score:
    """Return the F1, precision and recall of the image pairs that a grouping puts together.

    A pair is right if both images show the same person. people, found: (N,), the person in each
    image and its group, as numbers or names.
    """
    right, sizes, others = (
        int((count * (count - 1) // 2).sum()) for count in _contingency(people, found)
    )
    return _score(right, others, sizes)


def matching_boxes(
    frames: npt.ArrayLike,
    boxes: Boxes,
    others_frames: npt.ArrayLike,
    others: Boxes,
    least: float = 0.5,
) -> Integers:
    """Return the indices (P, 2) of boxes in the same frame that overlap.

    Two boxes overlap if their intersection is at least the share `least` of their union.

    frames: (N,), numbers or names that distinguish the frames of all cameras. boxes: (N, 4), left,
    top, right, bottom. others_frames (M,), others (M, 4): the same for the other boxes.
    """
    pairs, shared, united = common_areas(frames, boxes, others_frames, others)
    return pairs[shared >= least * united]


def common_areas(
    frames: npt.ArrayLike, boxes: Boxes, others_frames: npt.ArrayLike, others: Boxes
) -> tuple[Integers, Boxes, Boxes]:
    """Return the indices (P, 2) of all pairs of boxes in the same frame, and their areas.

    Returns the areas of intersection and of union, (P,) each. See matching_boxes.
    """
    frames, others_frames = np.asarray(frames), np.asarray(others_frames)
    order = np.argsort(others_frames, kind="stable")
    first, last = (
        np.searchsorted(others_frames[order], frames, side) for side in ("left", "right")
    )
    count = last - first  # the number of other boxes in its frame
    i = np.repeat(np.arange(len(frames)), count)
    j = order[np.arange(len(i)) - np.repeat(np.cumsum(count) - last, count)]
    shared = shared_area(boxes[i], others[j])
    areas = (np.prod(sides[:, 2:] - sides[:, :2], axis=1) for sides in (boxes[i], others[j]))
    return np.stack([i, j], axis=1), shared, sum(areas) - shared


def listed_boxes(
    tracks: Iterable[tuple[str, str, Track]],
) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.str_], Boxes]:
    """Return frames (N,), identities (N,) and boxes (N, 4) of tracks.

    tracks: (camera, identity, track). A frame belongs to one camera.
    """
    known = [each for each in tracks if len(each[2].frames)]
    frames = [f"{camera} {frame}" for camera, _, track in known for frame in track.frames.tolist()]
    identities = [identity for _, identity, track in known for _ in track.frames]
    boxes = np.concatenate([np.zeros((0, 4)), *(track.boxes for *_, track in known)])
    return np.array(frames), np.array(identities), boxes


def assigned(votes: Mapping[tuple[int, T], int]) -> dict[int, T]:
    """Return a one-to-one assignment {person: candidate}; pairs with the most votes come first."""
    found: dict[int, T] = {}
    for (person, value), _ in sorted(votes.items(), key=lambda vote: (-vote[1], vote[0])):
        if person not in found and value not in found.values():
            found[person] = value
    return found


def _contingency(
    people: npt.ArrayLike, found: npt.ArrayLike, pairs: Integers | None = None
) -> tuple[Integers, Integers, Integers]:
    """Count the boxes that each person shares with each identity, and all boxes of each."""
    _, true, sizes = np.unique(people, return_inverse=True, return_counts=True)
    _, computed, others = np.unique(found, return_inverse=True, return_counts=True)
    if pairs is not None:
        true, computed = true[pairs[:, 0]], computed[pairs[:, 1]]
    shape = len(sizes), len(others)
    counts = np.bincount(true * shape[1] + computed, minlength=shape[0] * shape[1])
    return counts.reshape(shape), sizes, others


def _score(right: int, found: int, wanted: int) -> Score:
    """Return the score of `found` answers, `right` of which are correct, where `wanted` exist."""
    return Score(2 * right / max(found + wanted, 1), right / max(found, 1), right / max(wanted, 1))


class Hota(NamedTuple):
    """The means of √(DetA AssA), DetA and AssA over the OVERLAP_LEVELS, each in [0, 1]."""

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

    TP counts the pairs of true and computed boxes that match in a frame; TP(p, t) counts the
    matches of person p and track t. In each frame, boxes are matched one to one, so that the sum of
    IoU times the alignment of p and t over the whole video is greatest. A pair counts at the levels
    that its IoU reaches.

    frames, people, boxes: the N true boxes; see matching_boxes. others_frames, found, others: the
    M computed boxes.
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
    """Return the indices of the pairs to match, so that the sum of their values is greatest.

    frames: (P,). pairs: (P, 2), two boxes of a frame; each box is matched at most once.
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
