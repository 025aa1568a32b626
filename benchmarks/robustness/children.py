"""Run a function in a forked child, which starts in milliseconds. POSIX only."""

import multiprocessing
import os
import sys
import tempfile
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """How a child ended.

    status: its exit status, or minus the number of the signal that ended it; None if it hung.
    """

    status: int | None
    output: str


def run(function, folder, seconds=30.0):
    """Call function() in a child, in `folder`, and return its Outcome."""
    with tempfile.TemporaryFile("w+", errors="replace") as output:

        def child():
            os.chdir(folder)
            sys.stdout = sys.stderr = output
            function()

        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join(seconds)
        status = process.exitcode
        process.kill()
        process.join()
        output.seek(0)
        return Outcome(status, output.read())
