"""Draw people's boxes, identities and names on copies of their videos, in chart colours.

write_people_videos(Path("people"), linked)       # people/hall-1a2b3c4d.mp4, beside its tracks
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageOps

from person_reid.data.video.frames import FrameFolder, Video, open_frames
from person_reid.data.video.video_files import Frame
from person_reid.errors import UserError, optional_module
from person_reid.files import real
from person_reid.gallery.linked_tracks import LinkedTracks
from person_reid.gallery.track_records import IN_NAMES
from person_reid.progress import progress
from person_reid.show.lanes import colours_of_people, ink_on, label_font
from person_reid.text import printable

log = logging.getLogger(__name__)
LONGEST_GAP = 1.0  # seconds; boxes are interpolated across gaps up to this length
CLOCK = 60_000  # ticks per second; MPEG-4 allows at most 65,535
ENCODERS = {  # the first one that PyAV supports is used
    "libx264": {"crf": "23", "preset": "veryfast"}, "libopenh264": {}, "mpeg4": {"qscale": "4"},
}  # fmt: skip


class Mark(NamedTuple):
    """The mark of a person: a box (left, top, right, bottom), a label and a colour."""

    box: npt.NDArray[np.float64]
    label: str
    colour: str


def write_people_videos(
    folder: Path, linked: LinkedTracks, among: Collection[Path] | None = None
) -> None:
    """Write a copy of each video, annotated with its people, into a folder.

    among: the videos to draw; by default, all that have tracks. The log lists live cameras and
    missing videos, which are not drawn. Raises UserError if PyAV is missing.
    """
    records = {each.record.source: each.record for each in linked.tracks}
    wanted = [each for each in records.values() if among is None or real(each.frames) in among]
    shown = [each for each in wanted if each.form != IN_NAMES and Path(each.frames).exists()]
    for record in [each for each in wanted if each not in shown]:
        log.warning("%s is not drawn, because it is not a file.", record.frames)
    videos = [open_frames(Path(each.frames), each.fps) for each in shown]
    with progress(
        total=sum(len(frames.numbers) for frames in videos), desc="drawing", unit=" frames"
    ) as bar:
        for record, frames in zip(shown, videos, strict=True):
            marks = marks_of(linked, record.source, record.fps)
            path = folder / f"{record.source}.mp4"
            write_video(path, _drawn(frames, marks, bar), record.fps)


def marks_of(linked: LinkedTracks, source: str, fps: float) -> Mapping[int, list[Mark]]:
    """Return {frame number: marks} for the frames of a source.

    Boxes are interpolated in frames that the tracker skipped.
    """
    colours = colours_of_people(linked.stays)
    marks: dict[int, list[Mark]] = defaultdict(list)
    for each, stay in zip(linked.tracks, linked.stays, strict=True):
        if each.record.source != source:
            continue
        name = linked.names.get(stay.person)
        label = f"{stay.person + 1} {printable(name)}" if name else f"{stay.person + 1}"
        seen, boxes = each.track.frames, each.track.boxes
        numbers = np.arange(seen[0], seen[-1] + 1)
        after = np.searchsorted(seen, numbers)
        near = seen[after] - seen[np.maximum(after - 1, 0)] <= max(LONGEST_GAP * fps, 1)
        numbers = numbers[near | (seen[after] == numbers)]
        sides = np.stack([np.interp(numbers, seen, side) for side in boxes.T], axis=1)
        for number, box in zip(numbers.tolist(), sides, strict=True):
            marks[number].append(Mark(box, label, colours[stay.person]))
    return marks


def _drawn(
    frames: FrameFolder | Video, marks: Mapping[int, list[Mark]], bar: Any
) -> Iterator[tuple[float, Image.Image]]:
    """Yield the time in seconds and the annotated picture of each frame that can be decoded."""
    numbers = frames.numbers
    for (number, frame), seconds in zip(frames.read(numbers), frames.seconds(numbers), strict=True):
        bar.update()
        if frame is not None:
            yield seconds, draw_marks(frame, marks.get(number, ()))


def draw_marks(frame: Frame, marks: Sequence[Mark]) -> Image.Image:
    """Return a frame with marks, the nearest person on top; lines and text scale with the frame."""
    picture = Image.fromarray(frame)
    canvas, (width, height) = ImageDraw.Draw(picture), picture.size
    line, size = max(2, height // 180), max(14, height // 24)
    font = label_font(size)
    for box, label, colour in sorted(marks, key=lambda mark: float(mark.box[3])):
        left, top, right, bottom = box.tolist()
        canvas.rectangle((left, top, max(right, left), max(bottom, top)), None, colour, line)
        wide, high = canvas.textlength(label, font) + 2 * line, size + 2 * line
        x = min(max(left, 0), max(width - wide, 0))
        # inside the frame, and above the box if there is room
        y = min(max(top - high, 0), max(height - high, 0))
        canvas.rectangle((x, y, x + wide, y + high), colour)
        canvas.text((x + line, y + high / 2), label, ink_on(colour), font, anchor="lm")
    return picture


def write_video(path: Path, pictures: Iterator[tuple[float, Image.Image]], fps: float) -> None:
    """Write pictures, each with its time in seconds, as an MP4 video."""
    with open_video(path, fps) as add:
        for seconds, picture in pictures:
            add(seconds, picture)


@contextmanager
def open_video(
    path: Path, fps: float, **options: str
) -> Iterator[Callable[[float, Image.Image], None]]:
    """Yield a function that adds a picture, with its time in seconds, to a new MP4 video.

    Pictures of other sizes than the first are scaled into its frame. Codecs need even sides, so the
    last column or row may be lost. options: for FFmpeg's MP4 format.
    """
    av = optional_module("av", UserError('--video needs PyAV: python -m pip install ".[video]"'))
    codec = next(name for name in ENCODERS if name in av.codecs_available)
    tick, last, stream = Fraction(1, CLOCK), -1, None
    with av.open(str(path), "w", format="mp4", options=options) as container:

        def add(seconds: float, picture: Image.Image) -> None:
            nonlocal last, stream
            width, height = (side // 2 * 2 for side in picture.size)
            if stream is None:
                stream = container.add_stream(
                    codec, rate=Fraction(fps).limit_denominator(1001), options=dict(ENCODERS[codec])
                )
                stream.width, stream.height = width, height
                stream.pix_fmt, stream.codec_context.time_base = "yuv420p", tick
            even = picture.crop((0, 0, width, height))
            frame = av.VideoFrame.from_image(ImageOps.pad(even, (stream.width, stream.height)))
            frame.pts = last = max(last + 1, round(seconds * CLOCK))
            frame.time_base = tick
            container.mux(stream.encode(frame))

        yield add
        if stream:
            container.mux(stream.encode())
