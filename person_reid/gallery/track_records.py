"""Records of an index's track files, which give the sources and times of its images.

index = open_gallery("people.index", new=False)
for record in recorded_tracks(index):
    tracks = record.read()                                # numbers, boxes, seconds
    images = index.entries(Filter(source=record.source))  # About holds track and camera
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from person_reid.config.search import TrackFileOptions
from person_reid.config.times import EPOCH, parsed, stored
from person_reid.data.video.crops import CROP_NAME, number_and_frame
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
    UNKNOWN_VALUE,
    Box,
    Format,
    files_of,
    line_of_track,
    read_boxes,
    write_identities,
)
from person_reid.data.video.tracked_boxes import Track, frames_at_ends, seconds_of, tracks_among
from person_reid.errors import StoreError, UserError
from person_reid.files import as_file_name, content_of, is_file_name, real, write_text
from person_reid.gallery.contract import TRACK_RECORDS
from person_reid.gallery.gallery import Gallery
from person_reid.gallery.index_folder import folder_beside
from person_reid.gallery.metadata import About, Filter
from person_reid.text import as_command, quoted

IN_NAMES = "image names"  # the form of a live camera: names of images give track, frame and box
# The earliest and the latest possible time of a track.
FIRST, LAST = (datetime(year, 1, 1, tzinfo=UTC) for year in (1900, 9000))


@dataclass(frozen=True)
class TrackRecord:
    """The facts that an index holds about a track file.

    source, camera: shared by all its images; no other track file has this source.
    path: the track file. frames: its video or folder of images. crops: the folder of its crops.
    fps: frames per second. start: the time of the first frame, if known.
    width, height: the size of the frames in pixels. classes, form, first_frame, times: see
    tracks_among. named: whether labels are named after the images in `frames`. digest: the SHA-256
    of the content of the track file.
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
    digest: str = ""

    def read(self, images: Sequence[Path] = ()) -> list[Track]:
        """Return the tracks in the file or, for a live camera, of its images; see tracks_among."""
        if self.form == IN_NAMES:
            return self.tracks_among(TRACK_FORMATS["mot"], boxes_in_names(images))
        return self.tracks_among(*read_boxes(Path(self.path), self.form, self._images()))

    def tracks_among(self, form: Format, boxes: Sequence[Box]) -> list[Track]:
        """Return the tracks among the boxes of the file; see tracked_boxes.tracks_among.

        Also raises UserError for frames in an impossible year.
        """
        tracks = tracks_among(
            Path(self.path),
            form,
            boxes,
            self.fps,
            self.start,
            classes=self.classes,
            size=(self.width, self.height),
            first_frame=self.first_frame,
            times=self.times or (),
        )
        first, last = ((each - EPOCH).total_seconds() for each in (FIRST, LAST))
        for track in tracks if self.start else ():
            if not first <= track.first <= track.last <= last:
                raise UserError(
                    f"{self.path}: by its frames, track {track.number} is not of the years "
                    f"{FIRST.year} to {LAST.year}. Are {self.fps:g} frames a second right, and the "
                    f"start, {self.start}?"
                )
        return tracks

    def write(
        self,
        save: Path,
        tracks: Iterable[Track],
        identity: Callable[[int, int], int],
        other: Callable[[int, float], int],
    ) -> None:
        """Write a copy of the file with other identities; see write_identities.

        For a live camera, which has no file, write one with the boxes of its `tracks`.
        """
        if self.form == IN_NAMES:
            boxes = sorted(
                (frame, track.number, box)
                for track in tracks
                for frame, box in zip(track.frames.tolist(), track.boxes.tolist(), strict=True)
            )
            lines = (line_of_track(frame, identity(n, frame), box, 1) for frame, n, box in boxes)
            write_text(save, "".join(lines))
            return
        write_identities(
            Path(self.path),
            save,
            identity,
            name=self.form,
            first_frame=self.first_frame,
            images=self._images(),
            classes=self.classes,
            other=other,
        )

    def seconds(self, frames: Sequence[int]) -> list[float]:
        """Return the times of frames in seconds, counted like `first` and `last` of Track."""
        begun = (parsed(self.start) - EPOCH).total_seconds() if self.start else 0
        return (seconds_of(frames, self.fps, self.times or ()) + begun).tolist()

    def _images(self) -> dict[str, int] | None:
        """Return {name: number} for the images if the labels refer to them by name, else None."""
        return FrameFolder(Path(self.frames)).names if self.named else None

    def about(self, crops: Sequence[Path], frames: FrameFolder | Video) -> dict[Path, About]:
        """Return the facts about images that cut_boxes cut from frames."""
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


def boxes_in_names(images: Sequence[Path]) -> list[Box]:
    """Return the boxes in the names of the images of a live camera; see crop_name."""
    matches = (CROP_NAME.fullmatch(path.name) for path in images)
    numbers = (map(int, match.groups()) for match in matches if match and match[3])
    return [
        Box(0, frame, track, (left, top, right, bottom), 1, UNKNOWN_VALUE, 1)
        for track, frame, left, top, right, bottom in numbers
    ]


