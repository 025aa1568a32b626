# PYTHON_ARGCOMPLETE_OK
"""Write a list of wrong labels for a layout.

A share of its training images get the identity of anybody.

    python benchmarks/accuracy/wrong_labels.py --data_dir ../Market/pytorch --percent 20 \\
      --save wrong.csv
    python prepare.py --data_dir ../Market/pytorch --corrections wrong.csv \\
      --save_dir ../Market/wrong_20
    python tools/label_errors.py --data_dir ../Market/wrong_20 --from osnet_msmt17 \\
      --accept_above 0.5 --save found.csv
    python prepare.py --data_dir ../Market/wrong_20 --corrections found.csv \\
      --save_dir ../Market/mended_20
    python tools/ablation.py benchmarks/ablations/wrong_labels.yaml \\
      --weights osnet_x0_25_msmt17.pth

Together, also with 5 percent, these measure what wrong labels cost a network, and what the
proposals of tools/label_errors.py win back if all of them are accepted whose probability is at
least a half.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.accuracy.label_errors import anybody
from benchmarks.support.parser import Parser
from person_reid.console import run_script
from person_reid.data.layout import read_split
from person_reid.data.own.corrections import CORRECTION_COLUMNS
from person_reid.files import write_csv


def main(argv=None):
    """Write the list, every line of it accepted."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--data_dir",
        type=Path,
        default=Path("../Market/pytorch"),
        help="folder laid out by prepare.py",
    )
    parser.add_argument("--percent", type=float, default=5, help="share of the images")
    parser.add_argument("--save", type=Path, default=Path("wrong.csv"), help="list to write")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws others")
    options = parser.parse_args(argv)
    split = read_split(options.data_dir, "train_all")
    random = np.random.default_rng(options.seed)
    changed = anybody(None, split.labels, split.cameras, options.percent / 100, random)
    wrong = np.flatnonzero(changed != split.labels)
    paths = [split.paths[i].relative_to(options.data_dir).as_posix() for i in wrong]
    rows = (
        (path, split.labels[i], "move", changed[i], "", "yes")
        for path, i in zip(paths, wrong, strict=True)
    )
    write_csv(options.save, CORRECTION_COLUMNS, rows)
    print(f"{options.save}: {len(wrong)} of {len(changed)} labels")


if __name__ == "__main__":
    run_script(main)
