"""Detect and track the people in a video once, recording the inputs beside the track file.

frames = open_frames(Path("hall.mp4"))
made_of = {"video": content_hash(frames.path), "detector": "ssdlite"}
tracked = track_video(frames, lambda: detector, Tracker(), Path("tracks/hall.txt"), made_of)
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from PIL import Image

from person_reid.arrays import Integers
from person_reid.data.images.image_files import is_image
from person_reid.data.video.crops import cut_box
from person_reid.data.video.frames import (
    FrameFolder,
    Video,
    name_of_frames,
    remark_on_broken,
)
from person_reid.data.video.track_files import line_of_track
from person_reid.data.video.video_files import Frame
from person_reid.errors import UserError
from person_reid.files import (
    SETTINGS_BYTES,
    VIDEO,
    atomic_write,
    checksum_of,
    real,
    text_of,
    write_json,
)
from person_reid.progress import progress
from person_reid.retrieval.similarity import Features
from person_reid.text import counted, parse_json
from person_reid.video.detectors import BoxScores, CheckedDetector, FoundBoxes
from person_reid.video.tracker import Tracker

LEAST_SECONDS = 1e-3  # between two frames; in a damaged video, two may have one time
TRACKING_VERSION = 4  # increase it when the same video and options give different tracks
WEAK = 0.5  # share of the score; more boxes lie between than above where people are small
EmbedCrops = Callable[[Sequence[Image.Image]], Features]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrackedVideo:
    """The people found in a video.

    frames: the number of processed frames. boxes, tracks: how many the track file holds. broken:
    the numbers of the frames that cannot be decoded. left_out: a description of irregular boxes.
    whole: whether each packet of a video held one frame, so that a later call can count the frames
    without decoding them. strong, weak: how many boxes had at least the score that begins a track,
    and how many had less, but at least WEAK of it.
    """

    frames: int
    boxes: int
    tracks: int
    broken: Sequence[int] = ()
    left_out: str = ""
    whole: bool = False
    strong: int = 0
    weak: int = 0

    def remark(self, place: Path) -> None:
        """Log the faults that were found in the video at `place`."""
        remark_on_broken(place, self.broken)
        if self.left_out:
            log.warning("%s: %s.", place, self.left_out)
        if self.weak > self.strong:
            log.warning(
                "%s: %s almost scored enough to begin a track, and only %d did. Small people may "
                "be missing: try --detector_tiles 2, then a lower --new_score.",
                place,
                counted(self.weak, "box", "boxes"),
                self.strong,
            )
        if not self.tracks:
            log.warning("%s: nobody was tracked in its %s.", place, counted(self.frames, "frame"))


def track_video(
    frames: FrameFolder | Video,
    open_detector: Callable[[], CheckedDetector],
    tracker: Tracker,
    path: Path,
    made_of: Mapping[str, Any],
    every: int = 1,
    embed: EmbedCrops | None = None,
    among: tuple[int, int] | None = None,
) -> TrackedVideo:
    """Write the tracks of a video in MOTChallenge format, unless they have been written before.

    open_detector: returns the detector, which an already tracked video does not need.
    made_of: everything that determines the tracks, such as the hash of the video and options. It is
    stored beside the tracks, in a file with the same name and the extension .json.
    every: process every Nth frame. embed: returns the features of images, which are then also used
    to link boxes. among: (frames of earlier videos, frames of all videos), for the progress bar.

    Raises UserError if the file was made with other options, or has changed since.
    """
    made_of = {"version": TRACKING_VERSION, **made_of, "every": every}
    if (known := _known(path, made_of)) is None:
        known = _track(frames, open_detector(), tracker, path, every, embed, among)
        record = {"made_of": made_of, "sha256": checksum_of(path), "found": asdict(known)}
        write_json(path.with_suffix(".json"), {**record, "place": str(real(frames.path))})
    elif known.whole and isinstance(frames, Video):
        frames.file.trust()
    known.remark(frames.path)
    return known


def check_replaced(place: Path, path: Path) -> None:
    """Raise UserError if a video changed after its tracks were written to the folder of `path`."""
    for file in sorted(path.parent.glob("*.json")):
        record = _record(file)
        if record["place"] == str(real(place)) and file != path.with_suffix(".json"):
            raise UserError(
                f"{place}: has changed since it was tracked, see {file}. Choose another folder: "
                "--save FOLDER"
            )


def content_hash(place: Path) -> str:
    """Return a hash of a video file, or of the names and contents of a folder's images."""
    if not place.is_dir():
        return checksum_of(place, VIDEO)
    found = sha256()
    for file in sorted(file for file in place.iterdir() if is_image(file.name)):
        found.update(f"{file.name}\n{checksum_of(file)}\n".encode(errors="surrogateescape"))
    return found.hexdigest()


