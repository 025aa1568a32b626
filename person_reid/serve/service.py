"""The parts of a running service: its network, gallery, access control and audit."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from PIL import Image

from person_reid.config.serve import ServiceLimits
from person_reid.config.times import ago
from person_reid.data.images.image_files import Pixels, draft_large, fit_image
from person_reid.errors import UserError
from person_reid.gallery.gallery import Gallery, open_gallery
from person_reid.gallery.metadata import Filter
from person_reid.retrieval.similarity import Features
from person_reid.serve.access import Access
from person_reid.serve.audit import Audit
from person_reid.serve.feeds import Events, LivePictures
from person_reid.serve.image_ids import ImageIds, secret_of
from person_reid.serve.problems import Problem
from person_reid.serve.queues import EmbeddingQueue, Galleries
from person_reid.serve.requests import SentImage, decoded
from person_reid.serve.uploads import remove_unlisted
from person_reid.serve.usage import Usage

if TYPE_CHECKING:  # the first needs PyTorch
    from person_reid.deploy.embedder import Embedder
    from person_reid.deploy.onnx_embedder import OnnxEmbedder

log = logging.getLogger(__name__)
HOUR = 3600
LONGEST_JUMP = 60  # seconds by which the clock may be set forward without doubts
# Seconds that forgetting waits for readers of the old state, and between checks for them.
LONGEST_WAIT, SETTLED_AGAIN = 600, 1.0
RETAIN = "retain"  # the recorded reason for forgetting old images
MOST_BODIES = 32  # the most simultaneous requests with images; others wait
T = TypeVar("T")


class Cameras(Protocol):
    """The methods that a service needs from its live cameras."""

    def states(self) -> dict[str, str]:
        """Return {camera: its fault}; the fault of a working camera is ""."""
        ...

    def try_again(self, camera: str) -> None:
        """Try a camera again after it rejected the password too often."""
        ...

    def reread(self) -> None:
        """Read the names in the gallery again before anything else is stored."""
        ...


class Service:
    """A gallery at an address and its network, for use from an event loop.

    batch_size: images that the network processes at once. audit: a file that gets a line of JSON
    whenever names change or people are forgotten.
    """

    def __init__(
        self,
        address: str,
        embedder: "Embedder | OnnxEmbedder",
        access: Access,
        limits: ServiceLimits,
        batch_size: int = 32,
        audit: str | Path | None = None,
    ) -> None:
        self.embedder, self.access = embedder, access
        self.limits, self.audit = limits, Audit(audit)
        self.usage = Usage()
        self.events, self.pictures = Events(limits.listeners), LivePictures(limits.viewers)
        with closing(open_gallery(address)) as gallery:
            self.ids = ImageIds(secret_of(gallery))
        self.galleries = Galleries(address, limits.readers, limits.most_waiting)
        self.batches = EmbeddingQueue(self._embed, batch_size, limits.most_waiting)
        self.bodies, self.linking = asyncio.Semaphore(MOST_BODIES), asyncio.Semaphore(1)
        self.cameras: Cameras | None = None
        self._settling: asyncio.Task[None] | None = None
        self._doubts_clock, self._clock_offset = False, np.inf
        self._threads = ThreadPoolExecutor(limits.readers, "decoding")
        self.usage.watch(
            {
                "waiting_images": lambda: self.batches.waiting,
                "waiting_questions": lambda: self.galleries.waiting,
                "listeners": lambda: self.events.followers,
                "viewers": lambda: self.pictures.followers,
                "embedded_images": lambda: self.batches.embedded,
            }
        )

    def watch_cameras(self, cameras: Cameras) -> None:
        """Report the state of live cameras from now on."""
        self.cameras = cameras
        self.usage.watch_cameras(cameras.states)

    async def compute(self, call: Callable[[], T]) -> T:
        """Return call(), computed outside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def decode(self, contents: Sequence[bytes], keep: bool = False) -> list[SentImage]:
        """Return the images in image files. Raises Problem if one cannot be read.

        keep: also return the files that store them.
        """
        most = self.limits.most_megapixels
        return await self.compute(partial(decoded, contents, self._fit, most, keep))

    async def embed(self, images: Sequence[SentImage]) -> Features:
        """Return the features (N, D) of images, batched with the images of other requests."""
        return await self.batches([image.pixels for image in images])

    async def embed_crops(self, crops: Sequence[Image.Image]) -> Features:
        """Return the features (N, D) of images that were cut from frames."""
        return await self.batches(await self.compute(lambda: [*map(self._fit, crops)]))

    async def forget(self, who: str, which: Filter, words: str, **details: Any) -> int:
        """Delete images, remove their names from the audit file, and return the number of images.

        words: the reason, for the gallery. details: the details of the line in the audit file.
        """

        def forget(gallery: Gallery) -> int:
            if words == RETAIN and not any(gallery.images(which)):
                return 0  # no line in the audit file every hour
            with self.audit.line(who, "forget", **details) as line:
                count = line["images"] = gallery.forget_at_once(which, words)
            self.audit.forget_names(gallery.values("identity"))
            if count:
                loop.call_soon_threadsafe(self._forgotten)
                if self.cameras:
                    self.cameras.reread()
            return count

        loop = asyncio.get_running_loop()
        count = await self.galleries.write(forget)
        if count and self._settling:  # which continues if this call is cancelled
            await asyncio.wait([self._settling], timeout=LONGEST_WAIT)
        return count

    def _forgotten(self) -> None:
        """Drop all copies of what was forgotten, even if the client has gone meanwhile."""
        self.events.forget()
        self.pictures.forget()
        if self._settling is None or self._settling.done():
            self._settling = asyncio.create_task(self._settle())

    async def _settle(self) -> None:
        """Wait until no file holds what was forgotten; others write in the pauses."""
        while True:
            with suppress(UserError, OSError, Problem):  # such as a queue that is full
                await self.galleries.drop_lists()
                if await self.galleries.write(lambda gallery: gallery.settled()):
                    return
            await asyncio.sleep(SETTLED_AGAIN)

    async def tidy(self) -> None:
        """Once an hour, delete unacknowledged uploads, and forget images that are too old."""
        while True:
            try:
                await self.galleries.write(remove_unlisted)
                if age := self.limits.retain:
                    await self._forget_old(age)
                await self.galleries.write(  # another program may have forgotten people
                    lambda gallery: self.audit.forget_names(gallery.values("identity"))
                )
            except (UserError, OSError, Problem) as error:
                log.warning("The hourly clean-up failed (%s). It is repeated in an hour.", error)
            except Exception:  # a task for weeks: the next hour tries again
                log.exception("The hourly clean-up failed. It is repeated in an hour.")
            await asyncio.sleep(HOUR)

    async def _forget_old(self, age: str) -> None:
        """Forget images that are older than `age`.

        If this would leave no image with a time, or if the clock has jumped, it may be wrong, as on
        a board without a battery that has not reached a time server. The images then stay for one
        more hour.
        """
        old, recent = Filter(before=ago(age)), Filter(after=ago(age))

        def nothing_recent(gallery: Gallery) -> bool:
            return any(gallery.images(old)) and not any(gallery.images(recent))

        before, self._clock_offset = self._clock_offset, time.time() - time.monotonic()
        has_jumped = self._clock_offset > before + LONGEST_JUMP
        self._doubts_clock = not self._doubts_clock and (
            has_jumped or await self.galleries.read(nothing_recent)
        )
        if self._doubts_clock:
            log.warning(
                "The clock of this machine may be wrong: %s. If it is right, images older than %s "
                "are forgotten in an hour.",
                "it has jumped" if has_jumped else "no image is recent",
                age,
            )
        elif count := await self.forget("the service", old, RETAIN, older_than=age):
            log.info("%d images forgotten: older than %s", count, age)

    def end_streams(self) -> None:
        """End the streams of all listeners and viewers."""
        self.events.close()
        self.pictures.close()

    def close(self) -> None:
        """Finish the work in progress."""
        if self._settling:
            self._settling.cancel()
        self.batches.close()
        self.galleries.close()
        self._threads.shutdown()

    def _fit(self, image: Image.Image) -> Pixels:
        """Return the network's input for an image; it is small even for a large image."""
        draft_large(image, *self.embedder.size)
        return fit_image(image, *self.embedder.size, resize=self.embedder.resize)

    def _embed(self, pixels: list[Pixels]) -> Features:
        return self.embedder.features(np.stack(pixels), description="")
