"""Tracks of several cameras, linked into people by tools/across.py."""

import csv
import json
import os
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import prepare
from benchmarks.support import walks
from person_reid.config.times import written
from person_reid.data.video.track_files import read_boxes, write_identities
from person_reid.errors import UserError
from person_reid.gallery import linked_tracks
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.indexed_network import track_cosines_of
from person_reid.gallery.indexed_tracks import read_truth
from person_reid.gallery.linked_tracks import begin_of, in_words
from person_reid.gallery.metadata import About, Filter
from person_reid.gallery.track_records import record_tracks, recorded_tracks
from person_reid.retrieval.track_features import TrackCosines
from tests.support import camera_tracks
from tests.support.camera_tracks import fill
from tests.support.page_in_node import run_page
from tests.support.weights import write_weights
from tools import across, search

THRESHOLD = 0.6


@pytest.fixture
def index(tmp_path):
    """An index of two cameras, and the command's words for it."""
    filled = SearchIndex(tmp_path / "people.index")
    for camera in camera_tracks.STAYS:
        fill(filled, tmp_path, camera)
    return filled


def about_of(camera, track, source=None):
    return About(camera=camera, track=str(track), source=source or f"{camera}-1")


def run(index, *words):
    """{(camera, track): person} of a run."""
    folder = index.path.parent / "people"
    every = ["--index", index.path, "--save", folder, "--threshold", THRESHOLD, *words]
    across.main([str(word) for word in every])
    return people_in(folder)


def people_in(folder):
    rows = rows_of(folder / "people.csv")
    return {(row["camera"], int(row["track"])): int(row["person"]) for row in rows}


EXPECTED = {
    ("hall", 1): 1, ("hall", 5): 1, ("yard", 4): 1, ("hall", 2): 2, ("yard", 1): 2,
    ("yard", 9): 3, ("hall", 7): 4,
}  # fmt: skip


def test_people_are_found_and_written(index, capsys):
    assert run(index) == EXPECTED
    folder = index.path.parent / "people"
    with (folder / "people.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["person"] for row in rows] == ["1", "1", "1", "2", "2", "3", "4"]
    assert rows[0] | {"margin": ""} == {
        "person": "1", "camera": "hall", "track": "1",
        "first": written("2026-11-01 09:30:00", "milliseconds"),
        "last": written("2026-11-01 09:30:03.900", "milliseconds"),
        "boxes": "40", "margin": "", "source": "hall-1", "name": "", "date": "2026-11-01",
    }  # fmt: skip
    assert 0 < float(rows[0]["margin"]) < 1
    assert "4 people on 7 tracks, 2 seen by several cameras" in capsys.readouterr().out


def rows_of(file):
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def test_people_are_counted_by_day_and_camera_and_the_doubtful_are_a_range(
    tmp_path, monkeypatch, capsys
):
    """One of the yard's tracks is about as like person 0 as the threshold."""
    faces = camera_tracks.FACES.copy()
    faces[5, [0, 5]] = 0.62, 0.78
    monkeypatch.setattr(camera_tracks, "FACES", faces)
    monkeypatch.setattr(
        camera_tracks,
        "STAYS",
        {**camera_tracks.STAYS, "yard": {**camera_tracks.STAYS["yard"], 4: (5, 260, 300)}},
    )
    index = SearchIndex(tmp_path / "people.index")
    fill(index, tmp_path, "hall")
    fill(index, tmp_path, "yard")
    (tmp_path / "later").mkdir()
    fill(index, tmp_path / "later", "hall", start="2026-11-02 09:30:00", source="later")

    def people_at(threshold):
        words = ["--index", str(index.path), "--save", str(tmp_path / "other")]
        across.main([*words, "--threshold", str(threshold)])
        return rows_of(tmp_path / "other" / "people.csv")

    expected = []
    lower, itself, higher = (people_at(threshold) for threshold in (0.5, 0.6, 0.7))
    for date, cameras in (("2026-11-01", ["", "hall", "yard"]), ("2026-11-02", ["", "hall"])):
        for camera in cameras:
            several = not camera and len(cameras) > 2
            people, low, high = (
                len(
                    {r["person"] for r in rows if r["date"] == date and camera in ("", r["camera"])}
                )
                for rows in (itself, *((lower, itself) if several else (itself, higher)))
            )
            most = int(np.ceil((1.3 if several else 1.15) * high))
            expected.append([date, camera, *map(str, (people, int(0.9 * low), most)), "0"])
    capsys.readouterr()
    run(index)
    counts = rows_of(tmp_path / "people" / "counts.csv")
    assert [[*row.values()] for row in counts] == expected
    said = capsys.readouterr().out
    assert "2026-11-01: 4 people (3 to 6); hall 3 (2 to 4), yard 3 (2 to 4)\n2026-11-02: 3" in said


def test_people_whom_the_index_knows_by_photographs_are_named(index, tmp_path, capsys):
    photographs = [tmp_path / f"{name}.jpg" for name in ("Anna", "Bert", "person 0040")]
    abouts = {path: About(identity=path.stem) for path in photographs}
    index.add(photographs, camera_tracks.FACES[[0, 6, 2]], abouts)
    assert run(index) == EXPECTED
    rows = rows_of(tmp_path / "people" / "people.csv")
    assert {row["person"]: row["name"] for row in rows} == {"1": "Anna", "2": "", "3": "", "4": ""}
    assert rows_of(tmp_path / "people" / "counts.csv")[0]["named"] == "1"
    first = written("2026-11-01 09:30:00")[:19]
    said = capsys.readouterr().out
    assert f"Anna: hall {first} to {first[11:17]}03; hall " in said
    assert "Bert" not in said


def test_what_a_list_says_counts_more_than_a_photograph(index, tmp_path):
    index.add(
        [tmp_path / "anna.jpg"],
        camera_tracks.FACES[[0]],
        {tmp_path / "anna.jpg": About(identity="Anna")},
    )
    run(index, "--corrections", corrections(index, tmp_path, hall_1="Bert", hall_7="Anna"))
    names: dict[str, set[tuple[str, int]]] = {}
    for row in rows_of(tmp_path / "people" / "people.csv"):
        names.setdefault(row["name"], set()).add((row["camera"], int(row["track"])))
    assert names["Bert"] == {("hall", 1), ("hall", 5), ("yard", 4)}
    assert names["Anna"] == {("hall", 7)}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["--after", "2026-11-01T09:30:06"],
            {("hall", 5), ("hall", 7), *(("yard", n) for n in (1, 4, 9))},
        ),
        (["--before", "2026-11-01T09:30:03"], {("hall", 1), ("hall", 2)}),
        (
            ["--after", "2026-11-01T09:30:02", "--before", "2026-11-01T09:30:07"],
            {("hall", 2), ("hall", 5)},
        ),
    ],
)
def test_only_tracks_that_begin_in_the_period_take_part(index, words, expected):
    assert {*run(index, *words)} == expected
    with pytest.raises(UserError, match="no track with an image begins between after"):
        run(index, "--after", "2030-01-01")


