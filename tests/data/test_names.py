"""Names of images tell tracklets, clothes and frames of videos."""

import pytest

from person_reid.data.file_names import clothes_of, frames_of, names_in, tracklets_of
from person_reid.errors import UserError


def test_the_beginning_of_a_name_says_the_tracklet():
    names = [
        "query/0002/0002_c1t4118_0002C1T0001F001.jpg",  # MARS, laid out
        "0002_c1t4118_0002C1T0001F002.jpg",
        "0002_c2t4118o3_x.jpg",  # another camera
        "0000_c1t9_0000C1T0001F001.jpg",  # a distractor's tracklet
        "0000_c1t9_0000C1T0001F002.jpg",
        "0002_c1s3_000451_03.jpg",  # Market-1501
        "0002_c1s3_000476_01.jpg",
        "0002_c1s4_000476_01.jpg",
        "0000_c1s3_000451_03.jpg",  # a sequence's distractors and junk are many people
        "0000_c1s3_000451_04.jpg",
        "-1_c1s3_000451_03.jpg",
        "0002_c1tall.jpg",  # says nothing
        "unnamed.jpg",
    ]
    found = tracklets_of(names)
    numbers = [found.index(name) for name in found]
    assert numbers == [0, 0, 2, 3, 3, 5, 5, 7, 8, 9, 10, 11, 12]


def test_names_without_tracklets_are_refused():
    names = ["a/0001_c2_f0046182.jpg", "-1_c1s3_000451_03.jpg"]
    with pytest.raises(UserError, match=r"no tracklet or sequence in 2 names .*a/0001_c2_f0046182"):
        tracklets_of(names)


def test_names_say_the_clothes_of_people():
    names = ["a/0078_c5o2_077_2_c5_000019.png", "0002_c1t7o3_x.jpg", "0000_c1_x.jpg", "-1.jpg"]
    assert clothes_of(names, [78, 2, 0, -1]).tolist() == [2, 3, -1, -1]
    with pytest.raises(UserError, match=r"1 of 4 names of images do not say the clothes(?s:.*)-1"):
        clothes_of(names, [78, 2, 0, 5])
    with pytest.raises(UserError, match="the result has no names of images"):
        names_in(None)


def test_names_say_the_frames_of_videos():
    names = {
        "a/0002_c1s3_000451_03.jpg": ("c1s3", 451),  # Market-1501
        "0005_c2_f0046182.jpg": ("c2", 46182),  # DukeMTMC-reID
        "0001_c014_00016460_0.jpg": ("c014", 16460),  # VeRi-776
        "0004_c12_MOT17-02_000031_7.jpg": ("MOT17-02", 31),
        "0004_c12_monday-cam_1_00000031_7.tif": ("monday-cam_1", 31),
        "0000_c7_00000017.jpg": ("c7", 17),
        "-1_c1.jpg": ("", -1),
    }
    videos, frames = frames_of(list(names), [2, 5, 1, 4, 4, 0, -1])
    assert list(zip(videos, frames.tolist(), strict=True)) == list(names.values())
    with pytest.raises(UserError, match=r"1 of 1 names .*a frame of a video(?s:.*)0078_c5o2"):
        frames_of(["0078_c5o2_077_2_c5_000019.png"], [78])
