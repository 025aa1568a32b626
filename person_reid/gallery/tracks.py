"""The track files of an index: from where its images were cut, and when.

index = open_gallery("people.index", new=False)
for record in recorded_tracks(index):
    tracks = record.read()                                # numbers, boxes, seconds
    images = index.entries(Filter(source=record.source))  # their About says track and camera
"""

from dataclasses import asdict, dataclass, fields
from itertools import count, takewhile
from pathlib import Path

from person_reid.basics import UserError
from person_reid.data.tracks import Track, read_tracks
from person_reid.gallery.gallery import Gallery


@dataclass(frozen=True)
class TrackRecord:
    """The facts that an index holds about a track file.

    source, camera: those of its images; no other track file has this source.
    path: the track file. frames: its video or folder of images. crops: the folder of its crops.
    digest: the hash of the track file's content.
    fps: the frames in a second. start: the local time of the first one, if it is known.
    width, height: of the frames, in pixels. classes: see read_tracks.
    """

    source: str
    path: str
    frames: str
    camera: str
    crops: str
    digest: str
    fps: float
    start: str | None
    width: int
    height: int
    classes: str | None

    def read(self) -> list[Track]:
        """Return the tracks of the file, see read_tracks."""
        size = self.width, self.height
        return read_tracks(Path(self.path), self.fps, self.start, self.classes, size)


def recorded_tracks(index: Gallery) -> list[TrackRecord]:
    """Return the record of each track file that was indexed, as it was indexed last.

    Raises UserError if a record is damaged.
    """
    known = takewhile(lambda values: values is not None, map(index.recall, map(_key, count(1))))
    found = {}
    for values in known:
        if not isinstance(values, dict) or {*values} != {each.name for each in fields(TrackRecord)}:
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
