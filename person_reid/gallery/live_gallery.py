"""Store the people seen by live cameras in a gallery, and report who appears, by name.

    kept = open_live(gallery, detector, embedder, options, streams.addresses)
    for looked in kept.follow(streams, lambda act: act(gallery)):
        for appeared in kept.keep(gallery, looked):
            print(appeared.person, appeared.corrected_from)

Each image of a track is stored beside the index, and its feature in the index. The name of the
image gives its track, its box, and its time in hundredths of a second, so that the gallery alone
describes the tracks. An image has the identity of its person, such as "person 0007", until a user
gives another name, which the person then keeps. A name and a feature in memory hold only as long as
the gallery has the images that they come from.
"""

import logging
import os
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np

from person_reid.config.people import VideosConfig
from person_reid.config.serve import CameraOptions
from person_reid.config.times import stored
from person_reid.data.video.crops import crop_name, write_crop
from person_reid.data.video.streams import shown_address
from person_reid.data.video.video_files import Frame
from person_reid.errors import UserError
from person_reid.files import as_file_name, make_folder
from person_reid.gallery.checks import state_of
from person_reid.gallery.forgetting import track_key
from person_reid.gallery.gallery import Gallery
from person_reid.gallery.index_folder import folder_beside
from person_reid.gallery.indexed_network import measured_threshold, track_cosines_of
from person_reid.gallery.metadata import NOT_A_PERSON, About, Filter
from person_reid.gallery.people_videos import Mark
from person_reid.gallery.track_records import IN_NAMES, TrackRecord, record_tracks
from person_reid.retrieval.association import read_travel
from person_reid.retrieval.clusters import number_in, numbered_person
from person_reid.retrieval.similarity import Features, unit_rows_or_zeros
from person_reid.show.style import FAINT, MANY
from person_reid.text import counted, printable
from person_reid.video.detectors import Detector
from person_reid.video.live import FrameResult, Identified, LivePeople, TrackImage
from person_reid.video.tracked_video import EmbedCrops

log = logging.getLogger(__name__)
FRAMES_A_SECOND = 100  # in the names of a stream's images
REFRESH_SECONDS = 10  # between two checks for names that have changed in the gallery
ENROLLED_SECONDS = 60  # between two checks for newly enrolled people; a check reads all names
MOST_KNOWN = 0.5  # share of the remembered tracks for people who were already in the gallery
WATCHED = 20  # the newest images of a named person by which a change is noticed
Record = Callable[[str, str], AbstractContextManager[dict[str, Any]]]


@dataclass(frozen=True)
class Appeared:
    """The event that a person appeared, or that a track turned out to show another person.

    person: the identity in the gallery. name: the identity if a user gave it, else None. time: in
    the stored form.
    image: the newest image of the track. corrected_from: the identity reported before.
    """

    camera: str
    track: str
    person: str
    name: str | None
    time: str
    image: Path | None
    corrected_from: str | None = None

    def __str__(self) -> str:
        """Describe the appearance."""
        was = f", and not {self.corrected_from}" if self.corrected_from else ""
        return f"{self.camera}: track {self.track} is {self.person}{was}"

    def facts(self) -> dict[str, Any]:
        """Return {name: value} for all fields except the image."""
        return {name: value for name, value in asdict(self).items() if name != "image"}


def open_live(
    gallery: Gallery,
    detector: Detector,
    embed: EmbedCrops,
    options: VideosConfig | CameraOptions,
    addresses: Mapping[str, str],
    record: Record | None = None,
) -> "LiveGallery":
    """Return a LiveGallery for cameras {name: address}, set up for the gallery's network.

    record: see LiveGallery.

    Raises UserError for a threshold measured on another network, or a travel file for other
    cameras.
    """
    live = LivePeople(
        detector,
        embed,
        tracker=options,
        threshold=measured_threshold(options.threshold, gallery, "track"),
        travel=read_travel(Path(options.travel), addresses) if options.travel else None,
        cosines=track_cosines_of(gallery),
        most=options.remember,
    )
    return LiveGallery(live, addresses, record)


