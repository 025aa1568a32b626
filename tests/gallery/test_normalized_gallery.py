"""A gallery whose cameras have one mean: its answers against all features in one matrix."""

import numpy as np
import pytest

from person_reid.errors import UserError
from person_reid.gallery import normalized_gallery
from person_reid.gallery.identification import identify
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.metadata import About, Filter
from person_reid.gallery.normalized_gallery import NormalizedGallery
from person_reid.retrieval.normalization import CameraNorm
from person_reid.retrieval.similarity import unit_rows

RANDOM = np.random.default_rng(0)
PEOPLE = RANDOM.standard_normal((10, 16))
LOOK = {"1": RANDOM.standard_normal(16), "2": RANDOM.standard_normal(16)}  # of the cameras
CAMERAS = ["1", "2"] * 10


def seen(person, camera):
    return PEOPLE[person] + 4 * LOOK[camera] + 0.1 * RANDOM.standard_normal(16)


FEATURES = np.array([seen(i // 2, camera) for i, camera in enumerate(CAMERAS)], np.float32)
FEATURES /= np.linalg.norm(FEATURES, axis=1, keepdims=True)
QUERIES = unit_rows(np.array([seen(person, "2") for person in range(10)], np.float32))


@pytest.fixture
def index(tmp_path):
    """Two images of each of ten people, one by each camera, and one of a camera nobody knows."""
    index = SearchIndex(tmp_path / "people.index", codes="float32")
    paths = [f"{i}.jpg" for i in range(20)]
    abouts = {path: About(f"p{i // 2}", CAMERAS[i]) for i, path in enumerate(paths)}
    index.add([*paths, "other.jpg"], np.concatenate([FEATURES, FEATURES[:1] * -1]), abouts)
    return index


@pytest.mark.parametrize("chunk", [3, 1000])
def test_answers_are_those_of_all_features_moved_at_once(index, monkeypatch, chunk):
    monkeypatch.setattr("person_reid.gallery.database.CHUNK", chunk)
    norm = CameraNorm(FEATURES, CAMERAS)
    queries, known = norm(QUERIES, ["2"] * 10), norm(FEATURES, CAMERAS)
    gallery = NormalizedGallery(index)
    moved = gallery.normalized(QUERIES, ["2"] * 10)
    np.testing.assert_allclose(moved, queries, atol=1e-6)
    here = np.flatnonzero(np.array(CAMERAS) == "1")
    found = gallery.search(moved, 3, among=Filter(camera="1"))
    for row, cosines in zip(found, queries @ known[here].T, strict=True):
        order = np.argsort(-cosines)[:3]
        assert [match.path.name for match in row] == [f"{here[i]}.jpg" for i in order]
        np.testing.assert_allclose([match.similarity for match in row], cosines[order], atol=1e-5)


def test_people_are_found_on_the_other_camera(index):
    """The raw features look alike because of the camera alone."""
    gallery = NormalizedGallery(index)
    other = Filter(camera="1")
    for of, queries, right in (
        (index, QUERIES, 7),
        (gallery, gallery.normalized(QUERIES, ["2"] * 10), 10),
    ):
        found = [each.nearest for each in identify(of, queries, among=other)]
        count = sum(name == f"p{i}" for i, name in enumerate(found))
        assert (count == 10) == (right == 10)
    nowhere = gallery.search(QUERIES, 2, among=Filter(camera="7"))
    assert nowhere == [[]] * 10


def test_an_unknown_camera_has_the_mean_of_all(index):
    gallery = NormalizedGallery(index)
    norm = CameraNorm(FEATURES, CAMERAS)
    found = gallery.normalized(QUERIES, [None] * 10)
    np.testing.assert_allclose(found, norm(QUERIES, ["nobody knows"] * 10), atol=1e-6)
    assert len(gallery) == len(index)
    assert gallery.path == index.path
    assert gallery.values("camera") == ["1", "2"]


def test_means_of_a_large_gallery_come_from_a_part(index, monkeypatch):
    monkeypatch.setattr(normalized_gallery, "MOST_FITTED", 7)  # every third image
    gallery = NormalizedGallery(index)
    rows = range(0, 20, 3)
    norm = CameraNorm(FEATURES[rows], [CAMERAS[i] for i in rows])
    np.testing.assert_allclose(
        gallery.normalized(QUERIES, ["1"] * 10), norm(QUERIES, ["1"] * 10), atol=1e-6
    )


def test_without_cameras_the_command_that_says_them_is_named(tmp_path):
    index = SearchIndex(tmp_path / "people.index")
    index.add(["a.jpg"], FEATURES[:1])
    with pytest.raises(UserError, match=r"camera_norm needs the cameras .* --about CSV"):
        NormalizedGallery(index)
