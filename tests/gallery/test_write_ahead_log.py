"""The log that a killed process leaves beside an index, and files that are put in its place."""

import shutil
import sqlite3

import numpy as np
import pytest

from person_reid.errors import UserError
from person_reid.gallery.index import SearchIndex

FEATURES = np.eye(4, 8, dtype=np.float32) + 0.1
PATHS = [f"/crops/{number}.jpg" for number in range(4)]


def killed(path, place):
    """Copy an open index and its log, which is what a killed process would leave."""
    place.mkdir()
    for file in (path, path.with_name(f"{path.name}-wal")):
        shutil.copy(file, place)
    return place / path.name


def images(path):
    index = SearchIndex(path)
    found = sorted(str(path) for chunk in index.images() for path, _ in chunk)
    index.close()
    return found


@pytest.fixture
def path(tmp_path):
    """An index of two images; beside it a copy, from before it had the second."""
    path = tmp_path / "a.index"
    for number in range(2):
        index = SearchIndex(path)
        index.add(PATHS[number : number + 1], FEATURES[:1])
        index.close()
        if not number:
            shutil.copy(path, tmp_path / "copy.index")
    return path


def test_what_a_killed_process_wrote_is_in_the_log(path, tmp_path):
    index = SearchIndex(path)
    for number in (2, 3):
        index.add(PATHS[number : number + 1], FEATURES[:1])
    left = killed(path, tmp_path / "killed")
    assert images(left) == PATHS
    index.store.db.rows(
        "PRAGMA wal_checkpoint(PASSIVE)"
    )  # all is in the file, and still in the log
    assert images(killed(path, tmp_path / "checkpointed")) == PATHS
    index.add(["/new.jpg"], FEATURES[:1])  # the log begins anew
    assert images(killed(path, tmp_path / "anew")) == [*PATHS, "/new.jpg"]
    assert images(path) == [*PATHS, "/new.jpg"]  # beside the one that is open
    index.close()


class ReadOnly(sqlite3.Connection):
    """A connection to a file on a medium that cannot be written: the first command fails."""

    def execute(self, command, *values):
        if command.startswith("SELECT 1"):
            raise sqlite3.OperationalError("unable to open database file")
        return super().execute(command, *values)


def test_where_nothing_can_be_written_a_log_is_not_passed_over(path, tmp_path, monkeypatch):
    connect = sqlite3.connect

    def connected(place, uri=False, **options):
        return connect(place, uri=uri, factory=sqlite3.Connection if uri else ReadOnly, **options)

    index = SearchIndex(path)
    index.add(PATHS[2:3], FEATURES[:1])
    left = killed(path, tmp_path / "killed")
    index.close()
    monkeypatch.setattr(sqlite3, "connect", connected)
    monkeypatch.setattr("os.access", lambda *_: False)
    assert images(path) == PATHS[:3]  # it was closed, and is whole
    with pytest.raises(UserError, match=r"a\.index-wal: holds changes that a\.index does not"):
        SearchIndex(left)


def test_a_log_partly_written_into_its_file_belongs_to_it(path, tmp_path):
    index, reader = SearchIndex(path), SearchIndex(path)
    index.add(PATHS[2:3], FEATURES[:1])
    with reader.store.db.transaction("DEFERRED"):
        assert len(reader) == 3  # the log is written up to here while it reads
        index.add(PATHS[3:], FEATURES[:1])
        index.store.db.rows("PRAGMA wal_checkpoint(PASSIVE)")
        assert images(killed(path, tmp_path / "killed")) == PATHS
    index.close()


@pytest.mark.parametrize("other", ["copy", "stranger", "diverged"])
def test_a_log_of_another_file_is_named_and_changes_nothing(path, tmp_path, other):
    index = SearchIndex(path)
    index.add(PATHS[2:3], FEATURES[:1])
    left = killed(path, tmp_path / "killed")
    index.close()
    copy = tmp_path / ("other.index" if other == "stranger" else "copy.index")
    if other != "copy":
        changed = SearchIndex(copy)
        changed.add(PATHS[3:], FEATURES[:1])
        changed.close()
    shutil.copy(copy, left)
    content = left.read_bytes()
    with pytest.raises(UserError, match=r"a\.index-wal: not the log of a\.index, .* delete"):
        SearchIndex(left)
    assert left.read_bytes() == content
    left.with_name("a.index-wal").unlink()  # as it says
    assert images(left) == images(copy)
