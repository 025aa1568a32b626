"""The tracks of a video, which are made once and kept beside what they were made of."""

import json
import logging
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.support.walks import (
    COLOURS,
    FRAMES,
    SIZE,
    draw_frame,
    find_by_colour,
    sides,
    write_frames,
    write_video,
)
from person_reid.config.detector import TrackerOptions
from person_reid.data.video.frames import open_frames
from person_reid.data.video.tracked_boxes import read_tracks
from person_reid.errors import UserError
from person_reid.video.detectors import CheckedDetector
from person_reid.video.tracked_video import (
    TrackedVideo,
    check_replaced,
    content_hash,
    features_of_boxes,
    track_video,
)
from person_reid.video.tracker import Tracker

ANY_BYTES = pytest.mark.skipif(sys.platform != "linux", reason="names of files are text elsewhere")


def tracked(place, path, find=find_by_colour, every=1, **made_of):
    frames = open_frames(place, 10)
    made_of = {"video": content_hash(place), **made_of}
    return track_video(
        frames, lambda: CheckedDetector(find, "colours"), Tracker(), path, made_of, every
    )


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    return write_frames(tmp_path_factory.mktemp("walk") / "hall")


def test_boxes_become_tracks_in_motchallenges_format(walk, tmp_path):
    found = tracked(walk, tmp_path / "hall.txt")
    assert (found.frames, found.tracks) == (FRAMES, len(COLOURS))
    tracks = read_tracks(tmp_path / "hall.txt", 10, form="mot", first_frame=1)
    assert found.boxes == len(COLOURS) * FRAMES
    for track in tracks:
        assert track.frames.tolist() == [*range(1, FRAMES + 1)]
        for frame, box in zip(track.frames, track.boxes, strict=True):
            seen = [np.minimum(sides(person, frame), [*SIZE, *SIZE]) for person in COLOURS]
            assert min(np.abs(box - each).max() for each in seen) <= 1


@pytest.mark.parametrize("confirmations", [1, 2, 4])
def test_a_track_begins_with_the_boxes_from_before_it_was_confirmed(walk, tmp_path, confirmations):
    """One person is seen from frame 5 to 8 alone, the other in frames 3, 4 and 11 to 13."""
    frames = iter(range(1, FRAMES + 1))

    def find(picture):
        frame = next(frames)
        boxes = [[10, 10, 20, 40]] * (5 <= frame <= 8)
        boxes += [[50, 10, 60, 40]] * (frame in (3, 4, 11, 12, 13))
        return boxes, [0.9] * len(boxes)

    tracker = Tracker(TrackerOptions(confirmations=confirmations, least_seconds=0, patience=0.1))
    found = track_video(
        open_frames(walk, 10),
        lambda: CheckedDetector(find, "scripted"),
        tracker,
        tmp_path / "hall.txt",
        {},
    )
    lines = [line.split(",")[:2] for line in (tmp_path / "hall.txt").read_text().splitlines()]
    seen = [3, 4], [5, 6, 7, 8], [11, 12, 13]
    kept = [frames for frames in seen if len(frames) >= confirmations]
    assert [int(frame) for frame, _ in lines] == [frame for frames in kept for frame in frames]
    assert found.boxes == len(lines)
    assert found.tracks == len({track for _, track in lines}) == len(kept)


def test_the_last_frame_is_written_although_somebody_in_it_is_undecided(walk, tmp_path):
    frames = iter(range(1, FRAMES + 1))

    def find(picture):
        boxes = [[10, 10, 20, 40], [50, 10, 60, 40]][: 1 + (next(frames) == FRAMES)]
        return boxes, [0.9] * len(boxes)

    found = tracked(walk, tmp_path / "hall.txt", find)
    lines = (tmp_path / "hall.txt").read_text().splitlines()
    assert [int(line.partition(",")[0]) for line in lines] == [*range(1, FRAMES + 1)]
    assert (found.boxes, found.tracks) == (FRAMES, 1)


def test_only_what_was_wrong_with_a_video_is_remarked_on(caplog):
    TrackedVideo(frames=9, boxes=9, tracks=1).remark(Path("hall.mp4"))
    assert not caplog.records
    TrackedVideo(frames=9, boxes=0, tracks=0, left_out="left out 2 boxes").remark(Path("hall.mp4"))
    assert [record.getMessage() for record in caplog.records] == [
        "hall.mp4: left out 2 boxes.",
        "hall.mp4: nobody was tracked in its 9 frames.",
    ]


