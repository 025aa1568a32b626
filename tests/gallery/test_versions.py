"""Indexes of earlier and later versions, columns of one's own, and readers beside writers."""

import gzip
import shutil
import sqlite3
import threading
import time
from typing import Any

import numpy as np
import pytest

from person_reid.errors import UserError
from person_reid.gallery import schema, sqlite_errors
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.metadata import About, Filter
from person_reid.gallery.sqlite_file import PAGE
from tests.support import ROOT

FEATURES = np.eye(6, 8, dtype=np.float32) + 0.1
PATHS = [f"/crops/{number}.jpg" for number in range(6)]


@pytest.fixture
def old(tmp_path):
    """An index as version 1 wrote it: six images, of which Berta is on the first."""
    with gzip.open(ROOT / "tests/fixtures/version_1.index.gz") as packed:
        (tmp_path / "old.index").write_bytes(packed.read())
    return tmp_path / "old.index"


def version(path):
    return SearchIndex(path)._rows("PRAGMA user_version")[0][0]


def test_a_file_of_version_1_is_read_as_it_is(old):
    content = old.read_bytes()
    index = SearchIndex(old)
    found = index.search(FEATURES, 1)
    assert [str(match.path) for (match,) in found] == PATHS
    berta = About("Berta", "0", "2026-11-01 08:30:00Z", "4", "film")
    assert found[0][0].about == berta
    assert index.recall("network") == {"name": "ours"}
    assert next(index.images(Filter(identity="Berta")))[0][1] == berta
    assert not any(index.images(Filter(where={"store": "3"})))
    index.close()
    assert old.read_bytes() == content
    assert version(old) == 0


def test_an_index_is_brought_up_to_date_when_something_is_first_written(old, caplog):
    caplog.set_level("INFO")
    index, reader = SearchIndex(old), SearchIndex(old)
    assert len(reader.search(FEATURES[:1], 9)[0]) == 6
    assert index.describe({PATHS[0]: About(more={"store": "3"})}) == 1
    assert "brought to version 2" in caplog.text
    assert version(old) == schema.VERSION
    for each in (index, reader):
        found = each.search(FEATURES[:1], 9, among=Filter(where={"store": "3"}))[0]
        assert [(str(match.path), match.about.more) for match in found] == [
            (PATHS[0], {"store": "3"})
        ]
    assert len(index.search(FEATURES[:1], 9)[0]) == 6
    index.add(["/new.jpg"], FEATURES[:1])
    assert index.forget(Filter(identity="Anna"), "identity") == 3
    assert len(reader) == 4


def test_an_upgrade_that_is_interrupted_changes_nothing(old, monkeypatch):
    monkeypatch.setitem(schema.STEPS, 2, (*schema.STEPS[2], "NO SQL"))
    index = SearchIndex(old)
    with pytest.raises(sqlite3.OperationalError):
        index.describe({PATHS[0]: About("Carla")})
    assert index.search(FEATURES[:1], 1)[0][0].about.identity == "Berta"
    monkeypatch.undo()
    index.describe({PATHS[0]: About("Carla")})
    assert index.search(FEATURES[:1], 1)[0][0].about.identity == "Carla"


def test_a_file_of_a_later_version_is_refused_and_stays_as_it_is(old):
    index = SearchIndex(old)
    index.remember({"written": True})
    index._rows("PRAGMA user_version = 99")
    index.close()
    content = old.read_bytes()
    words = (
        r"old\.index: of version 99; this program knows versions up to 2\. Update the clone, and"
    )
    with pytest.raises(UserError, match=words):
        SearchIndex(old)
    assert old.read_bytes() == content


def test_a_program_of_version_1_may_change_what_this_one_wrote(old):
    index = SearchIndex(old)
    index.add(PATHS, FEATURES, {PATHS[1]: About("Anna", more={"store": "3"})})
    index._rows("UPDATE images SET camera = '7' WHERE path = ?", (PATHS[1].encode(),))
    found = index.search(FEATURES[1:2], 1, among=Filter(camera="7"))[0][0]
    assert found.about.camera == "7"
    assert found.about.more == {"store": "3"}


def test_columns_of_ones_own_are_kept_filtered_and_joined(tmp_path):
    index = SearchIndex(tmp_path / "a.index")
    own = {"store": "3", 'a "strange" name': "x"}
    index.add(PATHS, FEATURES, {PATHS[0]: About(more=own), PATHS[1]: About(more={"store": "4"})})
    index.describe({PATHS[0]: About("Anna", more={"store": "5"})})
    for where in ({"store": "5"}, {'a "strange" name': "x"}, {**own, "store": "5"}):
        found = index.search(FEATURES[:1], 9, among=Filter(where=where))[0]
        assert [str(match.path) for match in found] == [PATHS[0]]
    assert found[0].about.facts() == {"identity": "Anna", **own, "store": "5"}
    assert not any(index.images(Filter(where={"store": "3"})))
    wrong: Any
    for wrong in ({"camera": "3"}, {"store": 2.5}, {3: "x"}, "store=3"):
        with pytest.raises(UserError):
            Filter(where=wrong)
        with pytest.raises(UserError):
            index.describe({PATHS[0]: About(more=wrong)})


