import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from person_reid.errors import UserError
from person_reid.gallery import database
from person_reid.gallery import index as module
from person_reid.gallery import inverted_lists as lists
from person_reid.gallery.gallery import growing_gallery
from person_reid.gallery.index import Found, SearchIndex
from person_reid.gallery.inverted_lists import latest_file
from person_reid.gallery.metadata import About, Filter
from tests.retrieval.conftest import clusters
from tests.support import ROOT


@pytest.fixture
def features():
    features = clusters(np.random.default_rng(0), 3000, dimension=32, identities=300)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


@pytest.fixture
def small_limit(monkeypatch):
    """Inverted lists from 500 images on, of all images."""
    pytest.importorskip("faiss")
    monkeypatch.setattr(module, "MOST_COMPARED", 500)
    monkeypatch.setattr(lists, "MOST_NEWER", 0)


def names(start, stop):
    return [f"{number}.jpg" for number in range(start, stop)]


def filled(path, features, start=0, stop=None):
    index = SearchIndex(path, codes="float32")
    stop = len(features) if stop is None else stop
    index.add(names(start, stop), features[start:stop])
    return index


def paths(answers):
    return [[match.path.name for match in found] for found in answers]


def test_exact_search_is_a_sort_of_all_similarities(features, tmp_path, monkeypatch):
    monkeypatch.setattr(database, "CHUNK", 701)  # several chunks, the last one not full
    index = filled(tmp_path / "a.index", features)
    queries = features[:20]
    order = np.argsort(-(queries @ features.T), axis=1, kind="stable")[:, :7]
    answers = index.search(queries, 7)
    assert paths(answers) == [[f"{i}.jpg" for i in row] for row in order]
    np.testing.assert_allclose(
        [a.similarity for a in answers[3]], (queries @ features.T)[3, order[3]], atol=1e-6
    )
    with pytest.raises(UserError, match="k 0: expected 1 or more"):
        index.search(queries, 0)


def test_a_search_answers_with_no_more_than_its_images(features, tmp_path):
    assert len(filled(tmp_path / "a.index", features[:3]).search(features[:1], 10)[0]) == 3


def test_what_was_added_later_is_found_and_a_reopened_index_holds_all(features, tmp_path):
    filled(tmp_path / "a.index", features, stop=1000).close()
    filled(tmp_path / "a.index", features, 1000).close()
    index = SearchIndex(tmp_path / "a.index")
    assert len(index) == 3000
    assert paths(index.search(features[[2500, 3]], 1)) == [
        ["2500.jpg"],
        ["3.jpg"],
    ]


def test_a_path_is_held_once_and_a_changed_file_is_missing(features, tmp_path):
    image = tmp_path / "schön \udcff.jpg"  # a name that is not UTF-8
    image.write_bytes(b"old")
    index = SearchIndex(tmp_path / "a.index")
    index.add([image], features[:1])
    assert index.missing([image]) == []
    image.write_bytes(b"newer")
    assert index.missing([image, "other.jpg"]) == [image, "other.jpg"]
    index.add([image], features[1:2])
    assert len(index) == 1
    assert index.search(features[1:2], 5)[0][0].similarity == pytest.approx(1)
    assert index.search(features[1:2], 5)[0][0].path == image
    image.write_bytes(b"other")  # as long as before
    os.utime(image, (1, 1))
    assert index.missing([image]) == [image]


def test_lists_find_nearly_what_exact_search_finds(features, tmp_path, small_limit, capsys):
    index = filled(tmp_path / "a.index", features)
    approximate = index.search(features[:200], 10)
    exact = index.search(features[:200], 10, exact=True)
    pairs = zip(paths(approximate), paths(exact), strict=True)
    assert np.mean([len({*a} & {*b}) / 10 for a, b in pairs]) > 0.95
    assert index.lists().index.nprobe < index.lists().index.nlist
    assert re.search(r"lists, recall (1\.0|0\.9[89])", capsys.readouterr().err)


def test_similarities_are_cosines_whatever_the_length_of_the_features(
    features, tmp_path, small_limit
):
    index = SearchIndex(tmp_path / "a.index")
    index.add(names(0, 3000), 3 * features)
    (best, *_) = index.search(5 * features[7:8], 3)[0]
    assert best.path.name == "7.jpg"
    assert best.similarity == pytest.approx(1)


