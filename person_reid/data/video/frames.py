"""Read the frames of a camera one after another, from a video or a folder of images.

Frames of a video are counted from 1, in the order of the decoder, as in OpenCV and all trackers.
Images are numbered by the digits that end their names, or in the order of the names if these have
no digits or contain a time.
"""

import logging
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from configparser import ConfigParser
from contextlib import suppress
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from person_reid.config.option import FRAME_RATE
from person_reid.data.images.image_files import in_rgb, is_image, open_image
from person_reid.data.video.tracked_boxes import seconds_of
from person_reid.data.video.video_files import (
    RATE_ROUNDING,
    Frame,
    shown_frame,
    size_of,
    video_file,
)
from person_reid.errors import UserError
from person_reid.files import SETTINGS_BYTES, text_of
from person_reid.text import composed

SAME = 1e-4  # relative tolerance for frame rates written with few digits
LOOKED_AT = 10  # frames per second; with more, tracks from real cameras broke more often
LATEST = 10**9  # a larger number in a name is a time, in seconds or smaller units since 1970
# A date and a time of day, perhaps with fractions of a second.
TIME_IN_NAME = re.compile(
    r"(?:19|20)\d\d(\D?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])\D?"
    r"(?:[01]\d|2[0-3])\D?[0-5]\d\D?[0-5]\d\D?\d*$",
    re.ASCII,
)
log = logging.getLogger(__name__)
Numbered = tuple[int, Frame | None]
Looked = tuple[int, Frame | None, float]


def open_frames(place: Path, fps: float | None = None) -> "FrameFolder | Video":
    """Return the frames of a video file or of a folder of images.

    fps: the frames per second that the tracker used. If the video's rate is a multiple of it, as
        for a tracker that reads every third frame, only the used frames are counted, and the log
        reports it.
    Raises UserError if there are no frames, or if PyAV is missing for a video.
    """
    if not place.exists():
        raise UserError(f"{place}: no such video or folder of frames.")
    return FrameFolder(place, fps) if place.is_dir() else Video(place, fps)


def usual_step(fps: float) -> int:
    """Return the default N for processing every Nth frame, given `fps` frames per second."""
    return max(1, round(fps / LOOKED_AT))


def open_frames_with_rate(place: Path, fps: float | None = None) -> "FrameFolder | Video":
    """Return the frames of a video or folder. Raises UserError if their rate is unknown."""
    frames = open_frames(place, fps)
    rate_of(frames, place)
    return frames


def rate_of(frames: "FrameFolder | Video", place: object) -> float:
    """Return the frames per second. Raises UserError, naming `place`, if the rate is unknown."""
    if not frames.fps:
        raise UserError(f"{place}: images have no frame rate. Give it: fps=30, say.")
    return frames.fps


def name_of_frames(place: Path) -> str:
    """Return the name of a video or folder, but its parent's for MOTChallenge's folder img1."""
    return composed(place.parent.name if place.name == "img1" else place.stem)


def first_number(
    frames: "FrameFolder | Video", numbers: Iterable[int], given: int | None = None
) -> int:
    """Return the number that a track file gives to frame 1: 0 if its program counts from 0.

    numbers: the frames that have a box there. The numbers in the names of images are used unless
    boxes lie outside their range. Then, and for videos, the first frame has the number 1 or, if a
    box does not fit, 0. The log reports the choice if both are possible.
    given: the number that the file gives to the first existing frame; it takes precedence. Raises
    UserError if a box has a lower number.
    """
    numbers = {*numbers} or {1}
    lowest, highest = min(numbers), max(numbers)
    if given is not None and given > lowest:
        raise UserError(f"first_frame={given}: the tracks begin with frame {lowest}.")
    named = frames.first + frames.zero - 1
    possible = [first for first in dict.fromkeys((named, 1, 0)) if first <= lowest]
    last = frames.last - frames.first
    whole = [first for first in possible if highest <= first + last]
    first = (whole or possible)[0] if given is None else given
    if given is None and len(whole) > 1 and not frames.numbered:
        log.info(
            "%s: its first frame is taken for frame %d of the tracks. If the tracker counts "
            "otherwise, pass --first_frame %d.",
            frames.path,
            first,
            whole[1],
        )
    return first + 1 - frames.first


