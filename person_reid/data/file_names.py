"""Read tracklets, clothes and video frames from image names.

0002_c1s3_000451_03.jpg             Market-1501: camera 1, sequence 3, frame 451
0002_c1t7o2_0002C1T0001F001.jpg     prepare.py: camera 1, tracklet 7, clothes 2
0001_c2_f0046182.jpg                DukeMTMC-reID: camera 2, frame 46182
0004_c12_MOT17-02_000031_7.jpg      prepare.py --dataset mot: frame 31 of MOT17-02
"""

import re
from collections.abc import Sequence
from pathlib import Path, PurePath

import numpy as np
import numpy.typing as npt

from person_reid.arrays import Integers
from person_reid.data.layout import some_of
from person_reid.errors import UserError

MARKS = re.compile(
    r"(?P<who>-1|[0-9]+)_(?P<camera>c[0-9]+(?:s(?P<sequence>[0-9]+))?)"
    r"(?:t(?P<track>[0-9]+))?(?:o(?P<clothes>[0-9]+))?(?=[_.])",
    re.ASCII,
)
FRAME = re.compile(r"_f?(?P<frame>[0-9]{6,})[_.]", re.ASCII)
VIDEO_FRAME = re.compile(r"_(?P<video>.+)_(?P<frame>[0-9]{6,})_[0-9]+\.", re.ASCII)
SHOWN_NAMES = 5  # names in a message


def tracklets_of(paths: Sequence[str] | Sequence[Path]) -> list[str]:
    """Return, for each of N images, the prefix that all names in its tracklet share.

    It contains the identity, the camera, and the number of the tracklet (in Market-1501, the
    sequence). Any other image is its own tracklet, as is every junk image and distractor of a
    sequence, because these may show many people. Raises UserError if no name contains a tracklet.
    """
    found = [_tracklet(PurePath(path).name) for path in paths]
    if not any(found):
        raise UserError(
            f"no tracklet or sequence in {len(paths)} names of images, such as {paths[0]}. "
            "Market-1501's names have a sequence (0002_c1s3_…), and prepare.py writes tracklets of "
            "MARS, LS-VID and --pattern with a group track (0002_c1t7_…)."
        )
    return [track or str(path) for track, path in zip(found, paths, strict=True)]


def _tracklet(name: str) -> str | None:
    """Return a name up to its tracklet or, for a person, its sequence; None if it has neither."""
    marks = MARKS.match(name)
    if marks and (marks["track"] or (marks["sequence"] and int(marks["who"]) > 0)):
        return marks[0]
    return None


def names_in(paths: Sequence[str] | None) -> Sequence[str]:
    """Return the paths of a result's images. Raises UserError if the result's file has no paths."""
    if paths is None:
        raise UserError("the result has no names of images. Extract them again with test.py.")
    return paths


def clothes_of(paths: Sequence[str], labels: npt.ArrayLike) -> Integers:
    """Return the clothes number of each of N images, (N,) int64, or -1 if unknown.

    labels: (N,) identities. Raises UserError if the name of a person's image does not contain the
    clothes; junk and distractors need none.
    """
    matches = [MARKS.match(PurePath(path).name) for path in paths]
    clothes = np.array([int(match["clothes"] or -1) if match else -1 for match in matches])
    advice = (
        "the clothes (0002_c1o3_…). Lay the data set out with prepare.py, as ltcc, prcc or from a "
        "--csv with a column clothes, and extract the features again."
    )
    _check_known(paths, labels, clothes >= 0, advice)
    return clothes


def frames_of(paths: Sequence[str], labels: npt.ArrayLike) -> tuple[list[str], Integers]:
    """Return the video name and frame number of each of N images: a list and (N,) int64.

    A video is a sequence, or everything from one camera. labels: (N,) identities. Raises UserError
    if the name of a person's image does not contain the frame; for junk and distractors, it is -1.
    """
    found = [_frame(PurePath(path).name) for path in paths]
    frames = np.array([frame for _, frame in found], np.int64)
    advice = (
        "a frame of a video. Names of Market-1501 (0002_c1s3_000451_03.jpg), DukeMTMC-reID, "
        "VeRi-776 and of prepare.py --dataset mot do."
    )
    _check_known(paths, labels, frames >= 0, advice)
    return [video for video, _ in found], frames


def _frame(name: str) -> tuple[str, int]:
    """Return the video and frame in an image's name, or "" and -1 if it contains no frame."""
    marks = MARKS.match(name)
    if marks and (match := FRAME.match(name, marks.end())):
        return marks["camera"], int(match["frame"])
    if marks and (match := VIDEO_FRAME.match(name, marks.end())):
        return match["video"], int(match["frame"])
    return "", -1


def _check_known(
    paths: Sequence[str], labels: npt.ArrayLike, known: npt.NDArray[np.bool_], what: str
) -> None:
    """Raise a UserError that lists the people's images whose names do not contain `what`."""
    lacking = np.flatnonzero((np.asarray(labels) > 0) & ~known).tolist()
    wrong = [paths[index] for index in lacking]
    if wrong:
        raise UserError(
            f"{len(wrong)} of {len(paths)} names of images do not say {what}\n"
            f"{some_of(wrong, SHOWN_NAMES)}"
        )
