# PYTHON_ARGCOMPLETE_OK
"""Link the tracks of several cameras into people.

    python tools/search.py index --tracks cam1.txt --frames cam1.mp4 --camera 1 --index people.index
    python tools/search.py index --tracks cam2.txt --frames cam2.mp4 --camera 2 --index people.index
    python tools/across.py --index people.index --save people         # who was where and when
    python tools/across.py --index people.index --threshold 0.7 --travel travel.csv
    python tools/across.py --index people.index --corrections corrections.csv
    python tools/across.py --index people.index --sheet people.png --apply
    python tools/across.py --index walks.index --truth data/walks     # how good it is: IDF1

The folder has the track files again with the same identities in all of them, people.csv with a line
for every track, and people.html, a page in which links can be cut and tracks joined, the doubtful
first. It saves corrections.csv, which also names people for search.py apply and prepare.py --csv.

Two tracks of one camera that overlap in time are two people. With --travel, so are two tracks of
two cameras if the way takes longer than the time between them.
"""

import sys
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import person_reid as reid
from person_reid.config.across import AcrossConfig
from person_reid.config.times import EPOCH
from person_reid.console import parse, run_script, spelled_as_flags
from person_reid.console.outputs import check_outputs
from person_reid.data.video.track_files import write_identities
from person_reid.files import check_folder, is_file_name, real, whole_folder, write_csv
from person_reid.gallery.decisions import decide, decided_names
from person_reid.gallery.gallery import open_gallery
from person_reid.gallery.indexed_network import measured_threshold
from person_reid.gallery.indexed_tracks import (
    Corrections,
    IndexedTrack,
    NamedTrack,
    check_clocks,
    corrections_of,
    indexed_tracks,
    listed_names,
    read_truth,
    remark_on_times,
    score_people,
    spans,
)
from person_reid.gallery.metadata import FACT_NAMES, listed_path
from person_reid.gallery.naming import (
    known_name,
    name_people,
    number_people,
    recorded_identities,
)
from person_reid.gallery.track_records import TrackRecord
from person_reid.retrieval.association import People, Travel, read_travel
from person_reid.retrieval.clusters import number_in, numbered_person
from person_reid.retrieval.similarity import Features
from person_reid.retrieval.thresholds import DIGITS
from person_reid.show.explorer import write_explorer
from person_reid.show.explorer_images import ExplorerImages
from person_reid.show.explorer_page import MOST_PAGE_BYTES, one_file_size
from person_reid.show.explorer_tracks import DOUBTFUL, describe_stays
from person_reid.show.lanes import Stay, draw_lanes
from person_reid.text import as_command, counted

PEOPLE_MARK = ".person-reid-people"  # a file that only folders of this command hold
CORRECTIONS = "corrections.csv"
PEOPLE = "people"  # people.csv and people.html, or a folder
SHOWN_IMAGES = 4  # images of a track on the page
LEAST_ON_MAP = 3  # images that the page's map needs
PEOPLE_COLUMNS = ("person", "camera", "track", "first", "last", "boxes", "margin", "source", "name")


@dataclass(frozen=True)
class Linked:
    """The tracks of an index that have images, and who they show.

    found: what links them. said: what somebody has said about them. stays: the tracks as pages and
    pictures show them, with numbers that people keep. shown: (track, place) of each image of the
    page. identities: all in the index, whose numbers no new person gets.
    """

    tracks: list[IndexedTrack]
    found: People
    said: Corrections
    stays: list[Stay]
    shown: list[tuple[int, int]]
    identities: set[str]


@spelled_as_flags()
def main(argv: list[str] | None = None) -> None:
    """Read tracks and features, link them, and write who is who."""
    config = parse(AcrossConfig, argv, __doc__)
    check_places(config)
    index = open_gallery(config.index, new=False)
    every, features = indexed_tracks(index)
    check_names(config, every)
    tracks = every[: len(features)]
    if len(tracks) < len(every):
        without = counted(len(every) - len(tracks), "track")
        print(f"{config.index}: {without} without an image, forgotten or never cut, left out")
    truth = read_truth(Path(config.truth), tracks) if config.truth else []

    linked = link(config, index, tracks, features)
    if config.sheet:
        draw_lanes(linked.stays, config.sheet, begin_of(tracks), config)
        print(f"Written: {config.sheet}")
    write_folder(config, linked)
    tell(config, linked)

    if config.truth:
        tell_score(config.truth, linked, truth)
    if config.apply:
        count = record(index, linked)
        print(f"{config.index}: recorded the people of {counted(count, 'image')}")


