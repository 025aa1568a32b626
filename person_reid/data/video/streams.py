"""Read the frames of several cameras as they arrive: streams, webcams, and files in real time.

with Streams({"door": "rtsp://10.0.0.7/main", "till": "0"}) as streams:
    for camera, frame, seconds in streams:            # uint8 (H, W, 3), and its time since 1970
        ...
print(streams.report("door"))

A thread reads each camera. If frames arrive faster than they are used, the oldest waiting ones are
dropped and counted. A stream that breaks is opened again, after growing pauses. A file is played
once, in real time.
"""

import logging
import math
import platform
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from person_reid.config.times import stored
from person_reid.data.video.frames import LOOKED_AT, open_frames_with_rate, usual_step
from person_reid.data.video.video_files import (
    VIDEO_CONTAINERS,
    Frame,
    decoded_frames,
    open_container,
    shown_frame,
    videos_of,
)
from person_reid.errors import UserError, first_line
from person_reid.text import counted, printable

MOST_WAITING = 4  # frames of a camera
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds before a stream is opened again
REMARK_SECONDS = 60.0  # least time between two remarks on dropped frames
LONGEST_SILENCE = 10.0  # seconds without data, after which a stream counts as broken
MOST_LATE = 2.0  # seconds from a frame's time until it arrives; later, the stream's clock is wrong
MOST_BACK = 2.0  # seconds by which this machine's clock is set back without a warning
LEAST_STEP = 1e-3  # seconds between two frames of a camera
TCP, WEB = "tcp,tls", "http,https,httpproxy"
# {scheme: (containers, protocols)}. Playlists, which lead elsewhere, are in none.
STREAM_SCHEMES = {
    "rtsp": ("rtsp,rtp,mpegts", f"rtp,udp,{TCP}"),
    "rtsps": ("rtsp,rtp,mpegts", f"rtp,udp,{TCP}"),
    **dict.fromkeys(("http", "https"), (f"mpjpeg,{VIDEO_CONTAINERS}", f"{WEB},{TCP}")),
}
UNCLOCKED = ("mpjpeg", "mjpeg")  # containers without times; FFmpeg assumes 25 frames per second
PASSWORD = re.compile("(password|passwd|pwd|pass)=[^&/]*", re.IGNORECASE)  # in a path
REFUSED = re.compile("Server returned 40[13]")  # in FFmpeg's messages
MOST_REFUSALS = 3  # rejections of a password; cameras lock accounts that fail often
UNSAFE = {"#": "%23", "/": "%2F", "?": "%3F", "[": "%5B", "]": "%5D"}  # in a password
WEBCAMS = {"Linux": "v4l2", "Darwin": "avfoundation"}  # by platform.system()
log = logging.getLogger(__name__)
Timed = tuple[Frame, float | None]  # a frame, and its seconds by the clock of its stream
Read = Callable[[str, int | None], Iterable[Timed]]  # the address, and N: every Nth frame


def is_stream(place: str) -> bool:
    """Return whether `place` is a network stream or a webcam rather than a file."""
    return _scheme(place) in STREAM_SCHEMES or _is_webcam(place)


def check_address(place: str) -> None:
    """Raise UserError if a stream's address lacks a host or has an unpaired bracket."""
    try:
        malformed = _scheme(place) in STREAM_SCHEMES and not urlsplit(place).hostname
    except ValueError:  # whose message may contain a password
        malformed = True
    if malformed:
        raise UserError(
            f"{shown_address(place)}: not an address; expected one such as rtsp://10.0.0.7/main or "
            f"rtsp://[::1]/main{_advice(place)}."
        )


def _scheme(place: str) -> str:
    scheme, mark, _ = place.partition("://")
    return scheme.lower() if mark else ""


def _is_webcam(place: str) -> bool:
    return bool(re.fullmatch(r"(/dev/video)?\d{1,3}", place))


def shown_address(place: str) -> str:
    """Return an address for display, without user and password.

    Only its scheme is shown if the password may contain a separator, such as # or /.
    """
    scheme, _, rest = place.partition("://")
    if _scheme(place) not in STREAM_SCHEMES:
        return printable(place)
    user, _, shown = rest.rpartition("@")
    shown = "…" if UNSAFE.keys() & {*user} else re.split("[?#]", shown)[0]
    return printable(f"{scheme}://{PASSWORD.sub('password=…', shown)}")


@dataclass
class _Camera:
    """A camera's address, its waiting frames, and how many frames were read and dropped."""

    name: str
    address: str
    waiting: deque[tuple[Frame, float]] = field(default_factory=deque)
    last: float = 0.0  # seconds since 1970, of the newest frame
    frames: int = 0
    dropped: int = 0
    remarked: float = 0.0  # seconds since 1970, of the last remark on dropped frames
    opened: int = 0
    ended: bool = False
    trouble: str = ""  # why no frames come
    refusals: int = 0
    told: threading.Event = field(default_factory=threading.Event)  # set to try a password again


