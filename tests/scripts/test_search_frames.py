"""Every crop of tools/search.py index --tracks is of the tracker's frame and knows its time.

Frame n is filled with the grey level 10 + 8 n, and a person is a white box with n black columns on
the left. A crop then tells its frame, and whether it is upright.
"""

import time
from fractions import Fraction
from itertools import chain

import numpy as np
import pytest
from PIL import Image

from person_reid.config.times import EPOCH, parsed
from person_reid.errors import UserError
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.track_records import recorded_tracks
from tests.support.flags import SAVED
from tests.support.scripts import begin
from tests.support.weights import write_weights
from tools import search

WIDTH = 96
HEIGHT = 72
BOX = (11, 11, 40, 50)  # left and top from 1, width, height

pytestmark = pytest.mark.usefixtures("opened_once")


def picture(number):
    """Frame `number`, uint8 (HEIGHT, WIDTH, 3)."""
    pixels = np.full((HEIGHT, WIDTH, 3), 10 + 8 * number, np.uint8)
    pixels[10:60, 10:50] = 255
    pixels[10:60, 10 : 10 + number] = 0
    return pixels


def frames(folder, numbers, name="{:06d}.png", orientation=None):
    """Images of frames, stored as EXIF says."""
    folder.mkdir(parents=True)
    stored = {None: 0, 3: 2, 6: 1}[orientation]  # quarters of a turn, counterclockwise
    for number in numbers:
        exif = Image.Exif()
        if orientation:
            exif[0x0112] = orientation
        image = Image.fromarray(np.ascontiguousarray(np.rot90(picture(number), stored)))
        image.save(folder / name.format(number), exif=exif)
    return folder


