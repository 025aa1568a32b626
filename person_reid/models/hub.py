"""The Hugging Face hub, from a machine that may have no connection."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies

PATIENCE = 4  # seconds


@contextmanager
def quick_to_fail() -> Iterator[None]:
    """Let the hub's client look only into its cache if the hub does not answer within seconds.

    The client itself tries again for most of a minute.
    """
    from huggingface_hub import constants  # loads slowly

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _answers(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _answers(address: str) -> bool:
    """Return whether a server takes a connection; behind a proxy nobody can tell, and it may."""
    server = urlsplit(address)
    if getproxies():
        return True
    try:
        socket.create_connection((server.hostname or "", server.port or 443), PATIENCE).close()
    except OSError:
        return False
    return True
