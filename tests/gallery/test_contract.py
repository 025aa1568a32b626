"""Every gallery keeps the contract: an index file, PostgreSQL and the dictionary of the docs."""

import os
from hashlib import blake2b

import numpy as np
import pytest

from person_reid.errors import UserError
from person_reid.gallery.contract import DECISIONS, TRACK_RECORDS
from person_reid.gallery.forgetting import hash_of_key, image_key, track_key
from person_reid.gallery.gallery import (
    GALLERIES,
    Gallery,
    file_at,
    growing_gallery,
    nobody_has,
    open_gallery,
    register_gallery,
)
from person_reid.gallery.metadata import EVERYTHING, About, Filter
from person_reid.registration import Registry
from tests.support.dictionary_gallery import DictionaryGallery

PATHS = [f"/crops/{number} ü.jpg" for number in range(8)]
FEATURES = np.eye(8, 16, dtype=np.float32) + 0.1
ABOUTS = {
    path: About("Anna" if i % 2 else None, str(i % 3), "2026-11-01 08:30:00Z", str(i), "film")
    for i, path in enumerate(PATHS)
}
UNIT = FEATURES / np.linalg.norm(FEATURES, axis=1, keepdims=True)


@pytest.fixture(params=["file", "postgres", "dictionary"])
def gallery(request, tmp_path, monkeypatch):
    monkeypatch.setitem(GALLERIES, "dictionary", DictionaryGallery)
    places = {"file": tmp_path / "a.index"}
    if request.param == "postgres":
        places["postgres"] = request.getfixturevalue("postgres")
    opened: Gallery = open_gallery(str(places.get(request.param, "dictionary:a")))
    yield opened
    opened.close()


def test_a_new_gallery_is_empty(gallery):
    assert gallery.new
    assert len(gallery) == 0
    assert gallery.width() is None
    assert gallery.recall("network") is None
    assert list(gallery.entries()) == []
    assert gallery.values("camera") == []
    assert gallery.missing(PATHS) == PATHS
    assert gallery.forget(Filter(identity="Anna"), "identity") == 0
    assert gallery.describe({PATHS[0]: About("Anna")}) == 0


def test_the_latest_note_of_a_name_counts_and_comes_last(gallery):
    assert gallery.notes("kind") == {}
    gallery.note("kind", {"a": {"x": 1}, "b": [True]})
    gallery.note("other", {"a": None})
    gallery.note("kind", {"a": "ü"})
    assert [*gallery.notes("kind").items()] == [("b", [True]), ("a", "ü")]
    assert gallery.notes("other") == {"a": None}


def test_what_was_added_is_there_and_can_be_searched_described_and_forgotten(gallery):
    gallery.add(PATHS, FEATURES, ABOUTS, ["state"] * 8)
    assert len(gallery) == 8
    assert gallery.width() == 16
    assert str(gallery.path)
    assert gallery.file is None or gallery.file == gallery.path
    for call in (gallery.images(), (images for images, _ in gallery.entries())):
        found = {str(path): about for images in call for path, about in images}
        assert found == ABOUTS
    rows = {
        str(path): row
        for images, features in gallery.entries()
        for (path, _), row in zip(images, features, strict=True)
    }
    np.testing.assert_allclose([rows[path] for path in PATHS], UNIT, atol=1e-3)

    answers = gallery.search(FEATURES[2:4], 3)
    assert [str(found[0].path) for found in answers] == PATHS[2:4]
    assert answers[0][0].about == ABOUTS[PATHS[2]]
    np.testing.assert_allclose(
        [match.similarity for match in answers[0]], sorted(UNIT @ UNIT[2])[::-1][:3], atol=1e-3
    )
    among = Filter(camera="1")
    assert {str(m.path) for m in gallery.search(FEATURES[:1], 9, among=among)[0]} == {*PATHS[1::3]}
    assert gallery.values("camera") == ["0", "1", "2"]
    assert gallery.values("identity") == ["Anna"]
    assert "nearest" not in "".join(nobody_has(gallery, Filter(camera="7")))

    assert gallery.describe({PATHS[0]: About("Berta"), "/other.jpg": About("Carla")}) == 1
    (described,) = next(iter(gallery.images(Filter(image=os.fsencode(PATHS[0])))))
    assert described[1] == ABOUTS[PATHS[0]]._replace(identity="Berta")

    assert gallery.forget(Filter(identity="Anna"), "identity") == 4
    assert len(gallery) == 4
    assert not any(gallery.images(Filter(identity="Anna")))
    assert len(gallery.search(FEATURES[:1], 9)[0]) == 4
    assert gallery.forget(Filter(identity="Anna"), "identity") == 0


