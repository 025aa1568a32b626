"""The frames of a camera, from folders and videos."""

import os
import struct
import sys
from contextlib import suppress
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from benchmarks.support.walks import FRAMES, SIZE, draw_frame, write_frames, write_video
from person_reid.data.video import video_files
from person_reid.data.video.frames import open_frames, remark_on_broken, usual_step
from person_reid.data.video.video_files import decoded_frames, shown_times
from person_reid.errors import UserError


@pytest.mark.parametrize(("version", "asked"), [("18.1.0", True), ("19.0.2", False)])
def test_pyav_19_has_no_option_for_metadata(version, asked, monkeypatch):
    av = pytest.importorskip("av")
    opened = Mock(side_effect=OSError("no video"))
    monkeypatch.setattr(av, "__version__", version)
    monkeypatch.setattr(av, "open", opened)
    with pytest.raises(UserError, match="no video"):
        video_files.open_container("a.mp4", "a.mp4")
    assert ("metadata_errors" in opened.call_args.kwargs) == asked


@pytest.mark.parametrize(("fps", "step"), [(0, 1), (5, 1), (10, 1), (18, 2), (25, 2), (30, 3)])
def test_about_ten_frames_a_second_are_looked_at(fps, step):
    assert usual_step(fps) == step


def agree(found, frame):
    """Whether an image is a frame, and not the one before or after it."""
    pixels = np.asarray(found).astype(int)
    distances = [np.abs(pixels - draw_frame(frame + i)).mean() for i in (-1, 0, 1)]
    return np.argmin(distances) == 1


def test_images_are_numbered_by_their_names(tmp_path):
    folder = write_frames(tmp_path / "frames")
    (folder / "000003.png").unlink()
    frames = open_frames(folder)
    assert (frames.last, frames.size, frames.fps) == (FRAMES, SIZE, None)
    found = dict(frames.read([2, 3, 4]))
    assert found[3] is None
    assert agree(found[2], 2)
    assert agree(found[4], 4)


@pytest.mark.parametrize(
    "names", [["shot_0.png", "shot_1.png", "shot_10.png"], ["a.png", "b.png", "c.png"]]
)
def test_names_may_count_from_zero_or_not_at_all(names, tmp_path):
    for frame, name in enumerate(names, 1):
        Image.fromarray(draw_frame(frame)).save(tmp_path / name)
    frames = open_frames(tmp_path)
    numbers = [1, 2, 11] if "10" in names[2] else [1, 2, 3]
    assert [agree(image, i) for i, (_, image) in enumerate(frames.read(numbers), 1)] == [True] * 3


def test_an_image_of_another_size_is_passed_over(tmp_path):
    folder = write_frames(tmp_path / "frames", 2)
    Image.new("RGB", (50, 30)).save(folder / "000002.png")
    assert [image is None for _, image in open_frames(folder).read([1, 2])] == [False, True]


@pytest.mark.parametrize("name", ["walk.mp4", "walk.mkv", "walk.h264"])
def test_the_frames_of_a_video_have_the_numbers_in_which_they_are_shown(name, tmp_path):
    """B frames are stored in another order."""
    pytest.importorskip("av")
    frames = open_frames(write_video(tmp_path / name))
    assert (frames.last, frames.size) == (FRAMES, SIZE)
    found = dict(frames.read([1, 2, 9, FRAMES]))
    assert all(agree(image, number) for number, image in found.items())


def decoded(path):
    """What a decoder gives of a video, from packet to packet, as OpenCV and trackers read it."""
    import av

    found = []
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            with suppress(av.FFmpegError):
                found += [each.to_ndarray(format="rgb24") for each in packet.decode()]
    return found


def assert_numbered_as_decoded(path, count):
    frames = open_frames(path)
    expected = decoded(path)
    assert frames.last == len(expected) == count
    found = dict(frames.read(frames.numbers))
    assert [*found] == [*range(1, count + 1)]
    for each, image in zip(found.values(), expected, strict=True):
        assert each is not None
        np.testing.assert_array_equal(each, image)
    return frames