def link(
    config: AcrossConfig, index: reid.Gallery, tracks: list[IndexedTrack], features: Features
) -> Linked:
    """Return who the tracks show.

    features: (T, D).
    """
    travel, said = known_beforehand(config, index, tracks)
    threshold = measured_threshold(config.threshold, index, "track", config.camera_norm)
    remark_on_times(tracks)

    cameras = [each.record.camera for each in tracks]
    starts, ends = spans(tracks)
    found = reid.link_tracks(
        features,
        cameras,
        starts,
        ends,
        threshold,
        travel,
        config.camera_norm,
        config.rerank,
        said.same,
        said.different,
    )
    identities = recorded_identities(index)
    numbers = number_people(tracks, found.labels.tolist(), said, identities)
    stays, shown = describe(tracks, numbers, found, said)
    return Linked(tracks, found, said, stays, shown, identities)


def check_places(config: AcrossConfig) -> None:
    """Raise UserError or OSError if what is to be written has no place."""
    there = [] if Path(config.save).is_dir() else [config.save]
    check_outputs(config, save=there, sheet=[config.sheet])
    check_folder(config.save, PEOPLE_MARK)
    if config.sheet and real(config.sheet).is_relative_to(real(config.save)):
        raise reid.UserError(
            f"--sheet {config.sheet}: the folder {config.save} is replaced as a whole. Write the "
            "picture beside it."
        )


def check_names(config: AcrossConfig, tracks: list[IndexedTrack]) -> None:
    """Raise UserError if a track file would have the name of another file in the folder."""
    for each in tracks:
        name = track_file(each.record)
        if not is_file_name(name) or Path(name.casefold()).stem == PEOPLE:
            raise reid.UserError(
                f"{config.index}: the tracks of {each.record.path} have no place in {config.save}, "
                f"since their source is {each.record.source!r}. Index them again, into a new index."
            )


def track_file(record: TrackRecord) -> str:
    """Return the name of a track file in the folder."""
    path = Path(record.path)
    return f"{record.source}{path.suffix if path.is_file() else ''}"


def known_beforehand(
    config: AcrossConfig, index: reid.Gallery, tracks: list[IndexedTrack]
) -> tuple[Travel | None, Corrections]:
    """Return the times between cameras, and what somebody has said about the tracks.

    A list counts more than what the index remembers.
    """
    travel: Travel | None = None
    if config.travel:
        travel = read_travel(Path(config.travel), {each.record.camera for each in tracks})
        check_clocks(tracks)
    names = decided_names(index, tracks)
    if names:
        print(f"{config.index}: somebody has said whom {counted(len(names), 'track')} show")
    origins = [config.index] if names else []
    if config.corrections:
        names |= listed_names(Path(config.corrections), tracks)
        origins.insert(0, config.corrections)
    return travel, corrections_of(names, tracks, travel, " and ".join(origins))


def write_folder(config: AcrossConfig, linked: Linked) -> None:
    """Write the track files, people.csv and people.html, in place of an earlier folder."""
    names = name_people(
        [stay.person for stay in linked.stays], [stay.known for stay in linked.stays]
    )
    with whole_folder(config.save, PEOPLE_MARK) as folder:
        write_tracks(folder, linked.tracks, linked.stays)
        write_people(folder / f"{PEOPLE}.csv", linked.tracks, linked.stays, names)
        if len(linked.shown) >= LEAST_ON_MAP:
            write_page(folder, Path(config.index).name, linked, names)


def write_tracks(folder: Path, tracks: list[IndexedTrack], stays: list[Stay]) -> None:
    """Write each track file again, with the number of a person as the identity of its tracks."""
    # Numbers for tracks of other things than people, such as cars.
    others = count(max(stay.person for stay in stays) + 2)
    numbers: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(lambda: next(others)))
    for each, stay in zip(tracks, stays, strict=True):
        numbers[each.record.source][each.track.number] = stay.person + 1
    for record in {each.record.source: each.record for each in tracks}.values():
        identity = numbers[record.source].__getitem__
        write_identities(Path(record.path), folder / track_file(record), identity, record.form)


def describe(
    tracks: list[IndexedTrack], numbers: list[int], found: People, said: Corrections
) -> tuple[list[Stay], list[tuple[int, int]]]:
    """Return the tracks as a page shows them, and which images it shows: (track, place) each.

    numbers: one for each person of found.
    """
    margins = found.margins.tolist()
    nearest = [numbers[k] - 1 if k >= 0 else -1 for k in found.nearest.tolist()]
    known = [known_name(each, said.names.get(i)) for i, each in enumerate(tracks)]
    begin = begin_of(tracks)
    start = (begin - EPOCH).total_seconds() if begin else 0
    stays: list[Stay] = []
    shown: list[tuple[int, int]] = []
    for i, each in enumerate(tracks):
        zero = start if each.record.start else 0
        places = np.unique(np.linspace(0, len(each.images) - 1, SHOWN_IMAGES).round().astype(int))
        chosen = [(i, place) for place in places.tolist() if each.images]
        stays.append(
            Stay(
                numbers[found.labels[i]] - 1,
                each.record.camera,
                each.track.first - zero,
                each.track.last - zero,
                f"track {each.track.number}",
                each.times(),
                len(each.track.frames),
                margins[i],
                nearest[i],
                tuple(range(len(shown), len(shown) + len(chosen))),
                tuple(
                    (listed_path(path), *(value or "" for value in about[:-1]))
                    for path, about in each.images
                ),
                known=known[i],
                given=i in said.names,
            )
        )
        shown += chosen
    return stays, shown


