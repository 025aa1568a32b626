"""Read and write track files; a table describes the format of each program.

MOTChallenge's text has a line for every box:

    frame, track, left, top, width, height, confidence, class, visibility

Frames and pixels are counted from 1. Lines with confidence 0 are ignored; -1 means unknown, and a
track of -1 is a box without an identity. A class or visibility that is missing or -1, as in files
of Roboflow's trackers, is unknown.

Ultralytics writes a folder, with a file for every frame and in it a line for every box, in
fractions of the frame:

    class middle_x middle_y width height [confidence] track

To add a format, add an entry to the table, and its name to TRACK_FORMAT_NAMES in config/prepare.py;
register_track_format adds your own.

Dendorfer et al., MOTChallenge: A Benchmark for Single-Camera Multiple Target Tracking, IJCV 2021.
"""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from person_reid.config.forms import listed_numbers
from person_reid.config.option import LARGEST_SETTING
from person_reid.config.prepare import TRACK_FORMAT_NAMES
from person_reid.errors import UserError
from person_reid.files import content_of
from person_reid.registration import Registry
from person_reid.text import counted

UNKNOWN_VALUE = -1
MOT_CLASSES = 13  # numbered from 1
BOX_COLUMNS = ("frame", "track", "left", "top", "width", "height", "confidence")
LABEL_COLUMNS = ("class", "x", "y", "width", "height")
# A line's separator, how many values it has, and what they are.
MOT_TEXT = ",", range(7, 11), "frame,track,left,top,width,height,confidence and perhaps more"
LABELS = None, range(5, 8), "class x y width height, perhaps confidence, and track"
VALUE = re.compile(r"[^,\s\ufeff]+")
PEOPLE = ("person", "persons", "people", "pedestrian", "pedestrians", "human", "humans")  # in CVAT
NUMBERED = re.compile(r"(.*?)([0-9]+)")  # the name of a label ends in the number of its frame
log = logging.getLogger(__name__)


class TrackRow(NamedTuple):
    """The values in one line of a file, and their frame number."""

    file: Path
    line: int
    frame: float
    values: list[float]


class Box(NamedTuple):
    """A box in a track file, with its line, frame, track, sides and other values."""

    line: int
    frame: float
    track: float
    sides: tuple[float, float, float, float]
    confidence: float
    kind: float
    visibility: float


Files = Sequence[Sequence[TrackRow]]


class Format(NamedTuple):
    """The format of the lines that a program writes.

    columns: the values of a line, of which the last may be missing. people: the classes that are
    people. fits: whether files have this format if they have none of the earlier ones in the table.
    remark: what to log. labels: whether it is a folder with a file for every frame.
    """

    columns: tuple[str, ...]
    people: frozenset[int]
    fits: Callable[[Files], bool]
    remark: str = ""
    labels: bool = False

    def boxes(self, rows: Iterable[TrackRow]) -> list[Box]:
        """Return the boxes in a file's lines, except those to be ignored.

        Their sides are in pixels from 0 or, for labels, in fractions of the frame.
        """
        return [box for box in map(self._box, rows) if box.confidence]

    def _box(self, row: TrackRow) -> Box:
        known = dict(zip(self.columns, row.values, strict=False))
        width, height = known["width"], known["height"]
        if self.labels:
            left, top = known["x"] - width / 2, known["y"] - height / 2
        else:
            left, top = known["left"] - 1, known["top"] - 1  # the first pixel has the number 1
        return Box(
            row.line,
            known.get("frame", row.frame),
            known.get("track", UNKNOWN_VALUE),
            (left, top, left + width, top + height),
            known.get("confidence", 1),
            known.get("class", UNKNOWN_VALUE),
            known.get("visibility", UNKNOWN_VALUE),
        )

    def wanted(self, named: str | None = None) -> set[float]:
        """Return the classes to read: the classes of people and -1, or the classes in `named`.

        named: such as "0" or "1,2,7". Raises UserError if it does not list numbers.
        """
        if named is None:
            return {UNKNOWN_VALUE, *self.people}
        if not (wanted := listed_numbers(named, int)):
            raise UserError(f"class={named}: expected numbers of classes, such as 0 or 1,2,7.")
        return {*wanted}

    def classes(self, boxes: Iterable[Box], named: str | None = None) -> set[float]:
        """Return the classes of boxes to read; see `wanted`.

        The log reports their numbering, and counts the boxes of other classes.
        """
        wanted = self.wanted(named)
        if self.remark:
            log.info("%s --class N chooses others, and --format another format.", self.remark)
        for kind, count in sorted(Counter(box.kind for box in boxes).items()):
            if kind not in wanted:
                log.warning("class %g: %s skipped.", kind, counted(count, "box", "boxes"))
        return wanted


