"""People in front of live cameras: they get an identity while they are there, and keep it."""

import pickle
import shutil
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.support.walks import COLOURS, FRAMES, draw_frame, find_by_colour, sides
from person_reid.config.detector import TrackerOptions
from person_reid.data.video.track_files import read_boxes
from person_reid.errors import UserError
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.indexed_tracks import indexed_tracks
from person_reid.gallery.live_gallery import LiveGallery
from person_reid.gallery.metadata import About, Filter
from person_reid.gallery.track_records import boxes_in_names, recorded_tracks
from person_reid.video.live import IMAGES_TO_SAY, FrameResult, LivePeople, TrackImage

RATE = 10  # frames a second


def mean_colours(crops):
    """Features: the mean colour of each image, between those of two people."""
    found = np.array([np.asarray(crop, np.float32).mean(axis=(0, 1)) - 100 for crop in crops])
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def seen_by_two_cameras(live, frames=range(1, FRAMES + 1)):
    """Let two cameras see one walk, the second half a second later, and return the looks."""
    looks = []
    for number in frames:
        for camera, delay in (("hall", 0.0), ("yard", 0.05)):
            looks.append(live.feed(draw_frame(number), number / RATE + delay, camera))
    return looks


def test_people_are_known_in_the_next_camera_while_they_are_there():
    quick = TrackerOptions(confirmations=2, least_seconds=0)
    live = LivePeople(find_by_colour, mean_colours, quick, threshold=0.9)
    looks = seen_by_two_cameras(live)
    said = [each for look in looks for each in look.said]
    assert sorted((each.camera, each.track, each.person) for each in said) == [
        (camera, track, track) for camera in ("hall", "yard") for track in (1, 2)
    ]
    assert all(each.corrected_from is None and each.time < 0.4 for each in said)
    first = next(number for number, look in enumerate(looks) if look.said)
    assert 0 < first <= len(looks) / 1.5  # before they have gone

    last = looks[-1]
    for box, person in zip(last.boxes, last.people, strict=True):
        colour = [*COLOURS][person - 1]
        assert np.abs(box - sides(colour, FRAMES)).max() <= 1
    assert [(each.person, each.tracks) for each in live.people()] == [(1, 2), (2, 2)] or [
        (2, 2),
        (1, 2),
    ]
    assert not any(look.ended for look in looks)
    assert sum(len(look.images) for look in looks) >= 4 * IMAGES_TO_SAY


def test_with_appearance_all_boxes_of_a_frame_are_embedded():
    seen: list[int] = []

    def embed(crops):
        seen.append(len(crops))
        return mean_colours(crops)

    live = LivePeople(find_by_colour, embed, TrackerOptions(appearance=True), threshold=0.9)
    looks = [live.feed(draw_frame(number), number / RATE) for number in range(1, FRAMES + 1)]
    assert seen.count(2) >= FRAMES
    assert {*looks[-1].tracks.tolist()} == {1, 2}


def test_images_are_of_the_person_and_come_less_often_with_time():
    live = LivePeople(find_by_colour, mean_colours, threshold=0.9)
    still = draw_frame(5)
    times: list[float] = []
    for second in np.arange(0, 120, 0.5):
        looked = live.feed(still, second)
        times += [each.time for each in looked.images if each.track == 1]
        for each in looked.images:
            assert each.crop.size == (10, 24)
            assert each.feature == pytest.approx(mean_colours([each.crop])[0])
    gaps = np.diff(times)
    assert len(times) < 30
    assert gaps[:3].max() <= 1.5
    assert gaps[-1] > 15


def test_a_track_that_ends_early_is_said_all_the_same():
    live = LivePeople(find_by_colour, mean_colours, threshold=0.9)
    nobody = np.full_like(draw_frame(1), 128)
    assert not [each for n in (1, 2, 3) for each in live.feed(draw_frame(n), n / RATE).said]
    for number in range(4, 20):
        looked = live.feed(nobody, number / RATE)
        if looked.said:
            break
    assert [each.person for each in looked.said] == [1, 2]
    assert looked.ended == [1, 2]
    assert number / RATE > 1  # the tracker has waited

    for number in range(3):
        live.feed(draw_frame(number + 4), 5 + number / RATE)
    (looked,) = live.end()
    assert [each.person for each in looked.said] == [1, 2]
    assert len(live.people()) == 2


