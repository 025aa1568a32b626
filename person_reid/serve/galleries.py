"""The gallery of a service: several threads read, each on its own connection; one writes.

Another thread prepares what searches read, such as inverted lists, after each change. Searches do
not wait for it: meanwhile they use older lists, or compare the images one by one.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np

from person_reid.errors import StoreError, UserError
from person_reid.gallery.gallery import Gallery, open_gallery
from person_reid.gallery.index import SearchIndex
from person_reid.serve.problems import too_busy

T = TypeVar("T")


class Galleries:
    """The gallery at an address, for use from an event loop.

    readers: how many questions are answered at once. most_waiting: how many questions may wait.
    """

    def __init__(self, address: str, readers: int, most_waiting: int) -> None:
        self.address, self._most = address, most_waiting
        self._count = readers
        self._readers = ThreadPoolExecutor(readers, "reading")
        self._writer = ThreadPoolExecutor(1, "writing")
        self._preparer, self._prepares = ThreadPoolExecutor(1, "preparing"), False
        self._opened = threading.local()
        self._probe: Any = None  # the feature by which a gallery recognises its network
        self.waiting = 0

    async def open(self) -> None:
        """Open the gallery in every reader thread, and load the data that its first search needs.

        Answers to requests report faults of the gallery.
        """

        def opened() -> None:
            with suppress(UserError):
                self._called(first_search)

        readers = in_every_thread(self._readers, self._count, opened)
        await asyncio.gather(*map(asyncio.wrap_future, readers))

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

    def close(self) -> None:
        """Finish the calls in progress, close the gallery, and end every thread."""
        pools = (self._readers, self._count), (self._writer, 1), (self._preparer, 1)
        for pool, count in pools:
            in_every_thread(pool, count, self._close)
            pool.shutdown()

    async def _run(self, pool: ThreadPoolExecutor, call: Callable[[Gallery], T]) -> T:
        if self.waiting >= self._most:
            raise too_busy(f"{self.waiting} questions wait for the gallery")
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, self._called, call)
        finally:
            self.waiting -= 1

    def _prepare_later(self) -> None:
        """Have the preparing thread call `prepare`, unless it is about to."""
        if not self._prepares:
            self._prepares = True
            self._preparer.submit(self._prepare)

    def _prepare(self) -> None:
        """Prepare what the next searches in an index will read. Answers report gallery faults."""

        def prepared(gallery: Gallery) -> None:
            if isinstance(gallery, SearchIndex):
                gallery.prepare()

        self._prepares = False  # a later change needs another call
        with suppress(UserError):
            self._called(prepared)

    def _open(self) -> Gallery:
        """Open the gallery. Raises StoreError if that fails, or if its network has changed."""
        try:
            gallery = open_gallery(self.address)
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
        if hasattr(self._opened, "gallery"):  # an empty gallery is false
            self._opened.__dict__.pop("gallery").close()

    def _called(self, call: Callable[[Gallery], Any]) -> Any:
        """Call a function with this thread's gallery.

        After a gallery error, the gallery is opened again, because its file may have been replaced.
        """
        if not hasattr(self._opened, "gallery"):
            self._opened.gallery = self._open()
        try:
            return call(self._opened.gallery)
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


def first_search(gallery: Gallery) -> None:
    """Run a search, so that the next search finds its data in memory."""
    if width := gallery.width():
        gallery.search(np.eye(1, width, dtype=np.float32), 1)