def begin_of(tracks: list[IndexedTrack]) -> datetime | None:
    """Return when the first track begins, in local time, if the time of any is known."""
    known = [each.track.first for each in tracks if each.record.start]
    return (EPOCH + timedelta(seconds=min(known))).astimezone() if known else None


def write_people(
    path: Path, tracks: list[IndexedTrack], stays: list[Stay], names: dict[int, str]
) -> None:
    """Write a line for each track, in the order of people and time. names: of people."""
    both = zip(tracks, stays, strict=True)
    rows = [
        (
            stay.person + 1,
            stay.camera,
            each.track.number,
            *stay.times,
            stay.boxes,
            "" if stay.margin is None else f"{stay.margin:.{DIGITS}f}",
            each.record.source,
            names.get(stay.person, ""),
        )
        for each, stay in sorted(both, key=lambda pair: (pair[1].person, pair[1].first))
    ]
    write_csv(path, PEOPLE_COLUMNS, rows)


def write_page(folder: Path, title: str, linked: Linked, names: dict[int, str]) -> None:
    """Write people.html, or a folder of that name for more images than one file should hold."""
    tracks = linked.tracks
    stays = linked.stays
    shown = linked.shown
    paths = [tracks[i].images[place][0] for i, place in shown]
    images = ExplorerImages(
        np.stack([tracks[i].features[place] for i, place in shown]),
        [str(path) for path in paths],
        [names.get(stays[i].person) or numbered_person(stays[i].person + 1) for i, _ in shown],
        [stays[i].camera for i, _ in shown],
        listed=[listed_path(path) for path in paths],
    )
    highest = max([*map(number_in, linked.identities), *(stay.person + 1 for stay in stays)])
    command = f"{as_command('tools/across.py')} --index FILE --corrections {CORRECTIONS}"
    columns = ("path", *FACT_NAMES)
    views = {"tracks": describe_stays(stays, CORRECTIONS, columns, highest, command)}
    name = f"{PEOPLE}.html" if one_file_size(*images.features.shape) <= MOST_PAGE_BYTES else PEOPLE
    write_explorer(folder / name, images, title, views)


def record(index: reid.Gallery, linked: Linked) -> int:
    """Record in the index who the images show, unless somebody has given them a name.

    A list's statements about tracks are recorded as they are. Returns how many images there
    are.
    """
    names, said = {}, {}
    for i, (each, stay) in enumerate(zip(linked.tracks, linked.stays, strict=True)):
        name = linked.said.names.get(i)
        for path, about in each.images:
            if name or not about.identity or number_in(about.identity):
                names[path] = reid.About(identity=name or numbered_person(stay.person + 1))
            if name:
                said[path] = name
    count = index.describe(names)
    decide(index, said)
    return count


def tell(config: AcrossConfig, linked: Linked) -> None:
    """Print what was found."""
    cameras: dict[int, set[str]] = defaultdict(set)
    for stay in linked.stays:
        cameras[stay.person].add(stay.camera)
    several = sum(len(seen) > 1 for seen in cameras.values())
    doubtful = sum(stay.margin is not None and stay.margin < DOUBTFUL for stay in linked.stays)
    chosen = "" if config.threshold else ", by the silhouette"
    print(
        f"{config.save}: {counted(len(cameras), 'person', 'people')} on "
        f"{counted(len(linked.stays), 'track')}, {several} seen by several cameras; "
        f"threshold {linked.found.threshold:.{DIGITS}f}{chosen}; "
        f"{counted(doubtful, 'doubtful track')}"
    )


def tell_score(name: str, linked: Linked, truth: list[NamedTrack]) -> None:
    """Print how good the links are, and how good they would be without any."""
    both = linked.found.labels, range(len(linked.tracks))
    f1, alone = (score_people(linked.tracks, people, truth).f1 for people in both)
    print(f"{name}: IDF1 {f1:.1%}; {alone:.1%} with every track a person of its own")


if __name__ == "__main__":
    run_script(main)