def test_a_broken_part_of_a_video_has_no_numbers_as_a_decoder_gives_none(tmp_path, caplog):
    pytest.importorskip("av")
    path = write_video(tmp_path / "walk.mp4")
    content = bytearray(path.read_bytes())
    place = content.index(b"mdat") + 4
    middle = place + (content.index(b"moov") - place) // 2
    content[middle : middle + 200] = b"\xff" * 200
    path.write_bytes(content)
    looked = [(number, seconds) for number, _, seconds in open_frames(path).look()]
    frames = assert_numbered_as_decoded(path, FRAMES - 6)
    numbers, seconds = zip(*looked, strict=True)
    assert [*numbers] == frames.numbers
    assert sorted(seconds) == frames.seconds(frames.numbers)  # not the damaged decoder's order
    assert frames.about == FRAMES
    assert frames.seconds([frames.last]) == [pytest.approx((FRAMES - 1) / 10)]
    assert "6 frames cannot be decoded and have no number" in caplog.text


def test_frames_of_joined_recordings_follow_one_another(tmp_path, caplog):
    """The clock of the second begins anew."""
    pytest.importorskip("av")
    path = write_video(tmp_path / "walk.ts")
    path.write_bytes(2 * path.read_bytes())
    frames = assert_numbered_as_decoded(path, 2 * FRAMES)
    assert frames.seconds(frames.numbers) == pytest.approx(np.arange(2 * FRAMES) / 10)
    assert not caplog.text


@pytest.mark.parametrize("count", [2, 12])
def test_a_recording_of_few_frames_follows_the_one_before(count):
    """As few as a guessed time of a B frame may be late."""
    times = shown_times(np.tile(np.arange(count) / 10 + 1.4, 3))
    assert times == pytest.approx(np.arange(3 * count) / 10)


def test_b_frames_in_an_avi_have_the_numbers_in_which_they_are_shown(tmp_path, caplog):
    """FFmpeg guesses their times in the order in which they are stored."""
    pytest.importorskip("av")
    frames = assert_numbered_as_decoded(write_video(tmp_path / "walk.avi"), FRAMES)
    assert all(agree(image, number) for number, image in frames.read(frames.numbers))
    assert frames.seconds(frames.numbers) == pytest.approx(np.arange(FRAMES) / 10)
    assert not caplog.text


@pytest.fixture
def decodings(monkeypatch):
    """The videos that were decoded as far as anybody wanted, one entry each time."""
    found = []

    def noted(container, failed=None):
        found.append(container.name)
        return decoded_frames(container, failed)

    monkeypatch.setattr(video_files, "decoded_frames", noted)
    return found


@pytest.mark.parametrize(
    ("name", "most"), [("walk.mp4", 2), ("walk.mkv", 2), ("walk.avi", 3), ("walk.h264", 3)]
)
def test_a_video_is_looked_at_as_it_is_read_and_counted_by_the_way(
    name, most, tmp_path, decodings, monkeypatch
):
    """It is opened for its size, and decoded once; twice where the decoder alone knows times."""
    pytest.importorskip("av")
    path = write_video(tmp_path / name)
    looked = [*open_frames(path).look(3)]
    monkeypatch.chdir(tmp_path)
    frames = open_frames(Path(name))  # as another part of the program opens it
    assert (frames.last, len(decodings)) == (FRAMES, most)
    numbers = frames.numbers[::3]
    assert [number for number, *_ in looked] == numbers
    assert [seconds for *_, seconds in looked] == frames.seconds(numbers)
    for (_, found, _), (_, image) in zip(looked, frames.read(numbers), strict=True):
        np.testing.assert_array_equal(found, image)


