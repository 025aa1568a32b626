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

import re
import sys
from collections import defaultdict
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from person_reid.config.across import AcrossConfig
from person_reid.config.times import EPOCH
from person_reid.console import command, parse, run_script
from person_reid.console.outputs import check_outputs
from person_reid.data.track_files import write_identities
from person_reid.deploy.find import feature_flags, network_name
from person_reid.files import check_folder, whole_folder, write_csv
from person_reid.gallery.gallery import Gallery, open_gallery
from person_reid.gallery.metadata import About, listed_path
from person_reid.gallery.network import network_of
from person_reid.gallery.people import (
    IndexedTrack,
    check_clocks,
    corrected_pairs,
    indexed_tracks,
    remark_on_times,
    score_people,
    spans,
)
from person_reid.retrieval.association import Pairs, People, Travel, link_tracks, read_travel
from person_reid.retrieval.thresholds import DIGITS, load_threshold
from person_reid.show.explorer import write_explorer
from person_reid.show.explorer_images import Images, person_name
from person_reid.show.explorer_page import MOST, one_file_size
from person_reid.show.explorer_tracks import DOUBTFUL, describe_stays
from person_reid.show.lanes import Stay, draw_lanes
from person_reid.text import counted

MARK = ".person-reid-people"  # a file that only folders of this command hold
NUMBERED = re.compile(r"person \d{4,}")
CORRECTIONS = "corrections.csv"
SHOWN = 4  # images of a track on the page
LEAST = 3  # images that the page's map needs
COLUMNS = ("person", "camera", "track", "first", "last", "boxes", "margin", "source")


@command
def main(argv: list[str] | None = None) -> None:
    """Read tracks and features, link them, and write who is who."""
    config = parse(AcrossConfig, argv, __doc__)
    there = [] if Path(config.save).is_dir() else [config.save]
    check_outputs(config, save=there, sheet=[config.sheet])
    check_folder(config.save, MARK)
    index = open_gallery(config.index, new=False)
    tracks, features = indexed_tracks(index)
    seen = tracks[: len(features)]
    remark_on_times(seen)
    travel, same, different = known_beforehand(config, seen)
    threshold = threshold_of(config, index)

    starts, ends = spans(seen)
    found = link_tracks(
        features, [each.record.camera for each in seen], starts, ends, threshold, travel,
        config.camera_norm, config.rerank, same, different,
    )  # fmt: skip
    # A track without an image is a person of its own.
    alone = np.arange(len(tracks) - len(seen)) + found.labels.max() + 1
    people = [*found.labels.tolist(), *alone.tolist()]
    given = {track for pair in (*same, *different) for track in pair}
    stays, shown = describe(tracks, people, found, given)

    if config.sheet:
        draw_lanes(stays, config.sheet, begin_of(tracks), config)
        print(f"Written: {config.sheet}")
    with whole_folder(config.save, MARK) as folder:
        write_tracks(folder, tracks, people)
        write_people(folder / "people.csv", tracks, stays)
        if len(shown) >= LEAST:
            write_page(folder, Path(config.index).name, tracks, stays, shown)
    tell(config, stays, found)
    if config.truth:
        truth = Path(config.truth)
        linked, single = (score_people(tracks, who, truth) for who in (people, range(len(tracks))))
        print(
            f"{truth}: IDF1 {linked.f1:.1%}; {single.f1:.1%} with every track a person of its own"
        )
    if config.apply:
        count = record(index, tracks, people)
        print(f"{config.index}: recorded the people of {counted(count, 'image')}")


def known_beforehand(
    config: AcrossConfig, tracks: list[IndexedTrack]
) -> tuple[Travel | None, Pairs, Pairs]:
    """Return the times between cameras, and the pairs of tracks that are one person, and two."""
    travel: Travel | None = None
    same: Pairs = ()
    different: Pairs = ()
    if config.travel:
        travel = read_travel(Path(config.travel), {each.record.camera for each in tracks})
        check_clocks(tracks)
    if config.corrections:
        same, different = corrected_pairs(Path(config.corrections), tracks, travel)
    return travel, same, different


def threshold_of(config: AcrossConfig, index: Gallery) -> float | None:
    """Return the threshold that was given, measured on the network of the index."""
    if config.threshold is None:
        return None
    network = network_of(index)
    return load_threshold(config.threshold, network_name(network), feature_flags(network))


