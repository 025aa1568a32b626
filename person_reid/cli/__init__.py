"""The commands, one module each, and the code they share. While a command runs, the library's log is printed."""

import logging
import os
import sys

from person_reid.basics import busy_cores, printable


def wait_asleep() -> None:
    """Let OpenMP's threads sleep while they wait for each other, if other processes use the cores.

    They spin by default, which is faster on a quiet machine and several times slower on a busy one: a thread that spins
    holds the core that the last thread needs. Results do not depend on it. OpenMP reads the setting when torch is
    imported, so this is called first.
    """
    cores = os.cpu_count() or 1
    ours = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    if busy_cores() > cores - ours:
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")


wait_asleep()


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
        logger.setLevel(logging.INFO)
