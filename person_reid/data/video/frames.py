"""Read the frames of a camera one after the other, from a video or a folder of images.

Frames of a video are counted from 1, in the order in which a decoder gives them, as OpenCV and all
trackers count. Images are numbered by the digits that end their names, or in the order of their
names if these have none, or say a time.
"""

import logging
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from configparser import ConfigParser
from contextlib import suppress
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ImageOps

from person_reid.config.option import FRAME_RATE, OptionError
from person_reid.data.images.image_files import DEEP, is_image, open_image
from person_reid.data.video.tracked_boxes import seconds_of
from person_reid.errors import UserError, first_line, optional_module
from person_reid.files import SETTINGS_BYTES, VIDEO, regular_file, text_of
from person_reid.progress import progress
from person_reid.text import counted

RATE_ROUNDING = 0.02  # of frame rates, such as 29.97 and 30
SAME = 1e-4  # of frame rates that are written with few digits
GAP_IN_SECONDS = 2  # usual steps between two frames; more is a gap in the stream
MOST_REORDERED = 16  # frames of H.264 and H.265
COVER, UNTIMED = 0x400, 0x80  # AV_DISPOSITION_ATTACHED_PIC and AVFMT_NOTIMESTAMPS of FFmpeg
# FFmpeg also follows playlists to files that nobody named, and patterns such as p%d.jpg
VIDEO_CONTAINERS = (
    "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,dv,ivf,nut,rm,wtv,h261,h263,"
    "h264,hevc,vvc,m4v,mjpeg,av1,obu,vc1,yuv4mpegpipe,gif,dhav,ifv"
)
OPTIONS = {"format_whitelist": VIDEO_CONTAINERS, "protocol_whitelist": "file"}
LOOKED_AT = 10  # frames in a second; tracks of more of them broke more often on real cameras
LATEST = 10**9  # a larger number in a name is a time, in seconds or less since 1970
# A date and a time of day, perhaps with fractions of a second.
TIME_IN_NAME = re.compile(
    r"(?:19|20)\d\d(\D?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])\D?"
    r"(?:[01]\d|2[0-3])\D?[0-5]\d\D?[0-5]\d\D?\d*$",
    re.ASCII,
)
log = logging.getLogger(__name__)
Frame = npt.NDArray[Any]  # (H, W, 3) uint8, RGB, or (H, W) with more than 8 bits
Numbered = tuple[int, Frame | None]
Times = npt.NDArray[np.float64]  # (N,), in seconds


def open_frames(place: Path, fps: float | None = None) -> "FrameFolder | Video":
    """Return the frames of a video file or of a folder of images.

    fps: the frames a second that the tracker saw. If there are several times as many, as for
        a tracker that reads every third frame of a video, only those are counted, and a remark
        says so.
    Raises UserError if it has no frames, and if PyAV is missing for a video.
    """
    if not place.exists():
        raise UserError(f"{place}: no such video or folder of frames.")
    return FrameFolder(place, fps) if place.is_dir() else Video(place, fps)


def usual_step(fps: float) -> int:
    """Return N, if every Nth of `fps` frames in a second is looked at unless somebody says."""
    return max(1, round(fps / LOOKED_AT))


def open_frames_with_rate(place: Path, fps: float | None = None) -> "FrameFolder | Video":
    """Return the frames of a place, whose rate is known. Raises UserError for any other."""
    frames = open_frames(place, fps)
    rate_of(frames, place)
    return frames


def rate_of(frames: "FrameFolder | Video", place: object) -> float:
    """Return the frames a second. place: what to call them. Raises OptionError if it is unknown."""
    if not frames.fps:
        raise OptionError(f"{place}: images have no frame rate. Give it: {{fps}}, say.", fps=30)
    return frames.fps


def name_of_frames(place: Path) -> str:
    """Return what to call a video or folder; MOTChallenge calls every folder of frames img1."""
    return place.parent.name if place.name == "img1" else place.stem


def first_number(
    frames: "FrameFolder | Video", numbers: Iterable[int], given: int | None = None
) -> int:
    """Return the number of frame 1 in a track file: 0 for a program that counts from 0.

    numbers: the frames that have a box there. The numbers in the names of images hold, unless
    boxes lie outside of them. Then, and for videos, the first frame has the number 1, or else 0. A
    remark says so where both are possible.
    given: the number that the file gives to the first frame that is there; it decides.
    Raises UserError if a box has a lower one.
    """
    numbers = {*numbers} or {1}
    lowest, highest = min(numbers), max(numbers)
    if given is not None and given > lowest:
        raise OptionError(
            f"{{first_frame}}: the tracks begin with frame {lowest}.", first_frame=given
        )
    named = frames.first + frames.zero - 1
    possible = [first for first in dict.fromkeys((named, 1, 0)) if first <= lowest]
    last = frames.last - frames.first
    whole = [first for first in possible if highest <= first + last]
    first = (whole or possible)[0] if given is None else given
    if given is None and len(whole) > 1 and not frames.numbered:
        log.info(
            "%s: its first frame is taken for frame %d of the tracks. If the tracker counts "
            "otherwise, say so: --first_frame %d.",
            frames.path,
            first,
            whole[1],
        )
    return first + 1 - frames.first


