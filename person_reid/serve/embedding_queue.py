"""Embed images from simultaneous requests in one batch."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from person_reid.data.images.image_files import Pixels
from person_reid.retrieval.similarity import Features
from person_reid.serve.problems import too_busy

Embed = Callable[[list[Pixels]], Features]
Waiting = tuple[list[Pixels], "asyncio.Future[Features]"]


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
            while self._queue and self._fits(batch):
                batch.append(self._queue.popleft())
            await self._answer(batch)

    def _fits(self, batch: list[Waiting]) -> bool:
        """Return whether the next request fits into a batch."""
        size = sum(len(images) for images, _ in batch)
        return size + len(self._queue[0][0]) <= self._batch_size

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
        start = 0
        for some, future in batch:
            if not future.done():  # done: the client has gone
                future.set_result(features[start : start + len(some)])
            start += len(some)