def test_every_third_frame_of_a_video_may_be_a_frame_of_the_tracker(tmp_path):
    pytest.importorskip("av")
    frames = open_frames(write_video(tmp_path / "walk.mp4"), 10 / 3)
    looked = [(number, seconds) for number, _, seconds in frames.look(2)]
    assert looked == [(1, 0), (3, pytest.approx(0.6)), (5, pytest.approx(1.2)), (7, 1.8)]
    assert (frames.about, frames.last) == (8, 8)


def test_a_recording_that_begins_between_two_key_frames_begins_with_the_next(tmp_path, caplog):
    av = pytest.importorskip("av")
    whole, path = write_video(tmp_path / "whole.mkv"), tmp_path / "late.mkv"
    with av.open(str(whole)) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size and number >= 3:
                packet.stream = stream
                container.mux(packet)
    frames = assert_numbered_as_decoded(path, FRAMES - 10)
    assert agree(next(frames.read([1]))[1], 11)
    assert "before the first one that can be decoded" in caplog.text


@pytest.mark.parametrize("cover", [True, False])
def test_of_several_videos_one_is_read_and_never_a_cover(cover, tmp_path, caplog):
    av = pytest.importorskip("av")
    path = tmp_path / "walk.mp4"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264" if i else "mjpeg", rate=10) for i in (0, 1)]
        for stream, size, form in zip(
            streams, ((32, 32), SIZE), ("yuvj420p", "yuv420p"), strict=True
        ):
            (stream.width, stream.height), stream.pix_fmt = size, form
        streams[0].disposition = av.stream.Disposition.attached_pic.value if cover else 0
        streams[1].disposition = av.stream.Disposition.default.value
        for number in range(1, FRAMES + 1):
            picture = av.VideoFrame.from_ndarray(draw_frame(number), format="rgb24")
            for stream in streams[1:] if number > 1 else streams:
                container.mux(stream.encode(picture.reformat(stream.width, stream.height)))
        for stream in streams:
            container.mux(stream.encode())
    frames = open_frames(path)
    assert (frames.size, frames.last) == (SIZE, FRAMES)
    assert ("2 videos in it. That of 96×64 pixels is read" in caplog.text) != cover


@pytest.mark.parametrize("fps", [None, 5])
def test_the_rate_of_a_bare_stream_is_assumed_and_said(fps, tmp_path, caplog):
    pytest.importorskip("av")
    frames = open_frames(write_video(tmp_path / "walk.h264", rate=12), fps)
    assert (frames.last, frames.fps) == (FRAMES, fps or 25)
    assert "no times. 25 frames a second are assumed, unless --fps" in caplog.text