def test_a_list_goes_on_whatever_else_is_added_again_or_forgotten(gallery):
    gallery.add(PATHS, FEATURES, ABOUTS, ["state"] * 8)

    def after(number, which=EVERYTHING):
        return [str(path) for _, (path, _) in gallery.listed(which, keys[number])]

    keys = [key for key, _ in gallery.listed()]
    assert after(2) == PATHS[3:]
    assert after(7) == []
    assert after(1, Filter(camera="1")) == PATHS[4::3]
    gallery.forget(Filter(image=os.fsencode(PATHS[0])), "image")
    gallery.forget(Filter(image=os.fsencode(PATHS[3])), "image")
    assert after(2) == PATHS[4:]
    gallery.add([PATHS[2], PATHS[5], "/new.jpg"], FEATURES[4:7], None, ["state"] * 3)
    assert {*PATHS[4:], "/new.jpg"} <= {*after(3)} <= {PATHS[2], *PATHS[4:], "/new.jpg"}


def test_an_image_is_there_once_and_keeps_what_is_not_said_anew(gallery):
    gallery.add(PATHS[:2], FEATURES[:2], ABOUTS)
    gallery.add(PATHS[:1], FEATURES[:1], {PATHS[0]: About(camera="9")})
    about = {str(path): about for images in gallery.images() for path, about in images}
    assert about[PATHS[0]] == ABOUTS[PATHS[0]]._replace(camera="9")
    assert len(gallery) == 2


def test_further_columns_are_kept_joined_and_asked_for(gallery):
    own = {"store": "3", 'a "strange" näme': "50 %_"}
    gallery.add(PATHS[:3], FEATURES[:3], {PATHS[0]: About("Anna", more=own)})
    gallery.describe({PATHS[0]: About(more={"store": "5"}), PATHS[1]: About(more={"store": "3"})})
    for where in ({"store": "5"}, {'a "strange" näme': "50 %_"}, {**own, "store": "5"}):
        (found,) = gallery.search(FEATURES[:1], 9, among=Filter(where=where))[0]
        assert found.about == About("Anna", more={**own, "store": "5"})
    (images,) = gallery.images(Filter(where={"store": "3"}))
    assert [(str(path), about.more) for path, about in images] == [(PATHS[1], {"store": "3"})]
    among = Filter(images=tuple(map(os.fsencode, PATHS[1:3])))
    assert {str(path) for images in gallery.images(among) for path, _ in images} == {*PATHS[1:3]}


def test_what_was_forgotten_is_known_until_it_is_allowed(gallery):
    if isinstance(gallery, DictionaryGallery):
        pytest.skip("an engine need not keep a record")
    gallery.add(
        PATHS[:3], FEATURES[:3], {path: About("A", track="1", source="film") for path in PATHS}
    )
    image, track = image_key(os.fsencode(PATHS[0]), "state"), track_key("film", "1")
    gallery.add(PATHS[:1], FEATURES[:1], states=["state"])
    assert gallery.forgotten([image, track]) == set()
    assert gallery.forget(Filter(image=os.fsencode(PATHS[0])), "image") == 1
    assert gallery.forgotten([image, track]) == {image}  # others of the track are there
    assert gallery.forget(Filter(identity="A"), "identity") == 2
    assert gallery.forgotten([image, track, b"other"]) == {image, track}
    gallery.allow([image])
    assert gallery.forgotten([image, track]) == {track}


