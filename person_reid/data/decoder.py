"""A process that decodes images for this one.

It has to start in 0.1 s, so this module imports neither torch nor anything that does.
"""

import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from PIL import UnidentifiedImageError

from person_reid.basics import first_line, importable
from person_reid.data.images import Pixels, refuse_large_images

# without the working folder, in which a file may have the name of a module
SERVE = f"import sys; sys.path = [*filter(None, sys.path)]; from {__name__} import serve; serve()"
Load = Callable[[Any], Pixels]
AttemptAll = Callable[[Sequence[Any]], list[Pixels | str]]


def attempt(load: Load, source: Any) -> Pixels | str:
    """Return load(source), or why that fails."""
    try:
        return load(source)
    except Exception as error:  # decoders fail in many ways, and every failure means the same here
        return f"{source}: {_reason(error)}"


def attempt_all(load: Load, sources: Sequence[Any]) -> list[Pixels | str]:
    """Return what `attempt` returns of each source."""
    return [attempt(load, source) for source in sources]


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    return getattr(error, "strerror", None) or first_line(error)


class Decoder:
    """A process that calls `load`, and needs no guard around the main program, as those of multiprocessing do.

    It ends with this process, however that ends, and a Ctrl-C in the terminal does not reach it. Its messages are
    discarded, because this process repeats whatever it cannot do.
    """

    def __init__(self, load: Load) -> None:
        self.load, self.failure = load, ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | importable() | {"OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,  # so that it gets no Ctrl-C; on Windows, where it would share the console:
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        assert self.process.stdin and self.process.stdout, "both are pipes"
        self.requests, self.answers = self.process.stdin, self.process.stdout

    def __call__(self, sources: Sequence[Any]) -> list[Pixels | str]:
        """Return load(source) of each, or why that fails. What the other process cannot do is tried in this one."""
        found: list[Pixels | None] = [None] * len(sources)
        if not self.failure:  # after a failure, it might still answer an earlier question
            try:
                pickle.dump((self.load, sources), self.requests)
                self.requests.flush()
                found = pickle.load(self.answers)
            except (OSError, EOFError):  # it could not start, was killed, or does not know the class of a source
                self.failure = "ended early"
            except Exception as error:  # the sources cannot be sent
                self.failure = first_line(error)
        return [
            attempt(self.load, source) if pixels is None else pixels
            for source, pixels in zip(sources, found, strict=True)
        ]

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        with suppress(OSError):  # closing writes what is left in the buffer
            self.requests.close()
        self.answers.close()
        self.process.wait()


def start_decoders(load: Load, number: int) -> "list[Decoder]":
    """Return `number` processes, or none if the system does not allow all of them and the open files they need."""
    decoders: list[Decoder] = []
    if getattr(sys, "frozen", False) or not sys.executable:  # a packed program would start itself again and again
        return decoders
    try:
        for _ in range(number):
            decoders.append(Decoder(load))
    except OSError:
        while decoders:
            decoders.pop().stop()
    return decoders


def serve() -> None:
    """Read a function and sources from standard input, write what the function returns for each, and start over.

    None stands for a source that the other process has to try itself: one that failed, one that Pillow warns of, since
    the filters of that process decide what a warning does, or a large image, of which only one is decoded at a time.
    """
    refuse_large_images()
    warnings.simplefilter("error")
    for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", kind)  # Python does not show them
    with suppress(OSError, EOFError):  # the other process has ended
        while True:
            load, sources = pickle.load(sys.stdin.buffer)
            found = [None if isinstance(each, str) else each for each in attempt_all(load, sources)]
            pickle.dump(found, sys.stdout.buffer)
            sys.stdout.buffer.flush()
