"""The live cameras of a service: a thread processes their frames, and events report who appears.

    cameras = LiveCameras(service, gallery, Streams({"door": "rtsp://door/1"}), detector, options)
    await cameras.run()                                   # until the streams are stopped

The thread embeds and writes as requests do: in the network's batches, and through the gallery's
only writer. While these are busy, the thread waits, and frames are dropped.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar

from PIL import Image

from person_reid.config.serve import CameraOptions
from person_reid.data.video.streams import FIRST_PAUSE, LONGEST_PAUSE, Streams
from person_reid.data.video.video_files import Frame
from person_reid.errors import UserError, first_line
from person_reid.gallery.gallery import Gallery
from person_reid.gallery.live_gallery import Appeared, open_live
from person_reid.gallery.people_videos import draw_marks
from person_reid.retrieval.similarity import Features
from person_reid.serve.image_ids import ImageIds
from person_reid.serve.problems import Problem
from person_reid.serve.service import Service
from person_reid.video.detectors import Detector
from person_reid.video.live import FrameResult

log = logging.getLogger(__name__)
ASKED_AGAIN = 1.0  # seconds before asking a busy service again
T = TypeVar("T")


class Trouble(NamedTuple):
    """The reason why a camera's frames cannot be processed, and when to try again."""

    reason: str
    pause: float
    until: float


class LiveCameras:
    """The streams of a service, and their detector.

    options: how tracks are linked. Raises UserError for a threshold measured on another network, or
    a travel file for other cameras.
    """

    def __init__(
        self,
        service: Service,
        gallery: Gallery,
        streams: Streams,
        detector: Detector,
        options: CameraOptions,
    ) -> None:
        self._service, self._streams = service, streams
        self._kept = open_live(
            gallery,
            detector,
            self._embed,
            options,
            streams.addresses,
            lambda before, now: service.audit.line("cameras", "rename", identity=before, to=now),
        )
        self._troubles: dict[str, Trouble] = {}
        self._unstored: dict[str, str] = {}  # why images of a camera are not stored
        service.watch_cameras(self)

    def states(self) -> dict[str, str]:
        """Return {camera: its fault}; the fault of a working camera is ""."""
        troubles = {camera: each.reason for camera, each in [*self._troubles.items()]}
        return self._streams.states() | self._unstored | troubles

    def reread(self) -> None:
        """Read the names in the gallery again before anything else is stored."""
        self._kept.reread()

    def try_again(self, camera: str) -> None:
        """Try a camera again after it rejected the password too often."""
        self._streams.try_again(camera)

    async def run(self) -> None:
        """Process the frames until the streams end. An error stops the cameras, not the service."""
        self._loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "cameras") as thread:
            try:
                await self._loop.run_in_executor(thread, self._look)
            except UserError as error:
                log.error("The cameras have stopped: %s", error)
            except Exception:
                log.exception("The cameras have stopped")

    def stop(self) -> None:
        """End the streams; `run` then reports the people still in view, and ends."""
        self._streams.stop()

    def _look(self) -> None:
        """Process the frames; this method runs in its own thread."""
        with self._streams:
            for looked in self._kept.follow(self._streams, self._write, self._look_at):
                self._tell(looked)

    def _look_at(self, frame: Frame, seconds: float, camera: str) -> FrameResult | None:
        """Process a frame; if that fails, pause the camera for a while."""
        trouble = self._troubles.get(camera)
        if trouble and seconds < trouble.until:
            return None
        try:
            looked = self._kept.live.feed(frame, seconds, camera)
        except Exception as error:
            pause = min(2 * trouble.pause, LONGEST_PAUSE) if trouble else FIRST_PAUSE
            reason = first_line(error)
            if not trouble or trouble.reason != reason:
                log.exception("camera %s: its frames cannot be looked at: %s", camera, reason)
            self._troubles[camera] = Trouble(reason, pause, seconds + pause)
            return None
        if self._troubles.pop(camera, None):
            log.warning("camera %s: its frames are looked at again.", camera)
        draw = partial(draw_marks, frame, self._kept.marks(looked))
        self._loop.call_soon_threadsafe(self._service.pictures.show, camera, draw)
        return looked

    def _tell(self, looked: FrameResult) -> None:
        """Store the images of a result, and send events about who appeared."""

        def store(gallery: Gallery) -> None:  # a deletion that follows also drops these events
            for appeared in self._kept.keep(gallery, looked):
                event = event_of(self._service.ids, appeared)
                self._loop.call_soon_threadsafe(self._service.events.tell, *event)

        try:
            self._write(store)
        except Exception as error:  # a full disk, say, which somebody can fix
            if self._unstored.get(looked.camera) != str(error):
                ours = not isinstance(error, UserError | OSError)
                log.warning("camera %s: not stored: %s", looked.camera, error, exc_info=ours)
            self._unstored[looked.camera] = str(error)
            return
        self._unstored.pop(looked.camera, None)

    def _embed(self, crops: Sequence[Image.Image]) -> Features:
        return self._ask(lambda: self._service.embed_crops(crops))

    def _write(self, act: Callable[[Gallery], T]) -> T:
        return self._ask(lambda: self._service.galleries.write(act))

    def _ask(self, question: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the event loop's answer to a question, retrying while the service is busy."""
        while True:
            try:
                return asyncio.run_coroutine_threadsafe(question(), self._loop).result()
            except Problem as problem:
                if problem.status != 503:
                    raise
                time.sleep(ASKED_AGAIN)


def event_of(ids: ImageIds, appeared: Appeared) -> tuple[str, dict[str, Any]]:
    """Return the kind and the data of the event that reports an appearance."""
    data = appeared.facts() | {"image": ids.of(appeared.image) if appeared.image else None}
    return "corrected" if appeared.corrected_from else "appeared", data