def describe_tracks(
    index: Gallery, config: TrackFileOptions
) -> tuple[TrackRecord, FrameFolder | Video, list[Track]]:
    """Return the record of a track file, its frames, and its tracks.

    Camera, frame rate and start are optional for a file that the index knows.
    Raises UserError if the camera or the frame rate is unknown, or if the index still holds images
    from an earlier version of the file.
    """
    path, place = real(config.tracks or ""), real(config.frames or "")
    known = {record.path: record for record in recorded_tracks(index)}.get(str(path))
    digest = _digest(path)
    same = known and (known.frames, known.digest) == (str(place), digest)
    if known and not same:
        if any(index.images(Filter(source=known.source))):
            raise UserError(
                f"{config.tracks}: it or its frames changed since its images were indexed. "
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
        raise UserError(f"{config.tracks}: which camera is it of? Name it: camera=NAME.")
    source = known.source if known else _source(path, place, digest)
    crops = _crops_folder(index, source, config.crops, known)
    form = config.format or (known.form if known else None)
    images = _images_of_labels(path, frames)
    lines, boxes = read_boxes(path, form, images)
    first = 1 if images else known.first_frame if known else None
    if first is None or config.first_frame is not None:
        first = first_number(frames, {int(box.frame) for box in boxes}, config.first_frame)
    width, height = frames.size
    record = TrackRecord(
        source=source,
        path=str(path),
        frames=str(place),
        camera=camera,
        crops=crops,
        fps=rate,
        start=start,
        width=width,
        height=height,
        classes=config.classes,
        form=form,
        first_frame=first,
        named=images is not None,
        digest=digest,
    )
    if isinstance(frames, Video) or frames.first > 1:  # times are not frame number / rate
        shown = [frame + 1 - first for frame in frames_at_ends(boxes)]
        times = [[*each] for each in zip(shown, frames.seconds(shown), strict=True)]
        record = replace(record, times=times)
    return record, frames, record.tracks_among(lines, boxes)


def _images_of_labels(tracks: Path, frames: FrameFolder | Video) -> dict[str, int] | None:
    """Return {name: number} for the images if the labels use the images' names, which are times."""
    if not tracks.is_dir() or isinstance(frames, Video) or frames.numbered:
        return None
    names = frames.names
    return names if all(file.stem in names for file in files_of(tracks)) else None


def _digest(file: Path) -> str:
    """Return the SHA-256 of the content of a track file, or of a folder of labels."""
    found = hashlib.sha256()
    for each in files_of(file):
        found.update(each.name.encode(errors="surrogateescape") + content_of(each))
    return found.hexdigest()


def _source(tracks: Path, frames: Path, digest: str) -> str:
    """Return a name for a track file, made from its content, its path and its frames' path."""
    words = f"{tracks}\n{frames}\n{digest}".encode(errors="surrogateescape")
    return f"{as_file_name(name_of_frames(frames))}-{hashlib.sha256(words).hexdigest()[:8]}"


def _crops_folder(index: Gallery, source: str, given: str | None, known: TrackRecord | None) -> str:
    """Return the folder for a source's crops, below the given folder or beside the index.

    A folder named only by a record is not used, because the index may come from another user.
    """
    if given:
        return str(real(given) / source)
    crops = crops_beside(index, source)
    if known and (crops is None or real(known.crops) != crops):
        raise UserError(
            f"{index.path}: the images of {known.path} were cut elsewhere. "
            f"Name the folder: crops={quoted(Path(known.crops).parent)}"
        )
    if crops is None:
        raise UserError(f"{index.path}: name a folder for the images that are cut: crops=FOLDER.")
    return str(crops)


def crops_beside(index: Gallery, source: str) -> Path | None:
    """Return the folder beside an index file for a source's crops, or None without a file.

    Crops are written and deleted only here and in a given folder.
    """
    return folder_beside(index.file, source) if index.file else None


def recorded_tracks(index: Gallery) -> list[TrackRecord]:
    """Return the latest record of each indexed track file.

    Raises StoreError if a record is damaged.
    """
    found = {}
    for source, values in index.notes(TRACK_RECORDS).items():
        try:
            record = TrackRecord(**values)
            record.seconds([1])  # checks its rate, times and start
            if record.source != source or not is_file_name(source):
                raise ValueError(source)
        except (TypeError, ValueError, AttributeError, ArithmeticError, UserError):
            raise StoreError(
                f"{index.path}: the record of the track file {source!r} is damaged. Index its "
                "tracks again, into a new index."
            ) from None
        found[record.path] = record
    return list(found.values())


def record_tracks(index: Gallery, record: TrackRecord) -> None:
    """Store a record in an index, replacing any earlier record of the same track file."""
    if record not in recorded_tracks(index):
        index.note(TRACK_RECORDS, {record.source: asdict(record)})