@pytest.mark.parametrize("score, hinted", [(0.59, True), (0.31, True), (0.29, False)])
def test_many_boxes_that_almost_begin_a_track_are_hinted_at(score, hinted, walk, tmp_path, caplog):
    def find(frame):
        boxes, scores = find_by_colour(frame)
        assert len(boxes) == len(COLOURS)
        every = np.concatenate([boxes, boxes[:1], boxes])
        return every, np.concatenate([scores, np.full(len(boxes) + 1, score)])

    for _ in range(2):  # the second time, from the notes
        tracked(walk, tmp_path / "hall.txt", find)
        assert ("try --detector_tiles 2" in caplog.text) == hinted
        caplog.clear()


def test_boxes_with_low_scores_are_not_embedded():
    frame, crops = draw_frame(5), []

    def embed(some):
        crops.extend(some)
        return np.ones((len(some), 3), np.float32)

    boxes, tracker = np.array([sides(person, 5) for person in COLOURS], np.float32), Tracker()
    looks = features_of_boxes(embed, frame, boxes, np.array([0.4, 0.6]), tracker)
    assert looks.tolist() == [[0, 0, 0], [1, 1, 1]]
    left, top, right, bottom = sides(12, 5)
    assert [np.asarray(crop).tolist() for crop in crops] == [frame[top:bottom, left:right].tolist()]
    assert features_of_boxes(embed, frame, boxes, np.array([0.4, 0.4]), tracker) is None


@pytest.mark.parametrize("damaged", [False, True])
def test_a_whole_video_that_was_tracked_is_counted_without_a_decoder(damaged, tmp_path):
    pytest.importorskip("av")
    path = write_video(tmp_path / "walk.mp4")
    if damaged:
        content = bytearray(path.read_bytes())
        place = (content.index(b"mdat") + content.index(b"moov")) // 2
        content[place : place + 200] = b"\xff" * 200
        path.write_bytes(content)
    tracked(path, tmp_path / "walk.txt")
    count = open_frames(path).last
    os.utime(path, (0, 0))  # so that this process knows it no more
    found: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        frames = open_frames(path, 10)
        patch.setattr(frames.file, "decode", lambda: iter(found.__iadd__([1])))
        track_video(
            frames,
            lambda: CheckedDetector(find_by_colour, "colours"),
            Tracker(),
            tmp_path / "walk.txt",
            {"video": content_hash(path)},
        )
        if not damaged:
            assert frames.last == count == FRAMES
    assert frames.last == count < FRAMES + (not damaged)
    assert not found


def test_every_nth_frame_keeps_its_number(walk, tmp_path):
    found = tracked(walk, tmp_path / "hall.txt", every=5)
    lines = (tmp_path / "hall.txt").read_text().splitlines()
    assert found.frames == 5
    assert {int(line.partition(",")[0]) for line in lines} <= {1, 6, 11, 16, 21}


def test_frames_counted_from_0_have_these_numbers_in_the_file(walk, tmp_path):
    (tmp_path / "hall").mkdir()
    for file in walk.iterdir():
        file_of_zero = tmp_path / "hall" / f"{int(file.stem) - 1:06d}.png"
        file_of_zero.write_bytes(file.read_bytes())
    for place, path in ((walk, "one.txt"), (tmp_path / "hall", "zero.txt")):
        tracked(place, tmp_path / path)
    one, zero = ((tmp_path / path).read_text().splitlines() for path in ("one.txt", "zero.txt"))
    numbers = [[int(line.partition(",")[0]) for line in lines] for lines in (one, zero)]
    assert [number - 1 for number in numbers[0]] == numbers[1]


def test_a_video_is_tracked_like_its_frames(walk, tmp_path):
    pytest.importorskip("av")
    video = write_video(tmp_path / "hall.mp4")
    assert tracked(video, tmp_path / "a.txt").tracks == len(COLOURS)
    assert open_frames(video).numbers == [*range(1, FRAMES + 1)]


