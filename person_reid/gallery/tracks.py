"""The track files of an index: where its images were cut from, and when.

index = open_gallery("people.index", new=False)
for record in recorded_tracks(index):
    tracks = record.read()                                # numbers, boxes, seconds
    images = index.entries(Filter(source=record.source))  # their About says track and camera
"""

import hashlib
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from datetime import timedelta
from itertools import count, takewhile
from pathlib import Path

from person_reid.config.search import TrackFileOptions
from person_reid.config.times import parsed, stored
from person_reid.data.crops import number_and_frame
from person_reid.data.frames import Images, Video, first_number, open_frames
from person_reid.data.track_files import files_of, read_boxes
from person_reid.data.tracks import Track, frames_at_ends, read_tracks
from person_reid.errors import UserError
from person_reid.files import content_of, real
from person_reid.gallery.gallery import Gallery
from person_reid.gallery.metadata import About, Filter
from person_reid.gallery.milvus import SCHEME


@dataclass(frozen=True)
class TrackRecord:
    """The facts that an index holds about a track file.

    source, camera: all its images have them; no other track file has this source.
    path: the track file. frames: its video or folder of images. crops: the folder of its crops.
    fps: the frames in a second. start: the time of the first one, if it is known.
    width, height: the size of the frames in pixels. classes, form, first_frame, times: see
    read_tracks. named: whether labels are named as the images in `frames`.
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

    def read(self) -> list[Track]:
        """Return the tracks of the file, see read_tracks."""
        return read_tracks(
            Path(self.path),
            self.fps,
            self.start,
            self.classes,
            (self.width, self.height),
            self.form,
            self.first_frame,
            self.times or (),
            Images(Path(self.frames)).names if self.named else None,
        )

    def about(self, crops: Sequence[Path], frames: Images | Video) -> dict[Path, About]:
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


def describe_tracks(index: Gallery, config: TrackFileOptions) -> tuple[TrackRecord, Images | Video]:
    """Return the record of a track file, and its frames.

    Camera, rate and start need not be given again for a file that the index knows.
    Raises UserError if one of them is not known, and if images of another content of the file are
    still in the index.
    """
    path, place = real(config.tracks or ""), real(config.frames or "")
    name = place.parent.name if place.name == "img1" else place.stem
    source = f"{name}-{_digest(path, place)}"
    known = {record.path: record for record in recorded_tracks(index)}.get(str(path))
    if known and known.source != source:
        if any(images for images, _ in index.entries(Filter(source=known.source))):
            raise UserError(
                f"{config.tracks}: it or its --frames changed since its images were indexed. "
                f"Forget these first: python tools/search.py forget --source {known.source} "
                f"--index {index.path}"
            )
        known = None
    camera, fps, start = (
        getattr(config, name) or getattr(known, name, None) for name in ("camera", "fps", "start")
    )
    frames = open_frames(place, fps)
    if not frames.fps:
        raise UserError(f"{config.frames}: images have no frame rate. Give it: --fps 30, say.")
    if not camera:
        raise UserError(f"{config.tracks}: which camera is it of? Give its name: --camera NAME")
    if config.crops:
        crops = str(real(config.crops) / source)
    else:
        crops = known.crops if known else _crops_beside(index, source)
    form = config.format or (known.form if known else None)
    images = _images_of_labels(path, frames)
    _, boxes = read_boxes(path, form, images)
    first = 1 if images else known.first_frame if known else None
    if first is None or config.first_frame is not None:
        first = first_number(frames, {int(box.frame) for box in boxes}, config.first_frame)
    width, height = frames.size
    record = TrackRecord(
        source, str(path), str(place), camera, crops, frames.fps, start, width, height,
        config.classes, form, first, None, images is not None,
    )  # fmt: skip
    if isinstance(frames, Video) or frames.first > 1:  # not number / rate
        shown = [frame + 1 - first for frame in frames_at_ends(boxes)]
        times = [[*each] for each in zip(shown, frames.seconds(shown), strict=True)]
        record = replace(record, times=times)
    return record, frames


def _images_of_labels(tracks: Path, frames: Images | Video) -> dict[str, int] | None:
    """Return the number of the image of each name if labels have these names, which are times."""
    if not tracks.is_dir() or isinstance(frames, Video) or frames.numbered:
        return None
    names = frames.names
    return names if all(file.stem in names for file in files_of(tracks)) else None


def _digest(tracks: Path, frames: Path) -> str:
    """Return eight digits that name a content of a track file, and where it and its frames are."""
    found = hashlib.sha256(f"{tracks}\n{frames}\n".encode(errors="surrogateescape"))
    for file in files_of(tracks):
        found.update(file.name.encode(errors="surrogateescape") + content_of(file))
    return found.hexdigest()[:8]


def _crops_beside(index: Gallery, source: str) -> str:
    """Return the folder for the crops of a source, beside the file of the index."""
    if str(index.path).startswith(SCHEME):
        raise UserError(f"{index.path}: name a folder for the images that are cut: --crops FOLDER")
    return str(real(index.path).with_suffix(".crops") / source)


def recorded_tracks(index: Gallery) -> list[TrackRecord]:
    """Return the record of each track file that was indexed, as it was indexed last.

    Raises UserError if a record is damaged.
    """
    known = takewhile(lambda values: values is not None, map(index.recall, map(_key, count(1))))
    possible = {each.name for each in fields(TrackRecord)}
    needed = {each.name for each in fields(TrackRecord) if each.default is MISSING}
    found = {}
    for values in known:
        if not isinstance(values, dict) or not needed <= {*values} <= possible:
            raise UserError(f"{index.path}: damaged: it says {values!r} of a track file.")
        found[values["path"]] = TrackRecord(**values)
    return list(found.values())


def record_tracks(index: Gallery, record: TrackRecord) -> None:
    """Keep a record in an index. It takes the place of an earlier one of the same track file."""
    values = asdict(record)
    if values in map(asdict, recorded_tracks(index)):
        return
    # another process may take a number first
    next(n for n in count(1) if index.remember({_key(n): values})[_key(n)] == values)


def _key(number: int) -> str:
    return f"tracks {number}"
