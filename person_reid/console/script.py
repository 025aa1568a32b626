"""Run a script with its remarks on the terminal and each error on one line."""

import io
import logging
import os
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from person_reid.errors import UserError, describe_error, first_line
from person_reid.text import printable

LATER = 3  # seconds; torchrun checks ten times a second whether a process has ended
# Words of PyTorch's messages about an accelerator and about a processor.
NO_MEMORY = ("out of memory", "DefaultCPUAllocator: ")
LESS_MEMORY = (
    "A network needs less memory with a smaller --batchsize or smaller images (--height, --width), "
    "in training also with --bf16; re-ranking with a smaller --memory_gb; linking tracks with a "
    "shorter period (--after, --before)."
)
NO_THREADS = "can't start new thread"  # Python's words
MORE_THREADS = (
    "The user or the container may have no more processes and threads: "
    "raise ulimit -u or --pids-limit."
)


def fail(message: str) -> NoReturn:
    """Print an error, and exit with status 1."""
    if not said_before(message):
        print(printable(f"error: {message}"), file=sys.stderr)
    sys.exit(1)


def run_script(main: Callable[[], object]) -> None:
    """Call `main()` as a script: an error that the user can fix prints one line and exits with 1.

    Ctrl-C ends with status 130. A UserError, an OSError (no such file, disk full), or too little
    memory or too few threads prints no traceback. Any other exception is a bug and keeps its
    traceback. If the reader of the output ends, as head does, the script ends with status 1.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a file's name may hold bytes that are not text
    try:
        main()
        if sys.stdout:  # a program without a console has none
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python flushes once more when it ends
        sys.exit(1)
    except (UserError, OSError) as error:
        fail(describe_error(error))
    except (MemoryError, RuntimeError) as error:
        if str(error) == NO_THREADS:
            fail(f"{error}. {MORE_THREADS}")
        if not (isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY)):
            raise
        said = first_line(error, 1000).rstrip(".").rpartition("DefaultCPUAllocator: ")[2]
        said = ". ".join(said.split(". ")[:2])  # a GPU's message is a long paragraph
        fail(f"{said}. {LESS_MEMORY}")
    except KeyboardInterrupt:
        if "LOCAL_RANK" not in os.environ:  # else the process that started the others prints it
            print("interrupted", file=sys.stderr)
        sys.exit(130)
    finally:
        if int(os.environ.get("GROUP_WORLD_SIZE", 1)) > 1:  # else torchrun ends the others
            from person_reid.distributed import end_others  # loads torch

            end_others()


def said_before(message: str) -> bool:
    """Return whether another process that torchrun started on this machine also has this error.

    The first process creates a file beside torchrun's error files, and prints the message. The
    others wait, since torchrun ends all processes as soon as one has ended.
    """
    if not (error_file := os.environ.get("TORCHELASTIC_ERROR_FILE")):
        return False
    name = sha256(message.encode(errors="surrogateescape")).hexdigest()
    try:
        (Path(error_file).parent.parent / name).touch(exist_ok=False)
    except FileExistsError:
        time.sleep(LATER)
        return True
    except OSError:
        pass  # better printed twice than never
    return False


class Printer(logging.Handler):
    """Print remarks unchanged: information to stdout, warnings to stderr, faults in full."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record, with the traceback of an unexpected fault."""
        text = printable(record.getMessage())
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        print(text, file=sys.stderr if record.levelno > logging.INFO else sys.stdout, flush=True)


def print_remarks() -> None:
    """Print everything the library logs from now on."""
    logger = logging.getLogger("person_reid")
    if not any(isinstance(handler, Printer) for handler in logger.handlers):
        logger.addHandler(Printer())
    if logger.level == logging.NOTSET:  # else another program, or join_world, has chosen
        logger.setLevel(logging.INFO)


def report_interruption(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print an uncaught error.

    Ctrl-C while a command is being imported prints no traceback.
    """
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


if sys.excepthook is sys.__excepthook__:  # else it belongs to a program that imports this one
    sys.excepthook = report_interruption
if "OMP_WAIT_POLICY" not in os.environ:
    # On Linux, threads that wait for each other sleep after 5 microseconds. By default they spin
    # for a millisecond, and hold the core that the last thread needs if other programs run.
    # OpenMP reads this when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
