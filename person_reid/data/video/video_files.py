"""Open videos and streams with PyAV, decode them, and count the frames of a file.

file = video_file(Path("hall.mp4"))
for frame in file.decode():
    pixels = shown_frame(frame)  # uint8 (H, W, 3)
print(file.size, file.rate, file.times)
"""

import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from person_reid.data.images.image_files import MOST_DECODED_PIXELS
from person_reid.errors import UserError, first_line, optional_module
from person_reid.files import VIDEO, real, regular_file
from person_reid.progress import progress
from person_reid.text import counted

RATE_ROUNDING = 0.02  # relative tolerance for frame rates, such as 29.97 and 30
GAP_IN_SECONDS = 2  # usual steps between two frames; more is a gap in the stream
MOST_REORDERED = 16  # frames of H.264 and H.265
WEBCAM_PAUSE = 0.005  # seconds
COVER, UNTIMED = 0x400, 0x80  # AV_DISPOSITION_ATTACHED_PIC and AVFMT_NOTIMESTAMPS of FFmpeg
# FFmpeg also follows playlists to files that nobody named, and patterns such as p%d.jpg
VIDEO_CONTAINERS = (
    "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,dv,ivf,nut,rm,wtv,h261,h263,"
    "h264,hevc,vvc,m4v,mjpeg,av1,obu,vc1,yuv4mpegpipe,gif,dhav,ifv"
)
OPTIONS = {"format_whitelist": VIDEO_CONTAINERS, "protocol_whitelist": "file"}
REGULAR = ("mov", "matroska")  # whose packets contain their times; AVI's are guessed
log = logging.getLogger(__name__)
Frame = npt.NDArray[np.uint8]  # (H, W, 3), RGB
Times = npt.NDArray[np.float64]  # (N,), in seconds


class VideoFile:
    """The frames of a video file, in the order of the decoder.

    size: (width, height) as shown. rate: the frames per second where none is lost, or None.
    regular: whether all packets have times, so that the rate is known before decoding. sent: the
    number of packets. base: the seconds per step of the time stamps. whole: whether the frames were
    counted, and each packet contained the frame that it announced. Raises UserError if PyAV is not
    installed, and if the file is not a video or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._counted: tuple[int, Times] | None = None
        self.whole = False
        with self._open() as container:
            stream, *others = videos_of(container)
            packets = _until_damaged(container, stream)
            stamps = [each.pts for each in packets if each.size and not each.is_discard]
            self.base = float(stream.time_base or 0)
            self._noted = float(stream.average_rate or stream.guessed_rate or 0) or None
            self._timed = not container.format.flags & UNTIMED and self.base > 0
            told = container.format.name.startswith(REGULAR) and None not in stamps
            self.regular = self._timed and told and len({*stamps}) == len(stamps)
        self._sent, self.sent = stamps, len(stamps)
        with self._open() as container:
            if (first := next(decoded_frames(container), None)) is None:
                raise UserError(f"{path}: none of its frames can be decoded.")
            self.size = size_of(shown_frame(first))
        self.rate = _rate(np.sort(stamps) * self.base if self.regular else self.times, self._noted)
        if others:
            said = "%s: %d videos in it. That of %d×%d pixels is read."
            log.warning(said, path, 1 + len(others), *self.size)
        if not (self.regular or len(self.times)):
            said = "%s: says no times. %s frames a second are assumed, unless --fps says how many."
            log.warning(said, path, self.rate and f"{self.rate:g}")

    def decode(self) -> Iterator[Any]:
        """Yield the frames that PyAV can decode. The first call counts them."""
        stamps: list[int | None] = []
        failed: list[int] = []
        with self._open() as container:
            for frame in decoded_frames(container, failed):
                stamps.append(frame.pts)
                yield frame
        if not self._counted:
            self._counted = len(stamps), self._times_of(stamps)
            self.whole = self.regular and stamps == sorted(self._sent)
            if (rate := _rate(self.times, self._noted)) and len(self.times):
                shown = [pts for pts in stamps if pts is not None]
                sent = [pts for pts in self._sent[:MOST_REORDERED] if pts is not None]
                early = round((min(shown) - min(sent or shown)) * self.base * rate)
                self._remark_on_lost(early, len(failed) - early)

    def trust(self) -> None:
        """Count each packet as a frame, which is correct for a file that is known to be whole."""
        if self.regular and not self._counted:
            self._counted = self.sent, self._times_of(sorted(self._sent))

    @property
    def count(self) -> int:
        """The number of frames that can be decoded."""
        return self._decoded()[0]

    @property
    def times(self) -> Times:
        """The times of the frames (N,), ascending, in seconds, or (0,) if they have no times."""
        return self._decoded()[1]

    def _decoded(self) -> tuple[int, Times]:
        """Return the number of frames and their times, decoding the file if necessary."""
        if not self._counted:
            desc = f"counting {self.path.name}"
            deque(progress(self.decode(), desc=desc, unit=" frames", total=self.sent), maxlen=0)
        assert self._counted
        return self._counted

    def _times_of(self, stamps: Sequence[int | None]) -> Times:
        timed = self._timed and None not in stamps
        return shown_times(np.array(stamps) * self.base) if timed else np.zeros(0)

    def _remark_on_lost(self, early: int, failed: int) -> None:
        """Warn if frame numbers may differ from a tracker's."""
        if early > 0:
            log.warning(
                "%s: %s before the first one that can be decoded, which is frame 1, as in OpenCV. "
                "If the tracker counts them, say so: --first_frame %d.",
                self.path,
                counted(early, "frame"),
                early + 1,
            )
        if failed > 0:
            log.warning(
                "%s: %s cannot be decoded and have no number. The numbers of a tracker that counts "
                "them are higher from there on.",
                self.path,
                counted(failed, "frame"),
            )

    def _open(self) -> Any:
        """Return the open container."""
        regular_file(self.path, VIDEO, "a video or a folder of images")
        advice = ". Is it whole? Playlists are not followed."
        return open_container(str(self.path), self.path, advice, container_options=OPTIONS)


