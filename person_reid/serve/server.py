"""The server of the service: uvicorn, with limits on idle connections."""

import asyncio
import math
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

LONGEST_HEAD = 10.0  # seconds in which the head of a request must arrive
LONGEST_STALL = 30.0  # seconds in which a client must read some of the data waiting for it
LENGTHS = {b"content-length", b"transfer-encoding"}  # a request may have only one


class Connection(H11Protocol):
    """A connection that is closed if no complete request arrives, or to make room for others.

    uvicorn alone waits forever for a request's head, and accepts no connection once it has no file
    handles left.
    """

    since = 0.0  # when the connection was last used, by the clock of the event loop
    waiting: asyncio.TimerHandle | None = None  # for the head of a request
    stalled: asyncio.TimerHandle | None = None  # for the client to read more

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return not self.cycle or bool(self.cycle.response_complete)

    def connection_made(self, transport: Any) -> None:
        """If there are too many connections, close the one that has been idle the longest."""
        super().connection_made(transport)
        self._wait_for_head()
        there: list[Any] = [each for each in self.connections if not each.transport.is_closing()]
        if len(there) >= (self.limit_concurrency or len(there) + 1):
            idle = [each for each in there if each.idle]
            min(idle, key=lambda each: each.since).transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read data; parts of a request's head do not extend its deadline."""
        super().data_received(data)
        if self.idle:
            self._wait_for_head()
            return
        self._wait_no_longer()
        if {name for name, _ in self.headers} >= LENGTHS:  # RFC 9112, 6.3: close then
            self.cycle.keep_alive = False

    def pause_writing(self) -> None:
        """Wait for the client to read, as long as it makes progress."""
        super().pause_writing()
        self._wait_for_reader(math.inf)

    def resume_writing(self) -> None:
        """Resume writing."""
        super().resume_writing()
        if self.stalled:
            self.stalled.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers of a closed connection."""
        self._wait_no_longer()
        if self.stalled:
            self.stalled.cancel()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        if self.waiting is None:
            self.since = self.loop.time()
            self.waiting = self.loop.call_later(LONGEST_HEAD, self.timeout_keep_alive_handler)

    def _wait_no_longer(self) -> None:
        if self.waiting:
            self.waiting.cancel()
        self.waiting, self.since = None, self.loop.time()

    def _wait_for_reader(self, before: float) -> None:
        """Close the connection if the client has read nothing since the last check."""
        left = self.transport.get_write_buffer_size()
        if left >= before:
            self.transport.abort()
        else:
            self.stalled = self.loop.call_later(LONGEST_STALL, self._wait_for_reader, left)

    def _should_upgrade(self) -> bool:
        return False  # there are no websockets


class Server(uvicorn.Server):
    """A server that ends endless answers before it shuts down."""

    def __init__(self, settings: uvicorn.Config, end_streams: Callable[[], None]) -> None:
        super().__init__(settings)
        self._end_streams = end_streams

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End endless answers, and then shut down as uvicorn does."""
        self._end_streams()
        super().handle_exit(sig, frame)
