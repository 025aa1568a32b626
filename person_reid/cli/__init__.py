"""The commands, one module each, and the code they share. While a command runs, the library's log is printed."""

import logging
import os
import sys
import time
from types import TracebackType

from person_reid.basics import printable

LATER = 3  # seconds; torchrun looks ten times a second whether a process has ended


def report_interruption(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an error that nobody caught, without a traceback if it is Ctrl-C while a command is being imported."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


if sys.excepthook is sys.__excepthook__:  # else another program's, which imports this one
    sys.excepthook = report_interruption
if "OMP_WAIT_POLICY" not in os.environ:
    # On Linux, threads that wait for each other sleep after 5 microseconds. By default they spin
    # for a millisecond, and hold the core that the last thread needs if other programs run.
    # OpenMP reads this when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def let_the_first_speak() -> None:
    """Wait, before an error is printed, if this is not the first of torchrun's processes on this machine.

    An error of all processes is printed once: torchrun ends the others as soon as the first has. An error of this
    process alone is printed a little later.
    """
    if os.environ.get("LOCAL_RANK", "0") != "0":
        time.sleep(LATER)


class Printer(logging.Handler):
    """Print remarks as they are: information to stdout, warnings to stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        text = printable(record.getMessage())
        print(text, file=sys.stderr if record.levelno > logging.INFO else sys.stdout, flush=True)


def print_remarks() -> None:
    """Print everything the library logs from now on."""
    logger = logging.getLogger("person_reid")
    if not any(isinstance(handler, Printer) for handler in logger.handlers):
        logger.addHandler(Printer())
    if logger.level == logging.NOTSET:  # else the choice of another program, or of join_world
        logger.setLevel(logging.INFO)
