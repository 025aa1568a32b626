"""Decode images on every core: in threads, and with many cores in other processes.

Pillow decodes and resizes without Python's global lock, but gives it up and takes it back a dozen times an image. Among
many threads, that takes longer than the decoding itself.
"""

import logging
import statistics
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import chain
from queue import SimpleQueue
from typing import Any

from person_reid.basics import UserError, in_order
from person_reid.data.decoder import AttemptAll, Load, attempt, attempt_all, start_decoders
from person_reid.data.images import Pixels
from person_reid.data.layout import some_of
from person_reid.device import available_cores

AHEAD = 512  # images decoded ahead of use, at most; they are held in memory
BATCH = 16  # images that a thread or a process decodes at a time, at most
MANY_CORES, MANY_IMAGES = 4, 1000  # from here on, processes are worth the 0.1 s that they take to start
MOST_THREADS, MOST_PROCESSES = 3, 8  # at work; this process reads the images of about six others
MOST_WAITING, SLOW = 32, 3  # threads, if an image takes longer to come from the disk than to decode
PROBES, LEAST_WORK = 4, 3e-4  # images decoded first, to see how long they wait; seconds that one takes at least
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
    probes = [_timed(load, source) for source in sources[:PROBES]]
    found, left = [each for each, _ in probes], sources[PROBES:]
    if not len(left):
        yield from found
        return
    # the first one loads Pillow's readers; the median, because another program may take the core for a moment
    patience = statistics.median(each for _, each in probes[1:])
    with _workers(load, len(left), patience) as (pool, work, count):
        size = max(1, min(BATCH, AHEAD // count, len(left) // count))
        batches = (left[start : start + size] for start in range(0, len(left), size))
        yield from found
        yield from chain.from_iterable(in_order(pool, work, batches, AHEAD // size))


def _timed(load: Load, source: Any) -> tuple[Pixels | str, float]:
    """Return what `attempt` returns, and how many images a core could decode in the time that took."""
    began, worked = time.perf_counter(), time.thread_time()
    found = attempt(load, source)
    took, worked = time.perf_counter() - began, time.thread_time() - worked
    return found, took / max(worked, LEAST_WORK)  # on Windows, the clock of a thread ticks 64 times a second


@contextmanager
def _workers(load: Load, count: int, patience: float) -> Iterator[tuple[Executor, AttemptAll, int]]:
    """Yield a pool, the function that decodes a batch there, and how many batches the pool decodes at once.

    patience: how many images a core could decode in the time that one takes: above 1 if it waits for a slow disk.
    """
    cores = available_cores()
    many = cores >= MANY_CORES and count >= MANY_IMAGES and isinstance(load, partial) and patience < SLOW
    decoders = start_decoders(load, min(cores, MOST_PROCESSES)) if many else []
    threads = min(round(patience * min(cores, MOST_THREADS)) + 1, MOST_WAITING)
    workers: Sequence[AttemptAll] = decoders or [partial(attempt_all, load)] * threads
    idle: SimpleQueue[AttemptAll] = SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def work(sources: Sequence[Any]) -> list[Pixels | str]:
        worker = idle.get()
        try:
            return worker(sources)
        finally:
            idle.put(worker)

    try:
        with ThreadPoolExecutor(len(workers)) as pool:
            yield pool, work, len(workers)
    finally:
        for decoder in decoders:
            decoder.stop()
        if failed := [decoder.failure for decoder in decoders if decoder.failure]:
            problem = "%d of %d processes that decode images failed (%s); this one did their work."
            log.warning(problem, len(failed), len(decoders), failed[0])