def test_a_track_without_a_time_is_of_no_period(tmp_path):
    index = SearchIndex(tmp_path / "people.index")
    fill(index, tmp_path, "hall", start=None)
    with pytest.raises(UserError, match="no track with an image begins"):
        run(index, "--after", "1990-01-01")


def test_people_are_scored_against_the_truth_of_all_cameras(index, tmp_path, capsys):
    """All links are right; half as many boxes as there are belong to somebody who has no track."""
    for camera, stays in camera_tracks.STAYS.items():
        lines = [
            f"{frame},{person + 20},{60 * track},7,30,60,1,1,1\n"
            for track, (person, first, last) in stays.items()
            for frame in range(first, last + 1)
        ]
        lines += [f"{frame},99,500,7,30,60,1,1,1\n" for frame in range(1, len(lines) // 2 + 1)]
        (tmp_path / "truth" / camera / "gt").mkdir(parents=True)
        (tmp_path / "truth" / camera / "gt" / "gt.txt").write_text("".join(lines))
    run(index, "--truth", tmp_path / "truth")
    boxes = [
        last - first + 1
        for stays in camera_tracks.STAYS.values()
        for _, first, last in stays.values()
    ]
    wanted = sum(boxes) + sum(
        sum(last - first + 1 for _, first, last in stays.values()) // 2
        for stays in camera_tracks.STAYS.values()
    )
    best: dict[int, int] = {}
    for stays in camera_tracks.STAYS.values():
        for person, first, last in stays.values():
            best[person] = max(best.get(person, 0), last - first + 1)
    linked, alone = (2 * n / (sum(boxes) + wanted) for n in (sum(boxes), sum(best.values())))
    said = capsys.readouterr().out
    assert f"IDF1 {linked:.1%}; {alone:.1%} with every track" in said
    share = sum(boxes) / wanted  # of the true boxes, in equal boxes and with the right identity
    assert f"HOTA {share**0.5:.1%}: detection {share:.1%}, association 100.0%" in said
    assert said.count("IDF1 80.0%, HOTA 81.6%") == 2  # two of three boxes of each camera


def test_only_the_identity_of_a_line_changes(index):
    run(index)
    for camera in camera_tracks.STAYS:
        before = (index.path.parent / f"{camera}.txt").read_bytes().split(b"\r\n")
        after = (index.path.parent / "people" / f"{camera}-1.txt").read_bytes().split(b"\r\n")
        for old, new in zip(before[:-1], after[:-1], strict=True):
            frame, track, rest = old.split(b",", 2)
            person = EXPECTED.get((camera, int(track)), -1)
            assert new == b"%s,%d,%s" % (frame, person, rest)


def test_a_track_without_an_image_and_other_objects_are_nobody(tmp_path, capsys):
    index = SearchIndex(tmp_path / "people.index")
    fill(index, tmp_path, "hall", unseen={7})
    path = tmp_path / "hall.txt"
    with path.open("a", newline="") as file:
        file.write("5,2,1,1,50,20,0.9,3,-1,-1\r\n5,77,1,1,50,20,0.9,3,-1,-1\r\n")
    assert run(index) == {("hall", 1): 1, ("hall", 5): 1, ("hall", 2): 2}
    assert "1 track without an image, forgotten or never cut" in capsys.readouterr().out
    written = {int(box.track) for box in read_boxes(tmp_path / "people" / "hall-1.txt")[1]}
    assert written == {
        -1,
        1,
        2,
        3,
        4,
        5,
    }  # 3: the track; 4 and 5: the cars, one with a number of a person


def test_labels_of_ultralytics_are_written_as_they_were(tmp_path):
    folder = tmp_path / "labels"
    folder.mkdir()
    (folder / "v_1.txt").write_text("0 0.5 0.5 0.1 0.2 0.91 7\n0 0.1 0.5 0.1 0.2 0.35\n")
    (folder / "v_2.txt").write_text("0 0.5 0.5 0.1 0.2 0.90  7 \n2 0.1 0.5 0.1 0.2 0.35 8")
    write_identities(folder, tmp_path / "new", lambda track, _: {7: 21, 8: 30}[track])
    assert (tmp_path / "new" / "v_1.txt").read_text() == (
        "0 0.5 0.5 0.1 0.2 0.91 21\n0 0.1 0.5 0.1 0.2 0.35\n"
    )
    assert (tmp_path / "new" / "v_2.txt").read_text() == (
        "0 0.5 0.5 0.1 0.2 0.90  21 \n2 0.1 0.5 0.1 0.2 0.35 30"
    )


def tracks_on_the_page(folder):
    """The tracks, as the page knows them."""
    page = (folder / "people" / "people.html").read_text("utf-8")
    return json.loads(re.search(r'receive\("tracks", (.*)\);', page)[1])


def given_on_the_page(folder):
    """The tracks of which the page says that somebody has named them."""
    tracks = tracks_on_the_page(folder)["tracks"]
    return {(each["camera"], int(each["name"].split()[1])) for each in tracks if each["given"]}


def corrections(index, tmp_path, **names):
    """A list that gives tracks names: hall_1="Anna"."""
    file = tmp_path / "corrections.csv"
    lines = []
    for which, name in names.items():
        camera, track = which.split("_")
        for images, _ in index.entries(Filter(camera=camera, track=track)):
            lines += [(str(path), name) for path, _ in images]
    with file.open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened).writerows([("path", "identity"), *lines])
    return file


def test_corrections_join_and_part(index, tmp_path):
    file = corrections(index, tmp_path, hall_1="Anna", hall_5="Bert", yard_9="Anna")
    people = run(index, "--corrections", file)
    assert people["hall", 1] == people["yard", 9] != people["hall", 5]
    assert given_on_the_page(tmp_path) == {("hall", 1), ("hall", 5), ("yard", 9)}


def test_a_single_track_that_was_confirmed_stays_in_the_list_that_the_page_saves(index, tmp_path):
    assert run(index, "--corrections", corrections(index, tmp_path, hall_7="Dora")) == EXPECTED
    assert given_on_the_page(tmp_path) == {("hall", 7)}


@pytest.mark.parametrize(
    "names, said",
    [
        ({"hall_1": "Anna", "hall_2": "Anna"}, "track 2 of .*, Anna: .*track 1 of .* elsewhere"),
        ({"yard_1": "Eve", "yard_9": "Eve"}, "nobody is at two places at once"),
        ({"hall_1": ""}, "no image in it has an identity"),
    ],
)
def test_corrections_that_cannot_be_are_refused(index, tmp_path, names, said):
    file = corrections(index, tmp_path, **names)
    with pytest.raises(UserError, match=said):
        run(index, "--corrections", file)
    assert not (tmp_path / "people").exists()


def test_all_that_cannot_be_is_said_at_once_with_what_holds(index, tmp_path):
    names = {"hall_1": "Anna", "hall_2": "Anna", "yard_1": "Eve", "yard_9": "Eve", "hall_7": "Dora"}
    with pytest.raises(UserError) as refused:
        run(index, "--corrections", corrections(index, tmp_path, **names))
    first, *faults, last = str(refused.value).splitlines()
    assert "2 tracks" in first
    assert ["track 2" in faults[0], "track 9" in faults[1], len(faults)] == [True, True, 2]
    assert "3 of 5 tracks hold" in last


def test_a_person_whom_the_detector_saw_twice_and_what_is_not_a_person(index, tmp_path):
    """Two boxes that touch may be one person; a cart is nobody, also in later calls."""
    tracks = tmp_path / "hall.txt"
    tracks.write_text(tracks.read_text().replace(",2,120.50,7,", ",2,80.50,7,"))
    names = {"hall_1": "Anna", "hall_2": "Anna", "yard_9": "-1"}
    people = run(index, "--corrections", corrections(index, tmp_path, **names), "--apply")
    assert people["hall", 1] == people["hall", 2]
    assert ("yard", 9) not in people
    assert run(index) == people
    page = tracks_on_the_page(tmp_path)["tracks"]
    assert {each["name"] for each in page if each["person"] < 0} == {"track 9"}
    first, second = (
        next(i for i, t in enumerate(page) if t["name"] == n and t["camera"] == "hall")
        for n in ("track 1", "track 2")
    )
    assert (page[first]["twice"], page[second]["twice"]) == ([second], [first])
    assert [row["camera"] for row in rows_of(tmp_path / "people" / "counts.csv")] == [
        "",
        "hall",
        "yard",
    ]
    numbers = {
        line.split(",")[1] for line in (tmp_path / "people" / "yard-1.txt").read_text().split()
    }
    assert numbers - {str(people["yard", track]) for track in (1, 4)} == {"-1", "5"}

    nobody = dict.fromkeys([f"{camera}_{track}" for camera, track in people], "-1")
    with pytest.raises(UserError, match="no track shows a person"):
        run(index, "--corrections", corrections(index, tmp_path, **nobody))


def test_a_track_inside_another_is_the_same_person_unless_somebody_tells_them_apart(
    index, tmp_path
):
    """The detector found half of a body beside the whole one, in frames 24 to 40."""
    tracks = tmp_path / "hall.txt"
    tracks.write_text(tracks.read_text().replace(",2,120.50,7,30,60", ",2,65.50,7,20,30"))
    people = run(index)
    assert people["hall", 1] == people["hall", 2]
    names = {"hall_1": "Anna", "hall_2": "Ben"}
    people = run(index, "--corrections", corrections(index, tmp_path, **names))
    assert people["hall", 1] != people["hall", 2]


def test_a_track_of_two_identities_is_refused(index, tmp_path):
    file = corrections(index, tmp_path, hall_1="Anna")
    file.write_text(file.read_text("utf-8").replace("Anna", "Bert", 1), "utf-8")
    with pytest.raises(UserError, match="have two identities, Bert and Anna"):
        run(index, "--corrections", file)


def test_nobody_is_faster_than_the_way_takes(index, tmp_path):
    travel = tmp_path / "travel.csv"
    travel.write_text("from,to,seconds\nhall,yard,12\n")
    people = run(index, "--travel", travel)
    assert people["hall", 2] != people["yard", 1]  # nine seconds apart
    assert people["hall", 5] == people["yard", 4]  # seventeen
    file = corrections(index, tmp_path, hall_2="Bert", yard_1="Bert")
    with pytest.raises(UserError, match="track 2 of .*, Bert: .*track 1"):
        run(index, "--travel", travel, "--corrections", file)


def test_travel_needs_times_of_all_files(index, tmp_path):
    travel = tmp_path / "travel.csv"
    travel.write_text("from,to,seconds\nhall,yard,12\n")
    fill(index, tmp_path, "yard", start=None)
    with pytest.raises(UserError, match=r"travel: nobody knows when .*yard\.txt begins"):
        run(index, "--travel", travel)


def test_two_files_of_a_camera_whose_times_are_unknown_may_show_one_person(tmp_path):
    """Frame 30 of one is not at the time of frame 30 of the other."""
    index = SearchIndex(tmp_path / "people.index")
    for folder in (tmp_path, tmp_path / "later"):
        folder.mkdir(exist_ok=True)
        fill(index, folder, "hall", start=None, source=folder.name)
    run(index)
    with (tmp_path / "people" / "people.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert {row["person"] for row in rows} == {"1", "2", "3"}
    assert rows[0]["first"] == "0.000"
    assert rows[0]["last"] == "3.900"


def test_an_index_without_tracks_is_refused(tmp_path):
    index = SearchIndex(tmp_path / "people.index")
    with pytest.raises(UserError, match="no tracks in it"):
        run(index)
    with pytest.raises(UserError, match="no such index"):
        across.main(["--index", str(tmp_path / "other.index")])


def test_people_are_recorded_and_named_people_keep_their_names(index, tmp_path):
    named = next(iter(index.entries(Filter(camera="yard", track="4"))))[0][0][0]
    index.describe({named: About(identity="Anna")})
    run(index, "--apply")
    found = {
        (about.camera, int(about.track), about.identity)
        for images, _ in index.entries()
        for _, about in images
    }
    expected = {(*key, f"person {person:04}") for key, person in EXPECTED.items()}
    assert found == expected | {("yard", 4, "Anna")}


def test_the_sheet_and_the_page_are_written(index, tmp_path):
    run(index, "--sheet", tmp_path / "people.png", "--labels", "Hall,Yard")
    assert Image.open(tmp_path / "people.png").width > 1000
    content = tracks_on_the_page(tmp_path)
    assert [each["person"] + 1 for each in content["tracks"]] == [
        EXPECTED[each["camera"], int(each["name"].split()[1])] for each in content["tracks"]
    ]
    assert all(len(each["images"]) == len(each["rows"]) == 3 for each in content["tracks"])
    assert "function checkedRows" in (tmp_path / "people" / "people.html").read_text("utf-8")


@pytest.mark.parametrize(
    "words, said",
    [
        (["--labels", "Hall,Yard"], "labels would be ignored without sheet"),
    ],
)
def test_options_that_do_not_go_together_are_refused(index, words, said):
    with pytest.raises(UserError, match=said):
        run(index, *(word.format(index=index.path) for word in words))


def changed(index, path, **facts):
    """Change facts in the record of a track file, as somebody else could."""
    (record,) = (each for each in recorded_tracks(index) if each.path == str(path))
    record_tracks(index, replace(record, **facts))


@pytest.mark.parametrize(
    "source", ["../thesis", "{folder}/thesis", "people", ".person-reid-people"]
)
def test_a_source_is_no_path_and_replaces_nothing(index, tmp_path, source):
    (tmp_path / "thesis.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    changed(index, tmp_path / "hall.txt", source=source.format(folder=tmp_path))
    words = r"people\.index: the (record of the track file .* is damaged|tracks of .* no place)"
    with pytest.raises(UserError, match=words):
        run(index)
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_track_file_may_have_any_ending_but_not_the_name_of_another_file(tmp_path):
    index = SearchIndex(tmp_path / "people.index")
    fill(index, tmp_path, "hall", source="people")
    with pytest.raises(UserError, match="have no place in .* their source is 'people'"):
        run(index)
    assert not (tmp_path / "people").exists()


def test_a_picture_in_the_folder_is_refused_before_it_is_drawn(index, tmp_path):
    run(index)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="sheet=.*people.png: the folder .* replaced as a whole"):
        run(index, "--sheet", tmp_path / "people" / "people.png")
    (tmp_path / ".people.older").mkdir()
    (tmp_path / ".people.older" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"\.people\.older: exists, and was not written by this"):
        run(index, "--sheet", tmp_path / "people.png")
    assert {*tmp_path.rglob("*")} - {*before} == {*(tmp_path / ".people.older").rglob("*")} | {
        tmp_path / ".people.older"
    }


def write_truth(folder, left=0, cameras=camera_tracks.STAYS):
    """The true boxes of cameras, shifted to the right."""
    for camera in cameras:
        lines = [
            f"{frame},{person + 1},{60 * track + left},7,30,60,1,1,1\n"
            for track, (person, first, last) in camera_tracks.STAYS[camera].items()
            for frame in range(first, last + 1)
        ]
        (folder / camera / "gt").mkdir(parents=True)
        (folder / camera / "gt" / "gt.txt").write_text("".join(lines))
    return folder


def test_a_camera_whose_name_is_not_that_of_a_folder_has_no_truth(tmp_path):
    tracks: Any = [SimpleNamespace(record=SimpleNamespace(source="a.txt", camera="../hall"))]
    with pytest.raises(UserError, match=r"the camera '\.\./hall' cannot be the name of a folder"):
        read_truth(tmp_path, tracks)


def test_truth_of_other_frames_and_of_cameras_that_are_not_indexed_is_remarked_on(
    index, tmp_path, caplog
):
    run(index, "--truth", write_truth(tmp_path / "truth"))
    assert "not in the index" not in caplog.text
    assert "hardly any box" not in caplog.text
    more = write_truth(tmp_path / "more", left=400)
    (more / "gate" / "gt").mkdir(parents=True)
    (more / "gate" / "gt" / "gt.txt").write_text("1,1,1,1,9,9,1,1,1\n")
    run(index, "--truth", more)
    assert "gate is not in the index; the figure is over hall, yard" in caplog.text
    assert "hardly any box of hall meets one of its tracks" in caplog.text
    assert "hardly any box of yard meets one of its tracks" in caplog.text


def test_truth_that_is_not_there_leaves_what_was_written(index, tmp_path):
    run(index)
    page = tmp_path / "people" / "people.html"
    before = page.stat().st_mtime_ns
    for folder in ("none", write_truth(tmp_path / "truth", cameras=["hall"])):
        with pytest.raises((UserError, OSError)):
            run(index, "--truth", folder)
    assert page.stat().st_mtime_ns == before


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_newline_in_the_name_of_a_folder_changes_nothing(tmp_path):
    folder = tmp_path / "a\nb"
    folder.mkdir()
    index = SearchIndex(folder / "people.index")
    for camera in camera_tracks.STAYS:
        fill(index, folder, camera)
    assert run(index) == run(index) == EXPECTED


def test_a_track_file_that_has_changed_or_is_gone_is_refused(index, tmp_path):
    path = tmp_path / "hall.txt"
    path.write_text(re.sub("(?m)^([0-9]+),5,", r"\1,6,", path.read_text()))
    with pytest.raises(UserError, match="hall.txt: has no track 5 any more"):
        run(index)
    path.unlink()
    with pytest.raises(UserError, match=r"hall\.txt: not there any more, .* relocate OLD NEW"):
        run(index)


def test_cameras_that_were_never_on_at_once_are_remarked_on(tmp_path, caplog):
    index = SearchIndex(tmp_path / "people.index")
    fill(index, tmp_path, "hall", start="2026-11-01 09:30:00")
    fill(index, tmp_path, "yard", start="2026-11-02 09:30:00")
    run(index)
    assert "no two cameras saw people at the same time" in caplog.text
    caplog.clear()
    fill(index, tmp_path, "yard", start=None)
    run(index)
    assert "nobody knows when 1 of 2 files begin" in caplog.text
    assert "no two" not in caplog.text


def test_what_the_page_saves_names_people_for_search_and_for_training(index, tmp_path):
    run(index)
    tracks = tracks_on_the_page(tmp_path)
    rows = [
        [path, f"person {each['person'] + 1:04}", *rest]
        for each in tracks["tracks"]
        for path, _, *rest in each["rows"]
    ]
    saved = tmp_path / "saved.csv"
    with saved.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([tracks["columns"], *rows])

    assert run(index, "--corrections", saved) == EXPECTED
    search.main(["apply", str(saved), "--index", str(index.path)])
    ((images, _),) = index.entries(Filter(camera="yard", track="4"))
    assert {about.identity for _, about in images} == {"person 0001"}
    prepare.main(["--csv", str(saved), "--save_dir", str(tmp_path / "layout")])
    people = {path.name for path in (tmp_path / "layout" / "train_all").iterdir()}
    assert people < {f"{number:04}" for number in range(1, 5)}
    assert people


def test_frames_and_a_tracker_lead_to_people(here):
    write_weights("net.pth")
    network = ["--backbone", "test_resnet", "--weights", "net.pth", "--height", "64"]
    network += ["--width", "32", "--gpu_ids", "-1", "--fps", "10", "--index", "people.index"]
    for camera in ("hall", "yard"):
        walks.write_frames(here / camera)
        walks.write_tracks(here / f"{camera}.txt")
        files = ["--tracks", f"{camera}.txt", "--frames", camera, "--camera", camera]
        search.main(["index", *files, *network])
    across.main(["--index", "people.index", "--threshold", "0.99"])
    people = people_in(here / "people")
    assert people["hall", 7] == people["yard", 7] != people["hall", 12] == people["yard", 12]


def test_two_images_are_people_without_a_page(tmp_path):
    index = SearchIndex(tmp_path / "people.index")
    fill(index, tmp_path, "hall", unseen={2, 5, 7})
    index.forget(Filter(image=str(tmp_path / 'hall_1_"0".png').encode()), "image")
    assert len(index) == 2
    assert len(run(index)) == 1
    names = {path.name for path in (tmp_path / "people").iterdir()}
    assert names >= {"people.csv", "hall-1.txt"}
    assert "people.html" not in names


def exported(folder, *steps):
    """The list that the page saves after some steps."""
    *_, rows = run_page(tracks_on_the_page(folder), *steps)
    with (folder / "saved.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / "saved.csv"


def identities(index):
    """{(camera, track): the identities of its images}."""
    found: dict[tuple[str, int], set[str]] = {}
    for images, _ in index.entries():
        for _, about in images:
            found.setdefault((about.camera, int(about.track)), set()).add(about.identity)
    return found


def test_a_name_outlasts_what_the_page_saves(index, tmp_path):
    """Confirm Anna on the page, export, apply: all her tracks are Anna's."""
    ((images, _),) = index.entries(Filter(camera="yard", track="4"))
    index.describe({path: About(identity="Anna") for path, _ in images})
    run(index, "--apply")
    rows = csv.DictReader((tmp_path / "people" / "people.csv").open(encoding="utf-8"))
    assert {row["person"]: row["name"] for row in rows} == {"1": "Anna", "2": "", "3": "", "4": ""}
    search.main(["apply", str(exported(tmp_path, "confirmPerson(0)")), "--index", str(index.path)])
    found = identities(index)
    assert all(found[key] == {"Anna"} for key, person in EXPECTED.items() if person == 1)
    assert found["hall", 2] == {"person 0002"}
    assert run(index) == EXPECTED


def test_strangers_stay_apart_whichever_link_is_cut(tmp_path, monkeypatch):
    """Record people, cut a track of each camera, link, export, apply: a person keeps the number."""
    stays = {
        camera: {4 * i + j: (j, 100 * i + 20 * j, 100 * i + 20 * j + 9) for j in range(1, 5)}
        for i, camera in enumerate(("gate", "hall", "yard"))
    }
    monkeypatch.setattr(camera_tracks, "STAYS", stays)
    for cut in (("gate", 1), ("hall", 6), ("yard", 12)):
        folder = tmp_path / "_".join(map(str, cut))
        folder.mkdir()
        index = SearchIndex(folder / "people.index")
        for camera in stays:
            fill(index, folder, camera)
        before = run(index, "--apply")
        assert len({*before.values()}) == 4
        place = [
            (each["camera"], int(each["name"].split()[1]))
            for each in tracks_on_the_page(folder)["tracks"]
        ].index(cut)
        after = run(index, "--corrections", exported(folder, f"cut({place})"))
        assert after == before | {cut: 5}
        everybody = [f"across.checked.includes({i}) || confirmPerson({i})" for i in range(5)]
        search.main(["apply", str(exported(folder, *everybody)), "--index", str(index.path)])
        assert identities(index) == {key: {f"person {who:04}"} for key, who in after.items()}


def moved_to(folder, index):
    """The index in a folder of another name, written anew, so that the old name is gone."""
    index.close()
    index.path.parent.rename(folder)
    index = SearchIndex(folder / index.path.name)
    index.describe({next(iter(index.images()))[0][0]: About(camera="hall")})
    return index


def test_a_list_is_read_after_the_folder_of_its_images_has_moved(tmp_path):
    before = tmp_path / "before"
    before.mkdir()
    index = SearchIndex(before / "people.index")
    for camera in camera_tracks.STAYS:
        fill(index, before, camera)
    run(index)
    saved = exported(before, "cut(2)", "confirmPerson(1)")
    expected = run(index, "--corrections", saved)
    assert expected != EXPECTED
    index = moved_to(tmp_path / "after", index)
    file = tmp_path / "after" / saved.name
    assert str(before) in file.read_text("utf-8")
    assert run(index, "--corrections", file) == expected
    apply(index, file)
    assert run(index) == expected


def apply(index, file):
    search.main(["apply", str(file), "--index", str(index.path)])


def test_what_was_applied_outlives_later_links(index, tmp_path, capsys):
    """Links alone would give both tracks of the hall one person, as numbered as the correction."""
    run(index, "--apply")
    file = corrections(index, tmp_path, hall_1="person 0009", hall_5="person 0001", yard_9="Dora")
    apply(index, file)
    file.unlink()
    capsys.readouterr()
    for _ in range(2):
        people = run(index, "--apply")
        assert (people["hall", 1], people["hall", 5]) == (9, 1)
        assert "somebody has said whom 3 tracks show" in capsys.readouterr().out
        assert given_on_the_page(tmp_path) == {("hall", 1), ("hall", 5), ("yard", 9)}
    found = identities(index)
    assert found["hall", 1] == {"person 0009"}
    assert found["yard", 9] == {"Dora"}


def test_a_list_adds_to_what_was_applied_and_is_recorded_with_it(index, tmp_path):
    apply(index, corrections(index, tmp_path, hall_1="Anna", hall_5="Bert"))
    file = corrections(index, tmp_path, hall_5="Carl", yard_9="Anna")
    people = run(index, "--corrections", file, "--apply")
    assert people["hall", 1] == people["yard", 9] != people["hall", 5]
    found = identities(index)
    assert found["hall", 5] == {"Carl"}
    assert found["hall", 1] == found["yard", 9] == {"Anna"}
    file.unlink()
    assert run(index) == people


def test_a_track_whose_name_was_cleared_is_linked_again(index, tmp_path):
    apply(index, corrections(index, tmp_path, hall_1="Anna"))
    for name, linked in (("Bert", False), ("", True), ("Bert", False)):
        apply(index, corrections(index, tmp_path, hall_5=name))
        people = run(index)
        assert (people["hall", 1] == people["hall", 5]) == linked


def test_what_cannot_be_is_said_with_the_list_that_mends_it(index, tmp_path):
    apply(index, corrections(index, tmp_path, hall_1="Anna", hall_2="Anna"))
    with pytest.raises(
        UserError, match=r"people\.index: nobody .*\n.*track 2 .* Anna.*\n.* apply LIST"
    ):
        run(index)
    apply(index, corrections(index, tmp_path, hall_2="Bert"))
    assert run(index)["hall", 2] != run(index)["hall", 1]


def test_forgotten_people_leave_no_name_and_no_person(index, tmp_path):
    apply(index, corrections(index, tmp_path, hall_1="Anna"))
    search.main(["forget", "--identity", "Anna", "--index", str(index.path)])
    assert ("hall", 1) not in run(index)
    assert b"Anna" not in index.path.read_bytes()


def test_images_of_other_sources_are_not_read(index, tmp_path, monkeypatch):
    other = [tmp_path / f"{i}.png" for i in range(3)]
    index.add(other, np.ones((3, 8)), {path: About(camera="3") for path in other})
    entries = SearchIndex.entries
    read: list[object] = []

    def noted(self, *which):
        for images, features in entries(self, *which):
            read.extend(path for path, _ in images)
            yield images, features

    monkeypatch.setattr(SearchIndex, "entries", noted)
    run(index)
    assert not {*read} & {*other}
    assert len(read) == len({*read})


def test_the_threshold_is_what_the_network_is_known_for(index, tmp_path, monkeypatch, capsys):
    """Its config.json lies beside its weights; a damaged one is named."""
    place = tmp_path / "network"
    place.mkdir()
    network = index.recall("network")
    said = {"strangers": [0.1, 0.1], "same": [0.7, 0.1]}
    (place / "config.json").write_text(json.dumps({"track_cosines": said}))
    open_index = SearchIndex(tmp_path / "again.index")
    open_index.remember({"network": {**(network or {}), "from": str(place)}})
    assert track_cosines_of(open_index) == TrackCosines((0.1, 0.1), (0.7, 0.1))
    assert track_cosines_of(index) is None
    words = ["--index", str(index.path), "--save", str(tmp_path / "p")]
    # no place has strangers so unlike each other that these are corrected for it
    unlike = TrackCosines((-0.5, 0.1), (0.9, 0.1))
    monkeypatch.setattr(linked_tracks, "track_cosines_of", lambda _: unlike)
    across.main(words)
    people = len({row["person"] for row in rows_of(tmp_path / "p" / "people.csv")})
    said_now = capsys.readouterr().out
    assert f"threshold {unlike.threshold(people):.4f};" in said_now
    assert re.search(r"2026-11-01: \d people \(\d+ to \d+\); hall", said_now)
    monkeypatch.undo()  # the network says nothing: there is no range of all cameras
    across.main(words)
    assert re.search(r"2026-11-01: \d people; hall \d \(\d to \d\)", capsys.readouterr().out)
    every, hall, *_ = rows_of(tmp_path / "p" / "counts.csv")
    assert (every["fewest"], every["most"]) == ("", "")
    assert int(hall["fewest"]) < int(hall["most"])
    (place / "config.json").write_text('{"track_cosines": {"strangers": [0.8, 0.1]}}')
    with pytest.raises(UserError, match=r"config\.json: damaged"):
        track_cosines_of(open_index)


def test_the_first_track_tells_when_a_picture_begins():
    def track(seconds, start):
        return SimpleNamespace(
            track=SimpleNamespace(first=seconds), record=SimpleNamespace(start=start)
        )

    tracks: Any = [track(86_400.0, "1970-01-02"), track(90_000.0, "1970-01-02"), track(5.0, None)]
    begin = begin_of(tracks)
    assert begin
    assert begin.timestamp() == 86_400
    assert begin_of(tracks[2:]) is None


def test_a_track_is_doubtful_up_to_a_margin_of_a_twentieth():
    stays = [SimpleNamespace(person=0, camera="hall", margin=margin) for margin in (0.04, 0.06)]
    linked: Any = SimpleNamespace(
        stays=stays, tracks=[], nobody=[], found=SimpleNamespace(threshold=0.5)
    )
    assert in_words(linked).endswith("; 1 doubtful track")
