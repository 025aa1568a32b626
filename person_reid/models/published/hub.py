"""Fetch the files of published networks, from the Hugging Face hub or from their own address.

Without a connection, only the hub's cache and the folder of weights are read.
"""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit
from urllib.request import getproxies

from person_reid.config.zoo import Published, folder, packaged, published_network, zoo
from person_reid.errors import UserError, first_line
from person_reid.fetching import fetch_file
from person_reid.files import verify

log = logging.getLogger(__name__)
HUB_PATIENCE = 3  # seconds


@contextmanager
def quick_to_fail() -> Iterator[None]:
    """Make the hub's client use only its cache if the hub does not answer within a few seconds.

    The client itself keeps trying for most of a minute. Raises ConnectionError if the cache lacks
    the file.
    """
    from huggingface_hub import constants  # loads slowly

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _answers(constants.ENDPOINT)
    try:
        yield
    except (FileNotFoundError, ConnectionError) as error:  # both mean that it is not in the cache
        if constants.HF_HUB_OFFLINE and not before:
            raise ConnectionError(f"{constants.ENDPOINT} does not answer") from error
        raise
    finally:
        constants.HF_HUB_OFFLINE = before


def _answers(address: str) -> bool:
    """Return whether a server accepts a connection; behind a proxy, this is assumed.

    A thread limits the total time: looking up the name also takes time, and a name can have several
    addresses.
    """
    if {"http", "https", "all"} & getproxies().keys():
        return True
    answers = []

    def connect() -> None:
        with suppress(OSError, ValueError):  # the latter for an invalid address
            server = urlsplit(address)
            socket.create_connection(
                (server.hostname or "", server.port or 443), HUB_PATIENCE
            ).close()
            answers.append(True)

    thread = Thread(target=connect, daemon=True)
    thread.start()
    thread.join(HUB_PATIENCE)
    return bool(answers)


def weight_file(weights: str | Path) -> Path:
    """Return the path of a weight file. weights: this path, or the name of a network.

    For a network in this package, the path leads to a folder. A published file is in the folder
    of weights, or on the Hugging Face hub or in its cache. Raises UserError, naming the file and
    where to put it, if it is in none of these, or differs from the published file.
    """
    if folder := packaged(weights):
        return folder
    entry = published_network(weights)
    if not entry:
        return Path(weights)
    file = entry.local or (_from_hub(entry) if entry.hub else _from_address(entry))
    parts = {file.with_suffix(end): digest for end, (_, digest) in entry.addresses.items()}
    for part, checksum in (parts or {file: entry.checksum}).items():
        try:
            verify(part, checksum)
        except ValueError as error:
            raise UserError(
                f"{part}: not the published file of {entry.name}: {error}. Download it again from "
                f"{entry.where}, or name your own file: backbone=NAME and weights=FILE."
            ) from error
    return file


def _from_hub(entry: Published) -> Path:
    """Return a network's file from the Hugging Face hub or its cache.

    Raises UserError if it is in neither.
    """
    from huggingface_hub import hf_hub_download  # loads slowly

    try:
        with quick_to_fail():
            return Path(hf_hub_download(entry.hub, entry.file))
    except (FileNotFoundError, ConnectionError) as error:
        raise UserError(entry.absent(", and the hub cannot be reached")) from error
    except Exception as error:  # each cause has its own exception
        raise UserError(entry.absent(f", nor on the hub ({first_line(error)})")) from error


def _from_address(entry: Published) -> Path:
    """Download a network's files into the folder of weights, and return the file to open.

    Raises UserError if no public address is known, or if a file does not arrive as published.
    """
    if not entry.addresses:
        raise UserError(entry.absent())
    file = folder() / entry.file_names[0]
    log.info("%s: from %s. Licence: %s", entry.name, entry.at, entry.shared.licence)
    try:
        for ending, (address, digest) in entry.addresses.items():
            if not (part := file.with_suffix(ending)).exists():
                fetch_file(address, part, digest)
    except (OSError, ValueError) as error:
        reason = f", and could not be fetched ({first_line(error)})"
        raise UserError(entry.absent(reason)) from error
    return file


def on_disk() -> list[str]:
    """Return the names of the published networks whose files are on this machine."""
    from huggingface_hub import try_to_load_from_cache  # loads slowly

    def cached(entry: Published) -> bool:
        return bool(entry.hub) and isinstance(try_to_load_from_cache(entry.hub, entry.file), str)

    def is_here(entry: Published) -> bool:
        return bool(packaged(entry.name) or entry.local or cached(entry))

    return [entry.name for entry in zoo().values() if not entry.note and is_here(entry)]
