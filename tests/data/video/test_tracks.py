"""Track files in the formats of MOTChallenge, BoxMOT, Roboflow's trackers and Ultralytics."""

import numpy as np
import pytest

from person_reid.data.video.tracked_boxes import Track, doubled, read_tracks
from person_reid.errors import UserError

# One walk of two people, of whom the second is seen in the second frame alone, as each program
# writes it: BoxMOT's and Roboflow's sides count from 0.
MOTCHALLENGE = "1,1,5,10,20,40,1,1,1\n2,1,6,10,20,40,1,1,1\n2,2,61,11,30,50,1,1,0.4\n"
BOXMOT = (
    "1,1,4.0,9.0,20.0,40.0,0.8512345552444458,0,-1\n"
    "2,1,5.0,9.0,20.0,40.0,0.9,0,-1\n"
    "2,2,60.0,10.0,30.0,50.0,0.7,0,-1\n"
)
ROBOFLOW = (
    "1,1,4.00,9.00,20.00,40.00,0.8512,-1,-1,-1\n"
    "2,1,5.00,9.00,20.00,40.00,0.9000,-1,-1,-1\n"
    "2,2,60.00,10.00,30.00,50.00,-1.0000,-1,-1,-1\n"
)
ULTRALYTICS = {
    "walk_1.txt": "0 0.14 0.475 0.2 0.666667 1\n",
    "walk_2.txt": "0 0.15 0.475 0.2 0.666667 1\n0 0.75 0.575 0.3 0.833333 2\n",
}
SIZE = 100, 60


def write(place, content):
    """A track file, or a folder of {name: content}."""
    if isinstance(content, str):
        place.write_text(content)
    else:
        place.mkdir()
        for name, text in content.items():
            (place / name).write_text(text)
    return place


@pytest.mark.parametrize("content", [MOTCHALLENGE, BOXMOT, ROBOFLOW, ULTRALYTICS])
def test_every_program_writes_the_same_tracks(content, tmp_path):
    first, second = read_tracks(write(tmp_path / "tracks", content), fps=10, size=SIZE)
    assert (first.number, second.number) == (1, 2)
    assert first.frames.tolist() == [1, 2]
    assert second.frames.tolist() == [2]
    assert np.abs(first.boxes - [[4, 9, 24, 49], [5, 9, 25, 49]]).max() <= 1
    assert np.abs(second.boxes - [[60, 10, 90, 60]]).max() <= 1
    assert first.first == 0
    assert first.last == pytest.approx(0.1)
    assert second.first == second.last == pytest.approx(0.1)


def test_times_count_from_the_start(tmp_path):
    path = write(tmp_path / "tracks", "1,1,5,10,20,40,1\n16,1,5,10,20,40,1\n")
    (track,) = read_tracks(path, fps=30, start="1970-01-02 00:00:00.250")
    assert (track.first, track.last) == (86400.25, 86400.75)


def test_frames_that_count_from_zero_are_moved_by_one(tmp_path):
    (track,) = read_tracks(write(tmp_path / "tracks", "0,1,5,9,9,9,1\n4,1,5,9,9,9,1\n"), fps=1)
    assert track.frames.tolist() == [1, 5]
    assert track.last == 4


def test_ultralytics_may_add_the_confidence(tmp_path):
    """Then a line of six values has no identity, although its confidence may be 1."""
    content = {"a1.txt": "0 0.5 0.5 0.1 0.2 0.9 7\n", "a2.txt": "0 0.5 0.5 0.1 0.2 1\n"}
    (track,) = read_tracks(write(tmp_path / "labels", content), fps=1)
    assert track.number == 7
    assert track.frames.tolist() == [1]


def test_what_is_left_out_is_counted(tmp_path, caplog):
    lines = "1,1,5,9,9,9,1,1\n1,1,6,9,9,9,1,1\n1,-1,5,9,9,9,1,1\n2,3,5,9,9,9,1,3\n3,3,5,9,9,9,0,1\n"
    (track,) = read_tracks(write(tmp_path / "tracks.txt", lines), fps=1)
    assert track.number == 1
    assert track.boxes[0, 0] == 4
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "1 box skipped.",
        "1 box of a track that has another in the same frame skipped.",
        "1 box without an identity skipped.",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1,1,5,10,20,40", r"tracks, line 1: expected frame,track,left.*found '1,1,5,10,20,40'"),
        ("1,1" + ",5" * 8 + ",0.9,0,3", "line 1: expected frame,track,left"),  # oriented boxes
        ("1,1,5,10,20,1e300,1", "line 1: expected frame,track,left"),
        ("1,1,5,10,20,nan,1", "line 1: expected frame,track,left"),
        ("1,1.5,5,10,20,40,1", "line 1: expected whole numbers of a frame and a track"),
        ("1,-1,5,10,20,40,1", "tracks: no tracks among its 1 box. Detections need a tracker"),
        ("", "no tracks among its 0 boxes"),
        ({}, "tracks: no labels in it, such as video_1.txt"),
        (
            {"a_1.txt": "0 0.1 0.1 0.2 0.2 1", "b_1.txt": ""},
            "labels of several videos .* a_ and b_",
        ),
        ({"a_1.txt": "0 0.1 0.1 0.2"}, r"a_1\.txt, line 1: expected class x y width height"),
        ({"a_1.txt": "0 0.1 0.1 0.2 0.2"}, "no tracks among its 1 box"),
    ],
)
def test_what_makes_no_sense_is_refused(content, message, tmp_path):
    with pytest.raises(UserError, match=message):
        read_tracks(write(tmp_path / "tracks", content), fps=1)


def test_a_track_inside_another_in_the_frames_of_both_shows_the_same_person():
    def track(number, first, last, sides):
        frames = np.arange(first, last + 1)
        left = 10.0 * frames[:, None] * [1, 0, 1, 0]  # everybody goes to the right
        return Track(number, frames, sides + left, first, last)

    body = track(1, 1, 30, [0, 0, 40, 100])
    half = track(2, 25, 40, [2, 0, 38, 50])  # begins as half of the body, and goes on
    behind = track(3, 1, 30, [12, 0, 52, 100])  # of whom 70 % are hidden
    crossed = track(4, 30, 60, [-400, 0, -360, 100])
    passing = Track(5, np.arange(1, 31), np.tile([145.0, 0, 185, 100], (30, 1)), 1, 30)
    later = track(6, 50, 60, [0, 0, 40, 100])
    assert doubled([body, half, behind, crossed, passing, later]) == [(0, 1)]
    just = track(7, 1, 1, [8, 0, 48, 100])  # four fifths of it in the body
    assert doubled([track(8, 1, 1, [0, 0, 40, 100]), just]) == [(0, 1)]
