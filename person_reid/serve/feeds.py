"""Endless responses: live events as server-sent events, and pictures from cameras.

    events = Events(32)                                 # at most 32 listeners
    events.tell("appeared", {"camera": "door"})
    StreamingResponse(await events.listen(after=None), media_type="text/event-stream")

    pictures = LivePictures(8)                          # at most 8 viewers
    pictures.show("door", draw)                         # with each frame; draw() → PIL image
    StreamingResponse(await pictures.watch("door", 640), media_type=MOTION)

The latest events are stored once for all listeners, and each listener knows the last event that it
has read. A slow or disconnected listener therefore costs no memory, and misses only older events.
A picture is drawn and encoded once for all viewers, and not at all if there are no viewers. A slow
viewer gets the newest picture next, and misses the pictures in between.
"""

import asyncio
import io
import json
import secrets
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

from PIL import Image

from person_reid.serve.problems import too_busy

HEARTBEAT = 15.0  # seconds without an event, after which a comment is sent
KEPT_EVENTS = 500
MOTION = "multipart/x-mixed-replace"
BOUNDARY = "picture"


class Feed:
    """A source of changes, and its followers. Only the event loop's thread may use it.

    most: the maximum number of followers.
    """

    doing = "follow"  # what a follower does, for messages

    def __init__(self, most: int) -> None:
        self.followers, self._most, self._closed = 0, most, False
        self._changes: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)  # by camera

    def close(self) -> None:
        """End the streams of the followers."""
        self._closed = True
        for camera in [*self._changes]:
            self._wake(camera)

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Count a follower while a block runs. Raises Problem if there are too many."""
        if self.followers >= self._most:
            raise too_busy(f"{self.followers} programs {self.doing}")
        self.followers += 1
        try:
            yield
        finally:
            self.followers -= 1

    def forget(self) -> None:
        """Drop what was stored for followers: it may tell of people who have been forgotten."""
        raise NotImplementedError

    def _wake(self, camera: str = "") -> None:
        self._changes.pop(camera, asyncio.Event()).set()

    async def _comes(self, change: asyncio.Event) -> bool:
        """Wait for a change, and return whether it comes before the next heartbeat is due."""
        try:
            return await asyncio.wait_for(change.wait(), HEARTBEAT)
        except TimeoutError:
            return False


async def begun(parts: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Return a follower's stream after reading its first part, so that the follower is counted."""
    await anext(parts)
    return parts


class Events(Feed):
    """The latest events, and their listeners."""

    doing = "listen"

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self._run = secrets.token_hex(4)  # random, as clocks can be set back
        self._kept: deque[tuple[int, bytes]] = deque(maxlen=KEPT_EVENTS)
        self._last = 0

    def tell(self, kind: str, data: Mapping[str, Any]) -> None:
        """Send an event of this kind, with its data, to all listeners."""
        self._last += 1
        text = json.dumps(data, ensure_ascii=False)  # without line breaks
        self._kept.append(
            (self._last, f"id: {self._run}-{self._last}\nevent: {kind}\ndata: {text}\n\n".encode())
        )
        self._wake()

    def forget(self) -> None:
        self._kept.clear()

    async def listen(self, after: str | None = None) -> AsyncGenerator[bytes, None]:
        """Return the text of the events that follow the event `after`, by default of new events.

        If the id is from before a restart, all stored events count as new.
        Raises Problem if there are too many listeners.
        """
        run, _, number = (after or "").rpartition("-")
        same = run == self._run and number.isdecimal()
        last = self._last if after is None else int(number) if same else 0
        return await begun(self._texts(last))

    async def _texts(self, last: int) -> AsyncGenerator[bytes, None]:
        with self._place():
            yield b""
            yield b": events follow\n\n"
            while True:
                change = self._changes[""]
                while later := [event for event in self._kept if event[0] > last]:
                    last, text = later[0]
                    yield text  # meanwhile, the next event may be dropped
                if self._closed:
                    return
                if not await self._comes(change):
                    yield b": nothing new\n\n"


class LivePictures(Feed):
    """The newest picture of each camera."""

    doing = "look"

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self._newest: dict[str, Callable[[int], bytes]] = {}
        self._thread = ThreadPoolExecutor(1, "drawing")  # one, to spare the cameras

    def show(self, camera: str, draw: Callable[[], Image.Image]) -> None:
        """Show the result of draw() as the newest picture of a camera."""
        self._newest[camera] = cache(lambda size: as_jpeg(draw(), size))
        self._wake(camera)

    def forget(self) -> None:
        self._newest.clear()  # a working camera shows its next frame at once

    async def watch(self, camera: str, size: int) -> AsyncGenerator[bytes, None]:
        """Return the parts of a stream of pictures with at most `size` pixels per side.

        Raises Problem if there are too many viewers.
        """
        return await begun(self._parts(camera, size))

    def close(self) -> None:
        """End the streams."""
        super().close()
        self._thread.shutdown(wait=False)

    async def _parts(self, camera: str, size: int) -> AsyncGenerator[bytes, None]:
        loop, seen = asyncio.get_running_loop(), None
        with self._place():
            yield b""
            yield f"--{BOUNDARY}\r\n".encode()
            while not self._closed:
                change, newest = self._changes[camera], self._newest.get(camera)
                if newest in (None, seen):
                    seen = seen if await self._comes(change) else None  # None: send it again
                    continue
                seen = newest
                picture = await loop.run_in_executor(self._thread, newest, size)
                # the boundary follows at once: some programs show a picture only after reading it
                head = f"Content-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                yield head.encode() + picture + f"\r\n--{BOUNDARY}\r\n".encode()


def as_jpeg(picture: Image.Image, size: int, quality: int = 80) -> bytes:
    """Return a picture as a JPEG file, with at most `size` pixels per side."""
    out = io.BytesIO()
    picture.thumbnail((size, size))
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()
