"""The parts of a running service: its network, its gallery, who may ask, and what was done."""

import asyncio
import json
import logging
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from person_reid.config.serve import ServiceLimits
from person_reid.config.times import ago, stored
from person_reid.data.images.image_files import Limits, Pixels, fit_image
from person_reid.errors import UserError
from person_reid.files import write_text
from person_reid.gallery.gallery import open_gallery
from person_reid.gallery.metadata import Filter
from person_reid.retrieval.similarity import Features
from person_reid.serve.access import Access
from person_reid.serve.embedding_queue import EmbeddingQueue
from person_reid.serve.events import Events
from person_reid.serve.galleries import Galleries
from person_reid.serve.image_ids import ImageIds, secret_of
from person_reid.serve.problems import Problem
from person_reid.serve.requests import MEGABYTE, decoded
from person_reid.serve.uploads import remove_unlisted
from person_reid.serve.usage import Usage
from person_reid.text import parse_json

log = logging.getLogger(__name__)
HOUR = 3600


class ImageNetwork(Protocol):
    """What the service asks of a network: an Embedder, or an OnnxEmbedder without PyTorch.

    size: (height, width) of its images. resize: the filter that gives them this size. limits: the
    lowest and highest value of images of more than 8 bits, or None.
    """

    @property
    def size(self) -> tuple[int, int]: ...

    @property
    def resize(self) -> str: ...

    @property
    def limits(self) -> Limits | None: ...

    def features(self, bank: Pixels, description: str = ...) -> Features:
        """Return the features (N, D) float32 of images, uint8 (N, *size, 3)."""
        ...


class Service:
    """A gallery at an address and its network, asked from an event loop.

    batch_size: images that the network sees at a time. audit: a file that gets a line of JSON for
    each change of names and each forgetting.
    """

    def __init__(
        self,
        address: str,
        embedder: ImageNetwork,
        access: Access,
        limits: ServiceLimits,
        batch_size: int = 32,
        audit: str | Path | None = None,
    ) -> None:
        self.embedder, self.access = embedder, access
        self.limits, self.audit = limits, audit
        self.usage, self.events = Usage(), Events(limits.listeners)
        with closing(open_gallery(address)) as gallery:
            self.ids = ImageIds(secret_of(gallery))
        self.galleries = Galleries(address, limits.readers, limits.most_waiting)
        self.batches = EmbeddingQueue(self._embed, batch_size, limits.most_waiting)
        self._decoders = ThreadPoolExecutor(limits.readers, "decoding")
        self.usage.watch(
            {
                "waiting_images": lambda: self.batches.waiting,
                "waiting_questions": lambda: self.galleries.waiting,
                "listeners": lambda: self.events.listeners,
                "embedded_images": lambda: self.batches.embedded,
            }
        )

    @property
    def most_bytes(self) -> int:
        """The size of a request."""
        return self.limits.most_megabytes * MEGABYTE

    async def decode(self, contents: Sequence[bytes]) -> list[Image.Image]:
        """Return the pictures in image files. Raises Problem if one cannot be read."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._decoders, decoded, contents, self.embedder.limits)

    async def embed(self, images: Sequence[Image.Image]) -> Features:
        """Return the features (N, D) of images, computed together with those of others."""
        loop = asyncio.get_running_loop()
        pixels = await loop.run_in_executor(self._decoders, self._fit, images)
        return await self.batches(pixels)

    def record(self, who: str, action: str, **details: Any) -> None:
        """Add a line to the audit file."""
        if self.audit is None:
            return
        line = {"time": stored(datetime.now()), "token": who, "action": action, **details}
        with Path(self.audit).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    async def forget_names(self) -> None:
        """Take the names that the gallery does not know any more out of the audit file."""
        file = Path(self.audit) if self.audit else None
        if file is None or not file.exists():
            return
        before = file.read_text(encoding="utf-8")
        known = {*await self.galleries.read(lambda gallery: gallery.values("identity"))}
        tidied = "".join(_without_names(line, known) for line in before.splitlines(keepends=True))
        if tidied != before:
            since = file.read_text(encoding="utf-8")[len(before) :]
            write_text(file, tidied + since)

    async def tidy(self) -> None:
        """Delete what was never acknowledged, and forget what is too old, once an hour."""
        while True:
            try:
                await self.galleries.write(remove_unlisted)
                await self._forget_old()
                await self.forget_names()
            except (UserError, OSError, Problem) as error:
                log.warning("Not tidied: %s", error)
            await asyncio.sleep(HOUR)

    async def _forget_old(self) -> None:
        """Forget what --retain says is too old."""
        if not (age := self.limits.retain):
            return
        which = Filter(before=ago(age))
        count = await self.galleries.write(lambda gallery: gallery.forget(which, "retain"))
        if count:
            self.record("the service", "forget", older_than=age, images=count)

    def close(self) -> None:
        """Let what has begun end."""
        self.batches.close()
        self.galleries.close()
        self._decoders.shutdown()

    def _fit(self, images: Sequence[Image.Image]) -> list[Pixels]:
        """Return images as the network sees them, which is little even of large ones."""
        height, width = self.embedder.size
        return [fit_image(image, height, width, resize=self.embedder.resize) for image in images]

    def _embed(self, pixels: list[Pixels]) -> Features:
        return self.embedder.features(np.stack(pixels), description="")


def _without_names(line: str, known: Collection[str]) -> str:
    """Return a line of the audit file without the names that are not known."""
    names = {"identity", "to"}
    try:
        values: dict[str, Any] = parse_json(line)
        forgotten = {key for key in names & {*values} if values[key] not in known}
    except (AttributeError, TypeError, ValueError):  # cut short by a crash
        return line
    if not forgotten:
        return line
    return json.dumps(values | dict.fromkeys(forgotten), ensure_ascii=False) + "\n"
