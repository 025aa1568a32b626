"""Tell listeners what happens, as server-sent events.

    events = Events(most_listeners=32)
    events.tell("appeared", {"camera": "door"})
    StreamingResponse(await events.listen(after=None), media_type="text/event-stream")

The last events are kept once for all listeners, each of whom knows the last one that it has read.
So a listener that is slow, or was cut off, costs no memory, and misses only what is older.
"""

import asyncio
import json
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from person_reid.serve.problems import too_busy

HEARTBEAT = 15.0  # seconds without an event, after which a comment is sent
KEPT_EVENTS = 500  # events


class Events:
    """What happened last, and who listens. To be used in the thread of an event loop.

    most_listeners: how many there may be at once.
    """

    def __init__(self, most_listeners: int) -> None:
        self.listeners, self._most = 0, most_listeners
        self._run = secrets.token_hex(
            4
        )  # no clock, which may be set back, tells two services apart
        self._kept: deque[tuple[int, bytes]] = deque(maxlen=KEPT_EVENTS)
        self._last = 0
        self._changed = asyncio.Event()
        self._closed = False

    def tell(self, kind: str, data: Mapping[str, Any]) -> None:
        """Tell all listeners that something of a kind happened."""
        self._last += 1
        text = json.dumps(data, ensure_ascii=False)  # which holds no line breaks
        self._kept.append(
            (self._last, f"id: {self._run}-{self._last}\nevent: {kind}\ndata: {text}\n\n".encode())
        )
        self._wake()

    async def listen(self, after: str | None = None) -> AsyncGenerator[bytes, None]:
        """Return the text of the events from now on, or of those after the one of an id.

        To somebody whose last event was of an earlier service, all that are kept are new.
        Raises Problem if too many listen.
        """
        run, _, number = (after or "").rpartition("-")
        same = run == self._run and number.isdecimal()
        last = self._last if after is None else int(number) if same else 0
        texts = self._texts(last)
        await anext(texts)  # from here on it is counted
        return texts

    def close(self) -> None:
        """End what listeners read."""
        self._closed = True
        self._wake()

    async def _texts(self, last: int) -> AsyncGenerator[bytes, None]:
        if self.listeners >= self._most:
            raise too_busy(f"{self.listeners} programs listen")
        self.listeners += 1
        try:
            yield b""
            yield b": events follow\n\n"
            while True:
                changed = self._changed
                for number, text in [each for each in self._kept if each[0] > last]:
                    yield text
                    last = number
                if self._closed:
                    return
                try:
                    await asyncio.wait_for(changed.wait(), HEARTBEAT)
                except asyncio.TimeoutError:
                    yield b": nothing new\n\n"
        finally:
            self.listeners -= 1

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
