"""Decode images on every core: in threads, and with many cores in other processes.

Pillow decodes and resizes without Python's global lock, but gives it up and takes it back a dozen times an image. Among
many threads, that takes longer than the decoding itself. This module imports neither torch nor anything that does.
"""

import logging
import os
import pickle
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain
from queue import SimpleQueue
from typing import Any

from PIL import UnidentifiedImageError

from person_reid.basics import UserError, first_line, importable, in_order
from person_reid.data.images import Pixels, refuse_large_images
from person_reid.data.layout import some_of

AHEAD = 512  # images decoded ahead of use, at most; they are held in memory
BATCH = 16  # images that a thread or a process decodes at a time, at most
MANY_CORES, MANY_IMAGES = 4, 1000  # from here on, processes are worth the 0.1 s that they take to start
MOST_THREADS, MOST_PROCESSES = 3, 8  # at work; this process cannot read the images of more than eight others
MOST_WAITING, SLOW = 32, 3  # threads, if an image takes longer to come from the disk than to decode
PROBES, LEAST_WORK = 4, 3e-4  # images decoded first, to see how long they wait; seconds that one takes at least
# without the working folder, in which a file may have the name of a module
SERVE = f"import sys; sys.path = [*filter(None, sys.path)]; from {__name__} import serve; serve()"
Load = Callable[[Any], Pixels]
AttemptAll = Callable[[Sequence[Any]], list[Pixels | str]]
log = logging.getLogger(__name__)


def decode(sources: Sequence[Any], load: Load) -> Generator[Pixels, None, None]:
    """Yield load(source) for each source, in order, while others work on the next AHEAD sources.

    load: called in threads; a functools.partial of a module's function may also be called in other processes.

    After a failure nothing more is yielded, since work on the images would be lost; the remaining sources are still
    tried, so that one UserError names all that fail.
    """
    wrong: list[str] = []
    for found in _attempts(sources, load) if len(sources) else ():
        if isinstance(found, str):
            wrong.append(found)
        elif not wrong:
            yield found
    if wrong:
        raise UserError(
            f"{len(wrong)} of {len(sources)} images cannot be read. Replace or remove them, then run again:\n"
            + some_of(wrong)
        )


def _attempts(sources: Sequence[Any], load: Load) -> Iterator[Pixels | str]:
    """Yield load(source), or why that fails, for each source."""
    found, took, worked = zip(*(_timed(load, source) for source in sources[:PROBES]), strict=True)
    left = sources[PROBES:]
    if not len(left):
        yield from found
        return
    # the first one loads Pillow's readers; on Windows, the clock of a thread ticks 64 times a second
    patience = sum(took[1:]) / max(sum(worked[1:]), LEAST_WORK * len(worked[1:]))
    with _workers(load, len(left), patience) as (pool, attempt_all, count):
        size = max(1, min(BATCH, AHEAD // count, len(left) // count))
        batches = (left[start : start + size] for start in range(0, len(left), size))
        yield from found
        yield from chain.from_iterable(in_order(pool, attempt_all, batches, AHEAD // size))


def _timed(load: Load, source: Any) -> tuple[Pixels | str, float, float]:
    """Return what _attempt returns, the seconds it took, and those of them in which it did not wait for the file."""
    began, worked = time.perf_counter(), time.thread_time()
    return _attempt(load, source), time.perf_counter() - began, time.thread_time() - worked


@contextmanager
def _workers(load: Load, count: int, patience: float) -> Iterator[tuple[Executor, AttemptAll, int]]:
    """Yield a pool, the function that decodes a batch there, and how many batches the pool decodes at once.

    patience: how many images a core could decode in the time that one takes, most of which it waits for a slow disk.
    """
    cores = available_cores()
    many = cores >= MANY_CORES and count >= MANY_IMAGES and isinstance(load, partial) and patience < SLOW
    decoders = _start_decoders(load, min(cores, MOST_PROCESSES)) if many else []
    threads = min(round(patience * min(cores, MOST_THREADS)) + 1, MOST_WAITING)
    workers: Sequence[AttemptAll] = decoders or [partial(_attempt_all, load)] * threads
    idle: SimpleQueue[AttemptAll] = SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def attempt_all(sources: Sequence[Any]) -> list[Pixels | str]:
        worker = idle.get()
        try:
            return worker(sources)
        finally:
            idle.put(worker)

    try:
        with ThreadPoolExecutor(len(workers)) as pool:
            yield pool, attempt_all, len(workers)
    finally:
        for decoder in decoders:
            decoder.stop()
        if failed := [decoder.failure for decoder in decoders if decoder.failure]:
            problem = "%d of %d processes that decode images failed (%s); this one did their work."
            log.warning(problem, len(failed), len(decoders), failed[0])


def _start_decoders(load: Load, number: int) -> "list[_Decoder]":
    """Return so many processes, or none if the system does not allow all of them and the open files they need."""
    decoders: list[_Decoder] = []
    if getattr(sys, "frozen", False) or not sys.executable:  # a packed program would start itself again and again
        return decoders
    try:
        for _ in range(number):
            decoders.append(_Decoder(load))
    except OSError:
        while decoders:
            decoders.pop().stop()
    return decoders


def available_cores() -> int:
    """Return how many cores this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _attempt(load: Load, source: Any) -> Pixels | str:
    """Return load(source), or why that fails."""
    try:
        return load(source)
    except Exception as error:  # decoders fail in many ways, and every failure means the same here
        return f"{source}: {_reason(error)}"


def _attempt_all(load: Load, sources: Sequence[Any]) -> list[Pixels | str]:
    return [_attempt(load, source) for source in sources]


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    return getattr(error, "strerror", None) or first_line(error)


class _Decoder:
    """A process that calls `load`, and needs no guard around the main program, as those of multiprocessing do.

    It ends with this process, however that ends, and a Ctrl-C in the terminal does not reach it. It says nothing,
    because whatever it cannot do is done again in this process.
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
        if not self.failure:  # after which it might still answer what it was asked before
            try:
                pickle.dump((self.load, sources), self.requests)
                self.requests.flush()
                found = pickle.load(self.answers)
            except (OSError, EOFError):  # it could not start, was killed, or does not know the class of a source
                self.failure = "ended early"
            except Exception as error:  # the sources cannot be sent
                self.failure = first_line(error)
        return [
            _attempt(self.load, source) if pixels is None else pixels
            for source, pixels in zip(sources, found, strict=True)
        ]

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        with suppress(OSError):  # what it did not read any more
            self.requests.close()
        self.answers.close()
        self.process.wait()


def serve() -> None:
    """Read a function and sources from standard input; write what the function makes of each; and so on.

    None stands for a source that the other process has to try itself: one that failed, one of which Pillow warns, since
    the filters of that process decide what a warning does, or a large image, of which only one is decoded at a time.
    """
    refuse_large_images()
    warnings.filterwarnings("error", append=True)  # those that Python shows
    with suppress(OSError, EOFError):  # the other process has ended
        while True:
            load, sources = pickle.load(sys.stdin.buffer)
            found = [None if isinstance(each, str) else each for each in _attempt_all(load, sources)]
            pickle.dump(found, sys.stdout.buffer)
            sys.stdout.buffer.flush()