def remark_on_broken(place: Path, numbers: Sequence[int]) -> None:
    """List the frames of a place that cannot be used, if there are any."""
    if numbers:
        some = ", ".join(map(str, numbers[:10])) + (", …" if len(numbers) > 10 else "")
        log.warning(
            "%s: passed over, because they cannot be decoded or have another size: frames %s (%d).",
            place,
            some,
            len(numbers),
        )


def _every(place: Path, own: float | None, seen: float | None) -> tuple[int, float | None]:
    """Return how many frames there are for each that a tracker has seen, and the rate of these."""
    if not own or not seen:
        return 1, own or seen
    step = max(round(own / seen), 1)
    rate = own / step
    if abs(rate / seen - 1) > RATE_ROUNDING:
        log.warning(
            "%s: it has %g frames a second, and --fps says %g. Times follow --fps.",
            place,
            own,
            seen,
        )
        return 1, seen
    if step > 1:
        log.warning(
            "%s: it has %g frames a second, and --fps says %g: 1 of %d frames is taken for a frame "
            "of the tracks.",
            place,
            own,
            seen,
            step,
        )
    if abs(rate / seen - 1) > SAME:
        log.info("%s: times follow its own %.5g frames a second, not --fps.", place, own)
    return step, rate


def open_frame(path: Path) -> Frame:
    """Return an image file as a frame, turned as EXIF says. Raises Pillow's errors or OSError."""
    with open_image(path) as image:
        turned = ImageOps.exif_transpose(image)
        return np.asarray(turned if turned.mode[0] in DEEP else turned.convert("RGB"))


def size_of(frame: Frame) -> tuple[int, int]:
    """Return the (width, height) of a frame."""
    return frame.shape[1], frame.shape[0]