def test_lists_are_kept_extended_and_made_anew(features, tmp_path, small_limit):
    path = tmp_path / "a.index"
    index = filled(path, features, stop=1000)
    index.prepare()
    first, reached = latest_file(index.store)
    assert reached == 1000
    index.close()
    index = filled(path, features, 1000, 1500)
    assert paths(index.search(features[1400:1401], 1)) == [["1400.jpg"]]
    second, reached = latest_file(index.store)
    assert reached == 1500
    assert not first.exists()
    assert index.lists().index.ntotal == len(index) == 1500
    before = second.stat().st_mtime_ns
    again = SearchIndex(path)
    assert paths(again.search(features[1400:1401], 1)) == [["1400.jpg"]]
    assert second.stat().st_mtime_ns == before
    content = second.read_bytes()
    second.unlink()  # it is mapped into memory
    second.write_bytes(content[:1000])  # damaged: made anew
    assert paths(SearchIndex(path).search(features[7:8], 1)) == [["7.jpg"]]


def test_lists_answer_with_the_new_feature_of_a_replaced_image(features, tmp_path, small_limit):
    index = filled(tmp_path / "a.index", features)
    index.prepare()
    index.add(["5.jpg"], -features[5:6])
    assert paths(index.search(-features[5:6], 1)) == [["5.jpg"]]
    assert "5.jpg" not in paths(index.search(features[5:6], 3))[0]
    assert len(index.search(features[5:6], 3)[0]) == 3


def test_an_open_index_finds_what_another_process_has_left(features, tmp_path, small_limit):
    index = filled(tmp_path / "a.index", features)
    assert paths(index.search(features[:1], 1)) == [["0.jpg"]]
    SearchIndex(index.path).forget(Filter(image=b"0.jpg"), "words")
    assert len(index.search(features[:1], 1)[0]) == 1


def test_what_is_kept_is_of_the_present_file_and_of_few_filters(features, tmp_path, monkeypatch):
    monkeypatch.setattr(database, "MOST_KEPT", 6)
    index = filled(tmp_path / "a.index", features)
    for track in range(9):
        index.search(features[:1], 3, among=Filter(track=str(track)))
    assert {*index.store.db._cache[1]} == {
        ("_width",),
        ("_count_after", 0),
        ("_every", 0),
        *(("_allowed", Filter(track=str(track))) for track in (6, 7, 8)),
    }
    SearchIndex(index.path).describe({"3.jpg": About(camera="new")})
    index.search(features[:1], 3)
    assert {*index.store.db._cache[1]} == {("_width",), ("_count_after", 0), ("_every", 0)}


def test_images_that_come_while_lists_are_made_are_listed_once(
    features, tmp_path, small_limit, monkeypatch
):
    path = tmp_path / "a.index"
    index = filled(path, features, 0, 1000)
    train = lists._train

    def meanwhile(source):
        filled(path, features, 1000, 1100)
        return train(source)

    monkeypatch.setattr(lists, "_train", meanwhile)
    index.prepare()
    monkeypatch.undo()
    monkeypatch.setattr(module, "MOST_COMPARED", 500)
    assert latest_file(index.store)[1] == index.store.latest()[1] == 1100
    (answer,) = paths(index.search(features[1050:1051], 10))
    assert answer[0] == "1050.jpg"
    assert len(set(answer)) == 10
    assert index.lists().index.ntotal == 1100


def test_a_search_is_exact_while_the_images_are_few_however_often_they_were_added(
    features, tmp_path, small_limit
):
    index = filled(tmp_path / "a.index", features, 0, 400)
    filled(tmp_path / "a.index", features, 0, 400)
    assert index.store.latest()[1] > 500
    index.prepare()
    index.search(features[:1], 3)
    assert latest_file(index.store) == (None, 0)


