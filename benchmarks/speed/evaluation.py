# PYTHON_ARGCOMPLETE_OK
"""Measure time and memory of evaluate.py as a whole, and of a loop that sorts the gallery.

    python benchmarks/speed/evaluation.py                        # synthetic features of its size
    python benchmarks/speed/evaluation.py --result pytorch_result.mat  # real features
    python benchmarks/speed/evaluation.py --sizes market msmt17 market+500k

Prints rows of Markdown. The loop is benchmarks/speed/run_reference.py.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.support.measure import SIZES, apart, describe, machine, result_files, run_process
from benchmarks.support.parser import Parser
from person_reid.console import run_script

HEADER = "| features | evaluate.py | peak GB | loop | times faster |\n|---|---|---|---|---|"


def main(argv=None):
    """Print a table with one row for each size."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--sizes", nargs="+", choices=SIZES, default=["market"], help="of synthetic features"
    )
    parser.add_argument(
        "--result", type=Path, help="measure this file instead of synthetic features"
    )
    options = parser.parse_args(argv)
    print(machine(), HEADER, sep="\n\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for path in result_files(options, folder):
            print(row(path), flush=True)


def row(path):
    """Return the table row for the features in the file `path`."""
    name, _ = apart(describe, path)
    seconds, peak, line = min(run_process("evaluate.py", "--result", path) for _ in range(3))
    slow, _, expected = run_process("benchmarks/speed/run_reference.py", "evaluate", path)
    if line != expected:
        print(f"{line}\n{expected}: the loop differs", file=sys.stderr)
    cells = [name, f"{seconds:.2f} s", f"{peak:.2f}", f"{slow:.1f} s", f"{slow / seconds:.0f}×"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    run_script(main)
