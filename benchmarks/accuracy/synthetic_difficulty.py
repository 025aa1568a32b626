# PYTHON_ARGCOMPLETE_OK
"""Measure how far colour alone gets on a data set in Market-1501's layout.

Prints Rank@1 and mAP of colour histograms.

    python benchmarks/accuracy/synthetic_difficulty.py  # draws the default data set and measures it
    python benchmarks/accuracy/synthetic_difficulty.py --data_dir ../Market-1501-v15.09.15

A network has learnt only as much as it exceeds these figures. The histograms come from
benchmarks/support/descriptors.py.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.support.descriptors import DESCRIPTORS, measure
from benchmarks.support.parser import Parser
from person_reid.console import run_script
from person_reid.synthetic.dataset import draw_data_set


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument(
        "--data_dir",
        type=Path,
        metavar="DIR",
        help="with query and bounding_box_test; generated if not given",
    )
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        data_dir = options.data_dir or Path(temporary, "synthetic")
        if not options.data_dir:
            draw_data_set(data_dir, train_identities=1)
        for name, descriptor in DESCRIPTORS.items():
            print(measure(data_dir, descriptor).line(f"{name:<21}"))


if __name__ == "__main__":
    run_script(main)