@dataclass(frozen=True)
class _State:
    """A snapshot of a file's state. path: the path as given, which is not compared."""

    place: Path
    changed: int
    size: int
    path: Path = field(compare=False)


def video_file(path: Path) -> VideoFile:
    """Return a video file, with its frame count if this process has counted the unchanged file."""
    state = path.stat()
    return _opened(_State(real(path), state.st_mtime_ns, state.st_size, path))


@lru_cache(maxsize=64)  # a command opens a video several times, by several names
def _opened(state: _State) -> VideoFile:
    return VideoFile(state.path)


def open_container(place: str, name: object, advice: str = "", **settings: Any) -> Any:
    """Return the open container of a video or a stream.

    name: used in messages. advice: ends the message if opening fails. settings: for PyAV.
    Raises UserError if it cannot be opened, if PyAV is missing, and if there is no video.
    """
    av = optional_module(
        "av",
        UserError(
            f'{name}: videos need PyAV: python -m pip install ".[video]"  '
            "A folder of images does without."
        ),
    )
    if int(av.__version__.partition(".")[0]) < 19:  # newer ones accept metadata in any encoding
        settings["metadata_errors"] = "replace"
    try:
        container = av.open(place, **settings)
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise UserError(f"{name}: cannot be opened as a video ({reason}){advice}") from None
    fault = "" if (videos := videos_of(container)) else "no video in it"
    for each in videos:
        each.codec_context.options = {"max_pixels": str(MOST_DECODED_PIXELS)}  # in later frames too
        if each.width * each.height > MOST_DECODED_PIXELS:
            most = MOST_DECODED_PIXELS // 10**6
            fault = f"frames of {each.width}×{each.height} pixels, more than {most} million"
    if fault:
        container.close()
        raise UserError(f"{name}: {fault}")
    return container


def videos_of(container: Any) -> list[Any]:
    """Return a container's video streams, without cover art; the one FFmpeg would play is first."""
    best = container.streams.best("video")
    found = [each for each in container.streams.video if not each.disposition.value & COVER]
    return sorted(found, key=lambda each: best is not None and each.index != best.index)


def shown_times(stamps: Times) -> Times:
    """Return the times of frames in seconds since the first frame, ascending.

    stamps: (N,), the times of frames in the decoder's order. After a step back, as where two
    recordings are joined, time continues from the last frame. A small step back is a B frame whose
    time FFmpeg guessed: then the times are right, but not their order.
    """
    steps = np.diff(stamps)
    usual = float(np.median(np.abs(steps))) if len(steps) else 0.0
    found = np.zeros(0)
    to_start = (steps < 0) & (stamps[1:] <= np.minimum.accumulate(stamps)[:-1])
    anew = to_start | (steps < -MOST_REORDERED * usual)
    for piece in np.split(stamps, np.flatnonzero(anew) + 1):
        begin = found[-1] + usual if len(found) else 0
        found = np.append(found, np.sort(piece) - piece.min() + begin)
    return found


def _rate(times: Times, noted: float | None) -> float | None:
    """Return a stream's frames per second, measured in the parts without a gap.

    times: the frames' times in seconds, ascending. noted: the rate in the file, which is exact if
    it agrees with them.
    """
    steps = np.diff(times)
    usual = steps[steps <= GAP_IN_SECONDS * np.median(steps)] if len(steps) else steps
    if not usual.sum() > 0:
        return noted
    found = float(1 / usual.mean())
    return noted if noted and abs(noted / found - 1) < RATE_ROUNDING else round(found, 3)


def _until_damaged(container: Any, stream: Any) -> Iterator[Any]:
    """Yield the packets of a stream until one cannot be read."""
    while True:
        try:
            yield from container.demux(stream)
            return
        except BlockingIOError:  # a webcam on macOS, which has no new frame yet
            time.sleep(WEBCAM_PAUSE)
        except Exception:  # PyAV fails in many ways
            return


def decoded_frames(
    container: Any, failed: list[int] | None = None, threads: str = "AUTO"
) -> Iterator[Any]:
    """Yield the decodable frames of a video.

    failed: a list, to which the time of each packet that cannot be decoded is appended.
    threads: PyAV's thread_type. AUTO is the fastest, and delays frames by one for each thread;
    SLICE delays none.
    """
    stream = videos_of(container)[0]
    stream.thread_type = threads
    for packet in _until_damaged(container, stream):
        try:
            yield from packet.decode()
        except Exception:  # PyAV fails in many ways
            if failed is not None:
                failed.append(packet.pts)
    with suppress(Exception):  # those that are still in the decoder where a damaged file ends
        yield from stream.decode(None)


def shown_frame(frame: Any) -> Frame:
    """Return a decoded frame in display orientation."""
    pixels: Frame = frame.to_ndarray(format="rgb24")
    return np.rot90(pixels, round(frame.rotation / 90))  # both are counterclockwise


def size_of(frame: Frame) -> tuple[int, int]:
    """Return the (width, height) of a frame."""
    return frame.shape[1], frame.shape[0]