def video(path, stamps, number_from=1):
    """A video with a frame at each time, in milliseconds."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = WIDTH
        stream.height = HEIGHT
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "4"}
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, stamp in enumerate(stamps, number_from):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def tracks(place, numbers, track=1):
    """A track file with a box in each frame."""
    rest = ",".join(map(str, BOX))
    place.write_text("".join(f"{number},{track},{rest},1,-1,-1,-1\n" for number in numbers))
    return place


def label(folder, names):
    """Labels as Ultralytics writes them for a folder of images."""
    folder.mkdir()
    for name in names:
        (folder / f"{name}.txt").write_text("0 0.3125 0.486111 0.416667 0.694444 1\n")
    return folder


@pytest.fixture
def place(here):
    """The current folder, with the weights of a network."""
    write_weights(here / "net.pth")
    return here


def index(frames, tracks="tracks.txt", *words, fps=10):
    """Index a track file; returns its record."""
    files = ["--tracks", str(tracks), "--frames", str(frames), "--camera", "3"]
    rate = ["--fps", str(fps)] if fps else []
    every = ["--index", "people.index", "--gpu_ids", "-1", "--per_track", "3"]
    search.main(["index", *files, *rate, *every, *SAVED, *words])
    return recorded_tracks(SearchIndex("people.index"))[-1]


def entries():
    """[(path, About)] of the images in the index."""
    return [*chain.from_iterable(images for images, _ in SearchIndex("people.index").entries())]


def seen():
    """The numbers of the frames that the crops show, which must be upright."""
    found = []
    for path, _ in entries():
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L")).astype(int)
        assert pixels.shape == (50, 40)
        dark = (pixels < 128).sum(1)
        assert len({*dark}) == 1
        assert (pixels[:, : dark[0]] < 128).all()
        found.append(int(dark[0]))
    return sorted(found)


def spans(record):
    """[(first, last)] of the tracks of a record, in seconds."""
    return [(track.first, track.last) for track in record.read()]


STAMPS = [*range(0, 1000, 100), *range(60900, 61900, 100)]


@pytest.mark.parametrize("fps", [None, 10])
@pytest.mark.parametrize("name", ["hall.mp4", "hall.mkv"])
def test_a_camera_that_lost_its_stream_knows_when_people_were_there(name, fps, place, caplog):
    video(place / name, STAMPS)
    tracks(place / "tracks.txt", [])
    rest = ",".join(map(str, BOX))
    lines = [f"{number},{1 + (number > 10)},{rest},1\n" for number in range(1, 21)]
    (place / "tracks.txt").write_text("".join(lines))
    record = index(name, "tracks.txt", "--start", "2026-11-01T09:30:00Z", fps=fps)
    (place / name).unlink()  # the record knows it
    begun = (parsed("2026-11-01T09:30:00Z") - EPOCH).total_seconds()
    found = np.array(spans(record)) - begun
    assert np.abs(found - [[0, 0.9], [60.9, 61.8]]).max() < 1e-3
    for path, about in entries():
        frame = int(path.stem.split("_")[1])
        passed = (parsed(about.time) - EPOCH).total_seconds() - begun
        assert passed == STAMPS[frame - 1] // 1000
    assert record.fps == pytest.approx(10)
    assert "--fps" not in caplog.text


def test_a_rate_that_is_rounded_does_not_move_the_times(place, caplog):
    """29.97 frames a second are 30000 / 1001: 3.6 s of drift in an hour, if they were 30."""
    caplog.set_level("INFO", "person_reid")
    stamps = [round(1000 * number * 1001 / 30000) for number in range(30)]
    video(place / "hall.mp4", stamps)
    tracks(place / "tracks.txt", range(1, 31))
    record = index("hall.mp4", fps=30)
    assert np.abs(np.array(spans(record)) - [[0, stamps[-1] / 1000]]).max() < 1e-3
    assert record.fps == pytest.approx(29.97, rel=1e-3)
    assert "times follow its own 29.9" in caplog.text


def test_another_rate_moves_the_times_and_is_said(place, caplog):
    video(place / "hall.mp4", range(0, 1000, 100))
    tracks(place / "tracks.txt", range(1, 11))
    assert spans(index("hall.mp4", fps=12)) == [(0, 0.75)]
    assert "it has 10 frames per second, and --fps says 12. Times follow --fps." in caplog.text


@pytest.mark.parametrize("orientation", [3, 6])
def test_frames_are_turned_as_exif_says(orientation, place):
    frames(place / "img1", range(1, 7), orientation=orientation)
    tracks(place / "tracks.txt", range(1, 7))
    record = index("img1")
    assert (record.width, record.height) == (WIDTH, HEIGHT)
    assert len(seen()) == 3


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_cameras_keep_their_order_in_the_hour_that_comes_twice(zone, place, monkeypatch):
    """Whatever zone the machine is in when it indexes, and when it reads."""
    if not hasattr(time, "tzset"):
        pytest.skip("Windows keeps its zone")
    frames(place / "img1", range(1, 4))
    tracks(place / "tracks.txt", range(1, 4))
    tracks(place / "other.txt", range(1, 4))
    try:
        monkeypatch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        first = index("img1", "tracks.txt", "--start", "2026-10-25T00:50:00Z")
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        second = index("img1", "other.txt", "--start", "2026-10-25T03:10:00+02:00")
        ((one, _),), ((other, _),) = spans(first), spans(second)
        assert other - one == 20 * 60
        times = sorted({about.time for _, about in entries()})
        assert times == ["2026-10-25 00:50:00Z", "2026-10-25 01:10:00Z"]
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("names", "boxes", "words", "expected"),
    [
        (range(6), (3, 4), (), (3, 4)),  # nobody in frame 0: the names tell
        (range(6), (0, 5), (), (0, 5)),
        (range(6), (1, 6), (), (0, 5)),  # the tracker counts the images from 1
        (range(6), (3, 4), ("--first_frame", "1"), (2, 3)),
        (range(1, 7), (3, 4), (), (3, 4)),
        (range(1, 7), (0, 5), (), (1, 6)),
        (range(1, 7), (3, 4), ("--first_frame", "0"), (4, 5)),
        (range(5, 11), (5, 10), (), (5, 10)),
        (range(5, 11), (1, 6), (), (5, 10)),
        ((1, 2, 4, 5), (1, 5), (), (1, 5)),  # one was lost
    ],
)
def test_tracks_and_images_have_one_number(names, boxes, words, expected, place):
    frames(place / "img1", names)
    tracks(place / "tracks.txt", boxes)
    record = index("img1", "tracks.txt", *words)
    assert seen() == [*expected]
    index("img1", "tracks.txt", fps=None)  # nothing need be said again
    assert seen() == [*expected]
    assert recorded_tracks(SearchIndex("people.index")) == [record]


@pytest.mark.parametrize(
    ("boxes", "words", "expected", "remark"),
    [
        ((3, 4), (), (3, 4), True),
        ((3, 4), ("--first_frame", "0"), (4, 5), False),
        ((0, 4), (), (1, 5), False),
        ((3, 6), (), (3, 6), False),
    ],
)
def test_where_nothing_tells_the_first_number_of_a_video_it_is_said(
    boxes, words, expected, remark, place, caplog
):
    caplog.set_level("INFO", "person_reid")
    video(place / "hall.mp4", range(0, 600, 100))
    tracks(place / "tracks.txt", boxes)
    index("hall.mp4", "tracks.txt", *words)
    assert np.abs(np.array(seen()) - expected).max() <= 0
    said = "hall.mp4: its first frame is taken for frame 1 of the tracks. If the tracker counts "
    assert (said + "otherwise, pass --first_frame 0." in caplog.text) == remark


def test_a_first_frame_after_the_first_box_is_refused(place):
    frames(place / "img1", range(1, 7))
    tracks(place / "tracks.txt", (3, 4))
    with pytest.raises(UserError, match="first_frame=4: the tracks begin with frame 3"):
        index("img1", "tracks.txt", "--first_frame", "4")


NAMES = [
    "cam_20261101_0800{:02d}123", "2026-11-01_08-00-{:02d}.5", "17304516{:02d}",
    "17304516{:02d}123", "0800{:02d}",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_frames_named_by_time_are_counted(name, place):
    frames(place / "img1", range(1, 6), f"{name}.png")
    tracks(place / "tracks.txt", (2, 5))
    record = index("img1")
    assert seen() == [2, 5]
    assert spans(record) == [(0.1, 0.4)]


@pytest.mark.parametrize("name", NAMES)
def test_labels_named_by_time_belong_to_the_images_of_these_names(name, place):
    frames(place / "img1", range(1, 6), f"{name}.png")
    label(place / "labels", [name.format(number) for number in (2, 5)])
    record = index("img1", "labels")
    assert seen() == [2, 5]
    (track,) = record.read()
    assert track.last - track.first == pytest.approx(0.3)


def test_a_format_can_be_named(place, caplog):
    frames(place / "img1", range(1, 6))
    line = ",".join(map(str, BOX))
    rows = [f"{n},{track},{line},0.9,{track},{track - 1}\n" for n in (1, 5) for track in (1, 2)]
    (place / "tracks.txt").write_text("".join(rows))
    record = index("img1", "tracks.txt", "--format", "boxmot_eval")
    assert [track.number for track in record.read()] == [1]
    assert "class 2: 2 boxes skipped" in caplog.text
    record = index("img1", "tracks.txt", "--format", "mot")
    assert [track.number for track in record.read()] == [1, 2]
    assert record.form == "mot"
    with pytest.raises(UserError, match="a file; format=ultralytics is about a folder"):
        index("img1", "tracks.txt", "--format", "ultralytics")


def test_two_processes_index_the_same_tracks_at_once(place):
    frames(place / "img1", range(1, 25))
    tracks(place / "tracks.txt", range(1, 25))
    words = ["--tracks", "tracks.txt", "--frames", "img1", "--camera", "3", "--fps", "10"]
    index = ["--index", "people.index", "--gpu_ids", "-1", "--per_track", "24"]
    command = ["search", "index", *words, *index, *SAVED]
    running = [begin(*command, cwd=place) for _ in range(2)]
    for each in running:
        each.join(300)
    assert [each.exitcode for each in running] == [0, 0]
    assert seen() == [*range(1, 25)]
    assert len(recorded_tracks(SearchIndex("people.index"))) == 1
