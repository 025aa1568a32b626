"""An index on a full disk, damaged, locked, made by two processes, or with odd values."""

import json
import sqlite3
import tracemalloc
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from person_reid.errors import UserError
from person_reid.gallery import database, forgetting, inverted_lists
from person_reid.gallery import index as module
from person_reid.gallery.image_table import ImageTable
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.indexed_network import NetworkRef, check_same_network, network_options
from person_reid.gallery.inverted_lists import latest_file
from person_reid.gallery.metadata import About, Filter

FEATURES = np.eye(400, 64, dtype=np.float32) + np.eye(400, 64, -64, dtype=np.float32) + 0.01
NAMES = [f"{number}.jpg" for number in range(400)]


@pytest.fixture
def index(tmp_path):
    index = SearchIndex(tmp_path / "a.index")
    index.add(NAMES, FEATURES)
    return index


def test_a_full_disk_is_named_and_loses_nothing(index):
    pages = index.store.db.rows("PRAGMA page_count")[0][0]
    index.store.db.rows(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(UserError, match=r"a\.index: the disk is full\. Make room"):
        index.add([f"more {name}" for name in NAMES], FEATURES)
    assert len(index) == 400
    assert not index.store.db.connection.in_transaction
    index.store.db.rows(f"PRAGMA max_page_count = {2 * pages}")
    index.add([f"more {name}" for name in NAMES], FEATURES)
    assert len(SearchIndex(index.path)) == 800


def test_damage_in_the_middle_is_named(index):
    index.close()
    content = index.path.read_bytes()
    for page in range(0, len(content), database.PAGE):
        index.path.write_bytes(
            content[:page] + b"\xff" * database.PAGE + content[page + database.PAGE :]
        )
        with (
            pytest.raises(
                UserError,
                match=r"a\.index: (damaged.* Index the images again: --index ANOTHER|not a search)",
            ),
            closing(SearchIndex(index.path)) as damaged,
        ):
            damaged.search(FEATURES[:1], 3)
            damaged.missing(NAMES)
            damaged.note("kind", {"name": 1})
            damaged.add([f"more {name}" for name in NAMES], FEATURES)
            damaged.forget(
                Filter(image=b"7.jpg"), "the page of what was forgotten is read only here"
            )
        for log in index.path.parent.glob("a.index-*"):  # it would mend the next damage
            log.unlink()


def test_a_damaged_schema_is_named(index):
    index.close()
    content = index.path.read_bytes()
    index.path.write_bytes(content.replace(b"UNIQUE NOT NULL", b"UNIQUE \x8cOT NULL"))
    with pytest.raises(UserError, match=r"a\.index: damaged\. Index the images again"):
        SearchIndex(index.path).search(FEATURES[:1], 3)
    index.path.write_bytes(content.replace(b"feature BLOB NOT NULL", b"feature BLOB         "))
    damaged = SearchIndex(index.path)
    damaged.store.db.rows("UPDATE images SET feature = NULL")
    with pytest.raises(UserError, match=r"a\.index: damaged: a feature is cut short"):
        damaged.search(FEATURES[:1], 3)


@pytest.mark.parametrize(
    ("blob", "words"),
    [
        (
            np.full(64, np.nan, "<f2").tobytes(),
            r"1 of 400 features are NaN or infinite, the first is 7\.jpg",
        ),
        (bytes(128), r"1 of 400 features are all zero, the first is 7\.jpg"),
        (bytes(100), "a feature is cut short"),
        (bytes(253), "a feature is cut short"),
        (None, "a feature is cut short"),
    ],
)
def test_a_feature_that_is_none_is_found_by_a_search(index, blob, words):
    index.store.db.rows(
        "UPDATE images SET feature = ? WHERE path = ?", ("text" if blob is None else blob, b"7.jpg")
    )
    with pytest.raises(UserError, match=rf"a\.index: damaged: {words}"):
        index.search(FEATURES[:1], 3)


def test_an_image_that_was_compared_and_has_no_row_is_damage(index, monkeypatch):
    monkeypatch.setattr(index.store, "by_id", lambda ids: {})
    with pytest.raises(UserError, match=r"damaged: image \d+ was compared, and has no row"):
        index.search(FEATURES[:1], 3)


def test_a_column_that_there_is_not_is_named(index):
    with pytest.raises(UserError, match="no column 'colour'; there are .*identity"):
        index.values("colour")


def test_a_list_that_misses_images_is_damage(tmp_path):
    place = tmp_path / "people.index"
    with closing(SearchIndex(place)) as index:
        index.add(NAMES, FEATURES)
        command = "SELECT rootpage FROM sqlite_master WHERE name = 'images'"
        ((root,),) = index.store.db.rows(command)
    content = bytearray(place.read_bytes())
    page = database.PAGE * (root - 1)
    first = page + int.from_bytes(content[page + 12 : page + 14], "big")
    content[first + 3] += 1  # the number of the page with the first images
    place.write_bytes(content)
    with closing(SearchIndex(place)) as index, pytest.raises(UserError, match="images are listed"):
        list(index.images())


def test_what_is_remembered_may_be_damaged(index):
    index.store.db.rows("INSERT INTO about VALUES ('network', 'no JSON')")
    with pytest.raises(UserError, match="damaged: no JSON under 'network'"):
        index.recall("network")
    index.store.db.rows("UPDATE about SET value = CAST(x'5b302eff5d' AS TEXT)")
    with pytest.raises(UserError, match="damaged"):
        index.recall("network")


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_features_that_nothing_can_compare_are_not_added_or_sought(index, value):
    features = np.array(FEATURES[:2])
    features[1] = value
    with pytest.raises(
        UserError, match=r"a\.index: not added: 1 of 2 features .* the first is b\.jpg"
    ):
        index.add(["a.jpg", "b.jpg"], features)
    with pytest.raises(UserError, match=r"a\.index: queries: .* the first is query 1"):
        index.search(features, 3)
    with pytest.raises(UserError, match=r"features of shape \(64,\)"):
        index.search(FEATURES[0], 3)
    assert len(index) == 400


def test_a_long_lock_is_named(index, monkeypatch):
    other = sqlite3.connect(index.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr(database, "BUSY", 0.05)
    second = SearchIndex(index.path)
    with pytest.raises(
        UserError, match=r"a\.index: another process has been writing to it for 0\.05 s\. Wait"
    ):
        second.add(["a.jpg"], FEATURES[:1])
    assert len(second.search(FEATURES[:1], 3)[0]) == 3  # reading needs no lock
    other.close()


def test_a_file_that_cannot_be_written_or_opened_has_its_own_reason(index, tmp_path):
    index.store.db.rows("PRAGMA query_only = 1")
    assert len(index.search(FEATURES[:1], 3)[0]) == 3
    with pytest.raises(UserError, match="it cannot be written to. Check the permissions"):
        index.add(["a.jpg"], FEATURES[:1])
    with pytest.raises(UserError, match="a folder; expected the file of an index"):
        SearchIndex(tmp_path)
    for table in ("cookies (value TEXT)", "images (name TEXT)", "images (path TEXT, feature BLOB)"):
        foreign = sqlite3.connect(tmp_path / "cookies")
        foreign.execute(f"CREATE TABLE {table}")
        foreign.commit()
        foreign.close()
        before = (tmp_path / "cookies").read_bytes()
        with pytest.raises(UserError, match="cookies: not a search index"):
            SearchIndex(tmp_path / "cookies")
        assert (tmp_path / "cookies").read_bytes() == before, table
        (tmp_path / "cookies").unlink()


def test_a_mistake_of_ours_is_no_damage(index):
    with pytest.raises(sqlite3.OperationalError, match="syntax error"):
        index.store.db.rows("NO SQL")


def test_two_networks_that_race_for_a_new_index_agree_on_one(tmp_path, monkeypatch):
    first, second = SearchIndex(tmp_path / "a.index"), SearchIndex(tmp_path / "a.index")
    embedders: list[Any] = [SimpleNamespace(probe=lambda i=i: np.eye(1, 4, i)[0]) for i in (0, 1)]
    recall = ImageTable.recall

    def interrupted(self, key):  # the other process is faster once this one has looked
        found = recall(self, key)
        if self is first.store and found is None:
            monkeypatch.undo()
            check_same_network(second, embedders[1], NetworkRef.from_json({"name": "theirs"}))
        return found

    monkeypatch.setattr(ImageTable, "recall", interrupted)
    with pytest.raises(UserError, match=r"made by another network \(theirs\)"):
        check_same_network(first, embedders[0], NetworkRef.from_json({"name": "ours"}))
    assert first.recall("network") == {"name": "theirs"}
    assert first.recall("probe") == [0, 1, 0, 0]


def test_flags_that_contradict_the_index_are_listed(tmp_path):
    index = SearchIndex(tmp_path / "a.index")
    embedder: Any = SimpleNamespace(probe=lambda: np.eye(1, 4)[0])
    flags = {"backbone": "osnet", "weights": "/a/net.pth", "no_flip": False, "linear_num": None}
    check_same_network(index, embedder, NetworkRef.from_json(flags))
    # it has moved: the probe decides
    check_same_network(index, embedder, NetworkRef.from_json(flags | {"weights": "/b/net.pth"}))
    listed = r"linear_num \(remembered: off, asked: 0\), no_flip \(remembered: off, asked: on\)"
    with pytest.raises(
        UserError, match=rf"a\.index: made with other flags: {listed}\. Leave them out"
    ):
        check_same_network(
            index, embedder, NetworkRef.from_json(flags | {"no_flip": True, "linear_num": 0})
        )


def test_lists_are_those_of_the_index_and_a_full_disk_costs_only_time(
    tmp_path, monkeypatch, capsys
):
    faiss = pytest.importorskip("faiss")
    monkeypatch.setattr(module, "MOST_COMPARED", 100)
    index = SearchIndex(tmp_path / "people[1].index")  # brackets mean something to glob
    index.add(NAMES, FEATURES)

    def fail(lists, path):
        raise RuntimeError("write error: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(faiss, "write_index", fail)
        assert len(index.search(FEATURES[:1], 3)[0]) == 3
    assert "not saved (write error" in capsys.readouterr().err
    assert latest_file(index.store) == (None, 0)
    index._lists = None
    index.prepare()
    file, reached = latest_file(index.store)
    assert file
    assert reached == 400
    assert inverted_lists._read(file, mapped=False).ntotal == 400


OTHER_VALUES = ["7", "-1", "1e30", "NULL", "'text'", "X'00ff'", "''", "9223372036854775807"]
CELLS = {
    "images": ["id", "path", "state", "feature", *About._fields],
    "about": ["key", "value"],
    "additions": ["last", "token"],
}
JSON_VALUES: list[Any] = [
    7,
    None,
    [],
    {},
    "text",
    "../../x",
    [1, "a"],
    {"name": []},
    {"height": "x"},
    True,
]


def use(path):
    """Open an index, and do with it all that the commands do."""
    index = SearchIndex(path)
    index.search(FEATURES[:2], 3)
    index.search(FEATURES[:2], 3, among=Filter(camera="1"))
    list(index.entries(Filter(has_identity=True)))
    index.missing(NAMES)
    network_options(index)
    check_same_network(index, EMBEDDER, NetworkRef.from_json({"name": "ours"}))
    index.add(["new.jpg"], FEATURES[:1])
    index.prepare()
    index.describe({"new.jpg": About("Anna")})
    index.forget(Filter(identity="Anna"), "words")


EMBEDDER: Any = SimpleNamespace(probe=lambda: np.eye(1, 4)[0])


@pytest.mark.usefixtures("quick_codes")
@pytest.mark.parametrize(("table", "column"), [(t, c) for t, some in CELLS.items() for c in some])
def test_values_of_other_types_are_named(index, table, column, monkeypatch):
    if column in ("id", "last", "token"):
        monkeypatch.setattr(module, "MOST_COMPARED", 100)  # lists are named after additions
    check_same_network(index, EMBEDDER, NetworkRef.from_json({"name": "ours"}))
    index.prepare()
    index.close()
    content = index.path.read_bytes()
    for value in OTHER_VALUES:
        index.path.write_bytes(content)
        database = sqlite3.connect(index.path, isolation_level=None)
        database.execute("PRAGMA writable_schema = ON")
        database.execute("UPDATE sqlite_schema SET sql = replace(sql, ' NOT NULL', '')")
        database.close()
        database = sqlite3.connect(index.path, isolation_level=None)
        with suppress(sqlite3.IntegrityError):  # two of the same
            database.execute(f"UPDATE {table} SET {column} = {value} WHERE rowid = 1")
        database.close()
        with suppress(UserError):
            use(index.path)


@pytest.mark.parametrize("key", ["token", "codes", "network", "probe"])
@pytest.mark.parametrize("value", JSON_VALUES, ids=str)
def test_what_is_remembered_may_be_anything(index, key, value):
    check_same_network(index, EMBEDDER, NetworkRef.from_json({"name": "ours"}))
    index.store.db.rows("UPDATE about SET value = ? WHERE key = ?", (json.dumps(value), key))
    index.close()
    with suppress(UserError):
        use(index.path)


def test_a_token_is_never_a_path(index, tmp_path):
    (tmp_path / "other").mkdir()
    innocent = tmp_path / "other" / "x-1.lists"
    innocent.write_text("mine")
    index.store.db.rows("UPDATE about SET value = '\"/../other/x\"' WHERE key = 'token'")
    with pytest.raises(UserError, match="is not a token"):
        SearchIndex(index.path).forget(Filter(identity="Anna"), "words")
    assert innocent.read_text() == "mine"


def test_codes_that_nobody_knows_make_no_file(tmp_path):
    with pytest.raises(UserError, match="codes 'pq65': expected one of pq64, sq8"):
        SearchIndex(tmp_path / "new.index", "pq65")
    assert not (tmp_path / "new.index").exists()


@pytest.mark.usefixtures("quick_codes")
@pytest.mark.parametrize("k", [10**8, 2**70])
@pytest.mark.parametrize("exact", [False, True])
def test_more_answers_than_images_cost_no_more_than_there_are(index, k, exact, monkeypatch):
    monkeypatch.setattr(module, "MOST_COMPARED", 100)
    index.prepare()
    tracemalloc.start()
    found = index.search(FEATURES[:2], k, exact=exact)
    assert [len(row) for row in found] == [400, 400]
    assert tracemalloc.get_traced_memory()[1] < 1e8
    tracemalloc.stop()


def fill_disk(index, monkeypatch, *commands):
    """Let some commands of SQLite find a full disk."""
    run = index.store.db.rows

    def full(command, values=()):
        if command in commands:
            raise UserError("a.index: the disk is full.")
        return run(command, values)

    monkeypatch.setattr(index.store.db, "rows", full)


def test_a_forgetting_that_a_full_disk_refuses_deletes_no_picture(tmp_path, monkeypatch):
    index = SearchIndex(tmp_path / "a.index")
    picture = tmp_path / "a.crops" / "hall" / "000001_000001.jpg"
    picture.parent.mkdir(parents=True)
    picture.touch()
    index.add([picture], FEATURES[:1], {picture: About(source="hall", track="1")})
    fill_disk(index, monkeypatch, "COMMIT")
    with pytest.raises(UserError, match="disk is full"):
        index.forget(Filter(track="1"), "track")
    assert len(index) == 1
    assert picture.exists()
    monkeypatch.undo()
    assert index.forget(Filter(track="1"), "track") == 1
    assert not picture.exists()


def test_a_forgetting_that_was_killed_deletes_its_pictures_next_time(tmp_path, monkeypatch):
    index = SearchIndex(tmp_path / "a.index")
    pictures = [tmp_path / "a.crops" / "hall" / f"00000{i}_000001.jpg" for i in (1, 2)]
    pictures[0].parent.mkdir(parents=True)
    for picture in pictures:
        picture.touch()
    abouts = {each: About(source="hall", track=each.name[5]) for each in pictures}
    index.add(pictures, FEATURES[:2], abouts)
    monkeypatch.setattr(forgetting, "delete_crops", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        index.forget(Filter(track="1"), "track")
    monkeypatch.undo()
    assert index.forget(Filter(track="1"), "track") == 0
    assert [each.exists() for each in pictures] == [False, True]
    index.close()
    content = index.path.read_bytes()
    assert b"000001_" not in content
    assert b"000001_".hex().encode() not in content


def test_forgetting_that_finds_nothing_changes_nothing(index, monkeypatch):
    index.close()

    def state():
        return {
            file.name: (file.stat().st_mtime_ns, file.read_bytes())
            for file in index.path.parent.glob("a.index*")
        }

    before = state()
    for call in (SearchIndex.forget, SearchIndex.forget_at_once):
        with closing(SearchIndex(index.path)) as again:
            assert call(again, Filter(identity="nobody"), "identity") == 0
        assert state() == before
    with closing(SearchIndex(index.path)) as again:
        fill_disk(again, monkeypatch, "VACUUM")
        most = Filter(images=tuple(map(Path, NAMES[:300])))
        assert again.forget(most, "images") == 300
        monkeypatch.undo()
        assert again.forget(most, "images") == 0  # completes the rewriting
    completed = state()
    assert len(completed["a.index"][1]) < len(before["a.index"][1])
    with closing(SearchIndex(index.path)) as again:
        assert again.forget(most, "images") == 0
    assert state() == completed


@pytest.mark.parametrize("commands", [["VACUUM"], ["VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"]])
def test_what_is_forgotten_is_forgotten_on_a_full_disk(index, monkeypatch, caplog, commands):
    fill_disk(index, monkeypatch, *commands)
    assert index.forget(Filter(image="7.jpg"), "image") == 1
    assert len(index) == 399
    assert "disk is full" in caplog.text
    assert "forgotten and overwritten" in caplog.text
    if commands == ["VACUUM"]:
        assert FEATURES[7].astype("<f2").tobytes() not in index.path.read_bytes()


@pytest.mark.parametrize(
    "command",
    [
        "CREATE TRIGGER kept AFTER DELETE ON images BEGIN INSERT INTO notes (kind, name, value) "
        "VALUES ('kept', old.path, '1'); END",
        "CREATE VIEW people AS SELECT identity FROM images",
    ],
)
def test_an_index_with_triggers_or_views_is_refused(index, command):
    index.close()
    with closing(sqlite3.connect(index.path)) as file:
        file.execute(command)
        file.commit()
    with pytest.raises(UserError, match="triggers or views, which could keep what is forgotten"):
        SearchIndex(index.path)
