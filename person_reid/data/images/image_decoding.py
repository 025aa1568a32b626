"""Decode images in threads, ahead of their use.

Pillow releases Python's global lock while it decodes and resizes.
"""

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from person_reid.data.images.image_files import CONVERSION, TOO_DEEP, Pixels, attempted, load_image
from person_reid.data.layout import some_of
from person_reid.errors import UserError

log = logging.getLogger(__name__)
AHEAD = 512  # images decoded ahead of use, at most; they are held in memory
# Two cores need fewer threads, but files may arrive slowly. Many more would wait for Python's lock.
THREADS = 6
Item = TypeVar("Item")
Result = TypeVar("Result")
Load = Callable[[Any], Pixels]


def in_order(
    pool: Executor, work: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """Yield work(item) in order, while the pool works on the next `ahead` items.

    Items whose work has not begun when the caller stops are dropped.
    """
    left = iter(items)
    running = deque(pool.submit(work, item) for item in islice(left, ahead))
    try:
        while running:
            done = running.popleft().result()
            running.extend(pool.submit(work, item) for item in islice(left, 1))
            yield done
    finally:
        for future in running:
            future.cancel()


def decode(sources: Sequence[Any], load: Load) -> Generator[Pixels, None, None]:
    """Yield load(source) for each source, in order, while threads work on the next AHEAD sources.

    After a failure, nothing more is yielded, because work on the images would be lost; the
    remaining sources are still tried, so that one UserError lists all that fail.
    """
    wrong: list[str] = []
    with ThreadPoolExecutor(THREADS) as pool:
        for found in in_order(pool, partial(attempted, load), sources, AHEAD):
            if isinstance(found, str):
                wrong.append(found)
            elif not wrong:
                yield found
    if wrong:
        advice = f"\n{CONVERSION}" if any(line.endswith(TOO_DEEP) for line in wrong) else ""
        raise UserError(
            f"{len(wrong)} of {len(sources)} images cannot be read. "
            f"Replace or remove them, then run again:\n{some_of(wrong)}{advice}"
        )


def decodable(sources: Sequence[Path]) -> list[Path]:
    """Return the images that can be decoded, for --skip_unreadable. The log lists the others."""
    with ThreadPoolExecutor(THREADS) as pool:
        look = partial(load_image, height=16, width=16)
        looked_at = in_order(pool, partial(attempted, look), sources, AHEAD)
        wrong = {
            path: found
            for path, found in zip(sources, looked_at, strict=True)
            if isinstance(found, str)
        }
    if wrong:
        log.warning(
            "Skipped, because they cannot be read: %d.\n%s",
            len(wrong),
            some_of(list(wrong.values())),
        )
    return [path for path in sources if path not in wrong]
