"""What live cameras see, as pictures for those who look: drawn once, and only for them."""

import asyncio
import io
import socket
import time
from contextlib import closing, contextmanager
from functools import partial
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette")

from benchmarks.support.walks import FRAMES, draw_frame, find_by_colour, write_video
from person_reid.config.serve import CameraOptions
from person_reid.data.video.streams import Streams
from person_reid.gallery.gallery import open_gallery
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.live_gallery import LiveGallery
from person_reid.gallery.metadata import About
from person_reid.gallery.people_videos import draw_marks
from person_reid.serve import cameras as module
from person_reid.serve import feeds, server
from person_reid.serve.cameras import LiveCameras
from person_reid.serve.feeds import LivePictures
from person_reid.serve.problems import Problem
from person_reid.show.style import FAINT, MANY
from person_reid.video.live import FrameResult, LivePeople
from tests.serve.conftest import Colors, listening

SCALE = 6  # of the drawn walk, as many times as large


def near(picture, colour, by=25):
    """How many pixels of a picture have nearly a colour."""
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return int((np.abs(np.asarray(picture).astype(int) - wanted).max(axis=2) < by).sum())


def walk_again(address, every):
    """The walk of two people, larger, in real time and without an end."""
    for number in range(10**6):
        frame = draw_frame(1 + number % FRAMES)
        yield frame.repeat(SCALE, 0).repeat(SCALE, 1), number / 20


@contextmanager
def watched(service, addresses, read=None, find=find_by_colour):
    """Yield the address of a service that follows cameras."""
    options = CameraOptions(camera=tuple(f"{name}={place}" for name, place in addresses.items()))
    streams = Streams(options.addresses, read=read)
    with closing(open_gallery(service.galleries.address)) as index:
        cameras = LiveCameras(service, index, streams, find, options)
    with listening(service, cameras) as address:
        yield address


def opened(address, **parameters):
    """The answer to somebody who looks at a camera."""
    asked = "&".join(f"{name}={value}" for name, value in parameters.items())
    token = {"Authorization": f"Bearer {'read' * 4}"}
    return closing(urlopen(Request(f"{address}/v1/live/pictures?{asked}", headers=token), None, 20))


def next_picture(answer):
    """The next picture of a stream."""
    lines = iter(answer.readline, b"")
    length = next(line for line in lines if line.startswith(b"Content-Length"))
    assert answer.readline() == b"\r\n"
    return Image.open(io.BytesIO(answer.read(int(length.split()[1])))).convert("RGB")


def until(check):
    """Wait until something is true."""
    end = time.monotonic() + 20
    while not check():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_video_that_is_played_as_a_camera_is_seen_with_who_is_who(service, tmp_path):
    video = write_video(tmp_path / "walk.mp4")
    with watched(service, {"door": video}) as address:
        with opened(address, camera="door") as answer:
            kind = answer.headers["content-type"]
            assert kind == "multipart/x-mixed-replace; boundary=picture"
            assert answer.headers["x-accel-buffering"] == "no"
            first = next_picture(answer)
            assert first.size == (96, 64)
            assert near(first, FAINT)  # nobody knows who they are
            assert not near(first, MANY[1])
            until(lambda: near(next_picture(answer), MANY[1]))  # the first of them
        until(lambda: not service.pictures.followers)
        with opened(address, camera="door", size=48) as answer:  # also when the video has ended
            assert next_picture(answer).size == (48, 32)


def test_people_have_a_colour_each_and_the_names_that_were_given(tmp_path):
    with closing(SearchIndex(tmp_path / "people.index")) as index:
        index.add(["anna.png"], np.eye(1, 6), {"anna.png": About(identity="Anna")})
        kept = LiveGallery(LivePeople(find_by_colour, Colors().features), {})
        kept.know(index)  # Anna is number 1
    people, boxes = np.array([1, 2, 0, 0]), np.zeros((4, 4), np.float32)
    tracks = np.array([4, 5, 6, -1])  # the last box is of no track
    looked = FrameResult("door", 0, 0, (96, 64), boxes, boxes[0], tracks, people)
    marks = [(mark.label, mark.colour) for mark in kept.marks(looked)]
    assert marks == [("Anna", MANY[1]), ("2", MANY[2]), ("?", FAINT)]


