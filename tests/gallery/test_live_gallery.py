"""What live cameras remember of a person holds only as long as the gallery says so."""

from collections import Counter
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from benchmarks.support.walks import FRAMES, draw_frame, find_by_colour
from person_reid.gallery.contract import DECISIONS
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.live_gallery import LiveGallery
from person_reid.gallery.metadata import About, Filter
from person_reid.gallery.naming import decide
from person_reid.video.live import FrameResult, Identified, LivePeople

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
        line: dict[str, int] = {}
        yield line
        self.recorded.append((before, now, line["images"]))

    def walk(self, start, frames=range(1, FRAMES + 1)):
        """Return {colour: the names under which the person appeared}."""
        names: dict[Any, set] = {"red": set(), "blue": set()}
        for number in frames:
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


def test_who_is_forgotten_a_moment_ago_has_no_name(gallery):
    """The names were read a second before."""
    camera = Camera(gallery)
    camera.kept.keep(gallery, camera.live.feed(draw_frame(1), 1e9 + 99, "hall"))
    gallery.forget(Filter(identity="Anna"), "Anna asked for it")
    camera.kept.reread()
    assert camera.walk(100) == {"red": {None}, "blue": {None}}
    assert "Anna" not in gallery.values("identity")


@pytest.mark.parametrize("share", [0.2, 0.7])  # before and after the first images are stored
def test_a_person_in_view_is_renamed_with_the_images_that_follow(gallery, share):
    camera = Camera(gallery)
    middle = round(share * FRAMES)
    camera.walk(100, range(1, middle))
    camera.kept.refresh(gallery)
    earlier = images_of(gallery, "Anna")
    name_images(gallery, earlier, "Beate")
    camera.walk(100, range(middle, FRAMES + 1))
    later = images_of(gallery, "Anna")
    assert later
    camera.kept.refresh(gallery)
    assert len(images_of(gallery, "Beate")) == len(earlier) + len(later)
    assert camera.recorded == [("Anna", "Beate", len(later))]
    assert camera.walk(200)["red"] == {"Beate"}


def test_a_corrected_track_does_not_keep_the_name_that_the_cameras_gave_it(gallery):
    camera = Camera(gallery)
    camera.walk(100)
    links = camera.live.links
    anna = next(row.known for row in links.tracks.values() if row.named)
    key: Any
    key, row = next(
        (key, row) for key, row in links.tracks.items() if not row.known and row.person == anna
    )
    row.person = links.last = links.last + 1  # as if all tracks had been linked again
    name, track = key
    corrected = Identified(name, track, row.person, row.start, corrected_from=anna)
    none: Any = np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64)
    boxes, scores, numbers, people = none
    result = FrameResult(
        "hall", 1e9, 1e9 + 200, (96, 64), boxes, scores, numbers, people, said=[corrected]
    )
    (appeared,) = camera.kept.keep(gallery, result)
    assert (appeared.name, appeared.corrected_from) == (None, "Anna")
    track = images_of(gallery, appeared.person)
    assert {about.track for about in gallery.abouts(track).values()} == {str(key[1])}
    camera.kept.refresh(gallery)
    assert images_of(gallery, appeared.person) == track


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
