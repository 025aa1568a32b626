"""The commands, one module each, and the code they share. While a command runs, the library's log is printed."""

import logging
import sys

from person_reid.basics import printable


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