def _column(files: Files, name: int) -> list[float]:
    """Return the known values of a column."""
    values = (row.values[name] for rows in files for row in rows if len(row.values) > name)
    return [value for value in values if value != UNKNOWN_VALUE]


def _have_places(files: Files) -> bool:
    """Return whether world coordinates, in metres, follow the confidence."""
    return any(value % 1 for value in _column(files, 7))


def _number_detections(files: Files) -> bool:
    """Return whether the ninth column exceeds 1, as a detection number may."""
    return any(value > 1 for value in _column(files, 8))


def _count_classes_from_zero(files: Files) -> bool:
    """Return whether classes are numbered as in COCO.

    Only COCO has a class 0 and numbers beyond MOTChallenge's. If all are in between, they are from
    a detector if confidences are fractions and there is no visibility.
    """
    kinds = _column(files, 7)
    if any(kind == 0 or kind > MOT_CLASSES for kind in kinds):
        return True
    fractions = any(value % 1 for value in _column(files, 6))
    return bool(kinds) and fractions and not _column(files, 8)


def _have_confidence(files: Files) -> bool:
    """Return whether the sixth value of a label is a confidence rather than a track."""
    rows = [row.values for each in files for row in each]
    return any(len(values) == 7 or (len(values) == 6 and values[5] % 1) for values in rows)


def _may_be(files: Files) -> bool:
    return True


IN_COCO = (
    "The classes are numbered as in COCO, where 0 is a person, and no visibility follows them."
)
_TRACK_FORMATS = {
    # Some sequences of 2015 have world coordinates.
    "mot15": Format((*BOX_COLUMNS, "x", "y", "z"), frozenset(), _have_places),
    # `boxmot eval` counts COCO's classes from 1.
    "boxmot_eval": Format(
        (*BOX_COLUMNS, "class", "detection"),
        frozenset((1,)),
        _number_detections,
        "The classes are COCO's plus 1, as BoxMOT writes them to evaluate; 1 is a person.",
    ),
    # `boxmot track` counts them from 0.
    "boxmot": Format((*BOX_COLUMNS, "class"), frozenset((0,)), _count_classes_from_zero, IN_COCO),
    # The classes are pedestrians, people on vehicles, and static people.
    "mot": Format((*BOX_COLUMNS, "class", "visibility"), frozenset((1, 2, 7)), _may_be),
    "ultralytics_conf": Format(
        (*LABEL_COLUMNS, "confidence", "track"),
        frozenset((0,)),
        _have_confidence,
        IN_COCO,
        labels=True,
    ),
    "ultralytics": Format(
        (*LABEL_COLUMNS, "track"), frozenset((0,)), _may_be, IN_COCO, labels=True
    ),
}


TRACK_FORMATS: Registry[Format] = Registry("track format", _TRACK_FORMATS, TRACK_FORMAT_NAMES)


def register_track_format(
    name: str, columns: Sequence[str], people: Iterable[int] = (), labels: bool = False
) -> None:
    """Register a tracker's line format under a name for --format.

    columns, people, labels: see Format. A registered format is never guessed from the lines.
    """
    TRACK_FORMATS.register(name, Format((*columns,), frozenset(people), _may_be, labels=labels))


