"""An index whose folder is moved or renamed with the images in it."""

import os
import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from person_reid.gallery.forgotten import not_forgotten
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.indexed_network import NetworkRef, known_network
from person_reid.gallery.metadata import About, Filter
from person_reid.gallery.moved_folder import MovedFolder
from person_reid.gallery.track_records import TrackRecord, record_tracks, recorded_tracks
from person_reid.gallery.upkeep import back_up, gone, upgrade_file
from tools import search

FEATURES = np.eye(6, 8, dtype=np.float32) + 0.1


@pytest.fixture
def project(here):
    """A folder with an index, five images and a track file; the sixth image is elsewhere."""
    folder = here / "project"
    (folder / "crops").mkdir(parents=True)
    paths = [folder / "crops" / f"{number}.jpg" for number in range(5)] + [here / "other.jpg"]
    for path in paths:
        path.write_bytes(path.name.encode())
    with closing(SearchIndex(folder / "people.index")) as index:
        index.add(paths, FEATURES, {paths[0]: About("Anna", "3")})
        place = str(folder / "net.pth")
        index.remember({"network": {"weights": place}, "words": [place, "net.pth"]})
        record_tracks(index, record(folder))
    return folder


def record(folder):
    """The record of a track file in a folder."""
    return TrackRecord(
        "film-1",
        str(folder / "film.txt"),
        str(folder / "film.mp4"),
        "3",
        str(folder / "people.crops" / "film-1"),
        25.0,
        None,
        64,
        128,
        None,
    )


def moved(project):
    return project.rename(project.with_name("moved"))


def images_of(folder, other):
    return [folder / "crops" / f"{number}.jpg" for number in range(5)] + [other]


def test_a_moved_folder_is_read_as_it_is_now(project, here):
    place = moved(project)
    content = (place / "people.index").read_bytes()
    expected = images_of(place, here / "other.jpg")
    with closing(SearchIndex(place / "people.index")) as index:
        assert [path for some in index.images() for path, _ in some] == expected
        assert [match.path for (match,) in index.search(FEATURES, 1)] == expected
        assert index.missing(expected) == []
        assert gone(index) == []
        assert index.missing([project / "crops" / "0.jpg"]) != []
        for which in (Filter(image=expected[1]), Filter(images=(expected[1],))):
            assert next(index.images(which)) == [(expected[1], About())]
            assert index.search(FEATURES[:1], 9, among=which)[0][0].path == expected[1]
        assert not any(index.images(Filter(image=project / "crops" / "1.jpg")))
        assert known_network(index) == NetworkRef("weights", str(place / "net.pth"))
        assert index.recall("words") == [str(place / "net.pth"), "net.pth"]
        (found,) = recorded_tracks(index)
        assert found.indexed_at == [record(project).path, record(project).frames]
        assert found.path == record(place).path
        assert found.crops == record(place).crops
    assert (place / "people.index").read_bytes() == content


def test_the_first_change_writes_the_new_paths_and_others_see_them(project, here, caplog):
    place = moved(project)
    caplog.set_level("INFO")
    expected = images_of(place, here / "other.jpg")
    with (
        closing(SearchIndex(place / "people.index")) as index,
        closing(SearchIndex(place / "people.index")) as reader,
    ):
        assert reader.missing(expected) == []
        assert index.describe({expected[1]: About("Berta"), expected[5]: About("Carla")}) == 2
        assert f"was moved from {project}, with 5 images" in caplog.text
        stored = {os.fsdecode(path) for (path,) in index._rows("SELECT path FROM images")}
        assert stored == {*map(str, expected)}
        for each in (index, reader):
            assert each.missing(expected) == []
            assert len(each) == 6
            assert next(each.images(Filter(identity="Berta")))[0][0] == expected[1]
            assert recorded_tracks(each)[0].path == record(place).path
        assert not [*index.changed_rows()]
        index.add(expected[:1], FEATURES[:1])
        assert len(index) == 6
        assert index.forget(Filter(image=expected[0]), "image") == 1
        assert not_forgotten(index, index.missing(expected)) == []
    again = place.rename(here / "again")  # what was forgotten is known again there
    with closing(SearchIndex(again / "people.index")) as index:
        new = index.missing(images_of(again, here / "other.jpg"))
        assert new == [again / "crops" / "0.jpg"]
        assert not_forgotten(index, new) == []
        assert not_forgotten(index, new, allowed=True) == new == not_forgotten(index, new)


