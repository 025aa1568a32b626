"""Read what a tracker wrote: which boxes of which frames show the same person.

MOTChallenge's text has a line for every box:

    frame, track, left, top, width, height, confidence, class, visibility

Frames and pixels are counted from 1. Lines of confidence 0 are ignored; -1 is not known, and a
track of -1 is a box without an identity. MOTChallenge calls a pedestrian 1, a person on a vehicle
2, a static person 7. Trackers such as BoxMOT write the class of their detector, which is COCO's,
where a person is 0; what follows it is not a visibility. A class or visibility that is missing or
-1, as Roboflow's trackers write it, is not known. Some sequences of 2015 have places in the world
instead, which are fractions.

Ultralytics writes a folder, with a file for every frame and in it a line for every box, in
fractions of the frame:

    class middle_x middle_y width height [confidence] track

Dendorfer et al., MOTChallenge: A Benchmark for Single-Camera Multiple Target Tracking, IJCV 2021.
"""

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from person_reid.config.forms import numbers
from person_reid.config.option import LARGEST
from person_reid.config.times import EPOCH, parsed
from person_reid.errors import UserError
from person_reid.files import content_of
from person_reid.text import counted

UNKNOWN = -1
MOT_PEOPLE, COCO_PEOPLE = {1, 2, 7}, {0}
MOT_CLASSES = 13  # numbered from 1
TEXT = "frame,track,left,top,width,height,confidence and perhaps class and visibility"
LABELS = "class x y width height, perhaps confidence, and track"
# the track in a line, between what is before and after it
SECOND = re.compile(r"(?m)^([^,\r\n]*,[ \t]*)([^,\s]+)([ \t]*)")
LAST = re.compile(r"^(.*\s)(\S+)(\s*)$")
log = logging.getLogger(__name__)


class Box(NamedTuple):
    """A line of a file: its number, frame and track, the box's sides, its confidence, class and
    visibility.
    """

    line: int
    frame: float
    track: float
    sides: tuple[float, float, float, float]
    confidence: float
    kind: float
    visibility: float


@dataclass(frozen=True)
class Track:
    """The boxes of one person in the frames of one camera.

    frames: (B,) int64, ascending, counted from 1. boxes: (B, 4) float64, left, top, right, bottom
    in pixels, not clipped. first, last: when the person is first and last seen, in seconds.
    """

    number: int
    frames: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float64]
    first: float
    last: float


def read_tracks(
    path: Path,
    fps: float,
    start: str | None = None,
    classes: str | None = None,
    size: tuple[int, int] = (1, 1),
) -> list[Track]:
    """Return the tracks of a file, or of a folder that Ultralytics wrote, by their numbers.

    fps: the frames in a second. start: the time of frame 1, such as "2026-11-01 08:30:00Z"; times
        are then in seconds since 1970, and otherwise since frame 1.
    classes: the numbers of the classes to read, such as "0" or "1,2,7"; by default people's.
    size: the (width, height) of the frames, in whose fractions Ultralytics writes.

    Remarks count the boxes that are left out: other classes, boxes without an identity, a track's
    second box in one frame. Raises UserError for a line that makes no sense, and if no track is
    left.
    """
    boxes = read_boxes(path)
    people, _ = classes_of_people(boxes, classes, path.is_dir())
    tracks: dict[float, dict[float, Box]] = defaultdict(dict)
    left_out: Counter[str] = Counter()
    for box in boxes:
        if box.frame % 1 or box.frame < 0 or box.track % 1:
            raise UserError(
                f"{path}, line {box.line}: expected whole numbers of a frame and a track, found "
                f"{box.frame:g} and {box.track:g}."
            )
        if box.kind not in people:
            continue
        if box.track < 0:
            left_out["without an identity"] += 1
        elif tracks[box.track].setdefault(box.frame, box) is not box:
            left_out["of a track that has another in the same frame"] += 1
    for reason, count in left_out.items():
        log.warning("%s: %s %s left out.", path, counted(count, "box", "boxes"), reason)
    if not tracks:
        raise UserError(
            f"{path}: no tracks among its {counted(len(boxes), 'box', 'boxes')}. Detections need "
            "a tracker first; another --class may have tracks."
        )
    begun = (parsed(start) - EPOCH).total_seconds() if start else 0
    offset = 1 - min(1, *(box.frame for box in boxes))  # some programs count from 0
    scale = np.tile(size if path.is_dir() else (1, 1), 2)
    found = []
    for number, by_frame in sorted(tracks.items()):
        frames = np.array(sorted(by_frame), np.int64) + int(offset)
        sides = np.array([by_frame[frame].sides for frame in sorted(by_frame)]) * scale
        first, last = ((frames[[0, -1]] - 1) / fps + begun).tolist()
        found.append(Track(int(number), frames, sides, first, last))
    return found


