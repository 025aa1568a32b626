"""An index whose folder is moved or renamed with the images in it."""

import os
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from person_reid.gallery.forgetting import not_forgotten
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.index_folder import IndexFolder, relocated
from person_reid.gallery.indexed_network import NetworkRef, known_network
from person_reid.gallery.metadata import About, Filter
from person_reid.gallery.track_records import TrackRecord, record_tracks, recorded_tracks
from person_reid.gallery.upkeep import back_up, gone
from tools import gallery

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
        assert found == record(place)
    assert (place / "people.index").read_bytes() == content


def test_an_index_that_moved_is_changed_and_knows_what_was_forgotten(project, here):
    place = moved(project)
    expected = images_of(place, here / "other.jpg")
    with closing(SearchIndex(place / "people.index")) as index:
        stored = {path for (path,) in index.store.db.rows("SELECT path FROM images")}
        assert stored == {*(b"./crops/%d.jpg" % i for i in range(5)), os.fsencode(expected[5])}
        assert index.describe({expected[1]: About("Berta"), expected[5]: About("Carla")}) == 2
        assert next(index.images(Filter(identity="Berta")))[0][0] == expected[1]
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


def test_a_copy_of_an_index_means_the_images_beside_it(project, here):
    with closing(SearchIndex(project / "people.index")) as index:
        back_up(index, here / "copies" / "people.index")
    with closing(SearchIndex(here / "copies" / "people.index")) as index:
        assert index.missing([here / "other.jpg"]) == []
        assert len(gone(index)) == 5
    (here / "copies" / "people.index").replace(project / "people.index")
    with closing(SearchIndex(project / "people.index")) as index:
        assert gone(index) == []


def test_what_moved_without_its_index_is_relocated_by_its_command(project, here, capsys):
    (project / "crops").rename(here / "crops")
    words = ["--index", str(project / "people.index")]
    for old, new in ((project / "crops", here / "crops"), (project, here)):
        gallery.main(["relocate", str(old), str(new), *words])
        assert f"{5 * (old != project)} images of" in capsys.readouterr().out
    with closing(SearchIndex(project / "people.index")) as index:
        assert index.missing(images_of(here, here / "other.jpg")) == []
        assert recorded_tracks(index) == [record(here)]
        assert known_network(index) == NetworkRef("weights", str(here / "net.pth"))


def test_a_path_is_relative_if_it_is_below_the_folder(tmp_path):
    folder = IndexFolder(tmp_path / "a.index")
    for text, stored in (
        (str(tmp_path / "b" / "1.jpg"), b"./b/1.jpg"),
        (f"{tmp_path}b/1.jpg", f"{tmp_path}b/1.jpg".encode()),
        ("1.jpg", b"1.jpg"),
        ("./1.jpg", b"1.jpg"),
    ):
        assert folder.stored(text) == stored
        assert folder.path(stored) == Path(text)
    value = {"a": [str(tmp_path / "c"), "c", 1, None], "below": str(tmp_path / "d"), "./": "./e"}
    assert folder.stored_value(value)["a"][0] == {"below": "c"}
    assert folder.value(folder.stored_value(value)) == value


def test_what_is_below_a_folder_is_relocated():
    old, new = Path("/a"), Path("/a/b")
    assert relocated({"x": ["/a/c", "/ab", "a/c", 1]}, old, new) == {
        "x": ["/a/b/c", "/ab", "a/c", 1]
    }
    assert relocated(Path("/a/c"), old, new) == Path("/a/b/c")
