"""Download a file from its address, whole or not at all."""

from functools import partial
from pathlib import Path
from urllib.request import urlopen

from person_reid.files import atomic_write, verify
from person_reid.progress import progress

PATIENCE = 30  # seconds that a server may be silent


def fetch_file(address: str, target: Path, checksum: str = "") -> None:
    """Download a file, with a progress bar.

    checksum: the file's SHA-256 or SHA-384, if it is known. Raises OSError, and leaves no file, if
    the server cannot be reached or less arrives than it announced; ValueError if the checksum
    differs, or the address is none.
    """
    with atomic_write(target) as partial_file:
        with (
            urlopen(address, timeout=PATIENCE) as answer,
            partial_file.open("wb") as file,
            progress(desc=target.name, unit="B", unit_scale=True) as bar,
        ):
            bar.total = size = int(answer.headers.get("Content-Length") or 0) or None
            for block in iter(partial(answer.read, 2**20), b""):
                file.write(block)
                bar.update(len(block))
        received = partial_file.stat().st_size
        if size and received != size:
            raise OSError(f"{received:,} of {size:,} bytes arrived")
        verify(partial_file, checksum)
