# PYTHON_ARGCOMPLETE_OK
"""Measure evaluate.py and its metric: time and memory.

Beside them run a loop that sorts the gallery, and the metric's bare matrix product.

    python benchmarks/speed/evaluation.py                        # made-up features of its size
    python benchmarks/speed/evaluation.py --result pytorch_result.mat  # real features
    python benchmarks/speed/evaluation.py --sizes market msmt17 market+500k --no_reference
    python benchmarks/speed/evaluation.py --before ../earlier  # the start, beside another checkout

Prints rows of Markdown. Peak memory is the whole process's. "features" is the content of the
file, of which a process needs one copy. The loop is benchmarks/speed/run_reference.py.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.support.measure import (
    ROOT,
    SIZES,
    apart,
    best,
    describe,
    machine,
    result_files,
    run_process,
)
from benchmarks.support.parser import Parser
from person_reid.console import run_script
from person_reid.retrieval.metrics import evaluate
from person_reid.retrieval.results import load_result
from person_reid.retrieval.similarity import chunks

HEADER = (
    "| features | GB | evaluate.py | peak GB | loop | times faster | matrix product | metric "
    "| ratio |\n|---|---|---|---|---|---|---|---|---|"
)


def main(argv=None):
    """Print a table with one row for each size."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--sizes",
        nargs="+",
        choices=SIZES,
        default=["market"],
        help="sizes of the made-up features",
    )
    parser.add_argument("--result", type=Path, help="measure this file instead of made-up features")
    parser.add_argument(
        "--no_reference", action="store_true", help="leave out the loop, which takes minutes"
    )
    parser.add_argument(
        "--before",
        type=Path,
        metavar="FOLDER",
        help="compare the start of evaluate.py with this one's",
    )
    options = parser.parse_args(argv)
    if options.before:
        start(options.before)
        return
    print(machine(), HEADER, sep="\n\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for path in result_files(options, folder):
            print(row(path, options.no_reference), flush=True)


def start(before):
    """Print the processor seconds that evaluate.py takes to its first line.

    This checkout and another one take turns.
    """
    times: dict = {ROOT: [], before.resolve(): []}
    for folder in [*times] * 15:
        earlier = os.times()
        subprocess.run(
            [sys.executable, str(folder / "evaluate.py"), "--help"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        now = os.times()
        times[folder].append(
            now.children_user
            + now.children_system
            - earlier.children_user
            - earlier.children_system
        )
    here, there = map(statistics.median, times.values())
    print(
        f"{machine()}: evaluate.py starts in {here:.3f} s, there in {there:.3f} s of "
        f"processor time: {here / there:.2f}"
    )


def row(path, no_reference):
    """Return the table row for the features in the file `path`."""
    name, gigabytes = apart(describe, path)
    product, metric = apart(in_memory, path)
    seconds, peak, line = min(run_process("evaluate.py", "--result", path) for _ in range(3))
    cells = [name, f"{gigabytes:.2f}", f"{seconds:.2f} s", f"{peak:.2f}"]
    if no_reference:
        cells += ["", ""]
    else:
        slow, _, expected = run_process("benchmarks/speed/run_reference.py", "evaluate", path)
        if line != expected:
            print(f"{line}\n{expected}: the loop differs", file=sys.stderr)
        cells += [f"{slow:.1f} s", f"{slow / seconds:.0f}×"]
    cells += [f"{product:.3f} s", f"{metric:.3f} s", f"{metric / product:.2f}"]
    return f"| {' | '.join(cells)} |"


def in_memory(path):
    """Return the seconds of the bare matrix product of features, and of the whole metric.

    path: the file of the features.
    """
    query, gallery = load_result(path)

    def multiply():
        for start, stop in chunks((len(query), len(gallery))):
            query.features[start:stop] @ gallery.features.T

    return best(multiply), best(lambda: evaluate(query, gallery))


if __name__ == "__main__":
    run_script(main)
