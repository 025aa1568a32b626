"""Run a script: its remarks go to the terminal, and its errors end in one line."""

import io
import logging
import os
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import NoReturn

from person_reid.config.option import OptionError, as_flag
from person_reid.errors import LostProcessError, UserError, describe_error, first_line
from person_reid.text import printable

LATER = 3  # seconds; torchrun looks ten times a second whether a process has ended
# Words of PyTorch's messages about an accelerator and about a processor.
NO_MEMORY = ("out of memory", "DefaultCPUAllocator: ")
LESS_MEMORY = (
    "A network needs less memory with a smaller --batchsize or smaller images (--height, --width), "
    "in training also with --bf16; re-ranking with a smaller --memory_gb."
)
NO_THREADS = "can't start new thread"  # Python's words
MORE_THREADS = (
    "The user or the container may have no more processes and threads: "
    "raise ulimit -u or --pids-limit."
)


def fail(message: str, wait: bool = True) -> NoReturn:
    """Print an error, and exit with status 1. wait: as let_the_first_speak does."""
    if wait:
        let_the_first_speak()
    print(printable(f"error: {message}"), file=sys.stderr)
    sys.exit(1)


def run_script(main: Callable[[], object]) -> None:
    """Call `main()` as a script: an error that the user can mend ends in one line and status 1.

    Ctrl-C ends in status 130. A UserError, an OSError (no such file, disk full), or too little
    memory or too few threads prints no traceback. Any other exception is a bug and keeps it. If a
    reader of the output, such as head, ends, the script ends silently.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Printing a file's name must never end a program.
            stream.reconfigure(errors="replace")
    try:
        main()
        flush_output()
    except BrokenPipeError:
        close_output()
        sys.exit(1)
    except (UserError, OSError) as error:
        said = error.spelled(as_flag) if isinstance(error, OptionError) else describe_error(error)
        fail(said, wait=not isinstance(error, LostProcessError))
    except (MemoryError, RuntimeError) as error:
        if str(error) == NO_THREADS:
            fail(f"{error}. {MORE_THREADS}")
        if not (isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY)):
            raise
        said = first_line(error, 1000).rstrip(".").rpartition("DefaultCPUAllocator: ")[2]
        said = ". ".join(said.split(". ")[:2])  # a GPU's message is a long paragraph
        fail(f"{said}. {LESS_MEMORY}")
    except KeyboardInterrupt:
        if "LOCAL_RANK" not in os.environ:  # else the process that started several says so
            print("interrupted", file=sys.stderr)
        sys.exit(130)


def flush_output() -> None:
    """Write what is still to be printed. Raises OSError, which names the output, if that fails."""
    try:
        if sys.stdout:  # None in a program without a console
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        close_output()
        raise OSError(error.errno, error.strerror, "standard output") from None


def close_output() -> None:
    """Let what is still to be printed go nowhere; else Python would fail at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def let_the_first_speak() -> None:
    """Wait before an error is printed, unless this is torchrun's first process on this machine.

    An error of all processes is printed once: torchrun ends the others as soon as the first has. An
    error of this process alone is printed a little later.
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


def report_interruption(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print an error that nobody caught.

    Ctrl-C while a command is being imported prints no traceback.
    """
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
