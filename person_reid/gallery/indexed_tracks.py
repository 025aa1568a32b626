"""The tracks of an index, to be linked into people, and a user's statements about them.

tracks, features = indexed_tracks(index)              # tracks without an image come last
starts, ends = spans(tracks)
names = names_of_tracks(listed_names(Path("corrections.csv"), tracks), tracks, "corrections.csv")
said = corrections_of(names, tracks)
"""

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import chain, combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from person_reid.config.times import EPOCH, stored, written
from person_reid.data.video.crops import CROP_NAME, number_and_frame
from person_reid.data.video.tracked_boxes import Track, read_tracks, shared_area
from person_reid.errors import UserError
from person_reid.files import is_file_name
from person_reid.gallery.facts import listed_again
from person_reid.gallery.gallery import Gallery
from person_reid.gallery.metadata import (
    EVERYTHING,
    NOT_A_PERSON,
    About,
    Filter,
    read_abouts,
)
from person_reid.gallery.track_records import IN_NAMES, TrackRecord, recorded_tracks
from person_reid.retrieval.association import Apart, TrackPairs, Travel, two_people
from person_reid.retrieval.identities import (
    Hota,
    Score,
    hota_score,
    identity_f1,
    listed_boxes,
    matching_boxes,
)
from person_reid.retrieval.similarity import Features
from person_reid.retrieval.track_features import track_features
from person_reid.text import as_command, counted

# Seconds between the clocks of two files whose starts are unknown: about 3,000 years.
FAR = 1e11
TOUCH = 0.5  # share of the common frames in which two boxes must touch to show one person
MEET = 0.1  # share of the true boxes that any tracker finds if it was given the right frames
log = logging.getLogger(__name__)
Seconds = npt.NDArray[np.float64]
NamedTrack = tuple[str, str, Track]  # camera, identity, track


@dataclass(frozen=True)
class IndexedTrack:
    """A track, its file's record, and its n images in the index, with features (n, D).

    The images are in order of time. piece: from 1, the number of this piece in a track that was
    cut.
    """

    record: TrackRecord
    track: Track
    images: list[tuple[Path, About]]
    features: Features
    piece: int | None = None

    def __str__(self) -> str:
        """Return the track's name for a message."""
        return f"{self.name} of {self.record.path}"

    @property
    def name(self) -> str:
        """The name that distinguishes the track within its file."""
        return f"track {self.track.number}" + (f", piece {self.piece}" if self.piece else "")

    def frames(self) -> list[int]:
        """Return the frame number in each image's name, or else that of the track's first frame."""
        return [
            number_and_frame(path)[1]
            if CROP_NAME.fullmatch(path.name)
            else int(self.track.frames[0])
            for path, _ in self.images
        ]

    def in_order(self) -> "IndexedTrack":
        """Return a copy with its images in order of time."""
        order = np.argsort(self.frames(), kind="stable")
        images = [self.images[place] for place in order.tolist()]
        return replace(self, images=images, features=self.features[order])

    def times(self) -> tuple[str, str]:
        """Return when the person was first and last seen: local times, or seconds in the video."""
        first, last = self.track.first, self.track.last
        if not self.record.start:
            return f"{first:.3f}", f"{last:.3f}"
        return (
            written(EPOCH + timedelta(seconds=first), "milliseconds"),
            written(EPOCH + timedelta(seconds=last), "milliseconds"),
        )

    def date(self) -> str:
        """Return the local date on which the track begins, or "" if unknown."""
        return self.times()[0][:10] if self.record.start else ""


@dataclass(frozen=True)
class Corrections:
    """A user's statements about tracks, which are given by number.

    same: pairs of tracks that show one person. different: pairs that show two people. twice: the
    pairs of `same` that overlap in time, as a detector may see a person twice. names: {track: the
    name of its person}.
    """

    same: TrackPairs = ()
    different: TrackPairs = ()
    twice: TrackPairs = ()
    names: Mapping[int, str] = field(default_factory=dict)


