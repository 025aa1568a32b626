"""Write a people folder: the track files, the tables, and the page for correcting links.

check_track_names("people", tracks, index)                  # before any computation
write_people_folder("people", linked, index)
renew_people(index)                                         # after people were forgotten
for count in count_people(linked):
    print(count.date, count.camera, count.people, count.fewest, count.most)

A count is the number of groups of linked tracks. `fewest` and `most` are its range from
People.count. The range contained the true number in nine of ten draws of people; see
docs/accuracy.md.
"""

import shutil
from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np

from person_reid.config.people import LinkOptions
from person_reid.errors import UserError
from person_reid.files import check_folder, is_file_name, whole_folder, write_csv, write_json
from person_reid.gallery.gallery import Gallery
from person_reid.gallery.indexed_tracks import IndexedTrack, indexed_tracks
from person_reid.gallery.linked_tracks import LinkedTracks, begin_of, link_indexed
from person_reid.gallery.metadata import FACT_NAMES, Filter, listed_path
from person_reid.gallery.people_videos import write_people_videos
from person_reid.gallery.track_records import IN_NAMES, TrackRecord, recorded_tracks
from person_reid.retrieval.association import Stay
from person_reid.retrieval.clusters import number_in, numbered_person
from person_reid.retrieval.thresholds import DIGITS
from person_reid.show.explorer import MOST_PAGE_BYTES, one_file_size, write_explorer
from person_reid.show.explorer_images import JUNK_NAME, ExplorerImages
from person_reid.show.explorer_views import describe_stays
from person_reid.show.lanes import draw_lanes
from person_reid.text import as_command, counted, parse_json, printable

PEOPLE_MARK = ".person-reid-people"  # a file that marks people folders
VIDEOS_MARK = ".person-reid-videos"  # a file that marks the folders of tools/people.py
PICTURE = "people.png"  # in a folder of tools/people.py
LINKING = "linking.json"  # the linked index and the options of the linking
CORRECTIONS = "corrections.csv"
PEOPLE = "people"  # people.csv, and people.html or a folder of that name
COUNTS = "counts.csv"
OWN_NAMES = {PEOPLE, Path(COUNTS).stem}  # names that no track file may have
LEAST_ON_MAP = 3  # images that the page's map needs
PEOPLE_COLUMNS = (
    "person",
    "camera",
    "track",
    "first",
    "last",
    "boxes",
    "margin",
    "source",
    "name",
    "date",
)
ALL_CAMERAS = ""


def check_track_names(save: str, tracks: list[IndexedTrack], index: Gallery) -> None:
    """Raise UserError if a track file would have the name of another file in the folder."""
    for each in tracks:
        name = _track_file(each.record)
        if not is_file_name(name) or Path(name.casefold()).stem in OWN_NAMES:
            raise UserError(
                f"{index.path}: the tracks of {each.record.path} have no place in {save}, "
                f"since their source is {each.record.source!r}. Index them again, into a new index."
            )


def _track_file(record: TrackRecord) -> str:
    """Return the name of a record's track file in the folder."""
    path = Path(record.path)
    ending = ".txt" if record.form == IN_NAMES else path.suffix if path.is_file() else ""
    return f"{record.source}{ending}"


def write_people_folder(
    save: str, linked: LinkedTracks, index: Gallery, videos: Collection[Path] | None = ()
) -> None:
    """Write the track files, the tables and people.html, replacing an earlier folder.

    videos: the videos of which to write annotated copies; None for all.
    """
    with whole_folder(save, PEOPLE_MARK) as folder:
        _write_tracks(folder, linked)
        _write_people(folder / f"{PEOPLE}.csv", linked.tracks, linked.stays, linked.names)
        write_csv(folder / COUNTS, PeopleCount._fields, count_people(linked))
        options = {name: getattr(linked.options, name) for name in LinkOptions.declared()}
        write_json(folder / LINKING, options | {"index": Path(str(index.path)).name})
        if len(linked.shown) >= LEAST_ON_MAP:
            _write_page(folder, Path(str(index.path)).name, linked, linked.names)
        if videos is None or videos:
            write_people_videos(folder, linked, videos)


