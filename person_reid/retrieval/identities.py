"""Score who people are said to be against who they are: IDF1, and the F1 of pairs.

pairs = matching_boxes(frames, boxes, found_frames, found_boxes)
identity_f1(people, tracks, pairs).f1      # one number for all cameras
pair_f1(labels, clusters).f1               # of images that are known to be the same
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from person_reid.arrays import Integers
from person_reid.data.video.tracked_boxes import Track, shared_area

Boxes = npt.NDArray[np.float64]
T = TypeVar("T", int, str)


class Score(NamedTuple):
    """Numbers from 0 to 1. f1 is the harmonic mean of precision and recall."""

    f1: float
    precision: float
    recall: float


def identity_f1(
    people: npt.ArrayLike, found: npt.ArrayLike, pairs: Integers | None = None
) -> Score:
    """Return IDF1, IDP and IDR of computed identities.

        IDF1 = 2 IDTP / (N + M)

    Every person is assigned at most one computed identity, and the reverse, so that as many boxes
    as possible agree: IDTP of them. A person's boxes with another identity count as missed.

    people: (N,), who the true boxes show, in all cameras. found: (M,), the computed identities of
    the computed boxes. Numbers or names.
    pairs: (P, 2), which true and computed boxes match, see matching_boxes; by default, N = M and
        the i-th matches the i-th, as for images.
    Ristani et al., Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking,
    ECCV Workshops 2016, section 4.
    """
    agreeing, sizes, others = _contingency(people, found, pairs)
    right = int(agreeing[linear_sum_assignment(agreeing, maximize=True)].sum())
    return _score(right, int(others.sum()), int(sizes.sum()))


def pair_f1(people: npt.ArrayLike, found: npt.ArrayLike) -> Score:
    """Return the F1, precision and recall of the pairs of images that a grouping puts together.

    A pair is right if both images show the same person. people, found: (N,), who the images show
    and the group of each, as numbers or names.
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
    """Return the indices (P, 2) of boxes of the same frame that overlap.

    Two boxes overlap if their intersection is at least `least` of their union.

    frames: (N,), whatever tells frames of all cameras apart, numbers or names. boxes: (N, 4), left,
    top, right, bottom. others_frames: (M,); others: (M, 4).
    """
    pairs, shared, united = common_areas(frames, boxes, others_frames, others)
    return pairs[shared >= least * united]


def common_areas(
    frames: npt.ArrayLike, boxes: Boxes, others_frames: npt.ArrayLike, others: Boxes
) -> tuple[Integers, Boxes, Boxes]:
    """Return the indices (P, 2) of all pairs of boxes in one frame, and what areas they have.

    The areas, (P,) each, are those of intersection and union. See matching_boxes.
    """
    frames, others_frames = np.asarray(frames), np.asarray(others_frames)
    order = np.argsort(others_frames, kind="stable")
    first, last = (
        np.searchsorted(others_frames[order], frames, side) for side in ("left", "right")
    )
    count = last - first  # the others that share its frame
    i = np.repeat(np.arange(len(frames)), count)
    j = order[np.arange(len(i)) - np.repeat(np.cumsum(count) - last, count)]
    shared = shared_area(boxes[i], others[j])
    areas = (np.prod(sides[:, 2:] - sides[:, :2], axis=1) for sides in (boxes[i], others[j]))
    return np.stack([i, j], axis=1), shared, sum(areas) - shared


def listed_boxes(
    tracks: Iterable[tuple[str, str, Track]],
) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.str_], Boxes]:
    """Return frames (N,), identities (N,) and boxes (N, 4) of tracks.

    tracks: (camera, identity, track) of each. A frame belongs to one camera.
    """
    known = [each for each in tracks if len(each[2].frames)]
    frames = [f"{camera} {frame}" for camera, _, track in known for frame in track.frames.tolist()]
    identities = [identity for _, identity, track in known for _ in track.frames]
    boxes = np.concatenate([np.zeros((0, 4)), *(track.boxes for *_, track in known)])
    return np.array(frames), np.array(identities), boxes


def assigned(votes: Mapping[tuple[int, T], int]) -> dict[int, T]:
    """Return {person: its own}: no person has two, and nothing belongs to two; most votes first."""
    found: dict[int, T] = {}
    for (person, value), _ in sorted(votes.items(), key=lambda vote: (-vote[1], vote[0])):
        if person not in found and value not in found.values():
            found[person] = value
    return found


def _contingency(
    people: npt.ArrayLike, found: npt.ArrayLike, pairs: Integers | None = None
) -> tuple[Integers, Integers, Integers]:
    """Return how many pairs each person shares with each identity, and the boxes of both."""
    _, true, sizes = np.unique(people, return_inverse=True, return_counts=True)
    _, computed, others = np.unique(found, return_inverse=True, return_counts=True)
    if pairs is not None:
        true, computed = true[pairs[:, 0]], computed[pairs[:, 1]]
    shape = len(sizes), len(others)
    counts = np.bincount(true * shape[1] + computed, minlength=shape[0] * shape[1])
    return counts.reshape(shape), sizes, others


def _score(right: int, found: int, wanted: int) -> Score:
    """Return the score of `right` of `found` that were found, where `wanted` were to be."""
    return Score(2 * right / max(found + wanted, 1), right / max(found, 1), right / max(wanted, 1))
