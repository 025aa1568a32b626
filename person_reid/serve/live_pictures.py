"""Pictures from the cameras of a service, for viewers.

    pictures = LivePictures(8)                          # at most 8 viewers
    pictures.show("door", draw)                         # with each frame; draw() → PIL image
    StreamingResponse(await pictures.watch("door", 640), media_type=MOTION)

A picture is drawn and encoded once for all viewers, and not at all if there are no viewers. A slow
viewer gets the newest picture next, and misses the pictures in between.
"""

import asyncio
import io
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from PIL import Image

from person_reid.serve.events import Feed, begun

MOTION = "multipart/x-mixed-replace"
BOUNDARY = "picture"
QUALITY = 80  # of JPEG

Draw = Callable[[], Image.Image]


class LivePictures(Feed):
    """The newest picture of each camera."""

    doing = "look"

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self._newest: dict[str, Callable[[int], bytes]] = {}
        self._thread = ThreadPoolExecutor(1, "drawing")  # one, to spare the cameras

    def show(self, camera: str, draw: Draw) -> None:
        """Show the result of draw() as the newest picture of a camera."""
        self._newest[camera] = cache(lambda size: encoded(draw(), size))
        self._wake(camera)

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


def encoded(picture: Image.Image, size: int) -> bytes:
    """Return a picture as JPEG, with at most `size` pixels per side."""
    out = io.BytesIO()
    picture.thumbnail((size, size))
    picture.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()