def test_what_more_images_show_is_corrected():
    calls, seen = count(), 0

    def embed(crops):
        """Features that mix up the two people in the yard at first."""
        nonlocal seen
        seen += len(crops)
        found = mean_colours(crops)
        return found[::-1] if next(calls) % 2 and seen <= 4 * IMAGES_TO_SAY else found

    live = LivePeople(find_by_colour, embed, threshold=0.9)
    looks = seen_by_two_cameras(live)
    said = [each for look in looks for each in look.said]
    people = {(each.camera, each.track): each.person for each in said}
    assert people["hall", 1] == people["yard", 2] != people["hall", 2] == people["yard", 1]
    standing = [*np.arange(0.1, 3, 0.1), *range(3, 70)]  # their later images are the more
    for second in standing:
        shown = draw_frame(FRAMES)
        for camera, delay in (("hall", 0.0), ("yard", 0.05)):
            looked = live.feed(shown, FRAMES / RATE + second + delay, camera)
            for each in looked.said:
                assert each.corrected_from == people[each.camera, each.track] != each.person
                people[each.camera, each.track] = each.person
    assert people["hall", 1] == people["yard", 1] != people["hall", 2] == people["yard", 2]
    assert {n for looked in [live.feed(shown, 80.0, "hall")] for n in looked.people} == {
        people["hall", 1],
        people["hall", 2],
    }


def test_a_large_share_of_new_tracks_does_not_wait_for_the_next_linking(monkeypatch):
    live = LivePeople(find_by_colour, mean_colours, threshold=0.9)
    relink, linked = live.links.relink, []

    def noted(asked):
        linked.extend(asked)
        return relink(asked)

    monkeypatch.setattr(live.links, "relink", noted)
    seen_by_two_cameras(live)
    assert sorted(linked) == [(camera, track) for camera in ("hall", "yard") for track in (1, 2)]


