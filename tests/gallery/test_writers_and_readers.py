"""Files of other versions, columns of one's own, and readers beside writers."""

import shutil
import threading
import time
from typing import Any

import numpy as np
import pytest

from person_reid.errors import UserError
from person_reid.gallery import database
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.metadata import About, Filter

FEATURES = np.eye(6, 8, dtype=np.float32) + 0.1
PATHS = [f"/crops/{number}.jpg" for number in range(6)]


@pytest.mark.parametrize(
    "version, words",
    [
        (
            99,
            r"a\.index: of version 99; this program knows versions up to 3\. Update the clone, and",
        ),
        (2, r"a\.index: made before version 1\.0\.0 of the suite\. Index the images again"),
    ],
)
def test_a_file_of_another_version_is_refused_and_stays_as_it_is(tmp_path, version, words):
    index = SearchIndex(tmp_path / "a.index")
    index.store.db.rows(f"PRAGMA user_version = {version}")
    index.close()
    content = index.path.read_bytes()
    with pytest.raises(UserError, match=words):
        SearchIndex(index.path)
    assert index.path.read_bytes() == content


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
    with index.store.db.transaction("DEFERRED"):
        assert len(index) == 6
        other.add(["/new.jpg"], FEATURES[:1])
        forgetting = threading.Thread(target=forget_first, args=(tmp_path / "a.index",))
        forgetting.start()
        while len(other) == 7:  # until it has forgotten
            time.sleep(0.01)
        forgetting.join(0.3)
        assert forgetting.is_alive()  # it waits for the search to end
        assert len(index.store.db.rows("SELECT * FROM images")) == 6
    forgetting.join(20)
    assert not forgetting.is_alive()
    assert len(index) == 6
    for file in tmp_path.iterdir():
        assert PATHS[0].encode() not in file.read_bytes()


def test_who_forgets_does_not_keep_writers_waiting_while_a_search_runs(tmp_path, monkeypatch):
    path = tmp_path / "a.index"
    index = SearchIndex(path)
    index.add(PATHS, FEATURES)
    monkeypatch.setattr(database, "BUSY", 0.3)
    writer = SearchIndex(path)
    with index.store.db.transaction("DEFERRED"):
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


def test_a_length_that_damage_made_too_big_is_named(tmp_path):
    index = SearchIndex(tmp_path / "a.index")
    with pytest.raises(UserError, match=r"a\.index: damaged\. Index the images again"):
        index.store.db.rows("SELECT zeroblob(2147483647)")
