"""What live cameras remember of a person holds only as long as the gallery says so."""

from collections import Counter
from contextlib import contextmanager

import numpy as np
import pytest

from benchmarks.support.walks import FRAMES, draw_frame, find_by_colour
from person_reid.gallery.contract import DECISIONS
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.live_gallery import LiveGallery
from person_reid.gallery.metadata import About, Filter
from person_reid.gallery.naming import decide
from person_reid.video.live import LivePeople

RATE = 10  # frames per second


def mean_colours(crops):
    """Features: the mean colour of each image, between those of two people."""
    colours = np.array([np.asarray(crop, np.float32).mean(axis=(0, 1)) - 100 for crop in crops])
    return colours / np.linalg.norm(colours, axis=1, keepdims=True)


class Camera:
    """A camera that two people, red and blue, pass on each walk."""

    def __init__(self, gallery):
        self.gallery, self.recorded = gallery, []
        self.live = LivePeople(find_by_colour, mean_colours, threshold=0.9)
        self.kept = LiveGallery(self.live, {}, self.record)
        self.kept.know(gallery)

    @contextmanager
    def record(self, before, now):
        line = {}
        yield line
        self.recorded.append((before, now, line["images"]))

    def walk(self, start):
        """Return {colour: the names under which the person appeared}."""
        names = {"red": set(), "blue": set()}
        for number in range(1, FRAMES + 1):
            looked = self.live.feed(draw_frame(number), 1e9 + start + number / RATE, "hall")
            for appeared in self.kept.keep(self.gallery, looked):
                names[colour(self.gallery, appeared.image)].add(appeared.name)
        return names


def colour(gallery, path):
    for images, features in gallery.entries():
        for (image, _), (red, _, blue) in zip(images, features, strict=True):
            if image == path:
                return "red" if red > blue else "blue"
    return None


def images_of(gallery, name):
    return [path for images in gallery.images(Filter(identity=name)) for path, _ in images]


def name_images(gallery, paths, name):
    gallery.describe(dict.fromkeys(paths, About(name)))


def identities(gallery):
    return Counter(about.identity for images in gallery.images() for _, about in images)


def enroll_the_other(gallery):
    """Forget the pictures enrolled as Anna, and enroll the other person's instead."""
    gallery.forget(Filter(identity="Anna"), "wrong pictures")
    blue = next(
        feature
        for images, features in gallery.entries()
        for (path, _), feature in zip(images, features, strict=True)
        if colour(gallery, path) == "blue"
    )
    gallery.add(["portrait.jpg"], blue[None], {"portrait.jpg": About("Anna")})


@pytest.fixture
def gallery(tmp_path):
    """A gallery in which the red person is called Anna, and the blue person has a number."""
    gallery = SearchIndex(tmp_path / "people.index")
    camera = Camera(gallery)
    camera.walk(0)
    number = next(
        name for name in gallery.values("identity")
        if colour(gallery, images_of(gallery, name)[0]) == "red"
    )  # fmt: skip
    name_images(gallery, images_of(gallery, number), "Anna")
    return gallery


CHANGES = {
    "nothing": (lambda gallery: None, {"red": {"Anna"}, "blue": {None}}),
    "forgotten": (
        lambda gallery: gallery.forget(Filter(identity="Anna"), "Anna asked for it"),
        {"red": {None}, "blue": {None}},
    ),
    "renamed": (
        lambda gallery: name_images(gallery, images_of(gallery, "Anna"), "Beate"),
        {"red": {"Beate"}, "blue": {None}},
    ),
    "name cleared": (
        lambda gallery: name_images(gallery, images_of(gallery, "Anna"), ""),
        {"red": {None}, "blue": {None}},
    ),
    "not a person": (
        lambda gallery: name_images(gallery, images_of(gallery, "Anna"), "-1"),
        {"red": {None}, "blue": {None}},
    ),
    "other pictures": (enroll_the_other, {"red": {None}, "blue": {"Anna"}}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_who_is_changed_before_walking_by_is_whom_the_gallery_says(gallery, change):
    camera = Camera(gallery)  # which has begun, and has seen nobody yet
    act, expected = CHANGES[change]
    act(gallery)
    assert camera.walk(100) == expected
    assert camera.walk(200) == expected


def test_one_corrected_image_renames_no_other(gallery):
    camera = Camera(gallery)
    camera.walk(100)
    camera.kept.refresh(gallery)
    images = images_of(gallery, "Anna")
    name_images(gallery, images[-1:], "Bob")
    for _ in range(2):
        camera.kept.refresh(gallery)
        assert identities(gallery)["Bob"] == 1
        assert identities(gallery)["Anna"] == len(images) - 1
    assert not camera.recorded
    assert camera.walk(200)["red"] == {"Anna"}


def test_a_name_follows_most_images_of_the_persons_tracks_and_is_recorded(gallery):
    camera = Camera(gallery)
    camera.walk(100)
    before = {*images_of(gallery, "Anna")}
    new = [path for path in before if "hall-20010909-014820" in str(path)]
    assert 1 < len(new) < len(before)
    name_images(gallery, new[1:], "Bob")
    camera.kept.refresh(gallery)
    # The remaining image of the track follows; the images of the first walk are another camera's
    # run, which this one does not remember.
    assert identities(gallery)["Bob"] == len(new)
    assert camera.recorded == [("Anna", "Bob", 1)]


def test_one_named_image_names_a_person_with_a_number(gallery):
    camera = Camera(gallery)
    camera.walk(100)
    camera.kept.refresh(gallery)
    (number,) = {*identities(gallery)} - {"Anna"}
    count = identities(gallery)[number]
    name_images(gallery, images_of(gallery, number)[-1:], "Bob")
    camera.kept.refresh(gallery)
    assert identities(gallery)["Bob"] == count
    assert camera.recorded == [(number, "Bob", count - 1)]
    assert camera.walk(200) == {"red": {"Anna"}, "blue": {"Bob"}}


def test_a_note_about_a_named_track_goes_with_its_source(gallery):
    (source,) = gallery.values("source")
    decide(gallery, dict.fromkeys(images_of(gallery, "Anna"), "Anna"))
    gallery.note(DECISIONS, {f"{source}-2/1": True})  # of another source
    gallery.forget(Filter(identity="Anna"), "Anna asked for it")
    assert len(gallery.notes(DECISIONS)) == 2  # the source has other images
    gallery.forget(Filter(source=source), "all")
    assert [*gallery.notes(DECISIONS)] == [f"{source}-2/1"]