def indexed_tracks(
    index: Gallery,
    period: Filter = EVERYTHING,
    among: Mapping[str, Collection[str]] | None = None,
) -> tuple[list[IndexedTrack], Features]:
    """Return the T tracks in all track files of an index, and features (S, D) of the first S.

    The other tracks have no image in the index. period: only tracks that begin between its `after`
    and `before`; tracks without a time are excluded. among: {source: its tracks}; only these are
    read. Raises UserError if there are no features.
    """
    every: list[IndexedTrack] = []
    for record in recorded_tracks(index):
        if among is None or record.source in among:
            every += _tracks_of(index, record, period, among[record.source] if among else None)
    seen = [each for each in every if each.images]
    if not seen and period != EVERYTHING:
        raise UserError(f"{index.path}: no track with an image begins between after and before.")
    if not seen:
        raise UserError(
            f"{index.path}: no tracks in it. Add some: {as_command('tools/search.py')} index "
            "--tracks cam1.txt --frames cam1.mp4 --camera 1 --index FILE"
        )
    return [*seen, *(each for each in every if not each.images)], features_of(seen)


def features_of(tracks: Sequence[IndexedTrack]) -> Features:
    """Return one feature for each of T tracks, (T, D); every track must have images."""
    numbers = np.repeat(np.arange(len(tracks)), [len(each.images) for each in tracks])
    return track_features(np.concatenate([each.features for each in tracks]), numbers.tolist())[1]


def _tracks_of(
    index: Gallery, record: TrackRecord, period: Filter, among: Collection[str] | None = None
) -> list[IndexedTrack]:
    """Return the tracks in a file that begin in a period.

    among: the tracks to read, by default all. Raises UserError if the file lacks a track that the
    index knows.
    """
    if record.form != IN_NAMES and not Path(record.path).exists():
        raise UserError(
            f"{record.path}: not there any more, and {index.path} has images of its tracks. If it "
            f"moved, record where: {as_command('tools/gallery.py')} relocate OLD NEW --index FILE"
        )
    images: dict[str, list[tuple[Path, About]]] = defaultdict(list)
    rows: dict[str, list[Features]] = defaultdict(list)
    whole = Filter(source=record.source)
    filters = [whole] if among is None else [replace(whole, track=each) for each in among]
    for some, features in chain.from_iterable(map(index.entries, filters)):
        for image, feature in zip(some, features, strict=True):
            images[image[1].track or ""].append(image)
            rows[image[1].track or ""].append(feature)
    if record.form == IN_NAMES and not images:
        return []
    paths = [path for some in images.values() for path, _ in some]
    tracks = {str(track.number): track for track in record.read(paths)}
    if gone := [number for number in images if number not in tracks]:
        raise UserError(
            f"{record.path}: has no track {gone[0]} any more, which {index.path} knows. "
            "Put the old file back, or index this one under another name."
        )
    return [
        IndexedTrack(record, track, images[number], np.array(rows[number])).in_order()
        for number, track in tracks.items()
        if (among is None or number in among) and _begins_within(track, record, period)
    ]


def _begins_within(track: Track, record: TrackRecord, period: Filter) -> bool:
    """Return whether a track begins in a period."""
    begins = stored(EPOCH + timedelta(seconds=track.first)) if record.start else None
    return period.admits(record.path, About(time=begins))


def cameras_of(tracks: Sequence[IndexedTrack]) -> list[str]:
    """Return the camera of each track."""
    return [each.record.camera for each in tracks]


def spans(tracks: Sequence[IndexedTrack]) -> tuple[Seconds, Seconds]:
    """Return the starts and ends (T,) of tracks in seconds.

    If the start of a file is unknown, its tracks are placed far in time from the tracks of all
    other files.
    """
    unknown = dict.fromkeys(each.record.source for each in tracks if not each.record.start)
    offsets = {source: FAR * number for number, source in enumerate(unknown, 1)}
    away = np.array([offsets.get(each.record.source, 0) for each in tracks])
    starts, ends = np.array([(each.track.first, each.track.last) for each in tracks]).T
    return starts + away, ends + away


