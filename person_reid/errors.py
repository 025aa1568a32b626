"""Errors that a user can fix, and the messages of all other errors."""

import errno
import re
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

DISK_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
COLOR = re.compile(r"\x1b\[[0-9;]*m")


class UserError(Exception):
    """An error that the user can fix.

    The message tells what was found, what was expected and what to do.
    """


class StoreError(UserError):
    """A failure of the file or server that holds a gallery, whatever the request."""


class StoreAway(StoreError):
    """The server that holds a gallery does not answer, or another program has locked the tables."""


def describe_error(error: BaseException) -> str:
    """Return an exception's message in readable form: `disk.mat: No space left on device`.

    An error while writing to an open file does not name the file. If a disk is full, the message
    therefore names the current and the temporary folder.
    """
    if isinstance(error, OSError) and error.strerror:
        places = (
            [str(Path.cwd()), *filter(None, [tempfile.tempdir])] if error.errno in DISK_FULL else []
        )
        named = error.filename or " or ".join(map(str, places))
        return f"{named}: {error.strerror}" if named else error.strerror
    return str(error)


def first_line(error: BaseException, most: int = 200) -> str:
    """Return the first line of an exception's message, or the name of its class if it has none.

    Codes that colour a terminal's text are skipped.
    """
    text = COLOR.sub("", describe_error(error)).strip()
    return (text.splitlines() or [type(error).__name__])[0][:most]


def optional_module(name: str, missing: UserError) -> Any:
    """Import a module from an optional package. missing: the error to raise if it is absent."""
    try:
        return import_module(name)
    except ImportError:
        raise missing from None
