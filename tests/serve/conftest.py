"""A service over an empty index, whose network is the mean color of an image."""

import io
import socket
import threading
import time
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from PIL import Image

from person_reid.config.serve import ServiceLimits

pytest.importorskip("starlette")

from starlette.testclient import TestClient

from person_reid.serve.access import Access
from person_reid.serve.app import create_app
from person_reid.serve.service import Service

TOKENS = {"read" * 4: "read", "write" * 4: "write", "forget" * 4: "forget"}
LIMITS = ServiceLimits(most_megabytes=1, most_images=8, readers=2)


class Colors:
    """An Embedder whose features are the colors of an image's halves."""

    size, resize = (16, 8), "bicubic"
    limits = None

    def features(self, bank, description=""):
        halves = (
            np.asarray(bank).reshape(len(bank), 2, -1, 3).mean(axis=2).reshape(len(bank), 6) + 1
        )
        return (halves / np.linalg.norm(halves, axis=1, keepdims=True)).astype(np.float32)


def picture(color, form="PNG", size=(8, 16)):
    """Return the content of an image file of one color."""
    content = io.BytesIO()
    Image.new("RGB", size, color).save(content, form)
    return content.getvalue()


def sent(*contents):
    """Return the form that sends image files."""
    return {"files": [("image", ("any.png", content)) for content in contents]}


@pytest.fixture
def address(request, tmp_path):
    """The address of the gallery: a file's, or with EACH_ENGINE also that of a server."""
    if getattr(request, "param", "file") == "file":
        return str(tmp_path / "people.index")
    return f"{request.getfixturevalue('postgres')}?crops={tmp_path}"


EACH_ENGINE = pytest.mark.parametrize("address", ["file", "postgres"], indirect=True)


@pytest.fixture
def service(tmp_path, address):
    access = Access(TOKENS, per_minute=1000)
    colors: Any = Colors()
    return Service(address, colors, access, LIMITS, 4, tmp_path / "audit.jsonl")


@pytest.fixture
def client(service):
    """A client whose token allows everything."""
    token = {"Authorization": f"Bearer {'forget' * 4}"}
    with TestClient(create_app(service), headers=token, raise_server_exceptions=False) as client:
        yield client


@contextmanager
def listening(service, cameras=None, **settings):
    """Yield the address of a service that a thread runs, as tools/serve.py does."""
    import uvicorn

    from person_reid.serve.server import Connection

    with socket.create_server(("127.0.0.1", 0)) as port:
        config = uvicorn.Config(
            create_app(service, cameras),
            http=Connection,
            ws="none",
            log_level="warning",
            timeout_graceful_shutdown=1,  # a browser keeps the events of a page that it has left
            **settings,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [port]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{port.getsockname()[1]}"
        finally:
            service.end_streams()
            server.should_exit = True
            thread.join()
