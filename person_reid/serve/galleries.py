"""The gallery of a service: some threads read, each by a connection of its own, and one writes."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np

from person_reid.errors import UserError
from person_reid.gallery.gallery import Gallery, open_gallery
from person_reid.serve.problems import too_busy

T = TypeVar("T")


class Galleries:
    """A gallery by its address, asked from an event loop.

    readers: how many questions are answered at once. most_waiting: how many wait.
    """

    def __init__(self, address: str, readers: int, most_waiting: int) -> None:
        self.address, self._most = address, most_waiting
        self._count = readers
        self._readers = ThreadPoolExecutor(readers, "reading")
        self._writer = ThreadPoolExecutor(1, "writing")
        self._opened = threading.local()
        self._probe: Any = None  # the feature by which a gallery knows its network
        self.waiting = 0

    async def open(self) -> None:
        """Open the gallery in every thread that reads, with all that its first search would read.

        What is wrong with the gallery is told to those who ask.
        """
        together = threading.Barrier(self._count)  # no thread opens it twice

        def opened() -> None:
            together.wait()
            with suppress(UserError):
                self._called(first_search)

        loop = asyncio.get_running_loop()
        await asyncio.gather(
            *(loop.run_in_executor(self._readers, opened) for _ in range(self._count))
        )

    async def read(self, ask: Callable[[Gallery], T]) -> T:
        """Return ask(gallery), computed in a thread that reads."""
        return await self._run(self._readers, ask)

    async def write(self, act: Callable[[Gallery], T]) -> T:
        """Return act(gallery), computed in the thread that writes: all of it is on the disk."""
        return await self._run(self._writer, act)

    def close(self) -> None:
        """Let what has begun end, and end the threads."""
        self._readers.shutdown()
        self._writer.shutdown()

    async def _run(self, pool: ThreadPoolExecutor, call: Callable[[Gallery], T]) -> T:
        if self.waiting >= self._most:
            raise too_busy(f"{self.waiting} questions wait for the gallery")
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, self._called, call)
        finally:
            self.waiting -= 1

    def _open(self) -> Gallery:
        """Open the gallery. Raises UserError if its features are of another network by now."""
        gallery = open_gallery(self.address)
        probe = gallery.recall("probe")
        self._probe = probe if self._probe is None else self._probe
        if probe != self._probe:
            gallery.close()
            raise UserError(
                f"{self.address}: reindexed with another network since the service began. Start "
                "the service again."
            )
        return gallery

    def _called(self, call: Callable[[Gallery], Any]) -> Any:
        """Call a function with the gallery of this thread.

        After an error it is opened again: its file may have been replaced.
        """
        if not hasattr(self._opened, "gallery"):
            self._opened.gallery = self._open()
        try:
            return call(self._opened.gallery)
        except UserError:
            self._opened.gallery.close()
            del self._opened.gallery
            raise


def first_search(gallery: Gallery) -> None:
    """Search for anything, so that the next search finds in memory what it needs."""
    if width := gallery.width():
        gallery.search(np.eye(1, width, dtype=np.float32), 1)
