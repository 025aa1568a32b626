"""Identify people live, while they are in front of cameras.

    live = LivePeople(detector, embedder)                # frame → boxes, scores; images → features
    for frame, seconds in frames:                        # uint8 (H, W, 3), and a time in seconds
        for said in live.feed(frame, seconds, "door").said:
            print(said.camera, said.track, said.person, said.corrected_from)
    live.people()                                        # people seen, the latest first

A tracker follows the people in each camera. From time to time, one image of a track is embedded:
the recent image that shows most of the person. After a few images, the track is linked to a person
(retrieval/online.py). At intervals, all tracks are linked again, and a track whose person changes
is reported as corrected.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from person_reid.arrays import Integers
from person_reid.config.detector import TrackerOptions
from person_reid.data.video.crops import cut_box, seen_pixels, sharpness
from person_reid.data.video.tracked_boxes import Track
from person_reid.data.video.video_files import Frame, size_of
from person_reid.errors import UserError
from person_reid.retrieval.association import Travel
from person_reid.retrieval.online import OnlineLinks, OnlinePerson
from person_reid.retrieval.similarity import Features
from person_reid.retrieval.track_features import TrackCosines
from person_reid.video.detectors import BoxScores, CheckedDetector, Detector, FoundBoxes
from person_reid.video.tracked_video import LEAST_SECONDS, EmbedCrops, features_of_boxes
from person_reid.video.tracker import Tracker

FIRST_GAP = 0.2  # the minimum, in seconds, between two images of a track
GAP_SHARE = 0.25  # the gap as a fraction of a track's age, so that it grows
IMAGES_TO_SAY = 5  # images after which an ongoing track is linked; an ended track always is
RELINK_SECONDS = 60  # between two linkings of all tracks, if any has new images
RELINK_SHARE = 0.05  # share of new tracks above which all tracks are linked earlier


@dataclass(frozen=True)
class Identified:
    """The person that a track is now assigned to.

    camera, track: the camera, and the track's number there. person: a number, from 1. time: when
    the track began. corrected_from: the person reported before, or None.
    """

    camera: str
    track: int
    person: int
    time: float
    corrected_from: int | None = None


@dataclass(frozen=True)
class TrackImage:
    """An image of a track: its time in seconds, its box in the frame, and its feature (D,)."""

    track: int
    time: float
    box: tuple[float, float, float, float]
    crop: Image.Image
    feature: Features
    person: int


@dataclass(frozen=True)
class FrameResult:
    """The people in a frame, and news about their tracks.

    began: the time of the camera's first frame. boxes: (N, 4). scores: (N,).
    tracks: (N,), -1 for a box without a track. people: (N,), 0 for a person not yet identified.
    images: the images that were embedded. said: new and corrected identifications, also of tracks
    in other cameras. ended: the tracks that have ended.
    """

    camera: str
    began: float
    time: float
    size: tuple[int, int]
    boxes: FoundBoxes
    scores: BoxScores
    tracks: Integers
    people: Integers
    images: list[TrackImage] = field(default_factory=list)
    said: list[Identified] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)


@dataclass
class _Running:
    """An ongoing track: its times, its images so far, and the best box since the last image."""

    first: float
    last: float
    images: int = 0
    due: float = 0.0
    person: int = 0
    best: tuple[float, float, tuple[float, float, float, float], Image.Image] | None = None


@dataclass
class _Camera:
    """A camera: its tracker, the time of its last frame, and its ongoing tracks."""

    tracker: Tracker
    began: float
    time: float
    size: tuple[int, int]
    running: dict[int, _Running] = field(default_factory=dict)


class LivePeople:
    """The people in front of live cameras.

    detector: see Detector. embed: PIL images → features (N, D) of unit length, such as an
    Embedder. tracker: the options for linking boxes.
    threshold, travel, cosines, most: see OnlineLinks. Memory holds at most `most` tracks and the
    people in view.
    """

    def __init__(
        self,
        detector: Detector,
        embed: EmbedCrops,
        tracker: TrackerOptions | None = None,
        threshold: float | None = None,
        travel: Travel | None = None,
        cosines: TrackCosines | None = None,
        most: int = 1000,
    ) -> None:
        checked = isinstance(detector, CheckedDetector)
        self._detect = detector if checked else CheckedDetector(detector, "detector")
        self._embed, self._options = embed, tracker or TrackerOptions()
        self.links = OnlineLinks(threshold, travel, cosines, most)
        self._cameras: dict[str, _Camera] = {}
        # time of the last linking; since then, new tracks, and whether any track has new images
        self._linked, self._new, self._grown = -np.inf, 0, False

    def feed(self, frame: Frame, time: float, camera: str = "camera") -> FrameResult:
        """Process the next frame of a camera.

        frame: uint8 (H, W, 3), RGB. time: in seconds, such as time.time(). It must not decrease,
        and all cameras share one clock. Raises UserError if it decreases, and the errors of the
        detector, the tracker and `embed`.
        """
        place = self._cameras.get(camera)
        since = time - place.time if place else LEAST_SECONDS
        if place is None:
            place = _Camera(Tracker(self._options), time, time, size_of(frame))
            self._cameras[camera] = place
        if since < 0:
            raise UserError(f"time: {time} is before {place.time}, the latest of camera {camera}.")
        place.time, place.size = time, size_of(frame)
        boxes, scores = self._detect(frame)
        looks = None
        if self._options.appearance:
            looks = features_of_boxes(self._embed, frame, boxes, scores, place.tracker)
        tracks = place.tracker.update(boxes, scores, max(since, LEAST_SECONDS), looks)
        self._watch(place, frame, boxes, tracks)
        gone = time - self._options.patience
        return self._answer(camera, place, gone, boxes, scores, tracks)

    def end(self) -> list[FrameResult]:
        """End all tracks, as if everybody had left, and link all of them."""
        none = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
        found = [self._answer(name, place, np.inf, *none) for name, place in self._cameras.items()]
        self._cameras.clear()
        if found and self._grown:
            found[-1].said.extend(self._linked_again(np.inf))
        return found

    def people(self) -> list[OnlinePerson]:
        """Return the people seen, most recent first."""
        return self.links.people()

    def _watch(self, place: _Camera, frame: Frame, boxes: FoundBoxes, tracks: Integers) -> None:
        """Remember each track's best box since its last image."""
        if not len(boxes):
            return
        every = [
            Track(number, np.ones(1, np.int64), box[None].astype(np.float64), 0, 0)
            for number, box in zip(tracks.tolist(), boxes, strict=True)
        ]
        seen = seen_pixels(every, place.size)
        for number, box, pixels in zip(tracks.tolist(), boxes.tolist(), seen, strict=True):
            if number < 0:
                continue
            each = place.running.setdefault(number, _Running(place.time, place.time))
            each.due = each.due or place.time + FIRST_GAP
            each.last = place.time
            if not pixels[0]:
                continue
            crop = cut_box(frame, box)
            score = float(pixels[0]) * sharpness(crop)
            if each.best is None or score > each.best[0]:
                each.best = score, place.time, tuple(box), crop

    def _answer(
        self,
        camera: str,
        place: _Camera,
        gone: float,
        boxes: FoundBoxes,
        scores: BoxScores,
        tracks: Integers,
    ) -> FrameResult:
        """Embed the images that are due, and report who is in view.

        gone: tracks that were last seen before this time end.
        """
        ended = [number for number, each in place.running.items() if each.last < gone]
        due = [
            (number, each, each.best)
            for number, each in place.running.items()
            if each.best and (number in ended or place.time >= each.due)
        ]
        crops = [best[-1] for *_, best in due]
        features = self._embed(crops) if crops else np.zeros((0, 0), np.float32)
        for (number, each, _), feature in zip(due, features, strict=True):
            self.links.add((camera, number), camera, each.first, each.last, feature)
            each.images, each.best = each.images + 1, None
            each.due = place.time + max(FIRST_GAP, GAP_SHARE * (place.time - each.first))
        self._grown = self._grown or bool(due)
        said = self._said(camera, place, ended)
        images = [
            TrackImage(
                track=number, time=time, box=box, crop=crop, feature=feature, person=each.person
            )
            for (number, each, (_, time, box, crop)), feature in zip(due, features, strict=True)
        ]
        people = [place.running[n].person if n >= 0 else 0 for n in tracks.tolist()]
        for number in ended:
            del place.running[number]
        return FrameResult(
            camera=camera,
            began=place.began,
            time=place.time,
            size=place.size,
            boxes=boxes,
            scores=scores,
            tracks=tracks,
            people=np.array(people, np.int64),
            images=images,
            said=said,
            ended=ended,
        )

    def _said(self, camera: str, place: _Camera, ended: list[int]) -> list[Identified]:
        """Report corrections, and the person of each track that has ended or has enough images."""
        asked = []
        for number, each in place.running.items():
            if each.images:
                self.links.seen((camera, number), each.last)
            enough = each.images >= IMAGES_TO_SAY or (number in ended and each.images > 0)
            if enough and not each.person:
                asked.append((camera, number))
        self._new += len(asked)
        late = self._grown and place.time - self._linked >= RELINK_SECONDS
        if late or self._new > RELINK_SHARE * len(self.links.tracks):
            return self._linked_again(place.time, asked)
        return [self._say(key, 0, self.links.person(key)) for key in asked]

    def _linked_again(self, now: float, asked: Sequence[tuple[str, int]] = ()) -> list[Identified]:
        """Link all tracks again, and report each track that is in `asked` or has a new person."""
        self._linked, self._new, self._grown = now, 0, False
        changes = self.links.relink(asked)
        return [self._say(key, before, person) for key, (before, person) in changes.items()]

    def _say(self, key: tuple[str, int], before: int, person: int) -> Identified:
        camera, number = key
        if camera in self._cameras and (each := self._cameras[camera].running.get(number)):
            each.person = person
        return Identified(
            camera=camera,
            track=number,
            person=person,
            time=self.links.tracks[key].start,
            corrected_from=before or None,
        )
