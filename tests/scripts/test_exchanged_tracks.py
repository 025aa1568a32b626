"""Tracks that a tracker has exchanged are cut before tools/across.py links them."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from person_reid.data.video.track_files import read_boxes
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.metadata import About
from person_reid.gallery.track_records import TrackRecord, record_tracks
from tools import across

PEOPLE, LAST = 16, 40  # all are there in every frame, ten a second
SHOWN = range(3, LAST, 5)  # the frames of which there are images
CUT = 21  # the first frame after the middle of images 18 and 23
FACES = np.random.default_rng(0).normal(size=(PEOPLE, 32))


def fill(index, folder, camera, start, shown, cut=CUT):
    """Put a camera into an index. shown: {track: (its person, and whom it shows from `cut` on)}."""
    tracks = folder / f"{camera}.txt"
    boxes = [
        f"{frame},{track},{20 * track},7,15,60,0.9,-1,-1,-1\n"
        for frame in range(1, LAST + 1)
        for track in shown
    ]
    tracks.write_text("".join(boxes))
    facts = (camera, str(folder / camera), 10.0, f"2026-11-01 {start}", 640, 480, None)
    record = TrackRecord(f"{camera}-1", str(tracks), "", *facts)
    record_tracks(index, record)
    (folder / camera).mkdir()
    Image.new("RGB", (32, 64)).save(folder / "any.jpg")
    paths, people = [], []
    abouts = {}
    for track, both in shown.items():
        for frame in SHOWN:
            paths.append(folder / camera / f"{track:06d}_{frame:06d}.jpg")
            shutil.copy(folder / "any.jpg", paths[-1])
            people.append(both[frame >= cut])
            abouts[paths[-1]] = About(camera=camera, track=str(track), source=record.source)
    noise = 0.1 * np.random.default_rng(1).normal(size=(len(paths), FACES.shape[1]))
    index.add(paths, (FACES[people] + noise).astype(np.float32), abouts)


@pytest.fixture
def index(tmp_path):
    """Tracks 1 and 2 of the hall are exchanged; later, the yard sees their people, 0 and 1."""
    found = SearchIndex(tmp_path / "people.index")
    stays = {person + 1: (person, person) for person in range(PEOPLE)}
    fill(found, tmp_path, "hall", "09:30:00", stays | {1: (0, 1), 2: (1, 0)})
    fill(found, tmp_path, "yard", "09:40:00", {1: (0, 0), 2: (1, 1)})
    return found


def run(index, *words):
    """{(camera, track): [(person, first, last), …]} of a run, in the order of time, in seconds."""
    folder = index.path.parent / "people"
    across.main(["--index", str(index.path), "--save", str(folder), "--threshold", "0.7", *words])
    found: dict[tuple[str, int], list] = {}
    with (folder / "people.csv").open(encoding="utf-8", newline="") as file:
        for row in sorted(csv.DictReader(file), key=lambda row: row["first"]):
            stay = int(row["person"]), row["first"][17:23], row["last"][17:23]
            found.setdefault((row["camera"], int(row["track"])), []).append(stay)
    return found


def test_each_piece_of_an_exchanged_track_is_who_it_shows(index, capsys):
    found = run(index)
    (zero, *_), (one, *_) = found["yard", 1][0], found["yard", 2][0]
    for track, (before, after) in {1: (zero, one), 2: (one, zero)}.items():
        pieces = [(before, "00.000", "01.700"), (after, "02.200", "03.900")]
        assert found["hall", track] == pieces
    assert all(len(found["hall", track]) == 1 for track in range(3, PEOPLE + 1))
    assert (
        f"{PEOPLE} people on 18 tracks, cut at 2 changes of the person" in capsys.readouterr().out
    )

    boxes = read_boxes(index.path.parent / "people" / "hall-1.txt")[1]
    written = {(box.sides[0], int(box.frame)): int(box.track) for box in boxes}
    for track, (before, after) in {1: (zero, one), 2: (one, zero)}.items():
        people = [written[20 * track - 1, frame] for frame in range(1, LAST + 1)]
        assert people == [before] * (CUT - 1) + [after] * (LAST - CUT + 1)


def test_the_page_names_the_pieces_and_shows_the_images_of_each(index):
    run(index)
    page = (index.path.parent / "people" / "people.html").read_text("utf-8")
    tracks = json.loads(re.search(r'receive\("tracks", (.*)\);', page)[1])["tracks"]
    pieces = {each["name"]: each for each in tracks if each["camera"] == "hall"}
    assert len(pieces) == PEOPLE + 2
    for track in (1, 2):
        rows = [pieces[f"track {track}, piece {piece}"]["rows"] for piece in (1, 2)]
        frames = [[int(row[0][-10:-4]) for row in each] for each in rows]
        assert frames == [[*SHOWN][:4], [*SHOWN][4:]]


def listed(folder, names):
    """A list of images of the hall. names: {track: the name of each image}."""
    lines = ["path,identity"]
    for track, every in names.items():
        for frame, name in zip(SHOWN, every, strict=True):
            lines.append(f"{folder / 'hall' / f'{track:06d}_{frame:06d}.jpg'},{name}")
    (folder / "corrections.csv").write_text("\n".join(lines))
    return ["--corrections", str(folder / "corrections.csv")]


def test_what_somebody_says_decides_where_a_track_is_cut(index, tmp_path):
    """Track 1 is confirmed as one person, and track 3 shows two, whatever the features say."""
    names = {1: ["Anna"] * 8, 3: ["", "Bert", "Bert", "", "", "Carl", "Carl", ""]}
    found = run(index, *listed(tmp_path, names))
    assert [len(found["hall", track]) for track in (1, 2, 3, 4)] == [1, 2, 2, 1]
    assert found["hall", 3][0][0] != found["hall", 3][1][0]
    assert found["hall", 3][1][1] == "02.700"  # the first image of Carl


def test_what_was_said_of_pieces_is_kept_without_the_list(index, tmp_path):
    said = {1: ["Anna"] * 4 + ["Bert"] * 4, 3: ["Carl"] * 2 + ["Dora"] * 6}
    before = run(index, *listed(tmp_path, said), "--apply")
    (tmp_path / "corrections.csv").unlink()
    assert run(index) == before
    assert [len(before["hall", track]) for track in (1, 2, 3, 4)] == [2, 2, 2, 1]


def test_a_list_of_one_persons_images_leaves_the_rest_of_an_exchanged_track(index, tmp_path):
    """people.html exports such a list for a person who was confirmed."""
    before = run(index)
    found = run(index, *listed(tmp_path, {1: ["Anna"] * 4 + [""] * 4}))
    assert [stay[1:] for stay in found["hall", 1]] == [stay[1:] for stay in before["hall", 1]]
    assert found["hall", 1][0][0] != found["hall", 1][1][0] == found["hall", 2][0][0]


def test_a_piece_of_one_image_is_not_counted_unless_somebody_names_it(tmp_path, capsys):
    """The last image of track 1 shows somebody else, as where a tracker goes astray."""
    index = SearchIndex(tmp_path / "people.index")
    stays = {person + 1: (person, person) for person in range(PEOPLE)}
    fill(index, tmp_path, "hall", "09:30:00", stays | {1: (0, 1)}, cut=SHOWN[-1])
    assert [stay[1:] for stay in run(index, "--apply")["hall", 1]] == [("00.000", "03.200")]
    assert "; 1 track not counted, perhaps not of people" in capsys.readouterr().out
    page = (tmp_path / "people" / "people.html").read_text("utf-8")
    tracks = json.loads(re.search(r'receive\("tracks", (.*)\);', page)[1])["tracks"]
    assert [(e["name"], e["given"]) for e in tracks if e["person"] < 0] == [
        ("track 1, piece 2", False)
    ]
    boxes = read_boxes(tmp_path / "people" / "hall-1.txt")[1]
    assert len({int(box.track) for box in boxes if box.sides[0] == 19}) == 2
    last = tmp_path / "hall" / f"000001_{SHOWN[-1]:06d}.jpg"
    assert not index.abouts([last])[last].identity

    (tmp_path / "corrections.csv").write_text(f"path,identity\n{last},Anna\n")
    assert len(run(index, "--corrections", str(tmp_path / "corrections.csv"))["hall", 1]) == 2