def test_a_video_cut_short_ends_earlier(tmp_path):
    pytest.importorskip("av")
    path = write_video(tmp_path / "walk.mkv")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames = open_frames(path)
    assert 1 < frames.last < FRAMES
    found = dict(frames.read(range(1, FRAMES)))
    assert found[1] is not None
    assert found[FRAMES - 1] is None
    assert all(agree(image, number) for number, image in found.items() if image is not None)


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_phone_held_upright_is_turned_as_opencv_turns_it(turn, tmp_path):
    """Its videos say by how many degrees to turn them clockwise, in a matrix."""
    pytest.importorskip("av")
    path = write_video(tmp_path / "walk.mp4")
    content = bytearray(path.read_bytes())
    (width, height), one = SIZE, 1 << 16
    matrix = {
        90: (0, one, 0, -one, 0, 0, height * one, 0),
        180: (-one, 0, 0, 0, -one, 0, width * one, height * one),
        270: (0, -one, 0, one, 0, 0, 0, width * one),
    }[turn]
    place = content.index(b"tkhd") + 44
    content[place : place + 32] = struct.pack(">8i", *matrix)
    path.write_bytes(content)
    frames = open_frames(path)
    ((_, found),) = frames.read([3])
    assert found is not None
    assert frames.size == found.shape[1::-1] == (SIZE if turn == 180 else SIZE[::-1])
    assert agree(np.rot90(found, turn // 90), 3)


@pytest.mark.parametrize("content", [b"", b"no video", b"\0" * 5000])
def test_what_is_not_a_video_is_said(content, tmp_path):
    pytest.importorskip("av")
    (tmp_path / "walk.mp4").write_bytes(content)
    with pytest.raises(UserError, match=r"walk\.mp4: cannot be opened as a video .* Is it whole\?"):
        open_frames(tmp_path / "walk.mp4")


@pytest.mark.parametrize("name", ["walk.mp4", "walk.mkv"])
def test_sound_alone_is_not_a_video(name, tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.rate = 44100
        container.mux([*stream.encode(sound), *stream.encode()])
    with pytest.raises(UserError, match=rf"{name}: no video in it") as refused:
        open_frames(tmp_path / name)
    if sys.platform == "linux":  # closed, although the traceback knows what was opened
        opened = {os.path.realpath(path) for path in Path("/proc/self/fd").iterdir()}
        assert refused.tb
        assert str((tmp_path / name).resolve()) not in opened


def test_a_single_frame_is_a_video(tmp_path):
    pytest.importorskip("av")
    frames = open_frames(write_video(tmp_path / "walk.mp4", frames=1))
    ((number, found),) = frames.read(frames.numbers)
    assert number == 1
    assert agree(found, 1)
    assert frames.fps == 10


def test_frames_of_a_video_that_changes_its_size_are_passed_over(tmp_path):
    """As a phone that is turned, or a camera that saves power, may write them."""
    pytest.importorskip("av")
    whole = write_video(tmp_path / "a.h264").read_bytes()
    turned = write_video(tmp_path / "b.h264", turn=1).read_bytes()
    (tmp_path / "both.h264").write_bytes(whole + turned)
    frames = open_frames(tmp_path / "both.h264")
    found = dict(frames.read(frames.numbers))
    assert [number for number, image in found.items() if image is not None] == [
        *range(1, FRAMES + 1)
    ]
    assert len(found) == 2 * FRAMES
    assert agree(found[FRAMES], FRAMES)


@pytest.mark.parametrize("name", ["walk.mp4", "walk.avi", "walk.mkv"])
def test_a_title_may_be_in_another_encoding(name, tmp_path):
    pytest.importorskip("av")
    path = write_video(tmp_path / name, title="CAFE*")
    content = path.read_bytes()
    assert b"CAFE*" in content
    path.write_bytes(content.replace(b"CAFE*", b"Caf\xe9*"))
    assert open_frames(path).last == FRAMES


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("walk.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n"),
        ("walk.mp4", "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n"),
        ("walk.ffconcat", "ffconcat version 1.0\nfile '{}'\n"),
        ("walk%d.png", "the name of a series of images"),
    ],
)
def test_a_file_that_leads_to_others_is_not_followed(name, content, tmp_path):
    pytest.importorskip("av")
    secret = write_video(tmp_path / "secret.mp4")
    Image.fromarray(draw_frame(1)).save(tmp_path / "walk1.png")
    (tmp_path / name).write_text(content.format(secret))
    with pytest.raises(UserError, match="cannot be opened as a video .* Playlists are not followe"):
        open_frames(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")
def test_a_pipe_is_not_waited_for(tmp_path):
    pytest.importorskip("av")
    os.mkfifo(tmp_path / "walk.mp4")
    with pytest.raises(UserError, match=r"walk\.mp4: a pipe; expected a video"):
        open_frames(tmp_path / "walk.mp4")


def test_a_date_before_the_number_of_a_frame_is_not_a_time(tmp_path):
    """No minute has 61 seconds."""
    for number in (1, 61):
        Image.fromarray(draw_frame(number)).save(tmp_path / f"cam_20261101_{number:06d}.png")
    assert open_frames(tmp_path).last == 61


@pytest.mark.parametrize(("count", "listed"), [(10, "8, 9, 10 (10)."), (11, "9, 10, … (11).")])
def test_ten_broken_frames_are_listed(count, listed, caplog):
    remark_on_broken(Path("walk.mp4"), range(1, count + 1))
    assert caplog.messages[0].endswith(listed)