def test_forgetting_in_a_moved_folder_takes_the_images_that_were_meant(project, here):
    crops = project / "people.crops" / "film-1"
    crops.mkdir(parents=True)
    cut = [crops / f"000001_{frame:06}.jpg" for frame in (1, 2)]
    for path in cut:
        path.write_bytes(b"cut")
    with closing(SearchIndex(project / "people.index")) as index:
        index.add(cut, FEATURES[:2], dict.fromkeys(cut, About(source="film-1", track="1")))
    place = moved(project)
    with closing(SearchIndex(place / "people.index")) as index:
        first = place / "people.crops" / "film-1" / cut[0].name
        assert index.forget(Filter(image=first), "image") == 1
        assert not first.exists()
        assert index.forget(Filter(source="film-1"), "source") == 1
        assert not (place / "people.crops" / "film-1").exists()
        assert len(index) == 6
        assert recorded_tracks(index) == []


def test_a_copy_of_an_index_elsewhere_still_means_the_old_images(project, here):
    (here / "copies").mkdir()
    with closing(SearchIndex(project / "people.index")) as index:
        back_up(index, here / "copies" / "people.index")
    expected = images_of(project, here / "other.jpg")
    with closing(SearchIndex(here / "copies" / "people.index")) as index:
        assert index.missing(expected) == []
        index.describe({expected[1]: About("Berta")})
        assert [path for some in index.images() for path, _ in some] == expected
    shutil.copytree(project, here / "second")  # and so does that one, until the first is gone
    with closing(SearchIndex(here / "second" / "people.index")) as index:
        assert index.missing(expected) == []
    shutil.rmtree(project)
    with closing(SearchIndex(here / "second" / "people.index")) as index:
        assert next(path for path, _ in next(index.images())) == here / "second/crops/0.jpg"


def test_an_upgrade_notes_the_folder_and_writes_moved_paths(project, here):
    place = moved(project)
    with closing(SearchIndex(place / "people.index")) as index:
        upgrade_file(index)
        assert index._noted("folder") == str(place)
        (path,) = index._rows("SELECT path FROM images WHERE id = 1")[0]
        assert path == os.fsencode(place / "crops" / "0.jpg")


def test_an_older_index_that_moved_is_relocated_by_its_command(project, here, capsys):
    with closing(SearchIndex(project / "people.index")) as index:
        index._rows("DELETE FROM about WHERE key = 'folder'")
    place = moved(project)
    words = ["--index", str(place / "people.index")]
    (here / "other.jpg").unlink()
    with pytest.raises(Exception, match=r"Have they moved\? python tools/search\.py relocate"):
        search.main(["prune", *words])
    search.main(["relocate", str(project), str(place), *words])
    assert "5 images of" in capsys.readouterr().out
    with closing(SearchIndex(place / "people.index")) as index:
        assert index.missing(images_of(place, here)[:5]) == []
        assert recorded_tracks(index)[0].path == record(place).path


def test_a_path_moves_if_it_is_below_the_folder():
    below = MovedFolder(Path("/a"), Path("/a/b"))
    assert below.now_of(b"/a/c/1.jpg") == b"/a/b/c/1.jpg"
    assert below.stored(b"/a/b/c") == b"/a/c"
    assert below.stored(b"/a/c") == b""
    for path in ("/ab/1.jpg", "a/1.jpg", "1.jpg", "no path"):
        assert below.now(path) == path
        assert below.now_of(path.encode()) == path.encode()
    assert MovedFolder(Path("/"), Path("/a")).now_of(b"/1.jpg") == b"/a/1.jpg"
