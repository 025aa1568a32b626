"""Read the frames of a camera one after the other, from a video or a folder of images.

Frames are counted from 1, as trackers count them. A video has them in the order in which they are
shown. Images are numbered by the digits that end their names, or else in the order of their names.
"""

import logging
import re
from collections import deque
from collections.abc import Iterable, Iterator
from configparser import ConfigParser
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from person_reid.config.option import RATE
from person_reid.data.images import DEEP, is_image, open_image
from person_reid.errors import UserError
from person_reid.files import SETTINGS, VIDEO, regular_file, text_of

ROUNDING = 0.02  # of frame rates, such as 29.97 and 30
log = logging.getLogger(__name__)
Frame = npt.NDArray[Any]  # (H, W, 3) uint8, RGB, or (H, W) with more than 8 bits
Numbered = tuple[int, Frame | None]


def open_frames(place: Path, fps: float | None = None) -> "Images | Video":
    """Return the frames of a video file or of a folder of images.

    fps: the frames a second that the tracker saw. If there are several times as many, as for
        a tracker that reads every third frame of a video, only those are counted, and a remark
        says so.
    Raises UserError if it has no frames, and if PyAV is missing for a video.
    """
    if not place.exists():
        raise UserError(f"{place}: no such video or folder of frames.")
    return Images(place, fps) if place.is_dir() else Video(place, fps)


def _step(place: Path, own: float | None, seen: float | None) -> int:
    """Return how many frames there are for each that a tracker has seen."""
    ratio = own / seen if own and seen else 1
    step = max(round(ratio), 1)
    if abs(ratio / step - 1) > ROUNDING:
        log.warning(
            "%s: it has %g frames a second, and --fps says %g. Times follow --fps.",
            place, own, seen,
        )  # fmt: skip
        return 1
    if step > 1:
        log.warning(
            "%s: it has %g frames a second, and --fps says %g: 1 of %d frames is taken for a frame "
            "of the tracks.",
            place, own, seen, step,
        )  # fmt: skip
    return step


def open_frame(path: Path) -> Frame:
    """Return an image file as a frame. Raises Pillow's errors or OSError."""
    with open_image(path) as image:
        return np.asarray(image if image.mode[0] in DEEP else image.convert("RGB"))


def size_of(frame: Frame) -> tuple[int, int]:
    """Return the (width, height) of a frame."""
    return frame.shape[1], frame.shape[0]