def formats_of(files: Mapping[Path, Sequence[TrackRow]], name: str | None = None) -> list[Format]:
    """Return each file's format: the one called `name`, or one recognised from all files together.

    Only world coordinates and CVAT's list of classes may differ from file to file.
    Raises UserError if a folder has a file's format, or vice versa.
    """
    for path in files:
        if name and TRACK_FORMATS[name].labels != path.is_dir():
            found, expected = "a folder", "a file"
            if TRACK_FORMATS[name].labels:
                found, expected = expected, found
            raise UserError(
                f"{path}: {found}; format={name} is about {expected}. Leave format out."
            )
    if name:
        return [_with_labels(path, TRACK_FORMATS[name]) for path in files]
    labels = any(path.is_dir() for path in files)
    seen = [[row for row in rows if labels or row.values[6]] for rows in files.values()]
    placed = [not labels and _have_places([rows]) for rows in seen]
    others = [rows for rows, alone in zip(seen, placed, strict=True) if not alone]
    known = (form for form in TRACK_FORMATS.values() if form.labels == labels)
    shared = next(form for form in known if form.fits(others))
    forms = (TRACK_FORMATS["mot15"] if alone else shared for alone in placed)
    return [_with_labels(path, form) for path, form in zip(files, forms, strict=True)]


def _with_labels(path: Path, form: Format) -> Format:
    """Return the format of a CVAT file, whose classes are line numbers, from 1, in labels.txt."""
    labels = path.with_name("labels.txt")
    if path.name != "gt.txt" or not labels.exists():
        return form
    names = [line.strip("\ufeff").strip() for _, line in _filled(labels)]
    people = (number for number, name in enumerate(names, 1) if name.casefold() in PEOPLE)
    listed = ", ".join(f"{number} is {name}" for number, name in enumerate(names, 1))
    remark = f"{labels}: of the classes, {listed}."
    return TRACK_FORMATS["mot"]._replace(people=frozenset(people), remark=remark)


def read_boxes(
    path: Path, name: str | None = None, images: Mapping[str, int] | None = None
) -> tuple[Format, list[Box]]:
    """Return the format of a track file or a folder of labels, and its boxes.

    name: the format, a key of TRACK_FORMATS; by default recognised by the lines. images: see
        read_rows. Raises UserError for an invalid line.
    """
    rows = read_rows(path, images)
    (form,) = formats_of({path: rows}, name)
    boxes = form.boxes(rows)
    for box in boxes:
        if box.frame % 1 or box.frame < 0 or box.track % 1:
            raise UserError(
                f"{path}, line {box.line}: expected whole numbers of a frame and a track, found "
                f"{box.frame:g} and {box.track:g}."
            )
    return form, boxes


def read_rows(path: Path, images: Mapping[str, int] | None = None) -> list[TrackRow]:
    """Return the values in all lines of a track file or a folder of labels.

    images: {name: number} of the images, if labels are named like images. Raises UserError for an
    invalid line.
    """
    if not path.is_dir():
        found = [(number, _values(path, number, line, *MOT_TEXT)) for number, line in _filled(path)]
        return [TrackRow(path, number, values[0], values) for number, values in found]
    return [
        TrackRow(file, number, frame, _values(file, number, line, *LABELS))
        for file, frame in _numbered_labels(path, images)
        for number, line in _filled(file)
    ]