def renew_people(index: Gallery) -> tuple[list[Path], list[Path]]:
    """Rewrite the people folders beside an index file after images were forgotten.

    Returns what was written, and what may still show forgotten people: folders that cannot be
    rewritten, track files, videos, and remains of killed calls.
    """
    if index.file is None:
        return [], []
    beside, renewed, left = index.file.parent, [], [*index.file.parent.glob(".*.partial")]
    for folder in sorted(mark.parent for mark in beside.glob(f"*/{PEOPLE_MARK}")):
        try:
            made = parse_json((folder / LINKING).read_text("utf-8"))
            if made["index"] == index.file.name:
                renewed += _renewed(index, folder, LinkOptions(**made))
        except (UserError, OSError, ValueError, TypeError):  # such as another version's options
            left.append(folder)
    if (beside / VIDEOS_MARK).exists():
        of_videos = ("tracks/*.txt", "tracks/.*.partial", "*.mp4")  # *.mp4: of live cameras
        left += [path for pattern in of_videos for path in beside.glob(pattern)]
    return renewed, sorted(left)


def _renewed(index: Gallery, folder: Path, options: LinkOptions) -> list[Path]:
    """Rewrite a people folder and the picture beside it; if no tracks are left, delete both."""
    beside = folder.parent / PICTURE
    pictures = [beside] if beside.exists() and (folder.parent / VIDEOS_MARK).exists() else []
    if recorded_tracks(index):
        every, features = indexed_tracks(index, Filter(after=options.after, before=options.before))
        linked = link_indexed(index, every[: len(features)], options)
        write_people_folder(str(folder), linked, index)
        for path in pictures:
            draw_lanes(linked.stays, path, begin_of(linked.tracks), faces=linked.faces())
    else:
        check_folder(folder, PEOPLE_MARK)
        shutil.rmtree(folder)
        for path in pictures:
            path.unlink()
    return [folder, *pictures]


def _write_tracks(folder: Path, linked: LinkedTracks) -> None:
    """Write each track file with the numbers of people as identities."""
    tracks, stays = linked.tracks, linked.stays
    # Numbers for tracks of things other than people, such as cars; trackers may number each class
    # separately.
    others = count(max(stay.person for stay in stays) + 2)
    numbers: dict[tuple[str, int, float | None], int] = defaultdict(lambda: next(others))
    pieces: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
    for each, stay in zip(tracks, stays, strict=True):
        piece = int(each.track.frames[0]), stay.person + 1
        pieces[each.record.source, each.track.number].append(piece)
    for each, _ in linked.nobody:
        source, track = each.record.source, each.track.number
        piece = int(each.track.frames[0]), numbers[source, track, None]
        pieces[source, track].append(piece)

    def identity(source: str, track: int, frame: int) -> int:
        if not (known := pieces.get((source, track))):
            return numbers[source, track, None]
        return max((piece for piece in known if piece[0] <= frame), default=min(known))[1]

    def other(source: str, track: int, kind: float) -> int:
        return numbers[source, track, kind]

    every = [*tracks, *(each for each, _ in linked.nobody)]
    for record in {each.record.source: each.record for each in every}.values():
        found = (partial(each, record.source) for each in (identity, other))
        of_record = (each.track for each in every if each.record.source == record.source)
        record.write(folder / _track_file(record), of_record, *found)


def _write_people(
    path: Path, tracks: list[IndexedTrack], stays: list[Stay], names: dict[int, str]
) -> None:
    """Write a line for each track, sorted by person and time. names: {person: name}."""
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
            each.date(),
        )
        for each, stay in sorted(both, key=lambda pair: (pair[1].person, pair[1].first))
    ]
    write_csv(path, PEOPLE_COLUMNS, rows)