class LiveGallery:
    """A gallery that stores the people seen by live cameras.

    live: finds the people. addresses: {camera: its address}. record: called with the old and the
    new identity of images before `refresh` renames them; returns a context manager for the change,
    whose value takes the number of images.
    """

    def __init__(
        self, live: LivePeople, addresses: Mapping[str, str], record: Record | None = None
    ) -> None:
        self.live, self._links, self._addresses = live, live.links, addresses
        self._records: dict[str, tuple[TrackRecord, float]] = {}  # with the time of the first frame
        self._names: dict[int, str] = {}  # names of people who have one besides their number
        self._left: set[str] = set()  # names that do not fit into the links
        self._record_change = record or (lambda before, new: nullcontext({}))
        # images of the latest tracks, with the identity ("" if none) that was stored for each
        self._stored: dict[tuple[str, int], dict[Path, str]] = {}
        self._new: set[Path] = set()  # images that were stored since the latest check
        self._enrolled: dict[int, list[Path]] = {}  # images by which named people are recognised
        self._refreshed = self._asked = -np.inf  # times of the latest checks

    def follow(
        self,
        frames: Iterable[tuple[str, Frame, float]],
        write: Callable[[Callable[[Gallery], None]], None],
        look: Callable[[Frame, float, str], FrameResult | None] | None = None,
    ) -> Iterator[FrameResult]:
        """Yield the result of each frame, and finally the results for people still in view.

        frames: yields (camera, frame, seconds), as Streams does. write: calls a function with the
        gallery. look: replaces LivePeople.feed; it returns None to skip a frame.
        """
        write(self.know)
        for camera, frame, seconds in frames:
            looked = (look or self.live.feed)(frame, seconds, camera)
            if looked and (looked.images or looked.said or self._refreshed < 0):
                yield looked
        write(self.refresh)
        yield from self.live.end()

    def reread(self) -> None:
        """Read all names again before anything else is stored; any thread may call this."""
        self._refreshed = self._asked = -np.inf

    def know(self, gallery: Gallery) -> None:
        """Add the people in a gallery to the links: named people first, then the latest seen."""
        numbers = map(number_in, gallery.values("identity"))
        self._links.last = max(self._links.last, *numbers, 0)
        self._know(gallery, [Filter(has_identity=True)])

    def _know(self, gallery: Gallery, which: Iterable[Filter]) -> None:
        """Add the people on some images to the links, and report the names that do not fit.

        Known people may take up only part of the links' memory, because tracks need it as well. A
        new name takes the place of a known person without a name.
        """
        sums: dict[tuple[str, str], Features] = {}
        latest: dict[str, str] = {}
        enrolled: dict[str, deque[Path]] = defaultdict(partial(deque, maxlen=WATCHED))
        for images, features in chain.from_iterable(map(gallery.entries, which)):
            for (path, about), feature in zip(images, features, strict=True):
                key = who, _ = about.identity or "", about.camera or ""
                enrolled[who].append(path)
                sums[key] = sums.get(key, 0) + feature
                latest[who] = max(latest.get(who, ""), about.time or "")
        order = sorted(sums, key=lambda key: (not number_in(key[0]), latest[key[0]]), reverse=True)
        rows = self._links.tracks.items()
        nameless = [track for track, row in rows if row.known and row.known not in self._names]
        most = int(MOST_KNOWN * self._links.most)
        for key in order[: max(0, most - self._links.known + len(nameless))]:
            (mean,) = unit_rows_or_zeros(sums[key][None])
            person, named = self._number_of(key[0]), not number_in(key[0])
            self._links.know(("known", *key), person, key[1], mean, named)
            if named:
                self._enrolled[person] = [*enrolled[key[0]]]
        for track in nameless[::-1][: max(0, self._links.known - most)]:
            del self._links.tracks[track]
        left = {who for who, _ in order if not number_in(who)} - {*self._names.values()}
        if left:
            log.warning(
                "The cameras do not recognise %s of the gallery, such as %s: they remember %d "
                "tracks, half of them of known people. Raise --remember.",
                counted(len(left), "named person", "named people"),
                printable(min(left)),
                self._links.most,
            )
        self._left |= left

    def keep(self, gallery: Gallery, looked: FrameResult) -> list[Appeared]:
        """Store the images of a result, and return who appeared."""
        if looked.time >= self._refreshed + REFRESH_SECONDS:
            self.refresh(gallery)
            self._refreshed = looked.time
        if looked.time >= self._asked + ENROLLED_SECONDS:
            self._take_enrolled(gallery)
            self._asked = looked.time
        if looked.images:
            self._store(gallery, looked)
        return [self._appeared(gallery, said) for said in looked.said]

    def marks(self, looked: FrameResult) -> list[Mark]:
        """Return the marks around the people in a result, grey until they are identified."""
        return [
            Mark(box, self._label(person), MANY[person % len(MANY)] if person else FAINT)
            for box, track, person in zip(looked.boxes, looked.tracks, looked.people, strict=True)
            if track >= 0
        ]

    def _label(self, person: int) -> str:
        return printable(self._names.get(person, str(person))) if person else "?"

    def _store(self, gallery: Gallery, looked: FrameResult) -> None:
        """Store the images of tracks, except tracks that were forgotten in the meantime."""
        record, zero = self._record(gallery, looked)
        keys = {track_key(record.source, str(each.track)): each.track for each in looked.images}
        gone = {keys[key] for key in gallery.forgotten([*keys])}
        images = [each for each in looked.images if each.track not in gone]
        if not images:
            return
        # again, in case all earlier images were forgotten
        record_tracks(gallery, record)
        make_folder(Path(record.crops))
        paths = [self._write(record, zero, each) for each in images]
        abouts = {
            path: About(
                identity=self._identity(each.person) if each.person else None,
                camera=looked.camera,
                time=stored(_instant(each.time)),
                track=str(each.track),
                source=record.source,
            )
            for path, each in zip(paths, images, strict=True)
        }
        features = np.stack([each.feature for each in images])
        gallery.add(paths, features, abouts, [*map(state_of, paths)])
        for path, each in zip(paths, images, strict=True):
            stored_images = self._stored.setdefault((looked.camera, each.track), {})
            stored_images[path] = abouts[path].identity or ""
        self._new.update(paths)

    def _write(self, record: TrackRecord, zero: float, image: TrackImage) -> Path:
        """Write an image, whose name gives its track, frame and box."""
        frame = 1 + round((image.time - zero) * FRAMES_A_SECOND)
        path = Path(record.crops) / crop_name(image.track, frame, image.box)
        write_crop(image.crop, path)
        with path.open("rb+") as file:
            os.fsync(file.fileno())  # nobody could cut the image again after a power failure
        return path

    def _record(self, gallery: Gallery, looked: FrameResult) -> tuple[TrackRecord, float]:
        """Return the record of a camera, and the time of its first frame."""
        if known := self._records.get(looked.camera):
            return known
        if gallery.file is None:
            raise UserError(
                f"{gallery.path}: name a folder for the images of cameras by ?crops=FOLDER"
            )
        zero = looked.began
        begun = _instant(zero)
        name = f"{as_file_name(looked.camera)}-{begun:%Y%m%d-%H%M%S}"
        names = (name if n == 1 else f"{name}-{n}" for n in count(1))
        crops = next(
            place for each in names if not (place := folder_beside(gallery.file, each)).exists()
        )
        make_folder(crops)
        width, height = looked.size
        record = TrackRecord(
            source=crops.name,
            path=str(crops),
            frames=shown_address(self._addresses.get(looked.camera, looked.camera)),
            camera=looked.camera,
            crops=str(crops),
            fps=FRAMES_A_SECOND,
            start=stored(begun, "auto"),
            width=width,
            height=height,
            classes=None,
            form=IN_NAMES,
            first_frame=1,
        )
        self._records[looked.camera] = record, zero
        return record, zero

    def _appeared(self, gallery: Gallery, said: Identified) -> Appeared:
        """Record the identity of a track's images, unless a user has named these images."""
        identity = self._identity(said.person)
        stored_images = self._stored.get((said.camera, said.track), {})
        images = gallery.abouts([*stored_images])
        by_camera = [
            path
            for path, about in images.items()
            if not about.identity
            or number_in(about.identity)
            or about.identity == stored_images[path]
        ]
        self._describe(gallery, by_camera, identity)
        before = said.corrected_from
        return Appeared(
            camera=said.camera,
            track=str(said.track),
            person=identity,
            name=None if number_in(identity) else identity,
            time=stored(_instant(said.time), "milliseconds"),
            image=max(images, default=None),
            corrected_from=self._identity(before) if before else None,
        )

    def refresh(self, gallery: Gallery) -> None:
        """Adopt the names that a user has given; drop forgotten people and what is not a person."""
        tracks = self._links.tracks
        self._stored = {key: images for key, images in self._stored.items() if key in tracks}
        votes: dict[int, Counter[str]] = defaultdict(Counter)
        for key, images in self._stored.items():
            identities = self._identities(gallery, images)
            if 2 * [*identities.values()].count(NOT_A_PERSON) >= len(identities):  # or forgotten
                del tracks[key]
                continue
            person = tracks[key].person
            votes[person].update(
                identity
                for path, identity in identities.items()
                if identity != images[path]  # a user's word
                or (identity == self._identity(person) and path not in self._new)
            )
        enrolled = {
            person: self._identities(gallery, paths) for person, paths in self._enrolled.items()
        }
        for person, identities in enrolled.items():
            votes[person] = votes[person] or Counter(identities.values())
        for person in votes.keys() - {0}:
            self._adopt(gallery, person, votes[person])
        self._new.clear()

        names = {*gallery.values("identity")}
        self._names = {person: name for person, name in self._names.items() if name in names}
        self._left &= names
        outdated = {row.known for row in tracks.values() if self._identity(row.known) not in names}
        outdated |= {
            person
            for person, identities in enrolled.items()
            if [*identities.values()] != [self._identity(person)] * len(self._enrolled[person])
        }
        if outdated - {0}:
            self._links.drop(outdated - {0})
            for person in outdated & self._enrolled.keys():
                del self._enrolled[person]
            renewed = {*map(self._identity, outdated)} & names
            self._know(gallery, [Filter(identity=name) for name in sorted(renewed)])
            self._take_enrolled(gallery)

    def _identities(self, gallery: Gallery, paths: Iterable[Path]) -> dict[Path, str]:
        """Return {path: identity or ""} for the given images that the gallery still has."""
        abouts = gallery.abouts([*paths])
        return {path: about.identity or "" for path, about in abouts.items()}

    def _adopt(self, gallery: Gallery, person: int, votes: Counter[str]) -> None:
        """Adopt the name that a user gave a person: any if it has none, else that of most images.

        votes: {identity or "": how many images of the person's tracks have it}.
        """
        before, has_name = self._identity(person), person in self._names
        names = votes.keys() - ({NOT_A_PERSON} if has_name else {NOT_A_PERSON, "", before})
        new = max(names, key=lambda name: (votes[name], name == before), default=before)
        if new == before:
            return
        self._names[person] = new
        if not new:
            del self._names[person]  # the user has cleared it
        images = chain.from_iterable(gallery.images(Filter(identity=before)))
        late = [path for path, _ in images if not has_name or path in self._new]
        if late:
            with self._record_change(before, self._identity(person)) as line:
                line["images"] = self._describe(gallery, late, self._identity(person))

    def _describe(self, gallery: Gallery, paths: list[Path], identity: str) -> int:
        """Store the identity that images have according to the cameras."""
        for images in self._stored.values():
            images.update(dict.fromkeys(images.keys() & {*paths}, identity))
        return gallery.describe(dict.fromkeys(paths, About(identity=identity)))

    def _take_enrolled(self, gallery: Gallery) -> None:
        """Add newly enrolled people to the links."""
        known = {NOT_A_PERSON, *self._names.values()} | self._left
        new = {name for name in gallery.values("identity") if not number_in(name)} - known
        self._know(gallery, [Filter(identity=name) for name in sorted(new)])

    def _number_of(self, identity: str) -> int:
        """Return a person's number in the links; a new name gets a new number."""
        for number, name in self._names.items():
            if name == identity:
                return number
        if number := number_in(identity):
            return number
        self._links.last += 1
        self._names[self._links.last] = identity
        return self._links.last

    def _identity(self, person: int) -> str:
        """Return the identity that a person has in the gallery."""
        return self._names.get(person) or numbered_person(person)


def _instant(seconds: float) -> datetime:
    """Convert seconds since 1970 into a time, rounded to a hundredth of a second."""
    return datetime.fromtimestamp(round(seconds, 2), UTC)