def _known(path: Path, made_of: Mapping[str, Any]) -> TrackedVideo | None:
    """Return the earlier result of a track file, or None if there is none.

    Raises UserError if the tracks were made from other inputs, or have been changed since.
    """
    beside = path.with_suffix(".json")
    if not path.exists() or not beside.exists():
        return None
    record = _record(beside)
    before = record["made_of"]
    others = [name for name in {**before, **made_of} if before.get(name) != made_of.get(name)]
    if others:
        said = ", ".join(f"{name} {before.get(name)}, now {made_of.get(name)}" for name in others)
        raise UserError(
            f"{path}: these tracks were made with other options: {said}. Choose another folder: "
            "--save FOLDER"
        )
    if checksum_of(path) != record["sha256"]:
        raise UserError(
            f"{path}: has changed since it was written. Remove it, and the video is tracked again; "
            "or give it by --tracks."
        )
    return TrackedVideo(**record["found"])


def _record(file: Path) -> dict[str, Any]:
    """Return a track file's record from its JSON file. Raises UserError if it is damaged."""
    try:
        record: dict[str, Any] = parse_json(text_of(file, SETTINGS_BYTES, "the notes of tracks"))
        TrackedVideo(**record["found"])
        assert isinstance(record["made_of"], dict)
        assert {"sha256", "place"} <= {*record}
    except (AssertionError, KeyError, TypeError, ValueError):
        raise UserError(f"{file}: damaged. Remove it, and the video is tracked again.") from None
    return record


def _track(
    frames: FrameFolder | Video,
    detector: CheckedDetector,
    tracker: Tracker,
    path: Path,
    every: int,
    embed: EmbedCrops | None,
    among: tuple[int, int] | None,
) -> TrackedVideo:
    """Detect and track the people in a video, and write their tracks."""
    assert frames.fps, "the frame rate is unknown"
    broken: list[int] = []
    identities: dict[int, int] = {}  # {number of a confirmed track: its identity}
    # A frame is written once all its tracks are confirmed or given up.
    waiting: deque[tuple[int, Integers, FoundBoxes, BoxScores]] = deque()
    looked, boxes, last = 0, 0, -1 / frames.fps
    strong, weak, enough = 0, 0, tracker.options.new_score
    before, total = among or (0, -(-frames.about // every))
    bar = progress(
        frames.look(every),
        initial=before,
        total=total,
        desc=f"tracking {name_of_frames(frames.path)}",
        unit=" frames",
    )
    with (
        atomic_write(path) as temporary,
        temporary.open("w", encoding="ascii", newline="\n") as file,
    ):
        for number, frame, seconds in bar:
            looked += 1
            if frame is None:
                broken.append(number)
                continue
            sides, scores = detector(frame)
            strong += int((scores >= enough).sum())
            weak += int(((scores >= WEAK * enough) & (scores < enough)).sum())
            looks = embed and features_of_boxes(embed, frame, sides, scores, tracker)
            found = tracker.update(sides, scores, max(seconds - last, LEAST_SECONDS), looks)
            last = max(last, seconds)
            known = zip(tracker.numbers.tolist(), found.tolist(), strict=True)
            identities |= {track: identity for track, identity in known if identity >= 0}
            waiting.append((number + frames.zero - 1, tracker.numbers, sides, scores))
            undecided = tracker.undecided()
            while waiting and undecided.isdisjoint(waiting[0][1].tolist()):
                boxes += _write(file, identities, *waiting.popleft())
        boxes += sum(_write(file, identities, *each) for each in waiting)
    whole = isinstance(frames, Video) and frames.file.whole
    return TrackedVideo(
        frames=looked,
        boxes=boxes,
        tracks=len(identities),
        broken=broken,
        left_out=detector.left_out(),
        whole=whole,
        strong=strong,
        weak=weak,
    )


def _write(
    file: TextIO,
    identities: Mapping[int, int],
    frame: int,
    tracks: Integers,
    boxes: FoundBoxes,
    scores: BoxScores,
) -> int:
    """Write a frame's boxes that belong to confirmed tracks, and return their number."""
    lines = [
        line_of_track(frame, identities[track], box.tolist(), score)
        for track, box, score in zip(tracks.tolist(), boxes, scores, strict=True)
        if track in identities
    ]
    file.writelines(lines)
    return len(lines)


def features_of_boxes(
    embed: EmbedCrops, frame: Frame, boxes: FoundBoxes, scores: BoxScores, tracker: Tracker
) -> Features | None:
    """Return features (N, D) of boxes, with zeros for low scores, or None if all scores are low."""
    some = np.flatnonzero(scores >= min(tracker.options.track_score, tracker.options.new_score))
    if not len(some):
        return None
    found = embed([cut_box(frame, boxes[i]) for i in some])
    features = np.zeros((len(boxes), found.shape[1]), np.float32)
    features[some] = found
    return features