class Streams:
    """The frames from cameras, {name: address}, in the order in which they arrive.

    address: rtsp:// or http:// of a stream, the number of a webcam, a video or a folder of frames.
    every: read every Nth frame; by default, about LOOKED_AT frames per second.
    starts: {name: seconds since 1970 of the first frame} of files, by default now.
    most_waiting: the maximum number of waiting frames per camera.
    read, now, wait: replace the sources and this machine's clock.

    Use it in a `with` statement, which ends its threads whatever happens. Iteration ends when all
    files have ended; streams never end. Cameras fail independently. If the clock is set back, the
    log warns, and times continue as before. Raises UserError for a malformed address.
    """

    def __init__(
        self,
        addresses: Mapping[str, str],
        every: int | None = None,
        starts: Mapping[str, float] | None = None,
        fps: float | None = None,
        most_waiting: int = MOST_WAITING,
        read: Read | None = None,
        now: Callable[[], float] = time.time,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self._every, self._most = every, most_waiting
        self._starts = starts or {}
        self._read, self._now = read or partial(read_frames, fps=fps), now
        self._begun, self._stopped = False, threading.Event()
        self._wait = wait or self._stopped.wait
        self._changed = threading.Condition()
        self.addresses = {name: str(address) for name, address in addresses.items()}
        for address in self.addresses.values():
            check_address(address)
        self._cameras = {name: _Camera(name, each) for name, each in self.addresses.items()}
        self._ahead, self._latest = 0.0, -math.inf  # of this machine's clock
        self._failure: BaseException | None = None

    def __enter__(self) -> "Streams":
        self._begun = True
        for each in self._cameras.values():
            threading.Thread(
                target=self._follow, args=[each], name=f"camera {each.name}", daemon=True
            ).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop reading. A thread that waits for a stream ends after LONGEST_SILENCE seconds."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()

    def __iter__(self) -> Iterator[tuple[str, Frame, float]]:
        """Yield (camera, frame, time). Raises UserError at the end if a file cannot be read."""
        if not self._begun:
            with self:
                yield from self
            return
        while True:
            for camera in self._next_ones():
                with self._changed:
                    frame, seconds = camera.waiting.popleft()
                yield camera.name, frame, seconds
            if self._stopped.is_set() or self._over():
                break
        if self._failure:
            raise self._failure

    def report(self, camera: str) -> str:
        """Describe how many frames from a camera arrived and how many were dropped."""
        each = self._cameras[camera]
        return (
            f"{counted(each.frames, 'frame')}, {each.dropped:,} of them dropped, "
            f"opened {counted(each.opened, 'time')}"
        )

    def states(self) -> dict[str, str]:
        """Return {camera: why no frames arrive}, with "" for a working camera."""
        return {name: each.trouble for name, each in self._cameras.items()}

    def try_again(self, camera: str) -> None:
        """Reopen a camera whose password was rejected too often."""
        self._cameras[camera].told.set()

    def _over(self) -> bool:
        return all(each.ended and not each.waiting for each in self._cameras.values())

    def _next_ones(self) -> list[_Camera]:
        """Wait for a frame, and return the cameras that have one."""
        with self._changed:
            while not self._stopped.is_set():
                found = [each for each in self._cameras.values() if each.waiting]
                if found or self._over():
                    return found
                self._changed.wait(1)
        return []

    def _follow(self, camera: _Camera) -> None:
        """Read from a camera until its video ends; reopen a stream that breaks off."""
        live, pause = is_stream(camera.address), FIRST_PAUSE
        while not self._stopped.is_set():
            before, reason = camera.frames, "the stream ended"
            camera.opened += 1
            try:
                for frame, seconds in self._paced(camera, live):
                    self._offer(camera, frame, seconds)
                    if self._stopped.is_set():
                        return
            except Exception as error:
                reason = first_line(error)
                if not live:
                    self._failure, camera.trouble = error, reason
                    log.error("camera %s: %s", camera.name, reason)
            if not live:
                break
            pause = FIRST_PAUSE if camera.frames > before else min(2 * pause, LONGEST_PAUSE)
            self._rest(camera, reason, pause)
        camera.ended = True
        with self._changed:
            self._changed.notify_all()

    def _rest(self, camera: _Camera, reason: str, pause: float) -> None:
        """Wait until it is time to reopen a stream, and log the reason once."""
        camera.refusals = camera.refusals + 1 if REFUSED.search(reason) else 0
        new, camera.trouble = reason != camera.trouble, reason
        if camera.refusals >= MOST_REFUSALS:
            camera.trouble = f"{reason}. Refused {camera.refusals} times, and not tried again"
            log.warning("camera %s: %s until somebody says so.", camera.name, camera.trouble)
            camera.refusals = 0
            camera.told.clear()
            while not (self._stopped.is_set() or camera.told.wait(1)):
                pass
            return
        if new:
            log.warning(
                "camera %s: %s. Opened again in %g s, and so on.", camera.name, reason, pause
            )
        self._wait(pause)

    def _clock(self) -> float:
        """Return the seconds since 1970; they never decrease, even if the clock is set back."""
        with self._changed:
            now = self._now() + self._ahead
            if now < self._latest - MOST_BACK:
                back = self._latest - now
                self._ahead += back
                now = self._latest
                log.warning(
                    "The clock of this machine was set back by %.0f s. The times of the cameras "
                    "continue from %s, and stay that far ahead of it until the end.",
                    back,
                    stored(datetime.fromtimestamp(now, UTC)),
                )
            self._latest = max(now, self._latest)
            return now

    def _offer(self, camera: _Camera, frame: Frame, seconds: float) -> None:
        """Queue a frame, replacing the oldest frame if too many wait."""
        if camera.trouble:
            log.warning("camera %s: its frames come again.", camera.name)
            camera.trouble, camera.refusals = "", 0
        with self._changed:
            camera.frames += 1
            camera.last = max(seconds, camera.last + LEAST_STEP)
            camera.waiting.append((frame, camera.last))
            if len(camera.waiting) > self._most:
                camera.waiting.popleft()
                camera.dropped += 1
                self._remark(camera)
            self._changed.notify_all()

    def _remark(self, camera: _Camera) -> None:
        """Log from time to time how many frames have been dropped."""
        camera.remarked = camera.remarked or camera.last
        if camera.last - camera.remarked >= REMARK_SECONDS:
            camera.remarked = camera.last
            log.warning(
                "camera %s: %s of %s were dropped so far, since this machine is too slow for them. "
                "Look at fewer: --every",
                camera.name,
                f"{camera.dropped:,}",
                counted(camera.frames, "frame"),
            )

    def _paced(self, camera: _Camera, live: bool) -> Iterator[tuple[Frame, float]]:
        """Yield frames with their times by this machine's clock; a file's frames come when due.

        The timestamps of a stream are more regular than the arrival of its frames.
        """
        begun = self._clock()
        start = math.inf if live else self._starts.get(camera.name, begun)
        for frame, seconds in self._read(camera.address, self._every):
            now = self._clock()
            if seconds is None or not math.isfinite(seconds):
                yield frame, now
            elif live:
                if not 0 <= now - (start + seconds) <= MOST_LATE:
                    start = now - seconds
                yield frame, start + seconds
            else:
                if begun + seconds > now:
                    self._wait(begun + seconds - now)
                yield frame, start + seconds


def read_frames(address: str, every: int | None, fps: float | None = None) -> Iterator[Timed]:
    """Yield every Nth decodable frame from an address, and its time in seconds, if it has one.

    every: N; None for about LOOKED_AT frames per second. fps: the rate of a folder of frames.
    """
    if not is_stream(address):
        yield from _of_file(Path(address), every, fps)
        return
    with closing(open_stream(address)) as container:
        clocked, base = container.format.name not in UNCLOCKED, videos_of(container)[0].time_base
        last = None
        for number, frame in enumerate(decoded_frames(container, threads="SLICE")):
            timed = clocked and frame.pts is not None and base  # frame.time may be NaN
            seconds = float(frame.pts * base) if timed else None
            elapsed = time.monotonic() if seconds is None else seconds
            turn = number // every if every else round(elapsed * LOOKED_AT)
            if turn != last and not frame.is_corrupt:
                last = turn
                yield shown_frame(frame), seconds


def _of_file(place: Path, every: int | None, fps: float | None) -> Iterator[Timed]:
    frames = open_frames_with_rate(place, fps)
    for _, frame, seconds in frames.look(every or usual_step(frames.fps or 0)):
        if frame is not None:
            yield frame, seconds


def open_stream(address: str) -> Any:
    """Return the open container of a stream or a webcam.

    Raises UserError if PyAV is missing, or if the address does not answer with a video.
    """
    settings: dict[str, Any] = {"timeout": LONGEST_SILENCE}
    place, advice = address, ""
    if _is_webcam(address):
        settings["format"], place = _webcam(address)
        if settings["format"] == "avfoundation":
            settings["options"] = {"framerate": "30"}  # macOS rejects FFmpeg's default, 29.97
    else:
        containers, protocols = STREAM_SCHEMES[_scheme(address)]
        advice = _advice(address)
        settings["container_options"] = {
            "format_whitelist": containers,
            "protocol_whitelist": protocols,
            "rtsp_flags": "prefer_tcp",
        }
    return open_container(place, shown_address(address), advice, **settings)


def _advice(address: str) -> str:
    """Return advice on percent-encoding an address's password, or "" if no character needs it."""
    user = address.partition("://")[2].rpartition("@")[0]
    unsafe = [f"{sent} for {each}" for each, sent in UNSAFE.items() if each in user]
    return f". In a password, write {', '.join(unsafe)}" if unsafe else ""


def _webcam(address: str) -> tuple[str, str]:
    """Return the input format for a webcam on this system, and the webcam's name in that format."""
    if (form := WEBCAMS.get(platform.system())) is None:
        raise UserError(
            f"{address}: webcams are read on Linux and macOS. Elsewhere, send the camera's "
            "pictures as a stream, and name its http:// address."
        )
    number = re.sub(r"\D", "", address)
    return form, f"/dev/video{number}" if form == "v4l2" else number
