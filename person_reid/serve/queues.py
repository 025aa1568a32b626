"""The queues in which requests wait: for the network, and for the gallery.

Images from simultaneous requests are embedded in one batch. Several threads read the gallery, each
on its own connection; one writes. Another thread prepares what searches read, such as inverted
lists, after each change. Searches do not wait for it: meanwhile they use older lists, or compare
the images one by one.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, TypeVar

import numpy as np

from person_reid.data.images.image_files import Pixels
from person_reid.errors import StoreError, UserError
from person_reid.gallery.gallery import Gallery, open_gallery
from person_reid.gallery.index import SearchIndex
from person_reid.retrieval.similarity import Features
from person_reid.serve.problems import too_busy

Embed = Callable[[list[Pixels]], Features]
Waiting = tuple[list[Pixels], "asyncio.Future[Features]"]
T = TypeVar("T")


class EmbeddingQueue:
    """A queue in front of a network: images that arrive while it computes form the next batch.

    embed: images of the network's size → features (N, D), called in a single thread. batch_size:
    images per batch; a larger request gets its own batch. most_waiting: the most images that may
    wait.
    """

    def __init__(self, embed: Embed, batch_size: int, most_waiting: int) -> None:
        self._embed, self._batch_size = embed, batch_size
        self._most = most_waiting
        self._queue: deque[Waiting] = deque()
        self._thread = ThreadPoolExecutor(1, "embedding")
        self._worker: asyncio.Task[None] | None = None
        self.embedded = 0

    @property
    def waiting(self) -> int:
        """The number of images that are waiting for the network."""
        return sum(len(images) for images, _ in self._queue)

    async def __call__(self, images: list[Pixels]) -> Features:
        """Return the features (N, D) of images. Raises Problem if too many are waiting."""
        if self._queue and self.waiting + len(images) > self._most:
            raise too_busy(f"{self.waiting} images wait to be embedded")
        future: asyncio.Future[Features] = asyncio.get_running_loop().create_future()
        self._queue.append((images, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    def close(self) -> None:
        """Wait for the network, then end its thread."""
        self._thread.shutdown()

    async def _work(self) -> None:
        """Embed images until none wait."""
        while self._queue:
            batch = [self._queue.popleft()]
            size = len(batch[0][0])
            while self._queue and (size := size + len(self._queue[0][0])) <= self._batch_size:
                batch.append(self._queue.popleft())
            await self._answer(batch)

    async def _answer(self, batch: list[Waiting]) -> None:
        """Embed a batch; if that fails, embed each request alone, to isolate the faulty request."""
        images = [image for some, _ in batch for image in some]
        loop = asyncio.get_running_loop()
        try:
            features = await loop.run_in_executor(self._thread, self._embed, images)
        except Exception as error:
            if len(batch) > 1:
                for each in batch:
                    await self._answer([each])
            elif not batch[0][1].done():
                batch[0][1].set_exception(error)
            return
        self.embedded += len(images)
        ends = np.cumsum([len(some) for some, _ in batch])
        for (_, future), found in zip(batch, np.split(features, ends[:-1]), strict=True):
            if not future.done():  # done: the client has gone
                future.set_result(found)


class Galleries:
    """The gallery at an address, for use from an event loop.

    readers: how many questions are answered at once. most_waiting: how many questions may wait.
    """

    def __init__(self, address: str, readers: int, most_waiting: int) -> None:
        self.address, self._most = address, most_waiting
        self._count = readers
        self._readers = ThreadPoolExecutor(readers, "reading")
        self._writer = ThreadPoolExecutor(1, "writing")
        self._preparer = ThreadPoolExecutor(1, "preparing")
        self._preparing: Future[None] | None = None
        self._opened: dict[int, Gallery] = {}  # by the identifier of a thread
        self._probe: Any = None  # the feature by which a gallery recognises its network
        self.waiting = 0

    async def open(self) -> None:
        """Open the gallery in every reader thread, and load the data that its first search needs.

        Answers to requests report faults of the gallery.
        """
        searches = in_every_thread(self._readers, self._count, partial(self._called, first_search))
        await asyncio.gather(*map(asyncio.wrap_future, searches), return_exceptions=True)

    async def read(self, ask: Callable[[Gallery], T]) -> T:
        """Return ask(gallery), computed in a reader thread."""
        return await self._run(self._readers, ask)

    async def write(self, act: Callable[[Gallery], T]) -> T:
        """Return act(gallery), called in the writer thread; its changes are then on disk."""

        def acted(gallery: Gallery) -> T:
            try:
                return act(gallery)
            finally:  # even if the client has gone meanwhile
                self._prepare_later()

        return await self._run(self._writer, acted)

    async def drop_lists(self) -> None:
        """Release the lists of all readers, so that no deleted file stays open; see `prepare`."""
        calls = in_every_thread(self._readers, self._count, partial(self._called, drop_lists))
        await asyncio.gather(*map(asyncio.wrap_future, calls))

    def close(self) -> None:
        """Finish or interrupt the calls in progress, close the gallery, and end every thread."""
        pools = (self._readers, self._count), (self._writer, 1), (self._preparer, 1)
        for pool, count in pools:
            closing = in_every_thread(pool, count, self._close)
            while wait(closing, timeout=1).not_done:
                for gallery in [*self._opened.values()]:
                    gallery.interrupt()  # nobody waits for an answer any more
            pool.shutdown()

    async def _run(self, pool: ThreadPoolExecutor, call: Callable[[Gallery], T]) -> T:
        if self.waiting >= self._most:
            raise too_busy(f"{self.waiting} questions wait for the gallery")
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, self._called, call)
        finally:
            self.waiting -= 1

    def _prepare_later(self) -> bool:
        """Have another thread prepare the next searches, unless it is already at work.

        Return whether it is. Answers report faults of the gallery.
        """
        at_work = self._preparing is not None and not self._preparing.done()
        if not at_work:
            self._preparing = self._preparer.submit(self._called, prepare)
        return at_work

    def _open(self) -> Gallery:
        """Open the gallery. Raises StoreError if that fails, or if its network has changed."""
        try:
            gallery = open_gallery(self.address)
        except StoreError:
            raise
        except UserError as error:
            raise StoreError(str(error)) from error.__cause__
        if isinstance(gallery, SearchIndex):
            gallery.prepare_later = self._prepare_later
        probe = gallery.recall("probe")
        self._probe = probe if self._probe is None else self._probe
        if probe != self._probe:
            gallery.close()
            raise StoreError(
                f"{self.address}: reindexed with another network since the service began. Start "
                "the service again."
            )
        return gallery

    def _close(self) -> None:
        """Close this thread's gallery."""
        if threading.get_ident() in self._opened:
            self._opened.pop(threading.get_ident()).close()

    def _called(self, call: Callable[[Gallery], Any]) -> Any:
        """Call a function with this thread's gallery.

        After a gallery error, the gallery is opened again, because its file may have been replaced.
        """
        thread = threading.get_ident()
        if thread not in self._opened:
            self._opened[thread] = self._open()
        try:
            return call(self._opened[thread])
        except StoreError:
            self._close()
            raise


def in_every_thread(pool: ThreadPoolExecutor, count: int, act: Callable[[], None]) -> list[Any]:
    """Run a function once in each thread of a pool, and return the futures."""
    together = threading.Barrier(count)  # so that each thread gets exactly one call

    def called() -> None:
        together.wait()
        act()

    return [pool.submit(called) for _ in range(count)]


def prepare(gallery: Gallery) -> None:
    """Prepare the data that the next searches in an index will read."""
    if isinstance(gallery, SearchIndex):
        gallery.prepare()


def drop_lists(gallery: Gallery) -> None:
    """Release the inverted lists of an index."""
    if isinstance(gallery, SearchIndex):
        gallery.drop_lists()


def first_search(gallery: Gallery) -> None:
    """Run a search, so that the next search finds its data in memory."""
    if width := gallery.width():
        gallery.search(np.eye(1, width, dtype=np.float32), 1)
