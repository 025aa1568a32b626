"""The track files of an index: where its images were cut from, and when.

index = open_gallery("people.index", new=False)
for record in recorded_tracks(index):
    tracks = record.read()                                # numbers, boxes, seconds
    images = index.entries(Filter(source=record.source))  # their About says track and camera
"""

import hashlib
import reprlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import MISSING, asdict, dataclass, fields, replace
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

from person_reid.config.forms import listed_numbers
from person_reid.config.option import OptionError
from person_reid.config.search import TrackFileOptions
from person_reid.config.times import EPOCH, parsed, stored
from person_reid.data.video.crops import number_and_frame
from person_reid.data.video.frames import (
    FrameFolder,
    Video,
    first_number,
    name_of_frames,
    open_frames,
    rate_of,
)
from person_reid.data.video.track_files import (
    TRACK_FORMATS,
    files_of,
    read_boxes,
    write_identities,
)
from person_reid.data.video.tracked_boxes import Track, frames_at_ends, read_tracks, seconds_of
from person_reid.errors import UserError
from person_reid.files import as_file_name, content_of, is_file_name, real
from person_reid.gallery.checks import check_version
from person_reid.gallery.gallery import Gallery
from person_reid.gallery.metadata import About, Filter
from person_reid.gallery.numbered_notes import TRACK_RECORDS, add_note, numbered_notes
from person_reid.gallery.track_crops import folder_beside
from person_reid.text import as_command, quoted

RECORD_VERSION = 1  # a later record says its number
# Between these times a record may start, and its tracks may be.
FIRST, LAST = (datetime(year, 1, 1, tzinfo=timezone.utc) for year in (1900, 9000))


@dataclass(frozen=True)
class TrackRecord:
    """The facts that an index holds about a track file.

    source, camera: all its images have them; no other track file has this source.
    path: the track file. frames: its video or folder of images. crops: the folder of its crops.
    fps: the frames in a second. start: the time of the first one, if it is known.
    width, height: the size of the frames in pixels. classes, form, first_frame, times: see
    read_tracks. named: whether labels are named as the images in `frames`. indexed_at: where the
    track file and its frames were when they were indexed, if they have moved since.
    """

    source: str
    path: str
    frames: str
    camera: str
    crops: str
    fps: float
    start: str | None
    width: int
    height: int
    classes: str | None
    form: str | None = None
    first_frame: int | None = None
    times: list[list[float]] | None = None
    named: bool = False
    indexed_at: list[str] | None = None

    def fault(self) -> str:
        """Return which fact cannot be, as an index of somebody else may hold it, or ""."""
        for name, (holds, expected) in FACTS.items():
            if not holds(value := getattr(self, name)):
                return f"{name} is {reprlib.repr(value)}; expected {expected}"
        return ""

    def read(self) -> list[Track]:
        """Return the tracks of the file, see read_tracks.

        Raises UserError also if its frames lie in no year that can be written.
        """
        tracks = read_tracks(
            Path(self.path),
            self.fps,
            self.start,
            self.classes,
            (self.width, self.height),
            self.form,
            self.first_frame,
            self.times or (),
            self._images(),
        )
        first, last = ((each - EPOCH).total_seconds() for each in (FIRST, LAST))
        for track in tracks if self.start else ():
            if not first <= track.first <= track.last <= last:
                raise UserError(
                    f"{self.path}: by its frames, track {track.number} is not of the years "
                    f"{FIRST.year} to {LAST.year}. Are {self.fps:g} frames a second right?"
                )
        return tracks

    def write(
        self, save: Path, identity: Callable[[int, int], int], other: Callable[[int, float], int]
    ) -> None:
        """Write the file again with other identities, see write_identities."""
        found = self.form, self.first_frame, self._images(), self.classes
        write_identities(Path(self.path), save, identity, *found, other)

    def seconds(self, frames: Sequence[int]) -> list[float]:
        """Return when frames are shown, as Track says of the first and the last of its own."""
        begun = (parsed(self.start) - EPOCH).total_seconds() if self.start else 0
        return (seconds_of(frames, self.fps, self.times or ()) + begun).tolist()

    def _images(self) -> dict[str, int] | None:
        """Return the number of the image of each name if labels have these names."""
        return FrameFolder(Path(self.frames)).names if self.named else None

    def about(self, crops: Sequence[Path], frames: FrameFolder | Video) -> dict[Path, About]:
        """Return the facts about images that cut_boxes made of frames."""
        numbers = [number_and_frame(crop) for crop in crops]
        passed = frames.seconds([frame for _, frame in numbers])
        begun = parsed(self.start) if self.start else None
        return {
            crop: About(
                camera=self.camera,
                time=stored(begun + timedelta(seconds=seconds)) if begun else None,
                track=str(track),
                source=self.source,
            )
            for crop, (track, _), seconds in zip(crops, numbers, passed, strict=True)
        }


