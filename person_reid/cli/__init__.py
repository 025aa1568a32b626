"""The commands, one module each, and the code they share. While a command runs, the library's log is printed."""

import logging
import os
import sys
import time
from types import TracebackType

from person_reid.basics import printable
from person_reid.device import available_cores, busy_cores

SPINS = 3000  # some 15 microseconds; libgomp's own choice, 300,000, is over a millisecond
BUSY_SPINS = 100
LATER = 3  # seconds; torchrun looks ten times a second whether a process has ended


def wait_briefly() -> None:
    """Let OpenMP's threads sleep soon while they wait for each other, instead of spinning for long.

    A thread that spins may hold the core that the last thread needs, as soon as another program runs: two threads are
    then several times slower than one. A brief spin costs nothing on a quiet machine; if other processes use the cores,
    it is briefer still. Results do not depend on it. libgomp, which PyTorch has on Linux, reads the setting when torch
    is imported, so this is called first. A user's own setting stays; that of a parent process is chosen anew.
    """
    if os.environ.get("GOMP_SPINCOUNT") in (str(SPINS), str(BUSY_SPINS)):
        del os.environ["GOMP_SPINCOUNT"]  # the choice of the program that started this one
    if "OMP_WAIT_POLICY" not in os.environ:
        others = (os.cpu_count() or 1) - available_cores()
        os.environ.setdefault("GOMP_SPINCOUNT", str(BUSY_SPINS if busy_cores() > others else SPINS))


def report_interruption(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an error that nobody caught, without a traceback if it is Ctrl-C while a command is being imported."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


if sys.excepthook is sys.__excepthook__:  # else another program's, which imports this one
    sys.excepthook = report_interruption
wait_briefly()


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
