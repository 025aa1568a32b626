"""Run a function in a forked child.

The child's output is captured and its time limited, and this process does not change.

A child starts in milliseconds, with PyTorch imported already. POSIX only.
"""

import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """How a child ended.

    status: its exit status, or minus the number of the signal that ended it; None if it hung.
    """

    status: int | None
    output: str


def start(function, folder):
    """Fork a child that calls function() in `folder`.

    Returns its number and the end of the pipe that it writes to.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    if child := os.fork():
        os.close(writing)
        os.set_blocking(reading, False)
        return child, reading
    status = 70
    try:
        os.setsid()
        os.chdir(folder)
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        sys.stdout, sys.stderr = (
            os.fdopen(number, "w", encoding="utf-8", errors="replace") for number in (1, 2)
        )
        function()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def wait(child, seconds):
    """Return the Outcome of what `start` returned; a child is killed after `seconds`."""
    (number, reading), text = child, bytearray()
    deadline = time.monotonic() + seconds
    ended = 0
    status = 0
    while not ended and time.monotonic() < deadline:
        ended, status = os.waitpid(number, os.WNOHANG)
        with contextlib.suppress(BlockingIOError):
            while part := os.read(reading, 65536):
                text += part
        time.sleep(0 if ended else 0.005)
    if not ended:
        os.killpg(number, signal.SIGKILL)
        os.waitpid(number, 0)
    os.close(reading)
    return Outcome(
        os.waitstatus_to_exitcode(status) if ended else None, text.decode(errors="replace")
    )


def run(function, folder, seconds=30.0):
    """Call function() in a child, in `folder`, and return its Outcome."""
    return wait(start(function, folder), seconds)
