"""Frames of live cameras: paced, dropped where they wait too long, and opened again."""

import itertools
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import ClassVar
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from benchmarks.support.walks import FRAMES, draw_frame, write_frames, write_video
from person_reid.data.video import video_files
from person_reid.data.video.streams import (
    Streams,
    is_stream,
    open_stream,
    read_frames,
    shown_address,
)
from person_reid.errors import UserError


class Clock:
    """A clock that waiting moves on at once."""

    def __init__(self, time=1000.0):
        self.time, self.waited = time, []

    def now(self):
        return self.time

    def wait(self, seconds):
        self.waited.append(seconds)
        self.time += seconds


def frame(number):
    return np.full((2, 2, 3), number, np.uint8)


def numbers(streams):
    """The numbers on the frames that come."""
    return [int(each[0, 0, 0]) for _, each, _ in streams]


def read_to_the_end(streams, camera):
    """Let a camera's thread end before anybody asks for frames; return the frames' times."""
    with streams:
        for thread in threading.enumerate():
            if thread.name == f"camera {camera}":
                thread.join(10)
        return [seconds for _, seconds in streams._cameras[camera].waiting]


def test_a_file_is_played_in_real_time(tmp_path):
    write_frames(tmp_path / "hall")
    clock = Clock()
    streams = Streams(
        {"hall": str(tmp_path / "hall")},
        every=2,
        starts={"hall": 50.0},
        fps=10,
        most_waiting=FRAMES,
        now=clock.now,
        wait=clock.wait,
    )
    with streams:
        found = [(camera, seconds) for camera, _, seconds in streams]
    assert {camera for camera, _ in found} == {"hall"}
    times = [50 + number / 5 for number in range(FRAMES // 2)]
    assert [seconds for _, seconds in found] == pytest.approx(times)
    assert clock.time == pytest.approx(1000 + (FRAMES // 2 - 1) / 5)
    assert streams.report("hall") == "12 frames, 0 of them dropped, opened 1 time"


def test_frames_that_wait_too_long_are_dropped_and_counted(caplog):
    taken, filled = threading.Event(), threading.Event()

    def read(address, every):
        yield frame(0), 0.0
        taken.wait(10)
        yield from ((frame(number), 6.0 * number) for number in range(1, 21))
        filled.set()

    clock = Clock()
    streams = Streams({"a": "a.mp4"}, most_waiting=3, read=read, now=clock.now, wait=clock.wait)
    with streams:
        coming = iter(streams)
        assert int(next(coming)[1][0, 0, 0]) == 0
        taken.set()
        filled.wait(10)
        assert numbers(coming) == [18, 19, 20]
    assert streams.report("a") == "21 frames, 17 of them dropped, opened 1 time"
    assert [text.split(",")[0] for text in caplog.messages] == [
        "camera a: 11 of 15 frames were dropped so far"
    ]


def test_a_stream_that_breaks_is_opened_again_after_longer_and_longer(caplog):
    clock, tries = Clock(), itertools.count()

    def read(address, every):
        turn = next(tries)
        if turn in (0, 4):
            yield frame(turn), 0.0
        if turn == 4:
            streams.stop()
        raise OSError("cable")

    streams = Streams(
        {"door": "rtsp://me:secret@camera/1"}, read=read, now=clock.now, wait=clock.wait
    )
    read_to_the_end(streams, "door")
    assert clock.waited[:4] == [1, 2, 4, 8]
    assert caplog.messages.count("camera door: cable. Opened again in 1 s, and so on.") == 2
    assert caplog.messages[1] == "camera door: its frames come again."
    assert streams.states() == {"door": "cable"}
    assert "secret" not in caplog.text
    assert streams.report("door").startswith("2 frames, ")


def test_the_clock_of_a_stream_tells_when_a_frame_was_taken():
    clock = Clock()
    delays = [0.0, 1.9, 0.1, 2.1, 0.0]  # after 1, 2, … seconds of the stream

    def read(address, every):
        for second, delay in enumerate(delays):
            clock.time = 1000.0 + second + delay
            yield frame(second), float(second)
        streams.stop()

    streams = Streams({"a": "rtsp://a"}, most_waiting=9, read=read, now=clock.now, wait=clock.wait)
    found = read_to_the_end(streams, "a")
    assert found[:3] == [1000, 1001, 1002]
    assert found[3] == 1005.1  # a stream that stood still for two seconds is late by as much
    assert found[4] > found[3]  # time never goes back


def test_frames_that_wait_while_a_stream_is_opened_are_not_dated_after_their_arrival():
    clock = Clock()
    arrivals = [1.5, 1.5, 1.5, 1.6, 1.75, 1.8]  # seconds after the stream is opened

    def read(address, every):
        for number, after in enumerate(arrivals):
            clock.time = 1000.0 + after
            yield frame(number), 7 + number / 10
        streams.stop()

    streams = Streams({"a": "rtsp://a"}, most_waiting=9, read=read, now=clock.now, wait=clock.wait)
    found = read_to_the_end(streams, "a")
    assert found == pytest.approx([1001.5, 1001.501, 1001.502, 1001.6, 1001.7, 1001.8])


def test_several_cameras_take_turns():
    clock = Clock()

    def read(address, every):
        yield from ((frame(int(address)), float(number)) for number in range(3))

    streams = Streams(
        {"a": "001.mp4", "b": "2.mp4"},
        most_waiting=9,
        read=lambda address, every: read(address.removesuffix(".mp4"), every),
        now=clock.now,
        wait=clock.wait,
    )
    with streams:
        assert sorted(numbers(streams)) == [1, 1, 1, 2, 2, 2]


def test_a_file_that_cannot_be_read_ends_alone_and_is_said(tmp_path, caplog):
    (tmp_path / "a.mp4").write_text("no video")
    write_frames(tmp_path / "hall")
    pytest.importorskip("av")
    addresses = {"a": str(tmp_path / "a.mp4"), "hall": str(tmp_path / "hall")}
    found, clock = [], Clock()
    with (
        Streams(addresses, fps=10, most_waiting=FRAMES, now=clock.now, wait=clock.wait) as streams,
        pytest.raises(UserError, match=r"a\.mp4"),
    ):
        for camera, _, _ in streams:
            found.append(camera)
    assert found == ["hall"] * len(found) != []
    assert "a.mp4" in caplog.text
    assert "a.mp4" in streams.states()["a"]
    assert streams.states()["hall"] == ""


def test_a_password_is_refused_three_times_and_then_only_tried_when_somebody_says_so(caplog):
    clock, tries, refused = Clock(), [], threading.Event()

    def read(address, every):
        tries.append(address)
        refused.set() if len(tries) in (3, 6) else None  # somebody has said so: three more
        raise UserError("rtsp://camera/401: (Server returned 401 Unauthorized)")

    streams = Streams({"door": "rtsp://camera/401"}, read=read, now=clock.now, wait=clock.wait)
    with streams:
        assert refused.wait(10)
        for _ in range(100):
            if "until somebody says so" in caplog.text:
                break
            threading.Event().wait(0.05)
        assert len(tries) == 3
        assert "not tried again" in streams.states()["door"]
        refused.clear()
        streams.try_again("door")
        assert refused.wait(10)


@pytest.mark.parametrize("clocked", [True, False])
def test_a_clock_that_is_set_back_is_said_and_times_go_on(clocked, caplog):
    clock = Clock()

    def read(address, every):
        for number in range(20):
            clock.time += 0.1
            clock.time -= 3600 * (number == 10)
            yield frame(number), number / 10 if clocked else float("nan")
        streams.stop()

    streams = Streams({"a": "rtsp://a"}, most_waiting=99, read=read, now=clock.now, wait=clock.wait)
    times = np.array(read_to_the_end(streams, "a"))
    assert np.diff(times).min() > 0.05 or np.diff(times).argmin() == 9
    assert 1.5 < times[-1] - times[0] < 2.1
    assert "set back by 3600 s" in caplog.text


def test_a_frame_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    pytest.importorskip("av")
    write_video(tmp_path / "a.mp4")
    monkeypatch.setattr(video_files, "MOST_DECODED_PIXELS", 1000)
    with pytest.raises(UserError, match="pixels, more than"):
        video_files.open_container(str(tmp_path / "a.mp4"), "a.mp4")


@pytest.mark.parametrize("address", ["rtsp://[::1/main", "rtsp:///main", "http://a:[secret@b/c"])
def test_a_malformed_address_is_refused_at_once(address):
    with pytest.raises(UserError, match="not an address; expected one such as") as refused:
        Streams({"hall": "rtsp://[::1]/main", "door": address})
    assert "secret" not in str(refused.value)
    assert ("%5B" in str(refused.value)) == ("secret" in address)


def test_streams_outside_of_a_with_statement_begin_and_end_with_the_loop():
    streams = Streams({"a": "rtsp://a"}, read=lambda *_: iter([(frame(7), 0.0)] * 9))
    assert next(iter(streams))[0] == "a"
    assert streams._stopped.is_set()


def test_streams_are_told_from_files():
    assert all(map(is_stream, ["rtsp://camera/1", "https://camera/mjpeg", "0", "/dev/video2"]))
    assert not any(map(is_stream, ["a.mp4", "hall", "C:/a.mp4", "file:///etc/passwd", "2026"]))
    assert shown_address("rtsp://me:secret@10.0.0.7:554/1?key=2") == "rtsp://10.0.0.7:554/1"


@pytest.mark.parametrize(
    "password", ["secret", "sec@ret", "sec#ret", "sec/ret", "sec?ret", "sec:ret", "[secret"]
)
def test_no_part_of_a_password_is_shown_whatever_letters_it_has(password):
    pytest.importorskip("av")
    address = f"rtsp://admin:{password}@127.0.0.1:9/main"
    assert is_stream(address)
    with pytest.raises(UserError, match=r"rtsp://.*cannot be opened") as refused:
        open_stream(address)
    said = str(refused.value)
    for shown in (said, shown_address(address), shown_address("http://h/user=a_password=secret_1")):
        assert not any(part in shown for part in ("sec", "ret", "admin"))
    special = {*password} & {*"#/?["}
    assert ("In a password, write %" in said) == bool(special)


class Pictures(BaseHTTPRequestHandler):
    """A camera that sends JPEGs one after the other, a video, or a playlist leading elsewhere."""

    asked: ClassVar[list[str]] = []
    video: ClassVar[bytes]

    def log_message(self, *_):
        """Be quiet."""

    def do_GET(self):
        self.asked.append(self.path)
        if self.path == "/video":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.video)
            return
        playlist = self.path.startswith("/list")
        kind = "application/vnd.apple.mpegurl" if playlist else "multipart/x-mixed-replace"
        self.send_response(200)
        self.send_header("Content-Type", kind + ("" if playlist else "; boundary=frame"))
        self.end_headers()
        if playlist:
            place = f"http://{self.headers['Host']}/other.ts"
            self.wfile.write(f"#EXTM3U\n#EXTINF:2,\n{place}\n#EXT-X-ENDLIST\n".encode())
            return
        for number in range(1, FRAMES + 1):
            content = BytesIO()
            Image.fromarray(draw_frame(number)).save(content, "JPEG")
            head = (
                f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {content.tell()}\r\n\r\n"
            )
            self.wfile.write(head.encode() + content.getvalue() + b"\r\n")


@pytest.fixture
def camera():
    pytest.importorskip("av")
    Pictures.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Pictures) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://me:secret@127.0.0.1:{server.server_port}"
        server.shutdown()


def test_pictures_over_http_are_a_stream_and_it_is_opened_again(camera):
    streams = Streams({"door": f"{camera}/mjpeg"}, every=1, most_waiting=99)
    with streams:
        found = list(itertools.islice(streams, FRAMES + 2))
    shown = [np.abs(each.astype(int) - draw_frame(1)).mean() < 8 for _, each, _ in found]
    assert shown[0]
    assert not shown[FRAMES - 1]
    assert shown[FRAMES]
    times = [seconds for *_, seconds in found]
    assert times == sorted(times)
    assert times[FRAMES] - times[FRAMES - 1] > 0.9
    assert streams.report("door").endswith("opened 2 times")


@pytest.mark.parametrize(
    ("rate", "every", "seen"),
    [(25, None, 10), (25, 1, 24), (25, 5, 5), (12, None, 20), (10, None, 24), (5, None, 24)],
)
def test_about_ten_frames_of_a_stream_are_read_per_second(camera, tmp_path, rate, every, seen):
    Pictures.video = write_video(tmp_path / "a.ts", rate=rate).read_bytes()
    times = np.array([seconds for _, seconds in read_frames(f"{camera}/video", every)])
    assert len(times) == pytest.approx(seen, abs=1)
    if every is None:
        assert np.diff(times).max() < 0.1 + 1 / rate


class Video:
    """A file that counts the packets that it sends, and fails between them if it pauses.

    FFmpeg fails in this way if a webcam on macOS has no new frame yet.
    """

    def __init__(self, path, pauses=False):
        self.file = pytest.importorskip("av").open(str(path))
        self.streams, self.format, self.close = self.file.streams, self.file.format, self.file.close
        self.pauses, self.sent = pauses, 0

    def demux(self, stream):
        for packet in self.file.demux(stream):
            self.sent += 1
            yield packet
            if self.pauses and packet.size:  # the last one is empty
                raise BlockingIOError(35, "Resource temporarily unavailable")


def test_a_frame_of_a_stream_is_seen_as_soon_as_the_video_allows(tmp_path, monkeypatch):
    video = Video(write_video(tmp_path / "a.mp4"))
    monkeypatch.setattr("av.open", lambda *_, **__: video)
    next(read_frames("rtsp://camera/1", 1))
    assert video.sent == 3  # the two frames after it are sent first, to be predicted from


def test_a_webcam_on_macos_is_asked_for_a_rate_that_it_has_and_again_for_frames(
    tmp_path, monkeypatch
):
    opened = Mock(return_value=Video(write_video(tmp_path / "a.mp4"), pauses=True))
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    monkeypatch.setattr("av.open", opened)
    frames = list(read_frames("0", 1))
    ((place,), asked) = opened.call_args
    assert (place, asked["format"], asked["options"]) == ("0", "avfoundation", {"framerate": "30"})
    assert len(frames) == FRAMES


def test_playlists_are_not_followed_and_addresses_keep_their_passwords(camera, tmp_path):
    write_video(tmp_path / "a.mp4")
    for address in (
        f"{camera}/list.m3u8",
        "http://me:secret@127.0.0.1:1/a",
        "rtsp://secret@[::1]:1/",
    ):
        with pytest.raises(UserError, match="cannot be opened") as refused:
            open_stream(address)
        assert "secret" not in str(refused.value)
    assert not [path for path in Pictures.asked if "other" in path]