def shared_area(
    boxes: npt.NDArray[np.float64], others: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the areas (...) that boxes and others, (..., 4), have in common; they broadcast."""
    corner = np.maximum(boxes[..., :2], others[..., :2])
    opposite = np.minimum(boxes[..., 2:], others[..., 2:])
    return np.asarray(np.maximum(opposite - corner, 0).prod(axis=-1))


def read_boxes(path: Path) -> list[Box]:
    """Return the boxes of a track file or a folder of labels, without those to be ignored.

    Raises UserError for a line that makes no sense.
    """
    return _label_boxes(path) if path.is_dir() else _text_boxes(path)


def files_of(path: Path) -> list[Path]:
    """Return the files that read_boxes reads: the track file, or the labels in a folder."""
    return sorted(path.glob("*.txt")) if path.is_dir() else [path]


def classes_of_people(
    boxes: Sequence[Box], classes: str | None = None, coco: bool = False
) -> tuple[set[float], bool]:
    """Return the classes of boxes to read, and whether they are numbered as in COCO.

    Remarks say how they are numbered, and count the boxes of the others.

    classes: the numbers of the classes to read, such as "0" or "1,2,7"; by default people's, in the
        numbering that the boxes show, and -1. coco: the numbering is known to be COCO's.
    Raises UserError if `classes` does not name numbers.
    """
    coco = coco or _numbered_as_coco(boxes)
    people: set[float] = {UNKNOWN, *(COCO_PEOPLE if coco else MOT_PEOPLE)}
    if classes and not (people := {*numbers(classes)}):
        raise UserError(f"--class {classes}: expected numbers of classes, such as 0 or 1,2,7.")
    if coco:
        log.info(
            "The classes are numbered as in COCO, where 0 is a person, "
            "and no visibility follows them. "
            "--class N chooses others."
        )
    for kind, count in sorted(Counter(box.kind for box in boxes).items()):
        if kind not in people:
            log.warning("class %g: %s left out.", kind, counted(count, "box", "boxes"))
    return people, coco


def _numbered_as_coco(boxes: Sequence[Box]) -> bool:
    """Return whether classes are numbered as in COCO.

    It alone has a 0, and numbers beyond MOTChallenge's. Where all are between, a detector wrote
    them if it is more or less sure of its boxes and knows nothing of their visibility.
    """
    known = [box for box in boxes if box.kind != UNKNOWN]
    of_coco = any(box.kind == 0 or box.kind > MOT_CLASSES for box in known)
    unsure = any(box.confidence % 1 for box in known)
    return of_coco or (unsure and all(box.visibility == UNKNOWN for box in known))


def _text_boxes(path: Path) -> list[Box]:
    """Return the boxes of a file in MOTChallenge's format."""
    boxes = []
    for number, text in _lines(path):
        frame, track, left, top, across, down, confidence, *others = _values(
            path, number, text, ",", range(7, 11), TEXT
        )
        if confidence:
            kind, visibility = [*others, UNKNOWN, UNKNOWN][:2]
            left, top = left - 1, top - 1  # the first pixel has the number 1
            sides = left, top, left + across, top + down
            boxes.append(Box(number, frame, track, sides, confidence, kind, visibility))
    if any(box.kind % 1 for box in boxes):  # a place in the world, in metres
        return [box._replace(kind=UNKNOWN, visibility=UNKNOWN) for box in boxes]
    return boxes


def _label_boxes(folder: Path) -> list[Box]:
    """Return the boxes of a folder in Ultralytics' format."""
    files = [
        (match[1], int(match[2]), path)
        for path in files_of(folder)
        if (match := re.fullmatch(r"(.*?)(\d{1,9})", path.stem))
    ]
    if not files:
        raise UserError(f"{folder}: no labels in it, such as video_1.txt, with a file a frame.")
    if len(videos := sorted({name for name, *_ in files})) > 1:
        raise UserError(
            f"{folder}: labels of several videos in it, such as {videos[0]} and {videos[1]}. "
            "Track each video into a folder of its own."
        )
    rows = []
    for _, frame, path in sorted(files, key=lambda file: file[1]):
        for number, text in _lines(path):
            rows.append((number, frame, _values(path, number, text, None, range(5, 8), LABELS)))
    # a sixth value is the confidence of a box without an identity, or its track
    with_confidence = any(len(row) == 7 or (len(row) == 6 and row[5] % 1) for *_, row in rows)
    boxes = []
    for number, frame, (kind, x, y, across, down, *others) in rows:
        confidence = others.pop(0) if others and with_confidence else 1
        sides = x - across / 2, y - down / 2, x + across / 2, y + down / 2
        track = others[0] if others else UNKNOWN
        boxes.append(Box(number, frame, track, sides, confidence, kind, UNKNOWN))
    return boxes


def _lines(path: Path) -> Iterable[tuple[int, str]]:
    """Return (number, text) of the lines of a file that are not blank."""
    text = content_of(path).decode("utf-8-sig", errors="replace")
    return ((number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip())


def _values(
    path: Path, number: int, text: str, separator: str | None, count: range, expected: str
) -> list[float]:
    """Return the numbers of a line, of at most LARGEST."""
    try:
        values = [float(value) for value in text.split(separator)]
    except ValueError:
        values = []
    if len(values) not in count or not all(abs(value) <= LARGEST for value in values):
        raise UserError(f"{path}, line {number}: expected {expected}, found {text[:60]!r}.")
    return values


def write_identities(path: Path, save: Path, identity: Callable[[int], int]) -> None:
    """Write a track file, or a folder of labels, with other identities; nothing else changes.

    identity: returns the new one of a track. Boxes without an identity stay so.
    """

    def changed(found: re.Match[str]) -> str:
        track = float(found[2])
        return found[0] if track < 0 else f"{found[1]}{identity(int(track))}{found[3]}"

    if not path.is_dir():
        text = content_of(path).decode("latin-1")  # any bytes, which all come back
        save.write_text(SECOND.sub(changed, text), "latin-1", newline="")
        return
    tracked = {(int(box.frame), box.line) for box in read_boxes(path) if box.track >= 0}
    save.mkdir()
    for file in files_of(path):
        lines = content_of(file).decode("latin-1").splitlines(keepends=True)
        frame = int((re.findall(r"\d+", file.stem) or [UNKNOWN])[-1])
        for number, line in enumerate(lines, 1):
            if (frame, number) in tracked:
                lines[number - 1] = LAST.sub(changed, line)
        (save / file.name).write_text("".join(lines), "latin-1", newline="")