def files_of(path: Path) -> list[Path]:
    """Return the files that hold tracks: the track file, or the label files in a folder."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.glob("*.txt") if NUMBERED.fullmatch(file.stem))


def _numbered_labels(folder: Path, images: Mapping[str, int] | None) -> list[tuple[Path, int]]:
    """Return the label files in a folder and their frame numbers, in order of these numbers."""
    files = files_of(folder)
    if not files:
        raise UserError(f"{folder}: no labels in it, such as video_1.txt, one for each frame.")
    if images is not None:
        if strange := next((file for file in files if file.stem not in images), None):
            raise UserError(f"{strange}: no frame has the name {strange.stem}.")
        return sorted(((file, images[file.stem]) for file in files), key=lambda pair: pair[1])
    parts = [NUMBERED.fullmatch(file.stem) for file in files]
    videos = sorted({part[1] for part in parts if part})
    if len(videos) > 1:
        raise UserError(
            f"{folder}: labels of several videos in it, such as {videos[0]} and {videos[1]}. "
            "Track each video into its own folder."
        )
    found = [(file, int(part[2])) for file, part in zip(files, parts, strict=True) if part]
    if too_large := next((file for file, number in found if number > LARGEST_SETTING), None):
        raise UserError(
            f"{too_large}: {too_large.stem} is not the number of a frame. If it is an image's "
            "name, put the folder of images back that was tracked."
        )
    return sorted(found, key=lambda pair: pair[1])


def lines_of(path: Path) -> list[str]:
    """Return a file's lines with their endings; joined and encoded as UTF-8, they equal the file.

    Bytes that are not UTF-8 are preserved; see PEP 383.
    """
    return content_of(path).decode("utf-8", "surrogateescape").splitlines(keepends=True)


def _filled(path: Path) -> Iterable[tuple[int, str]]:
    """Return (number, line) for each line of a file, except blank lines."""
    lines = enumerate(lines_of(path), 1)
    return ((number, line) for number, line in lines if line.strip("\ufeff").strip())


def _values(
    path: Path, number: int, line: str, separator: str | None, count: range, expected: str
) -> list[float]:
    """Return the numbers in a line. Raises UserError for a wrong count or too large a number."""
    text = line.strip("\ufeff")  # which begins some files from Windows
    values = listed_numbers(text, float, separator)
    if len(values) not in count or not all(abs(value) <= LARGEST_SETTING for value in values):
        found = text.strip()[:60]
        raise UserError(f"{path}, line {number}: expected {expected}, found {found!r}.")
    return values


def number_of_first(boxes: Iterable[Box]) -> int:
    """Return the number that a file gives to frame 1: 0 if it has a box in frame 0, otherwise 1."""
    return int(min([1, *(box.frame for box in boxes)]))


def write_identities(
    path: Path,
    save: Path,
    identity: Callable[[int, int], int],
    name: str | None = None,
    first_frame: int | None = None,
    images: Mapping[str, int] | None = None,
    classes: str | None = None,
    other: Callable[[int, float], int] | None = None,
) -> None:
    """Write a copy of a track file, or a folder of labels, with other identities.

    identity: returns the new identity of a track in a frame; frames count from 1. Boxes without an
    identity get none. name, images: see read_boxes. first_frame, classes: see read_tracks. other:
    returns the new identity of a track of a class that is not read; trackers may count each class
    from 1.
    """
    if path.is_dir():
        save.mkdir()
    rows = read_rows(path, images)
    (form,) = formats_of({path: rows}, name)
    if first_frame is None:
        first_frame = number_of_first(form.boxes(rows))
    place, people = form.columns.index("track"), form.wanted(classes)
    found = {}
    for row in rows:
        known = dict(zip(form.columns, row.values, strict=False))
        if (track := int(known.get("track", UNKNOWN_VALUE))) >= 0:
            kind, frame = known.get("class", UNKNOWN_VALUE), int(row.frame) + 1 - first_frame
            new = other(track, kind) if other and kind not in people else identity(track, frame)
            found[row.file, row.line] = new
    for file in files_of(path):
        lines = lines_of(file)
        for number, line in enumerate(lines, 1):
            if (file, number) in found:
                start, end = [*VALUE.finditer(line)][place].span()
                lines[number - 1] = f"{line[:start]}{found[file, number]}{line[end:]}"
        content = "".join(lines).encode("utf-8", "surrogateescape")
        (save / file.name if path.is_dir() else save).write_bytes(content)


def line_of_track(frame: int, track: int, box: Sequence[float], score: float) -> str:
    """Return a line in MOTChallenge format, in which pixel coordinates start at 1."""
    left, top, right, bottom = box
    place = f"{left + 1:.2f},{top + 1:.2f},{right - left:.2f},{bottom - top:.2f}"
    return f"{frame},{track},{place},{score:.3f},-1,-1,-1\n"
