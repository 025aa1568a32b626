"""Inverted lists answer for the index that they were made from, whatever happens to either."""

import shutil
import sqlite3
from contextlib import closing, suppress

import numpy as np
import pytest

from person_reid.config.search import CODE_NAMES
from person_reid.errors import UserError
from person_reid.gallery import index as module
from person_reid.gallery import inverted_lists
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.metadata import About, Filter
from person_reid.retrieval.neighbours import overlap
from tests.retrieval.conftest import clusters

faiss = pytest.importorskip("faiss")
FEATURES = clusters(np.random.default_rng(0), 3000, dimension=32, identities=300)
FEATURES /= np.linalg.norm(FEATURES, axis=1, keepdims=True)
NAMES = [f"{number}.jpg" for number in range(len(FEATURES))]
QUERIES = FEATURES[::50]


@pytest.fixture(scope="module", autouse=True)
def small_limit():
    """Inverted lists from 500 images on, of all images, for searches with filters as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST_COMPARED", 500)
        patch.setattr(module, "MOST_ADMITTED", 0)
        patch.setattr(inverted_lists, "MOST_NEWER", 0)
        yield


@pytest.fixture(scope="module")
def wide():
    """Features of which a byte a number takes more than 64 bytes."""
    features = clusters(np.random.default_rng(1), 3000, dimension=256, identities=300)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def prepared(small_limit, tmp_path_factory):
    """A folder with an index of 1,000 images, a.index, and its lists."""
    folder = tmp_path_factory.mktemp("prepared")
    with closing(add(folder / "a.index", 0, 1000)) as index:
        index.prepare()
    return folder


@pytest.fixture
def path(prepared, tmp_path):
    """A copy of that index."""
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    return tmp_path / "a.index"


def add(path, start, stop, codes="float32"):
    index = SearchIndex(path, codes)
    index.add(NAMES[start:stop], FEATURES[start:stop])
    return index


def assert_right(index, among=None, k=10):
    """Check that a search by lists finds k images, nearly all of them those of an exact search."""
    given = {"among": among} if among else {}
    found, right = (index.search(QUERIES, k, exact=exact, **given) for exact in (False, True))
    assert {len(row) for row in found} == {k}
    known = dict(zip(NAMES, FEATURES, strict=True))
    for query, row in zip(QUERIES, found, strict=True):
        cosines = [float(query @ known[match.path.name]) for match in row]
        np.testing.assert_allclose([match.similarity for match in row], cosines, atol=1e-5)
        assert sorted(cosines, reverse=True) == pytest.approx(cosines, abs=1e-5)
    pairs = [[{match.path for match in row} for row in rows] for rows in (found, right)]
    assert np.mean([len(a & b) / k for a, b in zip(*pairs, strict=True)]) > 0.95


@pytest.mark.parametrize("again", [0, 500, 700], ids="grown by {} images".format)
def test_lists_from_before_an_index_was_restored_are_not_used(path, again):
    shutil.copy(path, path.with_name("copy"))
    add(path, 1000, 1500).prepare()
    path.with_name("copy").replace(path)
    index = SearchIndex(path)
    if again:  # other images, with the same ids
        add(path, 2000, 2000 + again)
    assert_right(index)
    found = index.search(FEATURES[1200:1201], 3)[0]
    # This image is not in the index any more.
    assert all(match.similarity < 0.999 for match in found)


def test_lists_of_a_restored_index_are_used_again_if_they_fit(path):
    shutil.copy(path, path.with_name("copy"))
    (lists,) = path.parent.glob("*.lists")
    shutil.copy(lists, path.with_name("lists"))
    add(path, 1000, 1500).prepare()
    path.with_name("copy").replace(path)
    path.with_name("lists").replace(lists)
    before = lists.stat().st_mtime_ns
    assert_right(SearchIndex(path))
    assert lists.stat().st_mtime_ns == before


@pytest.mark.usefixtures("quick_codes")
@pytest.mark.parametrize("codes", CODE_NAMES)
def test_codes_find_candidates_and_the_features_of_the_file_rank_them(tmp_path, codes, wide):
    index = SearchIndex(tmp_path / "a.index", codes)
    index.add(NAMES[:2000], wide[:2000])
    index.prepare()
    index.add(NAMES[1500:], wide[1500:])  # some are replaced, some are newer than the lists
    index.add(NAMES[:300], wide[2700:])  # other images than the lists hold
    held = np.concatenate([wide[2700:], wide[300:]])
    found, right = (index.search(wide[::50], 10, exact=exact) for exact in (False, True))
    for query, row in zip(wide[::50], found, strict=True):
        cosines = [float(query @ held[NAMES.index(match.path.name)]) for match in row]
        rounding = 1e-6 if codes == "float32" else 1e-4
        np.testing.assert_allclose([match.similarity for match in row], cosines, atol=rounding)
    pairs = [[{match.path for match in row} for row in rows] for rows in (found, right)]
    assert np.mean([len(a & b) / 10 for a, b in zip(*pairs, strict=True)]) > 0.95
    width = 4 if codes == "float32" else 2
    assert index.store.db.rows("SELECT DISTINCT length(feature) FROM images") == [(256 * width,)]


def test_an_index_that_forgot_nearly_all_is_still_searched(tmp_path, monkeypatch):
    index = SearchIndex(tmp_path / "a.index")
    features = np.random.default_rng(0).standard_normal((600, 64), np.float32)
    index.add(NAMES[:600], features)
    train = inverted_lists._train

    def meanwhile(source):
        last = {name: About("Anna") for name in NAMES[20:600]}
        SearchIndex(index.path).describe(last)
        SearchIndex(index.path).forget(Filter(identity="Anna"), "words")
        return train(source)

    monkeypatch.setattr(inverted_lists, "_train", meanwhile)
    (found,) = index.search(features[7:8], 3)
    assert found[0].path.name == "7.jpg"
    assert len(found) == 3


@pytest.mark.parametrize("exact", [False, True])
def test_half_precision_does_not_make_an_image_unlike_itself(tmp_path, exact):
    index = SearchIndex(tmp_path / "a.index", "float16")
    features = np.random.default_rng(0).standard_normal((600, 64), np.float32)
    index.add(NAMES[:600], features)
    itself = [match.similarity for (match,) in index.search(features[:50], 1, exact)]
    np.testing.assert_allclose(itself, 1, atol=1e-6)


def test_more_answers_come_from_more_lists(path):
    lists = SearchIndex(path).lists()
    lists.index.nprobe = 2
    exact = np.argsort(-QUERIES @ FEATURES[:1000].T)[:, :90] + 1
    few, many = (overlap(exact, lists.search(QUERIES, k, 90)[1]) for k in (10, 90))
    assert many > few + 0.1


@pytest.mark.usefixtures("quick_codes")
def test_an_index_keeps_its_codes_and_smaller_ones_make_smaller_files(tmp_path, wide):
    sizes = []
    for codes in CODE_NAMES:
        index = SearchIndex(tmp_path / f"{codes}.index", codes)
        index.add(NAMES, wide)
        index.prepare()
        (lists,) = tmp_path.glob(f"{codes}.index*.lists")
        sizes.append(lists.stat().st_size)
        with pytest.raises(UserError, match=rf"its codes are {codes}, not another: leave codes"):
            SearchIndex(tmp_path / f"{codes}.index", "another")
        assert SearchIndex(tmp_path / f"{codes}.index").store.codes == codes
    assert sizes == sorted(sizes)


def test_a_few_newer_images_are_found_before_the_lists_take_them_in(path, monkeypatch):
    monkeypatch.setattr(inverted_lists, "MOST_NEWER", 100)
    (lists,) = path.parent.glob("*.lists")
    index = add(path, 1000, 1100)
    assert_right(index)
    assert_right(SearchIndex(path), k=25)
    assert index.search(FEATURES[1050:1051], 1)[0][0].path.name == "1050.jpg"
    assert list(path.parent.glob("*.lists")) == [lists]
    assert_right(add(path, 1100, 1101))
    assert not lists.exists()
    assert index.lists().last == 1101


def test_lists_that_take_in_images_lose_those_that_were_replaced(path, monkeypatch, capsys):
    monkeypatch.setattr(inverted_lists, "MOST_NEWER", 10_000)
    monkeypatch.setattr(inverted_lists, "MOST_REPLACED", 49)
    index = add(path, 0, 49)
    assert_right(index)
    assert index.lists().index.ntotal == 1000
    add(path, 49, 50)
    assert_right(index)
    assert index.lists().index.ntotal == 1000
    assert index.lists().last == index.store.latest()[1] == 1050
    held = index.lists().index.invlists
    ids = [held.get_single_id(part, i) for part in range(31) for i in range(held.list_size(part))]
    assert sorted(ids) == list(range(51, 1051))
    # A twentieth is too few to find out again how many lists a query looks at.
    assert "recall" not in capsys.readouterr().err


def test_a_filter_that_admits_few_images_compares_them_all(path, monkeypatch):
    SearchIndex(path).describe({name: About(camera="7") for name in NAMES[5:900:30]})
    monkeypatch.setattr(module, "MOST_ADMITTED", 30)
    monkeypatch.setattr(inverted_lists.InvertedLists, "search", None)
    index, camera = SearchIndex(path), Filter(camera="7")
    expected = sorted(-FEATURES[5:900:30] @ FEATURES[0])[:10]
    for _ in range(2):
        found = index.search(FEATURES[:1], 10, among=camera)[0]
        np.testing.assert_allclose([-match.similarity for match in found], expected, atol=1e-6)
    index.describe({NAMES[0]: About(camera="7")})
    with pytest.raises(TypeError):  # now it searches the lists
        index.search(FEATURES[:1], 10, among=camera)


def test_features_that_sixty_four_does_not_divide_are_held_by_a_byte_each(tmp_path):
    index = SearchIndex(tmp_path / "a.index")
    index.add(NAMES, FEATURES)
    assert index.store.codes == "pq64"
    assert index.lists().index.code_size == FEATURES.shape[1]
    assert index.search(FEATURES[7:8], 1)[0][0].path.name == "7.jpg"


def test_a_copy_under_another_name_makes_its_own_lists(path):
    shutil.copy(path, path.with_name("b.index"))
    (lists,) = path.parent.glob("*.lists")
    assert_right(add(path.with_name("b.index"), 2000, 2500))
    assert_right(SearchIndex(path))
    assert lists.exists()


OTHERS = {  # what another process does between two steps of a search
    "adds more than there are": lambda other: other.add(NAMES[1000:2600], FEATURES[1000:2600]),
    "adds one image": lambda other: other.add(NAMES[1000:1001], FEATURES[1000:1001]),
    "replaces images": lambda other: other.add(NAMES[:300], FEATURES[:300]),
    "forgets images": lambda other: other.forget(Filter(identity="Anna"), "words"),
    "describes images": lambda other: other.describe({name: About("Anna") for name in NAMES[:9]}),
}


# Lists that are extended by a few images are neither trained nor tuned.
STEPS = [(False, step) for step in ("_extend", "_write", "lists")]
STEPS += [(True, step) for step in ("_train", "_extend", "_tune", "_write", "lists")]


@pytest.mark.parametrize("what", OTHERS)
@pytest.mark.parametrize(("new", "step"), STEPS)
def test_a_search_finds_all_while_another_process_works(path, what, step, new, monkeypatch):
    SearchIndex(path).describe({name: About(identity="Anna") for name in NAMES[400:600]})
    index = SearchIndex(path)
    if new:
        for lists in path.parent.glob("*.lists"):
            lists.unlink()
    else:
        add(path, 2900, 2950)
    place = SearchIndex if step == "lists" else inverted_lists
    work = getattr(place, step)

    def meanwhile(*given):
        result = work(*given)
        monkeypatch.setattr(place, step, work)
        OTHERS[what](SearchIndex(path))
        return result

    monkeypatch.setattr(place, step, meanwhile)
    assert_right(index)
    assert_right(SearchIndex(path))


def test_a_search_ends_in_a_sentence_if_another_process_forgets_everything(path, monkeypatch):
    index = add(path, 1000, 1100)
    outgrown = inverted_lists._outgrown

    def meanwhile(*given):
        SearchIndex(path).forget(module.EVERYTHING, "words")
        outgrown(*given)
        return True

    monkeypatch.setattr(inverted_lists, "_outgrown", meanwhile)
    with pytest.raises(UserError, match=r"a\.index: no images in it any more"):
        index.search(QUERIES, 10)
    assert SearchIndex(path).search(QUERIES, 10) == [[]] * len(QUERIES)


def test_an_index_that_forgets_and_grows_every_day_is_searched_by_lists(path):
    index = SearchIndex(path)
    index.store.db.rows("UPDATE sqlite_sequence SET seq = 5000000")  # ids of the images from now on
    index.add(NAMES[1000:2000], FEATURES[1000:2000], {name: About("new") for name in NAMES})
    index.forget(Filter(image=b"0.jpg"), "words")
    assert_right(index)
    assert_right(index, Filter(identity="new"))


def test_a_file_that_was_vacuumed_keeps_its_lists(path):
    (lists,) = path.parent.glob("*.lists")
    before = lists.stat().st_mtime_ns
    with closing(sqlite3.connect(path)) as database:
        database.execute("VACUUM")
    assert_right(SearchIndex(path))
    assert lists.stat().st_mtime_ns == before


@pytest.mark.parametrize("count", [600, 1000])
def test_lists_of_other_features_are_named_or_made_again(path, count):
    (lists,) = path.parent.glob("*.lists")
    other = SearchIndex(path.with_name("b.index"), "float32")
    other.add(NAMES[:count], FEATURES[::-1][:count])
    other.prepare()
    (theirs,) = path.parent.glob("b.index*.lists")
    theirs.replace(lists)
    with pytest.raises(UserError, match=r"a\.index: its inverted lists are damaged: "):
        SearchIndex(path).search(QUERIES, 10)
    lists.unlink()
    narrow = SearchIndex(path.with_name("c.index"), "float32")
    narrow.add(NAMES, FEATURES[:, :16])
    narrow.prepare()
    (theirs,) = path.parent.glob("c.index*.lists")
    theirs.replace(lists)
    assert_right(SearchIndex(path))


@pytest.mark.parametrize("value", [37.0, -0.5, np.nan, 1e38])
def test_lists_whose_features_are_damaged_give_no_answer(path, value):
    (lists,) = path.parent.glob("*.lists")
    content = lists.read_bytes()
    index = SearchIndex(path)
    held = index.search(QUERIES, 1)[0][0].path.name
    feature = FEATURES[NAMES.index(held)].tobytes()
    assert content.count(feature) == 1
    place = content.index(feature)
    wrong = np.full(4, value, "<f4").tobytes()
    damaged = content[:place] + wrong + content[place + 16 :]
    lists.unlink()  # it is mapped into memory
    lists.write_bytes(damaged)
    with suppress(UserError):  # or, as a NaN is nobody's neighbour, others are found
        for row in SearchIndex(path).search(QUERIES, 3):
            assert all(abs(match.similarity) <= 1.001 for match in row)
            assert all(match.path.name != held for match in row)
            assert np.isnan(value)


@pytest.mark.parametrize("length", [0, 3, 1000, 50_000])
def test_lists_that_are_cut_short_are_made_again(path, length):
    (lists,) = path.parent.glob("*.lists")
    content = lists.read_bytes()
    lists.write_bytes(content[:length])
    assert_right(SearchIndex(path))


@pytest.mark.parametrize("exact", [False, True])
def test_a_damaged_feature_is_named_before_a_cosine_above_one(path, exact):
    index = SearchIndex(path)
    (row,) = index.store.db.rows(
        "SELECT feature FROM images WHERE path = '0.jpg' OR path = ?", (b"0.jpg",)
    )
    feature = np.frombuffer(row[0], "<f4") * 3
    index.store.db.rows(
        "UPDATE images SET feature = ? WHERE path = ?", (feature.tobytes(), b"0.jpg")
    )
    with pytest.raises(UserError, match=r"a\.index: damaged: a feature is not of length 1"):
        SearchIndex(path).search(FEATURES[:1], 1, exact=exact)


@pytest.mark.parametrize("act", ["search", "add", "describe", "forget"])
@pytest.mark.parametrize("gone", [False, True], ids=["replaced", "deleted"])
def test_an_open_index_whose_file_was_replaced_or_deleted_is_refused(path, act, gone):
    index = SearchIndex(path)
    shutil.copy(path, path.with_name("copy"))
    path.unlink() if gone else path.with_name("copy").replace(path)
    acts = {
        "search": lambda: index.search(QUERIES, 3),
        "add": lambda: index.add(NAMES[:3], FEATURES[:3]),
        "describe": lambda: index.describe({NAMES[0]: About("Anna")}),
        "forget": lambda: index.forget(Filter(image=b"0.jpg"), "words"),
    }
    with pytest.raises(UserError, match=r"a\.index: replaced or deleted since it was opened"):
        acts[act]()


@pytest.mark.parametrize("codes", ["sq8", pytest.param("pq64", marks=pytest.mark.slow)])
def test_codes_are_learnt_again_for_images_that_look_different(tmp_path, monkeypatch, codes):
    """Images of another camera, which look alike to codes that were learnt before them."""
    monkeypatch.setattr(inverted_lists, "MOST_NEWER", 200)
    random = np.random.default_rng(0)
    old = clusters(random, 3000, dimension=64, identities=300)
    new = clusters(random, 300, dimension=64, identities=30)
    new = new / np.linalg.norm(new, axis=1, keepdims=True) / 10 + np.eye(64, dtype="f")[0]
    index = SearchIndex(tmp_path / "a.index", codes)
    index.add(NAMES[:3000], old)
    index.prepare()
    index.add([f"new {name}" for name in NAMES[:300]], new)
    found, right = (index.search(new, 10, exact=exact) for exact in (False, True))
    pairs = [[{match.path for match in row} for row in rows] for rows in (found, right)]
    assert np.mean([len(a & b) / 10 for a, b in zip(*pairs, strict=True)]) > 0.97