class FrameFolder:
    """The frames of a folder.

    files: the images by the numbers in their names or, if `numbered` is False, by their order.
    zero: the number of frame 1 there, 0 or 1. first, last: the first and last frame that is there.
    size: (width, height). fps: the frames in a second, which MOTChallenge notes in seqinfo.ini, or
    those that the tracker saw, or None.
    """

    def __init__(self, folder: Path, fps: float | None = None) -> None:
        self.path = folder
        files = sorted(path for path in folder.iterdir() if is_image(path.name))
        if not files:
            raise UserError(f"{folder}: no frames in it, such as 000001.jpg.")
        found = _numbers_in(files)
        self.numbered = found is not None
        numbers = found or [*range(1, len(files) + 1)]
        self.zero = min(1, *numbers)  # some programs count from 0
        step, self.fps = _every(folder, _noted_rate(folder), fps)
        places = ((number - self.zero, path) for number, path in zip(numbers, files, strict=True))
        self.files = {place // step + self.zero: path for place, path in places if not place % step}
        self.first, self.last = (end + 1 - self.zero for end in (min(self.files), max(self.files)))

    @cached_property
    def size(self) -> tuple[int, int]:
        """The size of the first image that can be decoded."""
        for path in self.files.values():
            with suppress(Exception):  # Pillow fails in many ways
                return size_of(open_frame(path))
        raise UserError(f"{self.path}: none of its images can be opened.")

    @property
    def numbers(self) -> list[int]:
        """The numbers of the frames that are there, ascending."""
        return sorted(number + 1 - self.zero for number in self.files)

    @property
    def names(self) -> dict[str, int]:
        """The frame of the image of each name, without its ending."""
        return {path.stem: number + 1 - self.zero for number, path in self.files.items()}

    def seconds(self, numbers: Sequence[int]) -> list[float]:
        """Return when frames are shown, in seconds since the first one that is there."""
        assert self.fps, "the rate is not known"
        return seconds_of([number + 1 - self.first for number in numbers], self.fps).tolist()

    def read(self, wanted: Iterable[int]) -> Iterator[Numbered]:
        """Yield (number, frame) of the wanted frames.

        The frame is None if it is missing, cannot be decoded, or has another size.
        """
        for number in wanted:
            frame = None
            with suppress(Exception):  # Pillow fails in many ways
                frame = open_frame(self.files[number + self.zero - 1])
            yield number, None if frame is None or size_of(frame) != self.size else frame


def _numbers_in(files: Sequence[Path]) -> list[int] | None:
    """Return the numbers that end the names of images; None if they do not number them.

    Names such as cam_20261101_080000123 say a time, and so do numbers beyond LATEST.
    """
    ends = [re.search("[0-9]+$", path.stem) for path in files]
    numbers = [int(end[0]) for end in ends if end]
    if len({*numbers}) < len(files) or max(numbers) >= LATEST:
        return None
    return None if all(TIME_IN_NAME.search(path.stem) for path in files) else numbers


def _noted_rate(folder: Path) -> float | None:
    """Return the rate in the seqinfo.ini of a folder of frames, or of the folder above it."""
    found = ConfigParser()
    files = (place / "seqinfo.ini" for place in (folder, folder.parent))
    texts = [
        text_of(file, SETTINGS_BYTES, "the notes of a sequence") for file in files if file.exists()
    ]
    with suppress(Exception):  # none is there, or it is damaged
        for text in texts:
            found.read_string(text)
        rate = found.getfloat("Sequence", "frameRate")
        return rate if FRAME_RATE.fits(rate) else None
    return None


class Video:
    """The frames of a video, which PyAV decodes: frame n is the nth that it gives.

    So count OpenCV and all trackers. The times are the video's own, since cameras lose frames, and
    phones save them.

    first, last: the numbers of the first and last frame. size: (width, height) as shown. fps: the
    frames in a second where none is lost, or those that the tracker saw.
    Raises UserError if PyAV is not installed, and if the file is not a video or is damaged.
    """

    first = 1
    zero = 1
    numbered = False

    def __init__(self, path: Path, fps: float | None = None) -> None:
        self.path = path
        state = path.stat()
        self.size, count, times, own = _decoded(path, state.st_mtime_ns, state.st_size)
        own = own if len(times) or not fps else None  # FFmpeg assumes one for a bare stream
        self._step, self.fps = _every(path, own, fps)
        if self.fps and own and abs(self.fps * self._step / own - 1) > SAME:  # its times are wrong
            times = times[:0]
        self._times = [*enumerate(times[:: self._step].tolist(), 1)]
        self.last = -(-count // self._step)

    @property
    def numbers(self) -> list[int]:
        """The numbers of the frames, ascending."""
        return [*range(self.first, self.last + 1)]

    def seconds(self, numbers: Sequence[int]) -> list[float]:
        """Return when frames are shown, in seconds since the first one."""
        assert self.fps, "the rate is not known"
        return seconds_of(numbers, self.fps, self._times).tolist()

    def read(self, wanted: Iterable[int]) -> Iterator[Numbered]:
        """Yield (number, frame) of the wanted frames, which ascend.

        The frame is None if it is missing, cannot be decoded, or has another size than the first.
        All frames up to the last one wanted are decoded, and only the wanted ones converted to RGB.
        """
        left = deque(wanted)
        with _open_video(self.path) as container:
            frames = islice(decoded_frames(container), 0, None, self._step)
            for number, frame in enumerate(frames, 1):
                while left and left[0] < number:
                    yield left.popleft(), None
                if not left:
                    return
                if left[0] == number:
                    yield left.popleft(), None if frame.is_corrupt else self._of_size(frame)
        yield from ((number, None) for number in left)

    def _of_size(self, frame: Any) -> Frame | None:
        """Return a decoded frame as it is shown, None for one of another size."""
        shown = shown_frame(frame)
        return shown if size_of(shown) == self.size else None


def _open_video(path: Path) -> Any:
    """Return the open container of a file."""
    regular_file(path, VIDEO, "a video or a folder of images")
    advice = ". Is it whole? Playlists are not followed."
    return open_container(str(path), path, advice, container_options=OPTIONS)


@lru_cache(maxsize=64)  # a command opens a video several times
def _decoded(path: Path, *state: int) -> tuple[tuple[int, int], int, Times, float | None]:
    """Return the size of a video, the number of its frames, when they are shown, and its rate.

    The times (N,) are none, (0,), in a bare stream. A remark says what is strange. state: of the
    file, so that a changed one is decoded again.
    """
    with _open_video(path) as container:
        packets = islice(container.demux(videos_of(container)[0]), MOST_REORDERED)
        sent = [each.pts for each in _until_damaged(packets) if each.size and not each.is_discard]
    failed: list[int] = []
    with _open_video(path) as container:
        stream, *others = videos_of(container)
        timed, base = not container.format.flags & UNTIMED, float(stream.time_base or 0)
        noted = float(stream.average_rate or stream.guessed_rate or 0) or None
        frames = decoded_frames(container, failed)
        if (first := next(frames, None)) is None:
            raise UserError(f"{path}: none of its frames can be decoded.")
        size = size_of(shown_frame(first))
        bar = progress(frames, desc=f"counting {path.name}", unit=" frames", total=stream.frames)
        stamps = [first.pts, *(frame.pts for frame in bar)]
    timed = timed and None not in stamps and base > 0
    times = shown_times(np.array(stamps) * base) if timed else np.zeros(0)
    rate = _rate(times, noted)
    if others:
        said = "%s: %d videos in it. That of %d×%d pixels is read."
        log.warning(said, path, 1 + len(others), *size)
    if not timed:
        said = "%s: says no times. %s frames a second are assumed, unless --fps says how many."
        log.warning(said, path, rate and f"{rate:g}")
    elif rate:
        begun = min([pts for pts in sent if pts is not None], default=min(stamps))
        early = round((min(stamps) - begun) * base * rate)
        _remark_on_lost(path, early, len(failed) - early)
    return size, len(stamps), times, rate


def _remark_on_lost(path: Path, early: int, failed: int) -> None:
    """Say where the numbers of frames may be others than a tracker's."""
    if early > 0:
        log.warning(
            "%s: %s before the first one that can be decoded, which is frame 1, as in OpenCV. "
            "If the tracker counts them, say so: --first_frame %d.",
            path,
            counted(early, "frame"),
            early + 1,
        )
    if failed > 0:
        log.warning(
            "%s: %s cannot be decoded and have no number. The numbers of a tracker that counts "
            "them are higher from there on.",
            path,
            counted(failed, "frame"),
        )


def open_container(place: str, name: object, advice: str = "", **settings: Any) -> Any:
    """Return the open container of a video or a stream.

    name: what messages call it. advice: ends the message about one that cannot be opened.
    settings: for PyAV. Raises UserError also if PyAV is missing, and if there is no video.
    """
    av = optional_module(
        "av",
        UserError(
            f'{name}: videos need PyAV: python -m pip install ".[video]"  '
            "A folder of images does without."
        ),
    )
    try:
        container = av.open(place, metadata_errors="replace", **settings)
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise UserError(f"{name}: cannot be opened as a video ({reason}){advice}") from None
    if not videos_of(container):
        container.close()
        raise UserError(f"{name}: no video in it")
    return container


def videos_of(container: Any) -> list[Any]:
    """Return the videos of a container, first the one that FFmpeg would play, without covers."""
    best = container.streams.best("video")
    found = [each for each in container.streams.video if not each.disposition.value & COVER]
    return sorted(found, key=lambda each: best is not None and each.index != best.index)


def shown_times(stamps: Times) -> Times:
    """Return when frames are shown, ascending, in seconds since the first one.

    stamps: (N,), the times of frames in the decoder's order. A step back begins anew where the last
    ended, as where two recordings are joined. Within a few frames, and after the first time, it is
    a B frame whose time FFmpeg has guessed: then the times are right, but not their order.
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
    """Return the frames in a second of a stream, where it has no gap.

    times: of its frames, in seconds, ascending. noted: the rate that the file states, which is
    exact if it agrees with them.
    """
    steps = np.diff(times)
    usual = steps[steps <= GAP_IN_SECONDS * np.median(steps)] if len(steps) else steps
    if not usual.sum() > 0:
        return noted
    found = float(1 / usual.mean())
    return noted if noted and abs(noted / found - 1) < RATE_ROUNDING else round(found, 3)


def _until_damaged(packets: Iterator[Any]) -> Iterator[Any]:
    """Yield the packets of a container as far as it can be read."""
    with suppress(Exception):  # PyAV fails in many ways
        yield from packets


def decoded_frames(container: Any, failed: list[int] | None = None) -> Iterator[Any]:
    """Yield the frames of a video that can be decoded.

    failed: gets the time of each packet that cannot be.
    """
    stream = videos_of(container)[0]
    stream.thread_type = "AUTO"
    for packet in _until_damaged(container.demux(stream)):
        try:
            yield from packet.decode()
        except Exception:  # PyAV fails in many ways
            if failed is not None:
                failed.append(packet.pts)
    with suppress(Exception):  # those that are still in the decoder where a damaged file ends
        yield from stream.decode(None)


def shown_frame(frame: Any) -> Frame:
    """Return a decoded frame as it is shown."""
    pixels: Frame = frame.to_ndarray(format="rgb24")
    return np.rot90(pixels, round(frame.rotation / 90))  # counterclockwise, both