def test_a_search_sees_its_own_state_while_others_write_and_forget(tmp_path):
    """Neither waits for the other; what is forgotten leaves the files when the search ends."""
    index, other = SearchIndex(tmp_path / "a.index"), SearchIndex(tmp_path / "a.index")
    index.add(PATHS, FEATURES)
    with index._transaction("DEFERRED"):
        assert len(index) == 6
        other.add(["/new.jpg"], FEATURES[:1])
        forgetting = threading.Thread(target=forget_first, args=(tmp_path / "a.index",))
        forgetting.start()
        forgetting.join(0.3)
        assert forgetting.is_alive()  # it waits for the search to end
        assert len(other) == 6
        assert len(index._rows("SELECT * FROM images")) == 6
    forgetting.join(20)
    assert not forgetting.is_alive()
    assert len(index) == 6
    for file in tmp_path.iterdir():
        assert PATHS[0].encode() not in file.read_bytes()


def test_who_forgets_does_not_keep_writers_waiting_while_a_search_runs(tmp_path, monkeypatch):
    path = tmp_path / "a.index"
    index = SearchIndex(path)
    index.add(PATHS, FEATURES)
    monkeypatch.setattr(sqlite_errors, "BUSY", 0.3)
    writer = SearchIndex(path)
    with index._transaction("DEFERRED"):
        assert len(index) == 6
        forgetting = threading.Thread(target=forget_first, args=(path,))
        forgetting.start()
        while len(writer) == 6:  # until it has forgotten, and waits
            time.sleep(0.01)
        for number in range(20):
            writer.add([f"/{number}.jpg"], FEATURES[:1])
            time.sleep(0.01)
        assert forgetting.is_alive()
    forgetting.join(20)
    assert len(index) == 25
    assert not forgetting.is_alive()


def forget_first(path):
    SearchIndex(path).forget(Filter(image=PATHS[0]), "image")


def test_an_index_that_nobody_writes_to_is_one_file(tmp_path):
    index = SearchIndex(tmp_path / "a.index")
    index.add(PATHS, FEATURES)
    index.close()
    assert [file.name for file in tmp_path.iterdir()] == ["a.index"]
    shutil.copy(tmp_path / "a.index", tmp_path / "b.index")
    assert len(SearchIndex(tmp_path / "b.index")) == 6


@pytest.mark.parametrize("column", ["path", "state", "identity", "camera", "more", "feature"])
def test_a_changed_value_is_named(tmp_path, column):
    path = tmp_path / "a.index"
    index = SearchIndex(path)
    known = About("Anna Maria", "camera 17", more={"store": "nearby"})
    index.add(PATHS, FEATURES, {PATHS[0]: known}, ["state of it"] * 6)
    value = index._rows(f"SELECT {column} FROM images WHERE id = 1")[0][0]
    value = value if isinstance(value, bytes) else value.encode()
    index.close()
    content = path.read_bytes()
    assert value in content
    changed = value[:5] + bytes([value[5] ^ 2]) + value[6:]
    path.write_bytes(content.replace(value, changed))
    with pytest.raises(UserError, match=r"a\.index: damaged: "):
        SearchIndex(path).search(FEATURES[:1], 3)


def test_an_image_that_damage_hides_from_a_filter_is_named(tmp_path):
    """An entry of SQLite's own index says another camera; the row still says the right one."""
    path, third = tmp_path / "a.index", Filter(camera="camera 3")
    index = SearchIndex(path)
    index.add(PATHS, FEATURES, {PATHS[0]: About(camera="camera 3"), PATHS[1]: About("Anna")})
    assert len(index.search(FEATURES[:1], 3, among=third)[0]) == 1
    root = index._rows("SELECT rootpage FROM sqlite_master WHERE name = 'by_about'")[0][0]
    index.close()
    content = path.read_bytes()
    place = content.index(b"camera 3", (root - 1) * PAGE)
    assert place < root * PAGE
    path.write_bytes(content[:place] + b"camera 7" + content[place + 8 :])
    for ask in (
        lambda index: index.search(FEATURES[:1], 3, among=third),
        lambda index: [*index.images(third)],
        lambda index: [*index.entries(third)],
        lambda index: index.values("camera"),
    ):
        with pytest.raises(UserError, match=r"a\.index: damaged: what is listed of an image"):
            ask(SearchIndex(path))


def test_a_length_that_damage_made_too_big_is_named(tmp_path):
    index = SearchIndex(tmp_path / "a.index")
    with pytest.raises(UserError, match=r"a\.index: damaged\. Index the images again"):
        index._rows("SELECT zeroblob(2147483647)")
