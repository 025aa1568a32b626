"""An index whose disk fails and whose processes die, at steps that are drawn.

Hypothesis draws the steps, prints the shortest that fail, and draws them again:
`pytest tests/gallery/test_stand_in_world.py --hypothesis-profile=random --hypothesis-seed=7`.
"""

import copy
import os
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from person_reid.errors import UserError
from person_reid.gallery import database, forgetting
from person_reid.gallery.forgetting import image_key
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.metadata import EVERYTHING, About, Filter
from person_reid.gallery.upkeep import faults_of
from tests.support.dictionary_gallery import DictionaryGallery

NAMES = [f"/crops/picture-{number}.jpg" for number in range(6)]
# No two of them have a number in common, so that each can be looked for in the bytes of a file.
FEATURES = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
UNIT = FEATURES / np.linalg.norm(FEATURES, axis=1, keepdims=True)
HOURS = [f"2026-11-01 {hour:02}:00:00Z" for hour in range(24)]


class Killed(BaseException):
    """The process ends here: nobody catches it."""


class Disk:
    """Carries out commands of SQLite until one of them is the last.

    Those that only read are not counted. ends: "fault", where this command alone fails, "full",
    where all later ones fail as well, and "kill", where all processes die and the files stay as
    they are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.left, self.ends = 0, ""

    def begin(self, command: str) -> None:
        reads = command.startswith(("SELECT", "PRAGMA")) and "checkpoint" not in command
        if not self.ends or reads or command.startswith("ROLLBACK"):
            return
        self.left -= 1
        if self.left > 0:
            return
        if self.ends == "kill":
            shutil.copytree(self.folder, self.folder.with_suffix(".left"))
            self.ends = ""
            raise Killed
        if self.ends == "fault":
            self.ends = ""
        raise sqlite3.OperationalError("disk I/O error")


class Known(DictionaryGallery):
    """What an index should hold: a dictionary, and which of the images were forgotten."""

    def __init__(self) -> None:
        super().__init__("")
        self.barred: set[str] = set()

    def forget(self, which, asked, keep_crops=False):
        self.barred |= {str(path) for images in self.images(which) for path, _ in images}
        return super().forget(which, asked)

    def allow(self, keys):
        self.barred -= {name for name in NAMES if key_of(name) in keys}

    def forgotten(self, keys):
        return {key_of(name) for name in self.barred} & set(keys)


def key_of(name):
    return image_key(os.fsencode(name), "state")


def contents(gallery):
    """All that a gallery tells of its images."""
    found = {}
    for images, features in gallery.entries():
        for (path, about), feature in zip(images, features, strict=True):
            found[str(path)] = about, int(np.argmax(UNIT @ feature))
    keys = list(map(key_of, NAMES))
    return found, gallery.forgotten(keys), len(gallery), gallery.recall("note")


SOME = st.lists(st.integers(0, len(NAMES) - 1), min_size=1, unique=True)
SAID = st.tuples(
    st.sampled_from([None, "Anna", "Berta"]),  # identity
    st.sampled_from([None, "1", "2"]),  # camera
    st.sampled_from([None, *HOURS[::8]]),  # time
).map(lambda facts: About(*facts))
FILTERS = st.one_of(
    st.builds(Filter, identity=st.sampled_from(["Anna", "Berta"])),
    st.builds(Filter, camera=st.sampled_from(["1", "2"])),
    st.builds(Filter, image=st.sampled_from(NAMES)),
    st.builds(Filter, before=st.sampled_from(HOURS)),
    st.just(EVERYTHING),
)
PROCESS = st.integers(0, 1)
ENDS = st.one_of(
    st.none(), st.tuples(st.sampled_from(["fault", "full", "kill"]), st.integers(1, 12))
)


class World(RuleBasedStateMachine):
    """Two processes that use one index, and a third that reads it slowly."""

    def __init__(self) -> None:
        super().__init__()
        self.place = TemporaryDirectory()
        self.folder = Path(self.place.name, "folder")
        self.folder.mkdir()
        self.disk = disk = Disk(self.folder)
        self.patch = pytest.MonkeyPatch()
        self.waited: list[float] = []

        class Connection(sqlite3.Connection):
            def execute(self, command, *values):
                disk.begin(command)
                return super().execute(command, *values)

            def executemany(self, command, *values):
                disk.begin(command)
                return super().executemany(command, *values)

        connect = sqlite3.connect
        self.patch.setattr(
            sqlite3, "connect", lambda *words, **more: connect(*words, factory=Connection, **more)
        )
        for module in (database, forgetting):
            self.patch.setattr(module, "BUSY", 0)  # all are in this thread: no wait ever helps
        self.patch.setattr(database, "CHUNK", 2)
        self.patch.setattr(forgetting, "CHECKPOINT_WAIT", 0)
        self.patch.setattr(forgetting, "LONGEST_WAIT", 3)
        self.patch.setattr(forgetting.time, "sleep", self.waited.append)
        self.known = Known()
        self.open()

    def open(self) -> None:
        self.processes = [SearchIndex(self.folder / "a.index") for _ in range(2)]
        self.reader: SearchIndex | None = None

    def close(self) -> None:
        self.stop_reading()
        for process in self.processes:
            process.close()

    def carry_out(self, process, ends, act):
        """Let a process act on the index: wholly, or not at all if the disk or the process ends."""
        before, after = self.known, copy.deepcopy(self.known)
        act(after)
        if ends:
            self.disk.ends, self.disk.left = ends
        whole = False
        try:
            act(self.processes[process])
            whole = True
        except UserError as error:
            assert "disk" in str(error)
        except Killed:
            self.close()
            shutil.rmtree(self.folder)
            self.folder.with_suffix(".left").rename(self.folder)
            self.open()
        finally:
            self.disk.ends = ""
        found = contents(self.processes[process])
        assert found == contents(after) or (not whole and found == contents(before))
        self.known = after if found == contents(after) else before
        return whole

    @rule(process=PROCESS, some=SOME, about=SAID, ends=ENDS)
    def add(self, process, some, about, ends):
        names = [NAMES[i] for i in some]
        abouts = dict.fromkeys(names, about)
        states = ["state"] * len(names)
        self.carry_out(
            process, ends, lambda gallery: gallery.add(names, FEATURES[some], abouts, states)
        )

    @rule(process=PROCESS, some=SOME, about=SAID, ends=ENDS)
    def describe(self, process, some, about, ends):
        abouts = {NAMES[i]: about for i in some}
        self.carry_out(process, ends, lambda gallery: gallery.describe(abouts))

    @rule(process=PROCESS, which=FILTERS, ends=ENDS)
    def forget(self, process, which, ends):
        gone = set(contents(self.known)[0])
        whole = self.carry_out(process, ends, lambda gallery: gallery.forget(which, "asked"))
        gone -= set(contents(self.known)[0])
        if whole and not ends and self.reader is None:
            files = b"".join(path.read_bytes() for path in self.folder.iterdir())
            for name in gone:
                assert os.fsencode(name) not in files
                assert UNIT[NAMES.index(name)].astype("<f2").tobytes() not in files

    @rule(process=PROCESS, some=SOME, ends=ENDS)
    def allow(self, process, some, ends):
        keys = [key_of(NAMES[i]) for i in some]
        self.carry_out(process, ends, lambda gallery: gallery.allow(keys))

    @rule(process=PROCESS, value=st.integers(0, 3), ends=ENDS)
    def remember(self, process, value, ends):
        self.carry_out(process, ends, lambda gallery: gallery.remember({"note": value}))

    @rule()
    def end_all_and_begin_again(self):
        self.close()
        self.open()

    @precondition(lambda self: self.reader is None)
    @rule(which=FILTERS)
    def begin_to_read(self, which):
        self.reader = SearchIndex(self.folder / "a.index")
        self.reading: Any = self.reader.images(which)
        images = (image for some in self.known.images(which) for image in some)
        self.read = sorted((str(path), about) for path, about in images)
        self.seen = [(str(path), about) for path, about in next(self.reading, [])]

    @precondition(lambda self: self.reader is not None)
    @rule()
    def read_on(self):
        """Whatever was written in the meantime, the images are those of the beginning."""
        self.seen += [(str(path), about) for images in self.reading for path, about in images]
        assert sorted(self.seen) == self.read
        self.stop_reading()

    def stop_reading(self) -> None:
        if self.reader is not None:
            self.reading.close()
            self.reader.close()
            self.reader = None

    @invariant()
    def every_process_sees_the_same(self):
        for process in self.processes:
            assert contents(process) == contents(self.known)
            nearest = process.search(FEATURES[:1], 1)[0]
            expected = self.known.search(UNIT[:1], 1)[0] if self.known.rows else []
            assert [found.path for found in nearest] == [found.path for found in expected]

    def teardown(self) -> None:
        self.close()
        with closing(SearchIndex(self.folder / "a.index")) as last:
            assert last.store.db.connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert [*faults_of(last)] == []
        self.patch.undo()
        with suppress(OSError):
            self.place.cleanup()


TestWorld = World.TestCase
TestWorld.settings = settings(stateful_step_count=15)
