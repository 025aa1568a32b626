"""Progress bars: tqdm's on a terminal, and one line per minute in a log file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from threading import RLock
from typing import Any

from tqdm import tqdm

LINE_EVERY = 60  # seconds between two lines of progress in a log file
PROGRESS_LINE = "{desc}: {n_fmt} of {total_fmt}, {rate_fmt}, {remaining} left{postfix}"
# tqdm's own lock is for several processes. Where processes are not forked, it starts another one,
# which warns of a leak after a signal.
tqdm.set_lock(RLock())


def progress(iterable: Iterable[Any] | None = None, **options: Any) -> tqdm[Any]:
    """Return a tqdm bar on a terminal, and elsewhere a bar that writes one line per minute.

    A log file holds lines, not bars. If several processes work together, only the first shows its
    progress. With an empty desc, nothing is shown.
    """
    if sys.stderr is None:  # in a program without a console
        return tqdm(iterable, disable=True, **options)
    if sys.stderr.isatty():
        options |= {"dynamic_ncols": True}
    else:
        seconds = dict.fromkeys(("delay", "mininterval", "maxinterval"), LINE_EVERY)
        options |= {"file": _Lines(), "bar_format": PROGRESS_LINE, **seconds}
    silent = os.environ.get("RANK", "0") != "0" or options.get("desc") == ""
    return tqdm(iterable, leave=False, disable=silent, **options)


class _Lines:
    """A stream that ends each update of a bar with a newline instead of overwriting it."""

    def write(self, text: str) -> None:
        if state := text.strip():
            sys.stderr.write(f"{state}\n")

    def flush(self) -> None:
        """Do nothing: stderr writes every line at once."""