def read_truth(folder: Path, tracks: Sequence[IndexedTrack]) -> list[NamedTrack]:
    """Return the ground truth of the cameras that have tracks, as (camera, identity, track).

    folder: holds the ground truth, in CAMERA/gt/gt.txt; an identity is the same person in all
    cameras. The log lists the cameras in it that have no tracks, and those whose boxes hardly ever
    match a track.

    Raises UserError if a file is missing or cannot be read, or if a camera has several track files.
    """
    records = {each.record.source: each.record for each in tracks}.values()
    cameras = {record.camera for record in records}
    if len(cameras) < len(records):
        raise UserError("truth: a camera has several track files; index one per camera.")
    if odd := [camera for camera in sorted(cameras) if not is_file_name(camera)]:
        raise UserError(f"truth: the camera {odd[0]!r} cannot be the name of a folder in {folder}.")
    truth = [
        (record.camera, str(track.number), track)
        for record in records
        for track in read_tracks(folder / record.camera / "gt" / "gt.txt", record.fps)
    ]
    there = {file.parent.parent.name for file in folder.glob("*/gt/gt.txt")}
    if left_out := sorted(there - cameras):
        log.warning(
            "%s: %s not in the index; the figure is over %s.",
            folder,
            f"{', '.join(left_out)} {'is' if len(left_out) == 1 else 'are'}",
            ", ".join(sorted(cameras)),
        )
    _remark_on_places(folder, truth, tracks)
    return truth


def _remark_on_places(
    folder: Path, truth: Sequence[NamedTrack], tracks: Sequence[IndexedTrack]
) -> None:
    """Log the cameras whose true boxes hardly ever match a track."""
    found = [(each.record.camera, "", each.track) for each in tracks]
    for camera in sorted({name for name, *_ in truth}):
        known = [each for each in truth if each[0] == camera]
        who, _, pairs = _matched(known, found)
        if len({*pairs[:, 0].tolist()}) < MEET * len(who):
            log.warning(
                "%s: hardly any box of %s meets one of its tracks. Was it made for frames of "
                "another size, or for other frames?",
                folder,
                camera,
            )


def score_people(
    tracks: Sequence[IndexedTrack],
    people: Iterable[int],
    truth: Sequence[NamedTrack],
) -> Score:
    """Return the IDF1 of the people (T,) assigned to tracks, over the boxes of all cameras.

    truth: see read_truth.
    """
    who, numbers, pairs = _matched(truth, _named(tracks, people))
    return identity_f1(who, numbers, pairs)


def hota_of_people(
    tracks: Sequence[IndexedTrack], people: Iterable[int], truth: Sequence[NamedTrack]
) -> Hota:
    """Return the HOTA of the people (T,) assigned to tracks; the arguments are score_people's."""
    found = _named(tracks, people)
    (frames, who, boxes), (others, numbers, sides) = map(listed_boxes, (truth, found))
    return hota_score(frames, who, boxes, others, numbers, sides)


def _named(tracks: Sequence[IndexedTrack], people: Iterable[int]) -> list[NamedTrack]:
    """Return the camera, person and boxes of each track."""
    return [
        (each.record.camera, str(person), each.track)
        for each, person in zip(tracks, people, strict=True)
    ]


def _matched(truth: Iterable[NamedTrack], found: Iterable[NamedTrack]) -> tuple[Any, Any, Any]:
    """Return the identities of the true and the found boxes, and which boxes match."""
    (frames, who, boxes), (others, numbers, sides) = map(listed_boxes, (truth, found))
    return who, numbers, matching_boxes(frames, boxes, others, sides)


def remark_on_times(tracks: Sequence[IndexedTrack]) -> None:
    """Warn if the times of files or cameras seem unrelated."""
    files = {each.record.path: each.record.start for each in tracks}
    unknown = [path for path, start in files.items() if not start]
    if unknown and len(files) > 1:
        log.warning(
            "nobody knows when %s of %d files begin, such as %s: their times are compared with no "
            "other file's.",
            len(unknown),
            len(files),
            unknown[0],
        )
    starts, ends = spans(tracks)
    cameras = np.array([track.record.camera for track in tracks])
    each = [cameras == name for name in np.unique(cameras)]
    found = sorted((starts[which].min(), ends[which].max()) for which in each)
    apart = all(first[1] < second[0] for first, second in pairwise(found))
    if not unknown and len(found) > 1 and apart:
        log.warning("no two cameras saw people at the same time. Is --start of each file right?")


def check_clocks(tracks: Sequence[IndexedTrack]) -> None:
    """Raise UserError unless the start of each file is known."""
    for each in tracks:
        if not each.record.start:
            raise UserError(
                f"travel: nobody knows when {each.record.path} begins. "
                f"Give its start, as in: {as_command('tools/search.py')} "
                f"index --tracks {each.record.path} --start 2026-11-01T09:30"
            )


