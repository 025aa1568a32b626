# PYTHON_ARGCOMPLETE_OK
"""Compare time and memory of evaluate_rerank.py and of a dense implementation of the paper.

Each runs in its own process.

    python benchmarks/speed/reranking.py                         # synthetic features of its size
    python benchmarks/speed/reranking.py --result pytorch_result.mat  # real features
    python benchmarks/speed/reranking.py --sizes msmt17 --no_reference
    python benchmarks/speed/reranking.py --gpu_ids 0

Prints rows of Markdown. The dense algorithm (benchmarks/speed/run_reference.py) needs 9 GB at
Market-1501's size; --no_reference skips it.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.support.measure import SIZES, apart, describe, machine, result_files, run_process
from benchmarks.support.parser import Parser
from person_reid.console import run_script

METHODS = ("k-reciprocal", "gnn", "aqe")


def main(argv=None):
    """Print a table with one row for each method and size."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--sizes",
        nargs="+",
        choices=SIZES,
        default=["market"],
        help="sizes of the synthetic features",
    )
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, help="only these")
    parser.add_argument(
        "--result", type=Path, help="measure this file instead of synthetic features"
    )
    parser.add_argument("--no_reference", action="store_true", help="leave out the dense algorithm")
    parser.add_argument(
        "--times", type=int, default=1, help="how often to run each; the fastest counts"
    )
    parser.add_argument("--gpu_ids", default="-1", help="passed to evaluate_rerank.py")
    options = parser.parse_args(argv)
    print(
        machine(),
        "| features | method | time | peak GB | result |\n|---|---|---|---|---|",
        sep="\n\n",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        for path in result_files(options, folder):
            measure(path, options)


def measure(path, options):
    """Print the rows of one file."""
    name, _ = apart(describe, path)
    times = {}
    for method in options.methods:
        flags = ("--result", path, "--method", method, "--gpu_ids", options.gpu_ids)
        times[method], peak, line = min(
            run_process("evaluate_rerank.py", *flags) for _ in range(options.times)
        )
        print(f"| {name} | {method} | {times[method]:.1f} s | {peak:.2f} | {line} |", flush=True)
    if not options.no_reference:
        slow, peak, line = run_process("benchmarks/speed/run_reference.py", "k-reciprocal", path)
        ratio = f" ({slow / times['k-reciprocal']:.1f}×)" if "k-reciprocal" in times else ""
        print(
            f"| {name} | dense k-reciprocal | {slow:.1f} s{ratio} | {peak:.2f} | {line} |",
            flush=True,
        )


if __name__ == "__main__":
    run_script(main)
