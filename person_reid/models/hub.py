"""The Hugging Face hub, from a machine that may have no connection."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from urllib.parse import urlsplit
from urllib.request import getproxies

PATIENCE = 3  # seconds


@contextmanager
def quick_to_fail() -> Iterator[None]:
    """Let the hub's client look only into its cache if the hub does not answer within seconds.

    The client itself tries again for most of a minute. Raises ConnectionError if the cache lacks
    the file.
    """
    from huggingface_hub import constants  # loads slowly

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _answers(constants.ENDPOINT)
    try:
        yield
    except (FileNotFoundError, ConnectionError) as error:  # both mean: not in the cache
        if constants.HF_HUB_OFFLINE and not before:
            raise ConnectionError(f"{constants.ENDPOINT} does not answer") from error
        raise
    finally:
        constants.HF_HUB_OFFLINE = before


def _answers(address: str) -> bool:
    """Return whether a server takes a connection; behind a proxy nobody can tell, and it may.

    The thread limits the whole of it: the look-up of the name takes its own time, and a name has
    several addresses.
    """
    if {"http", "https", "all"} & getproxies().keys():
        return True
    server, answers = urlsplit(address), []

    def connect() -> None:
        with suppress(OSError):
            socket.create_connection((server.hostname or "", server.port or 443), PATIENCE).close()
            answers.append(True)

    thread = Thread(target=connect, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return bool(answers)
