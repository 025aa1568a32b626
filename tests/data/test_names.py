"""What names of images say: tracklets, clothes, frames of videos."""

import pytest

from person_reid.basics import UserError
from person_reid.data.names import tracklets_of


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
