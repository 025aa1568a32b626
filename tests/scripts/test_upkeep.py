"""gallery.py info, check, backup, relocate and prune, and columns of one's own."""

import json
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from person_reid.config.search import GALLERY_COMMANDS
from person_reid.errors import UserError
from person_reid.gallery.forgetting import not_forgotten, tracks_not_forgotten
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.metadata import About, Filter, about_images, read_abouts
from person_reid.gallery.track_records import TrackRecord, record_tracks, recorded_tracks
from person_reid.gallery.upkeep import open_file
from tools import gallery, search

FEATURES = np.eye(6, 8, dtype=np.float32) + 0.1


@pytest.fixture
def images(here):
    """Six files that are on the disk and in people.index."""
    (here / "crops").mkdir()
    paths = [here / "crops" / f"{number}.jpg" for number in range(6)]
    for path in paths:
        path.write_bytes(path.name.encode())
    with closing(SearchIndex("people.index")) as index:
        index.add(paths, FEATURES, {paths[0]: About("Anna", "3", more={"store": "north"})})
        index.remember({"network": {"name": "ours", "weights": str(here / "crops" / "net.pth")}})
    return paths


def said(capsys, *words):
    script = gallery if words[0] in GALLERY_COMMANDS else search
    script.main([*map(str, words), "--index", "people.index"])
    return capsys.readouterr().out


def test_search_names_the_script_of_a_command(images):
    with pytest.raises(
        UserError, match=r"a command of tools/gallery\.py: python tools/gallery\.py backup"
    ):
        search.main(["backup", "copy.index", "--index", "people.index"])


def test_info_says_what_an_index_holds(images, capsys):
    printed = said(capsys, "info", "--json", "info.json")
    assert "images: 6\n" in printed
    assert "network: name ours" in printed
    assert "identity: Anna\ncamera: 3\n" in printed
    assert "version: 3\n" in printed
    facts = json.loads(Path("info.json").read_text(encoding="utf-8"))
    assert (facts["codes"], facts["lists"], facts["forgotten"]) == ("pq64", [], [])


