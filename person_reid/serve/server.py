"""The server of the service: uvicorn, which also ends the requests that never end by themselves."""

from types import FrameType

import uvicorn

from person_reid.serve.events import Events


class Server(uvicorn.Server):
    """A server that sends no more events once it is asked to end."""

    def __init__(self, settings: uvicorn.Config, events: Events) -> None:
        super().__init__(settings)
        self._events = events

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End the events, and then as uvicorn does."""
        self._events.close()
        super().handle_exit(sig, frame)