def test_a_forgotten_image_is_known_by_its_file_wherever_it_moves():
    expected = blake2b(b"image\0b.jpg\x001 2", digest_size=16, key=b"token").digest()
    for path in (b"a/b.jpg", b"/moved/b.jpg", rb"C:\moved\b.jpg"):
        assert hash_of_key(image_key(path, "1 2"), "token") == expected
    for path, state in ((b"a/c.jpg", "1 2"), (b"a/b.jpg", "1 3"), (b"a/b.jpg", "")):
        assert hash_of_key(image_key(path, state), "token") != expected
    assert image_key(b"a/b.jpg", "") != image_key(b"c/b.jpg", "")  # nothing but the path is known


def test_notes_about_a_source_go_with_its_last_image(gallery):
    gallery.note(TRACK_RECORDS, {"film": {"path": "a"}, "other": {"path": "b"}})
    gallery.note(DECISIONS, {"film/1": True, "film/12": False, "other/1": True})
    abouts = dict(zip(PATHS, [About(source="film")] * 2 + [About(source="other")], strict=False))
    gallery.add(PATHS[:3], FEATURES[:3], abouts)
    for place, left in ((0, {"film", "other"}), (1, {"other"}), (2, set())):
        assert gallery.forget(Filter(image=os.fsencode(PATHS[place])), "image") == 1
        assert {*gallery.notes(TRACK_RECORDS)} == left
        assert {name.partition("/")[0] for name in gallery.notes(DECISIONS)} == left


def test_a_file_is_missing_until_it_is_added_and_when_it_changes(gallery, tmp_path):
    image = tmp_path / "a.jpg"
    image.write_bytes(b"one")
    assert gallery.missing([image]) == [image]
    gallery.add([image], FEATURES[:1])
    assert gallery.missing([image]) == []
    image.write_bytes(b"another")
    assert gallery.missing([image]) == [image]


def test_what_is_remembered_stays_as_it_was(gallery):
    assert gallery.remember({"network": {"name": "ours"}, "n": 1}) == {
        "network": {"name": "ours"},
        "n": 1,
    }
    assert gallery.remember({"network": "other"}) == {"network": {"name": "ours"}}
    assert gallery.recall("n") == 1
    assert gallery.recall("absent") is None


@pytest.mark.parametrize(
    "features", [np.zeros((1, 16)), np.full((1, 16), np.nan), np.ones((2, 16))]
)
def test_what_cannot_be_compared_is_refused(gallery, features):
    gallery.add(PATHS[:2], FEATURES[:2])
    with pytest.raises(UserError):
        gallery.add(PATHS[2:3], features)
    with pytest.raises(UserError):
        gallery.search(np.ones((1, 3)), 1)
    with pytest.raises(UserError):
        gallery.search(FEATURES[:1], 0)
    assert len(gallery) == 2


def test_an_address_names_a_file_or_a_registered_engine(monkeypatch, tmp_path):
    monkeypatch.setattr("person_reid.gallery.gallery.GALLERIES", Registry("gallery", GALLERIES))
    register_gallery("mine", DictionaryGallery)
    assert open_gallery("mine://x").path == "mine://x"
    assert file_at("mine:x") is None
    assert file_at("C:\\a.index") is not None
    with pytest.raises(UserError, match="There is a gallery 'mine' already"):
        register_gallery("mine", DictionaryGallery)
    with pytest.raises(UserError, match=r"redis://x: no gallery 'redis'. .* mine"):
        open_gallery("redis://x")
    with pytest.raises(UserError, match="no such index"):
        open_gallery("mine:x", new=False)
    with pytest.raises(UserError, match="codes is for files"), growing_gallery("mine:x", "sq8"):
        pass