def test_without_faiss_a_search_is_exact(features, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_COMPARED", 500)
    monkeypatch.setattr(module, "faiss_is_installed", lambda: False)
    index = filled(tmp_path / "a.index", features)
    assert paths(index.search(features[:1], 3)) == paths(index.search(features[:1], 3, exact=True))
    assert latest_file(index.store) == (None, 0)


def test_mistakes_are_named(features, tmp_path):
    other = tmp_path / "photo.jpg"
    other.write_bytes(b"no database at all" * 100)
    with pytest.raises(UserError, match=r"photo\.jpg: not a search index"):
        SearchIndex(other)
    index = filled(tmp_path / "a.index", features)
    with pytest.raises(UserError, match="width 32, not 16"):
        index.add(["a.jpg"], np.ones((1, 16)))
    with pytest.raises(UserError, match="width 32, not 16"):
        index.search(np.ones((1, 16)), 3)


def test_an_addition_is_all_or_nothing(features, tmp_path):
    index = filled(tmp_path / "a.index", features, stop=10)
    with pytest.raises(
        UserError, match=r"a\.index: not added: 5 features for 10 paths; expected one each"
    ):
        index.add(names(10, 20), features[10:15])
    with pytest.raises(sqlite3.IntegrityError):
        index.store.db.connection.execute(
            "INSERT INTO images (path, state, feature) VALUES (NULL, '', '')"
        )
    assert len(index) == 10


ADDER = """
import sys
import numpy as np
from person_reid.gallery.index import SearchIndex
index, features = SearchIndex(sys.argv[1]), np.eye(1000, dtype=np.float32)
while True:
    start = len(index)
    index.add([f"{start + i}.jpg" for i in range(1000)], features)
    print(len(index), flush=True)
"""


def test_a_kill_in_the_middle_of_an_addition_loses_nothing_that_was_added(tmp_path):
    path = tmp_path / "a.index"
    # an addition takes some 50 ms: each time another moment of it
    for pause in (0.01, 0.03):
        process = subprocess.Popen(
            [sys.executable, "-c", ADDER, path], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout
        printed = [process.stdout.readline() for _ in range(2)]
        time.sleep(pause)
        process.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
        promised = max(map(int, [*printed, *process.communicate(timeout=60)[0].split()]))
        index = SearchIndex(path)
        assert len(index) >= promised
        assert len(index) % 1000 == 0
        assert index.search(np.eye(1000)[7:8], 1)[0][0] == Found(Path("7.jpg"), 1.0)
        assert index.store.db.connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        index.close()


TOGETHER = """
import sys
import numpy as np
from person_reid.gallery.index import SearchIndex
index, features = SearchIndex(sys.argv[1]), np.eye(400, dtype=np.float32)
first = int(sys.argv[2])
for start in range(first, first + 200, 10) if first >= 0 else ():
    index.add([f"{i}.jpg" for i in range(start, start + 10)], features[start : start + 10])
while True:
    held = len(index)
    for answers, own in zip(index.search(features[::40], 3), range(0, 400, 40)):
        assert all((found.similarity == 1) == (found.path.name == f"{own}.jpg")
            for found in answers)
    if held == 400:
        break
print("saw them all")
"""


def test_two_processes_write_while_two_read(tmp_path):
    """Every answer on the way is right, and nothing that was added is missing at the end."""
    path = tmp_path / "a.index"
    commands = [[sys.executable, "-c", TOGETHER, path, first] for first in ("0", "200", "-1", "-1")]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for command in commands
    ]
    assert [process.communicate(timeout=120)[0] for process in processes] == ["saw them all\n"] * 4
    index = SearchIndex(path)
    assert len(index) == 400
    assert paths(index.search(np.eye(400), 1)) == [[name] for name in names(0, 400)]
    assert index.store.db.connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_what_fails_in_a_new_gallery_leaves_the_file_that_another_program_has_open(tmp_path):
    place = tmp_path / "new.index"
    with pytest.raises(KeyError, match="mine"), growing_gallery(str(place)) as first:
        first.remember({"network": "a"})
        other = SearchIndex(place)
        assert other.recall("network") == "a"
        raise KeyError("mine")
    other.add(names(0, 2), np.eye(2))
    assert len(SearchIndex(place)) == 2


def test_what_fails_in_a_new_gallery_leaves_nothing_and_is_said(tmp_path):
    with pytest.raises(KeyError, match="mine"), growing_gallery(str(tmp_path / "new.index")):
        raise KeyError("mine")
    assert not any(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux says what is mapped")
@pytest.mark.parametrize("how", ["forget", "forget_at_once", "close"])
def test_no_deleted_file_of_lists_stays_mapped(tmp_path, monkeypatch, how):
    pytest.importorskip("faiss")
    monkeypatch.setattr(module, "MOST_COMPARED", 500)
    index = SearchIndex(tmp_path / "people.index")
    index.add([f"{i}.jpg" for i in range(1000)], np.random.default_rng(0).normal(size=(1000, 8)))
    index.prepare()
    index.search(np.eye(1, 8), 3)
    assert str(tmp_path) in Path("/proc/self/maps").read_text()
    if how == "close":
        index.close()
    else:
        getattr(index, how)(Filter(images=("1.jpg",)), "asked")
    lines = Path("/proc/self/maps").read_text().splitlines()
    assert not [line for line in lines if ".lists" in line and str(tmp_path) in line]