def listed_names(file: Path, tracks: Sequence[IndexedTrack]) -> dict[Path, str]:
    """Return {image: identity} from a list of images with the columns path and identity.

    Images without an identity are ignored. Raises UserError if the list names no person on a track.
    """
    images = (image for each in tracks for image in each.images)
    listed = listed_again(read_abouts(file, ("path", "identity")), images)
    found = {path: about.identity for path, about in listed.items() if about.identity}
    if not found:
        raise UserError(
            f"{file}: no image in it has an identity and belongs to a track in the index. Save the "
            "list from people.html."
        )
    return found


def names_of_tracks(
    said: Mapping[Path, str], tracks: Sequence[IndexedTrack], origin: object
) -> dict[int, str]:
    """Return {track: its identity}, given the identities of images.

    origin: where the identities are written, for messages. Raises UserError if the images of one
    track have two identities.
    """
    who: dict[int, str] = {}
    for i, each in enumerate(tracks):
        names = [said[path] for path, _ in each.images if path in said]
        if others := {*names[1:]} - {*names[:1]}:
            raise UserError(
                f"{origin}: the images of {each} have two identities, {names[0]} and "
                f"{min(others)}. A track is one person: give them one identity."
            )
        if names:
            who[i] = names[0]
    return who


def corrections_of(
    who: Mapping[int, str],
    tracks: Sequence[IndexedTrack],
    travel: Travel | None = None,
    origin: object = "corrections",
) -> Corrections:
    """Return the Corrections implied by the identities of some tracks.

    who: {track: its identity}. Tracks with the same identity are one person; different identities
    are different people.
    origin: where the identities are written, for messages. Raises a UserError that lists all
    impossible pairs: see cannot_be_one.
    """
    people = defaultdict(list)
    for i, name in who.items():
        people[name].append(i)
    faults: list[str] = []
    twice: list[tuple[int, int]] = []
    for name, group in people.items():
        some = [tracks[i] for i in group]
        at_once = two_people(cameras_of(some), *spans(some), travel)
        apart = cannot_be_one(some, at_once)
        faults += _contradictions(name, some, apart)
        pairs = np.argwhere(np.triu(at_once & ~apart)).tolist()
        twice += [(group[i], group[j]) for i, j in pairs]
    if faults:
        raise UserError(
            f"{origin}: nobody is at two places at once, so "
            f"{counted(len(faults), 'track')} cannot be whom it says:\n"
            + "".join(f"  {fault}\n" for fault in faults)
            + f"The identities of {len(who) - len(faults)} of {counted(len(who), 'track')} hold. "
            f"Give these another one, or {NOT_A_PERSON} for what is not a person, in a list: "
            f"{as_command('tools/search.py')} apply LIST --index FILE"
        )
    # A track is paired with itself, so that every named track is in a pair.
    same = [(group[0], i) for group in people.values() for i in group]
    different = list(combinations([group[0] for group in people.values()], 2))
    return Corrections(same, different, twice, who)


def cannot_be_one(tracks: Sequence[IndexedTrack], at_once: Apart) -> Apart:
    """Return which pairs of tracks cannot be one person, as booleans (T, T).

    Two simultaneous tracks of one file can still be one person, detected twice, if their boxes
    touch in most of their common frames, or if they have no common frames. at_once: the result of
    two_people.
    """
    apart = at_once.copy()
    for i, j in np.argwhere(np.triu(at_once)).tolist():
        apart[i, j] = apart[j, i] = not _touch(tracks[i], tracks[j])
    return apart


def _touch(first: IndexedTrack, second: IndexedTrack) -> bool:
    if first.record.source != second.record.source:
        return False
    one, other = first.track, second.track
    _, rows, others = np.intersect1d(one.frames, other.frames, return_indices=True)
    shared = shared_area(one.boxes[rows], other.boxes[others])
    return not len(shared) or float((shared > 0).mean()) >= TOUCH


def _contradictions(name: str, tracks: Sequence[IndexedTrack], apart: Apart) -> Iterator[str]:
    """Yield a line for each track that is incompatible with a longer track of the same name."""
    kept: list[int] = []
    for i in sorted(range(len(tracks)), key=lambda i: -len(tracks[i].track.frames)):
        other = next((j for j in kept if apart[i, j]), None)
        if other is None:
            kept.append(i)
        else:
            yield f"{tracks[i]}, {name}: at that moment, {tracks[other]} is elsewhere"