def write_tracks(folder: Path, tracks: list[IndexedTrack], people: list[int]) -> None:
    """Write each track file again; person 0 has the identity 1."""
    others = count(max(people) + 2)  # for what is not a person, such as the tracks of cars
    numbers: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(lambda: next(others)))
    for each, person in zip(tracks, people, strict=True):
        numbers[each.record.source][each.track.number] = person + 1
    for record in {each.record.source: each.record for each in tracks}.values():
        path = Path(record.path)
        save = folder / f"{record.source}{path.suffix if path.is_file() else ''}"
        write_identities(path, save, numbers[record.source].__getitem__, record.form)


def describe(
    tracks: list[IndexedTrack], people: list[int], found: People, given: set[int]
) -> tuple[list[Stay], list[tuple[int, int]]]:
    """Return the tracks as a page shows them, and which images it shows: (track, place) each.

    given: tracks of which the corrections say whom they show.
    """
    unseen = len(people) - len(found.margins)
    margins = [*found.margins.tolist(), *[None] * unseen]
    nearest = [*found.nearest.tolist(), *[-1] * unseen]
    begin = begin_of(tracks)
    start = (begin - EPOCH).total_seconds() if begin else 0
    stays: list[Stay] = []
    shown: list[tuple[int, int]] = []
    for i, each in enumerate(tracks):
        zero = start if each.record.start else 0
        places = np.unique(np.linspace(0, len(each.images) - 1, SHOWN).round().astype(int))
        chosen = [(i, place) for place in places.tolist() if each.images]
        stays.append(
            Stay(
                people[i],
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
                    (listed_path(path), *(value or "" for value in about))
                    for path, about in each.images
                ),
                given=i in given,
            )
        )
        shown += chosen
    return stays, shown


def begin_of(tracks: list[IndexedTrack]) -> datetime | None:
    """Return when the first track begins, in local time, if the time of any is known."""
    known = [each.track.first for each in tracks if each.record.start]
    return (EPOCH + timedelta(seconds=min(known))).astimezone() if known else None


def write_people(path: Path, tracks: list[IndexedTrack], stays: list[Stay]) -> None:
    """Write a line for each track, in the order of people and time."""
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
        )
        for each, stay in sorted(both, key=lambda pair: (pair[1].person, pair[1].first))
    ]
    write_csv(path, COLUMNS, rows)


def write_page(
    folder: Path,
    title: str,
    tracks: list[IndexedTrack],
    stays: list[Stay],
    shown: list[tuple[int, int]],
) -> None:
    """Write people.html, or a folder of that name for more images than one file should hold."""
    images = Images(
        np.stack([tracks[i].features[place] for i, place in shown]),
        [str(tracks[i].images[place][0]) for i, place in shown],
        [person_name(stays[i].person + 1) for i, _ in shown],
        [stays[i].camera for i, _ in shown],
        listed=[listed_path(tracks[i].images[place][0]) for i, place in shown],
    )
    name = "people.html" if one_file_size(*images.features.shape) <= MOST else "people"
    views = {"tracks": describe_stays(stays, CORRECTIONS, ("path", *About._fields))}
    write_explorer(folder / name, images, title, views)


def record(index: Gallery, tracks: list[IndexedTrack], people: list[int]) -> int:
    """Record in the index who the images show, unless somebody has given them a name.

    Returns how many images there are.
    """
    return index.describe(
        {
            path: About(identity=f"person {person + 1:04}")
            for each, person in zip(tracks, people, strict=True)
            for path, about in each.images
            if not about.identity or NUMBERED.fullmatch(about.identity)
        }
    )


def tell(config: AcrossConfig, stays: list[Stay], found: People) -> None:
    """Print what was found, and how to go on."""
    cameras: dict[int, set[str]] = defaultdict(set)
    for stay in stays:
        cameras[stay.person].add(stay.camera)
    several = sum(len(seen) > 1 for seen in cameras.values())
    doubtful = sum(stay.margin is not None and stay.margin < DOUBTFUL for stay in stays)
    chosen = "" if config.threshold else ", by the silhouette"
    print(
        f"{config.save}: {counted(len(cameras), 'person', 'people')} on "
        f"{counted(len(stays), 'track')}, {several} seen by several cameras; "
        f"threshold {found.threshold:.{DIGITS}f}{chosen}; {counted(doubtful, 'doubtful track')}"
    )


if __name__ == "__main__":
    run_script(main)