def test_frames_that_cannot_be_decoded_are_listed_each_time(walk, tmp_path, caplog):
    for file in walk.iterdir():
        (tmp_path / "hall").mkdir(exist_ok=True)
        content = file.read_bytes()
        (tmp_path / "hall" / file.name).write_bytes(
            content[: 40 if file.stem == "000009" else None]
        )
    for _ in range(2):
        caplog.clear()
        found = tracked(tmp_path / "hall", tmp_path / "hall.txt")
        assert list(found.broken) == [9]
        assert "another size: frames 9 (1)" in caplog.text
        assert found.tracks == len(COLOURS)


def test_what_was_tracked_is_not_read_again(walk, tmp_path):
    first = tracked(walk, tmp_path / "hall.txt")

    def fail(frame):
        raise AssertionError("asked again")

    assert tracked(walk, tmp_path / "hall.txt", fail) == first


def test_a_video_that_was_interrupted_leaves_nothing_and_is_tracked_again(walk, tmp_path):
    tracked(walk, tmp_path / "whole.txt")
    seen = []

    def stop(frame):
        seen.append(frame)
        if len(seen) == FRAMES // 2:
            raise KeyboardInterrupt
        return find_by_colour(frame)

    with pytest.raises(KeyboardInterrupt):
        tracked(walk, tmp_path / "hall.txt", stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["whole.json", "whole.txt"]
    tracked(walk, tmp_path / "hall.txt")
    assert (tmp_path / "hall.txt").read_bytes() == (tmp_path / "whole.txt").read_bytes()


def test_tracks_of_other_options_or_of_another_video_are_refused(walk, tmp_path):
    tracked(walk, tmp_path / "hall.txt", detector="a")
    with pytest.raises(UserError, match="other options: detector a, now b, every 1, now 2"):
        tracked(walk, tmp_path / "hall.txt", every=2, detector="b")
    check_replaced(walk, tmp_path / "hall.txt")
    with pytest.raises(UserError, match="has changed since it was tracked"):
        check_replaced(walk, tmp_path / "hall-of-other-content.txt")


def test_a_track_file_that_was_edited_and_damaged_notes_are_refused(walk, tmp_path):
    path = tmp_path / "hall.txt"
    tracked(walk, path)
    content = path.read_bytes()
    path.write_bytes(content + b"\n")
    with pytest.raises(UserError, match="has changed since it was written"):
        tracked(walk, path)
    path.write_bytes(content)
    for notes in ("", "[]", "{}", json.dumps({"made_of": 1, "sha256": "", "found": {}})):
        path.with_suffix(".json").write_text(notes)
        with pytest.raises(UserError, match="damaged. Remove it"):
            tracked(walk, path)
    path.with_suffix(".json").unlink()
    tracked(walk, path)
    assert path.read_bytes() == content


def test_boxes_that_are_no_boxes_are_counted_in_one_line(walk, tmp_path, caplog):
    def find(frame):
        boxes, scores = find_by_colour(frame)
        return [*boxes, [np.nan] * 4], [*scores, 0.9]

    caplog.set_level(logging.WARNING)
    tracked(walk, tmp_path / "hall.txt", find)
    (record,) = caplog.records
    assert f"colours: left out {FRAMES} boxes" in record.getMessage()


@pytest.mark.parametrize("name", [b"000001.jpg", pytest.param(b"caf\xe9.png", marks=ANY_BYTES)])
def test_the_content_of_a_folder_has_another_hash_than_its_names(name, walk, tmp_path):
    (tmp_path / "hall").mkdir()
    for file in walk.iterdir():
        (tmp_path / "hall" / file.name).write_bytes(file.read_bytes())
    assert content_hash(tmp_path / "hall") == content_hash(walk)
    (tmp_path / "hall" / "000001.png").rename(tmp_path / "hall" / os.fsdecode(name))
    assert content_hash(tmp_path / "hall") != content_hash(walk)


def test_two_video_files_have_two_hashes(tmp_path):
    first, copy, second = (tmp_path / name for name in ("a.mp4", "b.mp4", "c.mp4"))
    first.write_bytes(b"one video")
    copy.write_bytes(b"one video")
    second.write_bytes(b"another")
    assert content_hash(first) == content_hash(copy) != content_hash(second)