def _write_page(folder: Path, title: str, linked: LinkedTracks, names: dict[int, str]) -> None:
    """Write people.html, or a folder with that name if one file cannot hold all images."""
    tracks = [*linked.tracks, *(each for each, _ in linked.nobody)]
    stays = [*linked.stays, *(stay for _, stay in linked.nobody)]
    shown = linked.shown
    paths = [tracks[i].images[place][0] for i, place in shown]
    images = ExplorerImages(
        np.stack([tracks[i].features[place] for i, place in shown]),
        [str(path) for path in paths],
        [_shown_name(stays[i].person, names) for i, _ in shown],
        [stays[i].camera for i, _ in shown],
        listed=[listed_path(path) for path in paths],
        further=[tracks[i].images[place][1].more or {} for i, place in shown],
    )
    highest = max([*map(number_in, linked.identities), *(stay.person + 1 for stay in stays)])
    command = f"{as_command('tools/across.py')} --index FILE --corrections {CORRECTIONS}"
    columns = ("path", *FACT_NAMES)
    views = {
        "tracks": describe_stays(
            stays, file=CORRECTIONS, columns=columns, highest=highest, command=command, names=names
        )
    }
    name = f"{PEOPLE}.html" if one_file_size(*images.features.shape) <= MOST_PAGE_BYTES else PEOPLE
    write_explorer(folder / name, images, title, views)


def _shown_name(person: int, names: dict[int, str]) -> str:
    """Return the name that the page's filter and map show for a person."""
    if person < 0:
        return JUNK_NAME
    return names.get(person) or numbered_person(person + 1)


class PeopleCount(NamedTuple):
    """The number of distinct people on a local date, in one camera or in all cameras.

    date: "" if unknown. fewest, most: the range of the true number, None if unknown. named: how
    many of the people have a name.
    """

    date: str
    camera: str
    people: int
    fewest: int | None
    most: int | None
    named: int


def count_people(linked: LinkedTracks) -> list[PeopleCount]:
    """Return the counts for each date, first for all cameras together and then for each camera.

    A track belongs to the date on which it begins.
    """
    places: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, track in enumerate(linked.tracks):
        for camera in (ALL_CAMERAS, track.record.camera):
            places[track.date(), camera].append(i)
    counts = []
    for (date, camera), rows in sorted(places.items()):
        cameras = {linked.tracks[i].record.camera for i in rows}
        people, fewest, most = linked.found.count(np.array(rows), len(cameras))
        named = {linked.stays[i].person for i in rows} & linked.names.keys()
        counts.append(
            PeopleCount(
                date=date, camera=camera, people=people, fewest=fewest, most=most, named=len(named)
            )
        )
    return counts


def lines_of_people(linked: LinkedTracks) -> list[str]:
    """Return a line for each date, and one for each person who has a name."""
    return [*_lines_of_dates(count_people(linked)), *_lines_of_named(linked)]


def _lines_of_dates(counts: Sequence[PeopleCount]) -> list[str]:
    """Return a line for each date, such as "2026-11-01: 4 people (3 to 5); hall 3, yard 2"."""
    lines: dict[str, list[str]] = defaultdict(list)
    for each in counts:
        sure = each.fewest == each.most
        words = str(each.people) + ("" if sure else f" ({each.fewest} to {each.most})")
        if each.camera == ALL_CAMERAS:
            people = counted(each.people, "person", "people")
            lines[each.date].append(words.replace(str(each.people), people, 1))
        else:
            lines[each.date].append(f"{printable(each.camera)} {words}")
    return [
        f"{date or 'without a date'}: {'; '.join([every, ', '.join(cameras)])}"
        for date, (every, *cameras) in lines.items()
    ]


def _lines_of_named(linked: LinkedTracks) -> list[str]:
    """Return a line with cameras and times for each named person."""
    stays: dict[int, list[tuple[IndexedTrack, Stay]]] = defaultdict(list)
    for both in zip(linked.tracks, linked.stays, strict=True):
        stays[both[1].person].append(both)
    in_order = {
        person: sorted(some, key=lambda both: (both[0].date(), both[1].first))
        for person, some in stays.items()
    }
    return [
        f"{printable(name)}: " + "; ".join(map(_when, in_order[person]))
        for person, name in sorted(linked.names.items(), key=lambda each: each[1])
    ]


def _when(both: tuple[IndexedTrack, Stay]) -> str:
    """Return the camera and the time span of a stay: "hall 2026-11-01 09:30:00 to 09:30:04"."""
    track, stay = both
    first, last = stay.times
    if not track.date():
        return f"{printable(stay.camera)} {first} s to {last} s"
    same_day = first[:10] == last[:10]
    return f"{printable(stay.camera)} {first[:19]} to {last[11:19] if same_day else last[:19]}"