def test_check_names_damage_and_says_if_there_is_none(images, here, capsys):
    assert "6 images, and no damage" in said(capsys, "check")
    file = here / "people.index"
    content = file.read_bytes()
    feature = SearchIndex(file).store.db.rows("SELECT feature FROM images")[0][0]
    for old, new, words in (
        (feature, bytes(len(feature)), "1 of 6 features are all zero, the first is"),
        (feature, b"\xff" * len(feature), "1 of 6 features are NaN or infinite"),
        (feature, feature[:2] * (len(feature) // 2), "a feature is not of length 1"),
        (b"/3.jpg", b"/9.jpg", "missing from index"),  # the row, or the index of paths
    ):
        file.write_bytes(content.replace(old, new, 1))
        with pytest.raises(UserError, match="damaged; the lines above"):
            said(capsys, "check")
        assert words in capsys.readouterr().out


def test_a_backup_replaces_an_older_one_and_nothing_else(images, here, capsys):
    said(capsys, "backup", "copy.index")
    said(capsys, "backup", "copy.index")
    with closing(sqlite3.connect("photos.db")) as photos:  # of another program
        photos.execute("CREATE TABLE album (name)")
    with pytest.raises(UserError, match=r"photos.db: is there already, and is not a copy"):
        said(capsys, "backup", "photos.db")
    Path("photo.jpg").write_bytes(b"precious")
    with pytest.raises(UserError, match=r"photo.jpg: is there already, and is not a copy"):
        said(capsys, "backup", "photo.jpg")
    assert Path("photo.jpg").read_bytes() == b"precious"


def test_a_backup_is_of_one_state_while_others_write(images, here, capsys):
    writer = SearchIndex("people.index")
    stop = threading.Event()

    def write():
        with closing(SearchIndex(here / "people.index")) as index:
            while not stop.is_set():
                index.describe({images[1]: About("Berta"), images[2]: About("Berta")})
                index.describe({images[1]: About("Carla"), images[2]: About("Carla")})

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for number in range(5):
            assert f"Written: {number}.index" in said(capsys, "backup", f"{number}.index")
    finally:
        stop.set()
        thread.join()
    writer.close()
    for number in range(5):
        with closing(SearchIndex(f"{number}.index")) as copy:
            names = {about.identity for some in copy.images() for _, about in some}
            assert len(names & {"Berta", "Carla"}) <= 1
            assert len(copy) == 6
    assert not [*here.glob("*.index-*"), *here.glob("*.partial")]


def test_an_index_of_another_place_knows_its_images_again(images, here, capsys):
    tracks = TrackRecord(
        "film-1", str(here / "crops" / "t.txt"), str(here / "film.mp4"), "3",
        str(here / "crops" / "cut"), 25.0, None, 64, 128, None,
    )  # fmt: skip
    with closing(SearchIndex("people.index")) as index:
        record_tracks(index, tracks)
    (here / "crops").rename(here / "moved")
    assert "6 images of" in said(capsys, "relocate", here / "crops", here / "moved")
    with closing(SearchIndex("people.index")) as index:
        new = [here / "moved" / path.name for path in images]
        assert index.missing(new) == []
        assert len(index) == 6
        assert index.search(FEATURES[:1], 1)[0][0].about.identity == "Anna"
        assert recorded_tracks(index)[0].path == str(here / "moved" / "t.txt")
        assert recorded_tracks(index)[0].frames == tracks.frames
        assert index.recall("network")["weights"] == str(here / "moved" / "net.pth")
    assert "0 images of" in said(capsys, "relocate", here / "crops", here / "moved")


def test_images_whose_files_are_gone_are_pruned_but_never_all(images, here, capsys):
    images[4].unlink()
    assert "1 image forgotten, 5 left" in said(capsys, "prune")
    assert "0 images forgotten, 5 left" in said(capsys, "prune")
    (here / "crops").rename(here / "moved")
    with pytest.raises(UserError, match=r"Have they moved\? python tools/gallery\.py relocate"):
        said(capsys, "prune")


def test_an_image_that_is_not_there_is_named_by_forget(images, capsys):
    printed = said(capsys, "forget", "--image", "nosuch.jpg")
    assert "0 images forgotten, 6 left" in printed
    assert "No such image: " in printed


def test_a_list_keeps_its_further_columns(images, here, capsys):
    (here / "list.csv").write_text(
        "path,camera,Store,note\ncrops/1.jpg,3,south,\ncrops/2.jpg,,,x\n"
    )
    assert about_images(images[1:3], here / "list.csv", dated=()) == {
        images[1]: About(camera="3", more={"store": "south"}),
        images[2]: About(more={"note": "x"}),
    }
    with closing(SearchIndex("people.index")) as index:
        index.describe(about_images(images[1:3], here / "list.csv", dated=()))
        found = index.search(FEATURES[:1], 9, among=Filter(where={"store": "south"}))[0]
        assert [match.path for match in found] == [images[1]]
    search.write_list(here / "people.csv", {str(images[1]): About("Anna", more={"store": "x"})})
    assert read_abouts(here / "people.csv")[images[1]] == About("Anna", more={"store": "x"})
    assert "1 image forgotten" in said(capsys, "forget", "--where", "store=south")


def test_what_is_no_file_has_tools_of_its_own(images, monkeypatch):
    monkeypatch.setattr("person_reid.gallery.upkeep.open_gallery", lambda place, new: object())
    with pytest.raises(UserError, match="not a file"):
        open_file("other:people")


def test_what_was_forgotten_comes_back_only_if_somebody_allows_it(images, here, caplog):
    with closing(SearchIndex("people.index")) as index:
        assert index.forget(Filter(image=images[2]), "image") == 1
        new = index.missing(images)
        assert new == [images[2]]
        assert not_forgotten(index, new) == []
        assert "forgotten once, and not added again: 1 image" in caplog.text
        images[1].write_bytes(b"another picture")
        assert not_forgotten(index, index.missing(images)) == [images[1]]
        assert not_forgotten(index, new, allowed=True) == new == not_forgotten(index, new)
    content = (here / "people.index").read_bytes()
    assert str(images[2]).encode() not in content
    assert b"another" not in content


def test_forgotten_tracks_are_known_again_and_their_record_is_gone(images, here):
    def record(name):
        return TrackRecord(
            name, str(here / name), "film.mp4", "3", "cut", 25.0, None, 64, 128, None
        )  # fmt: skip

    with closing(SearchIndex("people.index")) as index:
        for name in ("film-1", "film-2", "film-3"):
            record_tracks(index, record(name))
        of_track = {
            path: About(source="film-1", track=str(i // 2)) for i, path in enumerate(images)
        }
        index.describe(of_track)
        tracks: list[Any] = [SimpleNamespace(number=number) for number in range(3)]
        index.forget(Filter(image=images[0]), "image")  # another image of track 0 is left
        index.forget(Filter(track="1"), "track")
        left = tracks_not_forgotten(index, "film-1", tracks)
        assert [track.number for track in left] == [0, 2]
        assert len(recorded_tracks(index)) == 3
        index.forget(Filter(source="film-1"), "source")
        assert [each.source for each in recorded_tracks(index)] == ["film-2", "film-3"]
        record_tracks(index, record("film-1"))
        assert len(recorded_tracks(index)) == 3