def remark_on_broken(place: Path, numbers: Sequence[int]) -> None:
    """Log the numbers of the frames in `place` that cannot be used, if there are any."""
    if numbers:
        some = ", ".join(map(str, numbers[:10])) + (", …" if len(numbers) > 10 else "")
        log.warning(
            "%s: skipped, because they cannot be decoded or have another size: frames %s (%d).",
            place,
            some,
            len(numbers),
        )


def _every(place: Path, own: float | None, seen: float | None) -> tuple[int, float | None]:
    """Return N, where the tracker used every Nth frame, and the rate of these frames."""
    if not own or not seen:
        return 1, own or seen
    step = max(round(own / seen), 1)
    rate = own / step
    if abs(rate / seen - 1) > RATE_ROUNDING:
        log.warning(
            "%s: it has %g frames per second, and --fps says %g. Times follow --fps.",
            place,
            own,
            seen,
        )
        return 1, seen
    if step > 1:
        log.warning(
            "%s: it has %g frames per second, and --fps says %g: 1 of %d frames is taken for a "
            "frame of the tracks.",
            place,
            own,
            seen,
            step,
        )
    if abs(rate / seen - 1) > SAME:
        log.info("%s: times follow its own %.5g frames per second, not --fps.", place, own)
    return step, rate


def open_frame(path: Path) -> Frame:
    """Return an image file as a frame, rotated according to EXIF.

    Raises ValueError for an image of more than 8 bits, and Pillow's errors or OSError.
    """
    with open_image(path) as image:
        return np.asarray(in_rgb(image))