def test_memory_stays_flat_for_hours():
    random, people = np.random.default_rng(0), 40
    centres = random.standard_normal((people, 16)).astype(np.float32)
    frame = np.zeros((48, 64, 3), np.uint8)
    shown: list[int] = []

    def detect(_):
        return np.array([[20, 4, 32, 40]] * len(shown)).reshape(-1, 4), np.full(len(shown), 0.9)

    def embed(crops):
        found = centres[shown or last][: len(crops)]
        found = found + 0.2 * random.standard_normal((len(crops), 16)).astype(np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    live = LivePeople(detect, embed, threshold=0.6, most=30)
    sizes, tracks = [], set()
    for step in range(2 * 3600 // 10):
        last = list(shown)
        shown[:] = [] if step % 4 == 3 else shown or [int(random.integers(people))]
        tracks |= {each.track for each in live.feed(frame, 10.0 * step).said}
        if step % 60 == 59:
            sizes.append(len(pickle.dumps((live.links, live._cameras))))
    assert len(tracks) == 180
    assert len(live.links.tracks) == 30
    assert max(sizes[5:]) < 1.1 * sizes[4]


def test_times_that_go_back_and_frames_that_are_none_are_refused():
    live = LivePeople(find_by_colour, mean_colours)
    live.feed(draw_frame(1), 10.0)
    live.feed(draw_frame(1), 5.0, "another")
    with pytest.raises(UserError, match="time: "):
        live.feed(draw_frame(1), 9.0)
    with pytest.raises(UserError, match="8 bits"):
        live.feed(draw_frame(1)[:, :, 0], 11.0)


def test_no_frame_of_a_live_track_is_before_the_first_and_its_record_outlives_forgetting(tmp_path):
    """The second person comes later, is best seen at once, and is thus stored with an older image.

    The first becomes sharper. All images are forgotten, and then somebody else comes.
    """
    noise = np.random.default_rng(0).integers(-100, 100, (64, 128, 3))

    def look(second):
        frame = np.full((64, 128, 3), 128.0)
        frame[:, 10:30] += noise[:, 10:30] * min(1, second)
        frame[:, 50:70] += noise[:, 50:70] * max(0.05, 1 - (second - 0.25))
        shown[:] = [[90, 8, 110, 56]] if second > 50 else [[10, 8, 30, 56], [50, 8, 70, 56]]
        if second < 0.25:
            del shown[1:]
        looked = live.feed(frame.astype(np.uint8), 1e9 + second, "door")
        kept.keep(gallery, looked)

    shown: list[list[int]] = []
    count = iter(range(10**6))

    def embed(crops):
        return np.eye(64, dtype=np.float32)[[next(count) % 64 for _ in crops]]

    gallery = SearchIndex(tmp_path / "people.index")
    live = LivePeople(lambda _: (shown, [0.9] * len(shown)), embed)
    kept = LiveGallery(live, {})
    for second in np.arange(0, 2, 0.05):
        look(second)
    (record,) = recorded_tracks(gallery)
    boxes = boxes_in_names([*Path(record.path).glob("*.jpg")])
    assert {box.track for box in boxes} == {1, 2}
    assert min(box.frame for box in boxes) >= 1
    assert len(indexed_tracks(gallery)[1]) == 2

    assert gallery.forget(Filter(camera="door"), "camera")
    assert [path.name for path in (tmp_path / "people.crops").iterdir()] == [".owner"]
    assert not recorded_tracks(gallery)
    for second in np.arange(60, 63, 0.05):
        look(second)
    assert recorded_tracks(gallery) == [record]
    assert len(indexed_tracks(gallery)[1]) == 1


def test_the_gallery_alone_describes_the_tracks_of_live_cameras(tmp_path):
    """Nothing but the index has to be on the disk: neither another file nor the images."""
    gallery = SearchIndex(tmp_path / "people.index")
    live = LivePeople(find_by_colour, mean_colours, threshold=0.9)
    kept = LiveGallery(live, {})
    for looked in (*seen_by_two_cameras(live), *live.end()):
        kept.keep(gallery, looked)
    shutil.rmtree(tmp_path / "people.crops")
    tracks, _ = indexed_tracks(gallery)
    assert sorted((each.record.camera, each.track.number) for each in tracks) == [
        (camera, number) for camera in ("hall", "yard") for number in (1, 2)
    ]
    begun = {each.record.source: each.record.seconds([1])[0] for each in tracks}
    for each in tracks:
        red, _, blue = each.features.mean(axis=0)
        times = each.record.seconds(each.track.frames.tolist())
        for seconds, box in zip(times, each.track.boxes, strict=True):
            number = 1 + round((seconds - begun[each.record.source]) * RATE)
            assert np.abs(box - sides(7 if red > blue else 12, number)).max() <= 1
    for record in {each.record.source: each.record for each in tracks}.values():
        of_record = [each.track for each in tracks if each.record == record]
        written = tmp_path / f"{record.camera}.txt"
        record.write(written, of_record, lambda track, frame: track + 5, lambda *_: 0)
        boxes = {(box.track - 5, box.frame): box.sides for box in read_boxes(written)[1]}
        assert boxes == {
            (track.number, frame): tuple(box)
            for track in of_record
            for frame, box in zip(track.frames.tolist(), track.boxes.tolist(), strict=True)
        }


def test_a_camera_may_run_for_half_a_year(tmp_path):
    gallery = SearchIndex(tmp_path / "people.index")
    live = LiveGallery(LivePeople(find_by_colour, mean_colours), {})
    none: Any = np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64)
    for track, day in ((1, 0), (2, 180)):
        time = 1.8e9 + 86400 * day
        box = (-3.4, 10.0, 50.0, 90.0)
        crop = Image.new("RGB", (50, 80))
        image = TrackImage(track, time, box, crop, np.eye(8, dtype=np.float32)[track], 0)
        boxes, scores, numbers, people = none
        looked = FrameResult(
            "door", 1.8e9, time, (640, 480), boxes, scores, numbers, people, [image]
        )
        live.keep(gallery, looked)
    tracks, _ = indexed_tracks(gallery)
    assert [each.track.first - 1.8e9 for each in tracks] == [0, 180 * 86400]
    assert [each.track.boxes.tolist() for each in tracks] == 2 * [[[-3, 10, 50, 90]]]


def test_after_a_restart_the_people_seen_last_are_known_whatever_their_number(tmp_path):
    """Staff have low numbers, and come every day."""
    gallery = SearchIndex(tmp_path / "people.index")
    seen = {"Anna": "08:00", "person 0001": "12:00", "person 0002": "09:00", "person 0003": "10:00"}
    abouts = [About(name, "door", f"2026-01-05 {hour}:00Z") for name, hour in seen.items()]
    names = [f"{number}.jpg" for number in range(len(abouts))]
    gallery.add(names, np.eye(4), dict(zip(names, abouts, strict=True)))
    live = LivePeople(
        find_by_colour, lambda crops: np.eye(4, dtype=np.float32)[: len(crops)], most=6
    )
    kept = LiveGallery(live, {})
    kept.know(gallery)
    known = ["Anna", "person 0001", "person 0003"]
    assert [*live.links.tracks] == [("known", name, "door") for name in known]
    assert live.links.last == 4  # Anna's

    abouts = [About("Bea"), About("-1")]  # the second shows nobody
    gallery.add(
        ["b.jpg", "c.jpg"], -np.eye(4)[:2], dict(zip(["b.jpg", "c.jpg"], abouts, strict=True))
    )
    for number in range(1, FRAMES + 1):
        kept.keep(gallery, live.feed(draw_frame(number), 1e9 + number / RATE))
    assert [(row.person, row.camera) for row in live.links.tracks.values() if row.known] == [
        (4, "door"),
        (1, "door"),
        (5, ""),  # Bea
    ]


def test_people_enrolled_meanwhile_are_recognised_as_far_as_there_is_room(tmp_path, caplog):
    def walk(start):
        """Show two people to the hall, and return the names of those who appeared."""
        names = set()
        for number in range(1, FRAMES + 1):
            looked = live.feed(draw_frame(number), start + number / RATE, "hall")
            names |= {each.name for each in kept.keep(gallery, looked)}
        return names

    def enroll(names, features):
        gallery.add(names, features, {name: About(name) for name in names})

    gallery = SearchIndex(tmp_path / "people.index")
    live = LivePeople(find_by_colour, mean_colours, threshold=0.9, most=20)
    kept = LiveGallery(live, {})
    assert walk(1e9) == {None}
    ((first, *_), features), *_ = gallery.entries()
    enroll(["Anna"], features[:1])
    assert first[1].identity == "person 0001"
    assert walk(1e9 + 100) == {"Anna", None}

    strangers = [f"stranger {number:02}" for number in range(30)]
    enroll(strangers, np.tile(-features.mean(axis=0), (30, 1)))
    assert walk(1e9 + 200) == walk(1e9 + 300) == {"Anna", None}
    assert live.links.known == 10
    (unknown,) = [each.getMessage() for each in caplog.records if "recognise" in each.msg]
    assert unknown.startswith("The cameras do not recognise 21 named people of the gallery")


def test_what_a_user_marks_as_not_a_person_is_no_longer_recognised(tmp_path):
    gallery = SearchIndex(tmp_path / "people.index")
    live = LivePeople(find_by_colour, mean_colours, threshold=0.9)
    kept = LiveGallery(live, {})
    people = []
    for start in (0, 100):
        for number in range(1, FRAMES + 1):
            looked = live.feed(draw_frame(number), 1e9 + start + number / RATE)
            people += [each.person for each in kept.keep(gallery, looked)]
        marked = [
            path for some in gallery.images(Filter(identity="person 0001")) for path, _ in some
        ]
        gallery.describe(dict.fromkeys(marked, About("-1")))
    assert people == ["person 0001", "person 0002", "person 0003", "person 0002"]
    assert gallery.values("identity") == ["-1", "person 0002", "person 0003"]