class Images:
    """The frames of a folder.

    last: the number of the last frame. size: (width, height). fps: the frames in a second, which
    MOTChallenge notes in seqinfo.ini, or None.
    """

    def __init__(self, folder: Path, fps: float | None = None) -> None:
        self.path, self.fps = folder, _noted_rate(folder)
        files = sorted(path for path in folder.iterdir() if is_image(path.name))
        if not files:
            raise UserError(f"{folder}: no frames in it, such as 000001.jpg.")
        ends = [re.search(r"\d{1,9}$", path.stem) for path in files]
        numbers = [int(end[0]) for end in ends if end]
        if len({*numbers}) < len(files):
            numbers = [*range(len(files))]
        offset = 1 - min(1, *numbers)  # some programs count from 0
        step = _step(folder, self.fps, fps)
        places = ((number + offset - 1, path) for number, path in zip(numbers, files, strict=True))
        self.files = {place // step + 1: path for place, path in places if not place % step}
        self.last = max(self.files)

    @cached_property
    def size(self) -> tuple[int, int]:
        """The size of the first image that can be opened."""
        for path in self.files.values():
            with suppress(Exception), open_image(path) as image:  # Pillow fails in many ways
                return image.size
        raise UserError(f"{self.path}: none of its images can be opened.")

    def read(self, wanted: Iterable[int]) -> Iterator[Numbered]:
        """Yield (number, frame) of the wanted frames; None for one that is missing, cannot be
        decoded, or has another size.
        """
        for number in wanted:
            frame = None
            with suppress(Exception):  # Pillow fails in many ways
                frame = open_frame(self.files[number])
            yield number, None if frame is None or size_of(frame) != self.size else frame


def _noted_rate(folder: Path) -> float | None:
    """Return the rate in the seqinfo.ini of a folder of frames, or of the folder above it."""
    found = ConfigParser()
    files = (place / "seqinfo.ini" for place in (folder, folder.parent))
    texts = [text_of(file, SETTINGS, "the notes of a sequence") for file in files if file.exists()]
    with suppress(Exception):  # none is there, or it is damaged
        for text in texts:
            found.read_string(text)
        rate = found.getfloat("Sequence", "frameRate")
        return rate if RATE.fits(rate) else None
    return None


class Video:
    """The frames of a video, which PyAV decodes.

    Every packet of a video holds a frame. Their times say which number a frame has, even if others
    before it cannot be decoded.

    last: the number of the last frame. size: (width, height) as shown. fps: the frames in a second.
    Raises UserError if PyAV is not installed, and if the file is not a video or is damaged.
    """

    def __init__(self, path: Path, fps: float | None = None) -> None:
        self.path = path
        with self._open() as container:
            stream = container.streams.video[0]
            packets = _until_damaged(container.demux(stream))
            times = [each.pts for each in packets if each.size and not each.is_discard]
            self.fps = float(stream.average_rate or stream.guessed_rate or 0) or None
        self._timed = None not in times  # else, as in a bare H.264 stream, count
        times = sorted(times) if self._timed else [*range(len(times))]
        times = times[:: _step(path, self.fps, fps)]
        self.last, self._numbers = len(times), {time: i for i, time in enumerate(times, 1)}
        with self._open() as container:
            first = next(_decoded(container), None)
            if first is None:
                raise UserError(f"{path}: none of its frames can be decoded.")
            self.size = size_of(_shown(first))

    def read(self, wanted: Iterable[int]) -> Iterator[Numbered]:
        """Yield (number, frame) of the wanted frames, which ascend; None for one that is missing or
        cannot be decoded.

        All frames up to the last one wanted are decoded, and only the wanted ones converted to RGB.
        """
        left = deque(wanted)
        with self._open() as container:
            for order, frame in enumerate(_decoded(container)):
                number = self._numbers.get(frame.pts if self._timed else order, 0)
                while left and left[0] < number:
                    yield left.popleft(), None
                if not left:
                    return
                if left[0] == number:
                    yield left.popleft(), None if frame.is_corrupt else _shown(frame)
            yield from ((number, None) for number in left)

    def _open(self) -> Any:
        """Return the open container."""
        try:
            import av  # large, and an extra
        except ImportError:
            raise UserError(
                f'{self.path}: videos need PyAV: python -m pip install "person-reid[video]"  '
                "A folder of images does without."
            ) from None
        regular_file(self.path, VIDEO, "a video or a folder of images")
        try:
            container = av.open(str(self.path))
        except av.FFmpegError as error:
            raise UserError(
                f"{self.path}: cannot be opened as a video ({error.strerror}). Is it whole?"
            ) from None
        if not container.streams.video:
            container.close()
            raise UserError(f"{self.path}: no video in it.")
        return container


def _until_damaged(packets: Iterator[Any]) -> Iterator[Any]:
    """Yield the packets of a container as far as it can be read."""
    with suppress(Exception):  # PyAV fails in many ways
        yield from packets


def _decoded(container: Any) -> Iterator[Any]:
    """Yield the frames of a video that can be decoded."""
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    for packet in _until_damaged(container.demux(stream)):
        with suppress(Exception):
            yield from packet.decode()
    with suppress(Exception):  # those that are still in the decoder where a damaged file ends
        yield from stream.decode(None)


def _shown(frame: Any) -> Frame:
    """Return a decoded frame as it is shown."""
    pixels: Frame = frame.to_ndarray(format="rgb24")
    return np.rot90(pixels, round(frame.rotation / 90))  # counterclockwise, both