class FrameFolder:
    """The frames of a folder.

    files: the images by the numbers in their names or, if `numbered` is False, by their order.
    zero: the number of frame 1 in the names, 0 or 1. first, last: the first and last existing
    frame. size: (width, height). fps: the frames per second in MOTChallenge's seqinfo.ini, or those
    that the tracker used, or None.
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
        """The numbers of the existing frames, ascending."""
        return sorted(number + 1 - self.zero for number in self.files)

    @property
    def about(self) -> int:
        """The number of frames."""
        return len(self.files)

    @property
    def names(self) -> dict[str, int]:
        """The frame number of each image, by image name without the extension."""
        return {path.stem: number + 1 - self.zero for number, path in self.files.items()}

    def seconds(self, numbers: Sequence[int]) -> list[float]:
        """Return the times of frames, in seconds since the first existing frame."""
        assert self.fps, "the rate is not known"
        return seconds_of([number + 1 - self.first for number in numbers], self.fps).tolist()

    def read(self, wanted: Iterable[int]) -> Iterator[Numbered]:
        """Yield (number, frame) for the wanted frames.

        The frame is None if it is missing, cannot be decoded, or has another size.
        """
        for number in wanted:
            frame = None
            with suppress(Exception):  # Pillow fails in many ways
                frame = open_frame(self.files[number + self.zero - 1])
            yield number, None if frame is None or size_of(frame) != self.size else frame

    def look(self, every: int = 1) -> Iterator[Looked]:
        """Yield (number, frame, seconds) for every Nth frame, as in `read` and `seconds`."""
        return _look(self, every)


def _numbers_in(files: Sequence[Path]) -> list[int] | None:
    """Return the numbers at the ends of image names, or None if they are not frame numbers.

    Names such as cam_20261101_080000123 contain a time, as do numbers beyond LATEST.
    """
    ends = [re.search("[0-9]+$", path.stem) for path in files]
    numbers = [int(end[0]) for end in ends if end]
    if len({*numbers}) < len(files) or max(numbers) >= LATEST:
        return None
    return None if all(TIME_IN_NAME.search(path.stem) for path in files) else numbers


def _noted_rate(folder: Path) -> float | None:
    """Return the frame rate from seqinfo.ini in a folder of frames or the folder above, or None."""
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
    """The frames of a video: frame n is the nth that PyAV decodes.

    OpenCV and all trackers count in this way. The times are the video's own, because cameras lose
    frames and phones vary the rate.

    first, last: the numbers of the first and last frame. size: (width, height) as shown. fps: the
    frames per second where none is lost, or those that the tracker used. about: the number of
    frames if none is damaged. `last` and `seconds` decode the video, unless `look` did.
    Raises UserError if PyAV is not installed, and if the file is not a video or is damaged.
    """

    first = 1
    zero = 1
    numbered = False

    def __init__(self, path: Path, fps: float | None = None) -> None:
        self.path = path
        self.file = video_file(path)
        self.size, own = self.file.size, self.file.rate
        if fps and not (self.file.regular or len(self.file.times)):
            own = None  # FFmpeg assumes a rate for a bare stream
        self._step, self.fps = _every(path, own, fps)
        wrong = self.fps and own and abs(self.fps * self._step / own - 1) > SAME
        self._by_rate = bool(wrong)
        self.about = -(-self.file.sent // self._step)

    @property
    def last(self) -> int:
        """The number of the last frame."""
        return -(-self.file.count // self._step)

    @property
    def numbers(self) -> list[int]:
        """The numbers of the frames, ascending."""
        return [*range(self.first, self.last + 1)]

    def seconds(self, numbers: Sequence[int]) -> list[float]:
        """Return the times of frames, in seconds since the first frame."""
        assert self.fps, "the rate is not known"
        times = [] if self._by_rate else self.file.times[:: self._step].tolist()
        return seconds_of(numbers, self.fps, [*enumerate(times, 1)]).tolist()

    def read(self, wanted: Iterable[int]) -> Iterator[Numbered]:
        """Yield (number, frame) for the wanted frames, which must be in ascending order.

        The frame is None if it is missing, cannot be decoded, or differs in size from the first.
        All frames up to the last one wanted are decoded, and only the wanted ones converted to RGB.
        """
        left = deque(wanted)
        for number, frame in enumerate(islice(self.file.decode(), 0, None, self._step), 1):
            while left and left[0] < number:
                yield left.popleft(), None
            if not left:
                return
            if left[0] == number:
                yield left.popleft(), self._of_size(frame)
        yield from ((number, None) for number in left)

    def look(self, every: int = 1) -> Iterator[Looked]:
        """Yield (number, frame, seconds) for every Nth frame, as in `read` and `seconds`.

        A regular video is decoded only once. In a damaged one, seconds may decrease.
        """
        if not self.file.regular:
            yield from _look(self, every)
            return
        assert self.fps, "the rate is not known"
        start = None
        for place, frame in enumerate(self.file.decode()):
            shown = place / self._step / self.fps if self._by_rate else frame.pts * self.file.base
            start = shown if start is None else start
            number, rest = divmod(place, self._step)
            if not rest and not number % every:
                yield number + 1, self._of_size(frame), shown - start

    def _of_size(self, frame: Any) -> Frame | None:
        """Return a decoded frame as displayed, or None if it is damaged or of another size."""
        shown = None if frame.is_corrupt else shown_frame(frame)
        return None if shown is None or size_of(shown) != self.size else shown


def _look(frames: "FrameFolder | Video", every: int) -> Iterator[Looked]:
    """Yield (number, frame, seconds) for every Nth frame."""
    wanted = frames.numbers[::every]
    for (number, frame), seconds in zip(frames.read(wanted), frames.seconds(wanted), strict=True):
        yield number, frame, seconds