def _is_path(value: object) -> bool:
    """Return whether a system may find a path; bytes that are not UTF-8 are half surrogates."""
    return _is_text(value, "surrogateescape")


def _is_text(value: object, errors: str = "strict") -> bool:
    with suppress(UnicodeEncodeError):
        return isinstance(value, str) and b"\0" not in value.encode(errors=errors)
    return False


def _is_time(value: object) -> bool:
    with suppress(UserError):
        return _is_text(value) and FIRST <= parsed(str(value)) <= LAST
    return False


def _is_whole(value: object, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _are_times(value: object) -> bool:
    """Return whether a value is [[frame, seconds], …], both ascending."""
    if not isinstance(value, list) or not all(map(_is_pair, value)):
        return False
    return all(early[0] < late[0] and early[1] <= late[1] for early, late in pairwise(value))


def _is_pair(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(type(each) in (int, float) and abs(each) < 1e12 for each in value)
    )


def _or_none(holds: Callable[[Any], object]) -> Callable[[Any], object]:
    return lambda value: value is None or holds(value)


# {fact of a record: (what holds of it, in words)}
FACTS: dict[str, tuple[Callable[[Any], object], str]] = {
    "source": (is_file_name, "a name without folders"),
    "path": (_is_path, "a path"),
    "frames": (_is_path, "a path"),
    "camera": (lambda value: _is_text(value) and value != "", "a name"),
    "crops": (_is_path, "a path"),
    "fps": (
        lambda value: type(value) in (int, float) and 1e-5 <= value <= 1e6,
        "a number of frames a second",
    ),
    "start": (_or_none(_is_time), "a time, such as 2026-11-01 08:30:00Z, or null"),
    "width": (lambda value: _is_whole(value, 1, 10**6), "a number of pixels"),
    "height": (lambda value: _is_whole(value, 1, 10**6), "a number of pixels"),
    "classes": (
        _or_none(lambda value: _is_text(value) and listed_numbers(value, int)),
        "numbers, such as 0 or 1,2,7, or null",
    ),
    "form": (lambda value: value is None or value in [*TRACK_FORMATS], "a format, or null"),
    "first_frame": (
        _or_none(lambda value: _is_whole(value, -(10**12), 10**12)),
        "a whole number, or null",
    ),
    "times": (_or_none(_are_times), "ascending pairs of a frame and seconds, or null"),
    "named": (lambda value: type(value) is bool, "true or false"),
    "indexed_at": (
        _or_none(lambda value: isinstance(value, list) and [*map(_is_path, value)] == [True, True]),
        "two paths, or null",
    ),
}


def describe_tracks(
    index: Gallery, config: TrackFileOptions
) -> tuple[TrackRecord, FrameFolder | Video]:
    """Return the record of a track file, and its frames.

    Camera, rate and start need not be given again for a file that the index knows.
    Raises UserError if one of them is not known, and if images of another content of the file are
    still in the index.
    """
    path, place = real(config.tracks or ""), real(config.frames or "")
    known = {record.path: record for record in recorded_tracks(index)}.get(str(path))
    indexed_at = known.indexed_at if known and known.frames == str(place) else None
    source = _source(path, *map(Path, indexed_at or (path, place)))
    if known and known.source != source:
        if any(index.images(Filter(source=known.source))):
            raise OptionError(
                f"{config.tracks}: it or its {{frames}} changed since its images were indexed. "
                f"Forget these first: {as_command('tools/search.py')} "
                f"forget --source {known.source} --index {index.path}"
            )
        known = None
    camera, fps, start = (
        getattr(config, name) or getattr(known, name, None) for name in ("camera", "fps", "start")
    )
    frames = open_frames(place, fps)
    rate = rate_of(frames, config.frames)
    if not camera:
        raise OptionError(f"{config.tracks}: which camera is it of? Give its name by {{camera}}.")
    crops = _crops_folder(index, source, config.crops, known)
    form = config.format or (known.form if known else None)
    images = _images_of_labels(path, frames)
    _, boxes = read_boxes(path, form, images)
    first = 1 if images else known.first_frame if known else None
    if first is None or config.first_frame is not None:
        first = first_number(frames, {int(box.frame) for box in boxes}, config.first_frame)
    width, height = frames.size
    record = TrackRecord(
        source,
        str(path),
        str(place),
        camera,
        crops,
        rate,
        start,
        width,
        height,
        config.classes,
        form,
        first,
        None,
        images is not None,
        indexed_at,
    )
    if isinstance(frames, Video) or frames.first > 1:  # not number / rate
        shown = [frame + 1 - first for frame in frames_at_ends(boxes)]
        times = [[*each] for each in zip(shown, frames.seconds(shown), strict=True)]
        record = replace(record, times=times)
    if fault := record.fault():
        raise UserError(f"{config.tracks}: {fault}.")
    return record, frames


def _images_of_labels(tracks: Path, frames: FrameFolder | Video) -> dict[str, int] | None:
    """Return the number of the image of each name if labels have these names, which are times."""
    if not tracks.is_dir() or isinstance(frames, Video) or frames.numbered:
        return None
    names = frames.names
    return names if all(file.stem in names for file in files_of(tracks)) else None


def _source(file: Path, tracks: Path, frames: Path) -> str:
    """Return a name for a track file's content, and for where it and its frames were at first."""
    name = name_of_frames(frames)
    found = hashlib.sha256(f"{tracks}\n{frames}\n".encode(errors="surrogateescape"))
    for each in files_of(file):
        found.update(each.name.encode(errors="surrogateescape") + content_of(each))
    return f"{as_file_name(name)}-{found.hexdigest()[:8]}"


def _crops_folder(index: Gallery, source: str, given: str | None, known: TrackRecord | None) -> str:
    """Return the folder for the crops of a source, below the one given or beside the index.

    A record alone names no folder to write to, since the index may be somebody else's.
    """
    if given:
        return str(real(given) / source)
    crops = crops_beside(index, source)
    if known and (crops is None or real(known.crops) != crops):
        raise OptionError(
            f"{index.path}: the images of {known.path} were cut elsewhere. "
            "Name the folder: {crops}",
            crops=quoted(Path(known.crops).parent),
        )
    if crops is None:
        raise OptionError(f"{index.path}: name a folder for the images that are cut by {{crops}}.")
    return str(crops)


def crops_beside(index: Gallery, source: str) -> Path | None:
    """Return the folder for the crops of a source beside the file of an index, if there is one.

    Here alone, and in a folder that was given, are crops written and deleted.
    """
    return folder_beside(index.file, source) if index.file else None


def recorded_tracks(index: Gallery) -> list[TrackRecord]:
    """Return the record of each track file that was indexed, as it was indexed last.

    Further facts, of another version of this program, stay in the index. Raises UserError if a
    record is damaged, or of a later version.
    """
    possible = {each.name for each in fields(TrackRecord)}
    needed = {each.name for each in fields(TrackRecord) if each.default is MISSING}
    found = {}
    for number, values in enumerate(numbered_notes(index, TRACK_RECORDS), 1):
        version = values.get("version") if isinstance(values, dict) else None
        if type(version) is int:
            check_version(
                f"{index.path}: the record of track file {number}", version, RECORD_VERSION
            )
        if not isinstance(values, dict) or not needed <= {*values}:
            raise UserError(f"{index.path}: damaged: it says {values!r} of a track file.")
        record = TrackRecord(**{name: values[name] for name in possible & {*values}})
        if fault := record.fault():
            raise UserError(
                f"{index.path}: the record of track file {number} is damaged, or was not written "
                f"by this program: {fault}. Index its tracks again, into a new index."
            )
        found[record.path] = record
    _check_sources(index, found.values())
    return list(found.values())


def _check_sources(index: Gallery, records: Iterable[TrackRecord]) -> None:
    """Raise UserError if two track files have one source, also on a system that ignores case."""
    paths: dict[str, str] = {}
    for record in records:
        other = paths.setdefault(record.source.casefold(), record.path)
        if other != record.path:
            raise UserError(
                f"{index.path}: the track files {other} and {record.path} have one source, "
                f"{record.source}. Index them again, into a new index."
            )


def record_tracks(index: Gallery, record: TrackRecord) -> None:
    """Keep a record in an index. It takes the place of an earlier one of the same track file."""
    values = asdict(record)
    if values not in map(asdict, recorded_tracks(index)):
        add_note(index, TRACK_RECORDS, values)