def test_nothing_is_drawn_unless_somebody_looks_and_then_once(service, monkeypatch):
    drawn = []

    def draw(frame, marks):
        drawn.append(frame)  # kept, or another frame could have its id
        return draw_marks(frame, marks)

    monkeypatch.setattr(module, "draw_marks", draw)
    with watched(service, {"door": "door.mp4"}, walk_again) as address:
        until(lambda: service.pictures._newest)
        time.sleep(0.3)
        assert drawn == []
        with opened(address, camera="door") as one, opened(address, camera="door") as other:
            for _ in range(5):
                next_picture(one)
                next_picture(other)
        until(lambda: not service.pictures.followers)
        count = len(drawn)
        assert 5 <= count <= 8
        assert len({*map(id, drawn)}) == count
        time.sleep(0.3)
        assert len(drawn) == count


@pytest.fixture
def noisy(service):
    """The address of a service whose camera sees noise: 200 kB for each picture."""
    noise = np.random.default_rng(0).integers(0, 256, (360, 640, 3), np.uint8)

    def read(address, every):
        return ((noise, number / 50) for number in range(10**6))

    with watched(service, {"door": "door.mp4"}, read, lambda _: ([], [])) as address:
        yield address


@contextmanager
def looking_without_reading(address):
    """Look at a camera, and read nothing."""
    host, port = address.removeprefix("http://").split(":")
    with closing(socket.socket()) as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.connect((host, int(port)))
        head = f"Host: x\r\nAuthorization: Bearer {'read' * 4}\r\n\r\n"
        lazy.sendall(f"GET /v1/live/pictures?camera=door HTTP/1.1\r\n{head}".encode())
        yield


def test_a_viewer_who_does_not_read_delays_nobody(service, noisy, monkeypatch):
    """Whoever waited for that viewer would wait for ever."""
    monkeypatch.setattr(server, "LONGEST_STALL", 1000)
    with looking_without_reading(noisy), opened(noisy, camera="door") as answer:
        until(lambda: service.pictures.followers == 2)
        for _ in range(60):  # the system keeps the first 4 MB for a viewer who does not read
            next_picture(answer)
        assert service.pictures.followers == 2


def test_a_viewer_who_does_not_read_is_left(service, noisy, monkeypatch):
    monkeypatch.setattr(server, "LONGEST_STALL", 0.5)
    with looking_without_reading(noisy), opened(noisy, camera="door") as answer:
        until(lambda: service.pictures.followers == 2)
        until(lambda: next_picture(answer) and service.pictures.followers == 1)
        next_picture(answer)


def test_viewers_are_bounded_and_a_camera_that_stands_still_is_shown_again(monkeypatch):
    monkeypatch.setattr(feeds, "HEARTBEAT", 0.1)
    picture = Image.new("RGB", (64, 36), "red")

    async def look():
        pictures = LivePictures(1)
        first = await pictures.watch("door", 100)
        with pytest.raises(Problem, match="1 programs look"):
            await pictures.watch("door", 100)
        assert await anext(first) == b"--picture\r\n"
        pictures.show("door", lambda: picture)
        shown = await anext(first)
        assert shown.endswith(b"\r\n--picture\r\n")
        again = asyncio.create_task(anext(first))
        for _ in range(100):  # another camera is no sign of life of this one
            pictures.show("till", lambda: picture)
            await asyncio.sleep(0.01)
        assert again.done()
        assert again.result() == shown
        pictures.close()
        return [part async for part in first], pictures.followers

    assert asyncio.run(look()) == ([], 0)


def test_the_last_picture_of_a_camera_is_not_shown_after_a_deletion(monkeypatch):
    monkeypatch.setattr(feeds, "HEARTBEAT", 0.01)

    async def watch():
        pictures = LivePictures(1)
        pictures.show("door", lambda: Image.new("RGB", (8, 8)))
        pictures.forget()
        viewer = await pictures.watch("door", 64)
        parts = [await anext(viewer)]
        waiting = asyncio.ensure_future(anext(viewer))
        assert not (await asyncio.wait([waiting], timeout=0.2))[0]
        pictures.show("door", lambda: Image.new("RGB", (8, 8)))
        parts.append(await asyncio.wait_for(waiting, 5))
        await viewer.aclose()
        pictures.close()
        return parts

    assert b"image/jpeg" in asyncio.run(watch())[1]


def test_who_may_look_at_what(service):
    with watched(service, {"door": "door.mp4"}, walk_again) as address:
        look = partial(opened, address)
        for parameters in ({}, {"camera": "roof"}):
            with pytest.raises(HTTPError, match="404"):
                look(**parameters)
        with pytest.raises(HTTPError, match="401"):
            urlopen(f"{address}/v1/live/pictures?camera=door")
        request = Request(f"{address}/v1/live/pictures?camera=door", method="HEAD")
        request.add_header("Authorization", f"Bearer {'read' * 4}")
        with urlopen(request) as answer:
            assert answer.headers["content-type"].startswith("multipart/x-mixed-replace")
        assert service.pictures.followers == 0
