"""The options of tools/people.py, and how tracks are linked."""

import re

from person_reid.config.detector import DetectorOptions, TrackerOptions
from person_reid.config.forms import output_path, printable_text
from person_reid.config.look import THRESHOLD, PaperLook
from person_reid.config.option import ANY, FRAME_RATE, POSITIVE, Options, Range, option, redeclared
from person_reid.config.search import (
    GalleryOptions,
    NetworkOfIndex,
    PeriodOptions,
    TrackFileOptions,
)
from person_reid.config.times import instant

SEVERAL = Range("of 10 or more", lambda number: number >= 10)


def camera_and_video(text: str) -> str:
    """Check a value of --camera, such as hall=shop1.mp4."""
    name, equals, video = text.partition("=")
    if not (name and equals and video):
        raise ValueError(f"{text}: expected NAME=VIDEO, such as hall=shop1.mp4")
    return f"{printable_text(name)}={video}"


def start_of_video(text: str) -> str:
    """Check a value of --start, TIME or VIDEO=TIME."""
    video, equals, time = text.rpartition("=")
    return f"{video}{equals}{instant(time)}"


class LinkOptions(PeriodOptions, title="linking"):
    """The settings for linking tracks, and the travel times and corrections to use."""

    threshold: str | None = option(
        None,
        f"least mean cosine of one person's tracks: {THRESHOLD} (default: the "
        "network's threshold for as many people)",
    )
    travel: str | None = option(
        None, "least seconds between two cameras: columns from,to,seconds", metavar="CSV"
    )
    corrections: str | None = option(
        None, "list of images from people.html, or by hand: columns path,identity", metavar="CSV"
    )


class VideoOptions(Options, title="videos"):
    """The videos and their cameras."""

    videos: tuple[str, ...] = option(
        (),
        "videos, folders of frames, or live cameras: rtsp:// and http:// addresses, webcams (0)",
        several="*",
        positional=True,
        metavar="VIDEO",
        common=True,
    )
    camera: tuple[str, ...] = option(
        (),
        "further videos, with the names of their cameras (default: the names of the files)",
        form=camera_and_video,
        several="+",
        metavar="NAME=VIDEO",
        common=True,
    )
    start: tuple[str, ...] = option(
        (),
        "time of the first frame of all videos, or of one: VIDEO=2026-11-01T09:30:00.5",
        form=start_of_video,
        several="+",
        metavar="TIME",
        common=True,
    )
    fps: float | None = option(
        None, "frames per second of folders (default: that in seqinfo.ini)", range=FRAME_RATE
    )
    live: bool = option(
        False, "play videos in real time, as if from live cameras, to the end or Ctrl-C"
    )
    remember: int = option(
        1000, "number of earlier tracks that live cameras compare new ones with", range=SEVERAL
    )
    every: int | None = option(
        None,
        "process every Nth frame (default: about ten frames per second)",
        range=POSITIVE,
        common=True,
    )
    tracks: tuple[str, ...] = option(
        (),
        "tracks of another program, which replace detector and tracker; several: VIDEO=FILE",
        several="+",
        metavar="FILE",
    )
    format: str | None = redeclared(TrackFileOptions, "format", None, needs={"tracks": ANY})


class VideosConfig(
    PaperLook,
    LinkOptions,
    NetworkOfIndex,
    TrackerOptions,
    DetectorOptions,
    VideoOptions,
    title="answers",
):
    """All options of tools/people.py."""

    per_track: int = redeclared(TrackFileOptions, "per_track", 8, needs={})
    index: str = redeclared(
        GalleryOptions,
        "index",
        "SAVE/people.index",
        help="gallery to add to; SAVE stands for the folder",
        required=False,
        common=True,
    )
    save: str = option("people", "folder to write", form=output_path, common=True)
    adapt: bool = option(
        False,
        "first adapt the network to the images of the tracks, which takes minutes",
        common=True,
    )

    video: bool = option(
        False,
        "also write a copy of each video, annotated with boxes, identities and names",
        common=True,
    )

    @property
    def gallery(self) -> str:
        """The path of the gallery."""
        return re.sub("^SAVE(?=/)", lambda found: self.save, self.index)

    def fault(self) -> str:
        """Return why the options conflict, or an empty string if they do not."""
        return "" if self.videos or self.camera else "Give videos, or --camera NAME=VIDEO."
