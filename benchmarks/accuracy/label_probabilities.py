# PYTHON_ARGCOMPLETE_OK
"""Compare the probabilities of tools/label_errors.py with the truth.

Labels are changed, and its proposals counted.

    python tools/label_errors.py --data_dir ../Market/pytorch --from osnet_msmt17 --save osnet.csv
    python benchmarks/accuracy/label_probabilities.py osnet.mat random.npz --seeds 5

Each file holds features, labels and cameras of people by a network. It is written by
tools/label_errors.py, or is an .npz file with arrays of these names, for networks that the tool
refuses. Prints a row of Markdown for each network and kind of change: the mean probability, the
share of proposals that was right, and how many there were. A proposal is right if the label was
changed and the proposed identity is the former one.
"""

import logging
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.accuracy.label_errors import anybody, look_alike
from benchmarks.support.parser import Parser, positive
from person_reid.console import run_script
from person_reid.errors import UserError
from person_reid.retrieval.label_errors import label_errors
from person_reid.retrieval.results import load_gallery

BINS = (0.3, 0.5, 0.7, 0.9, 1)
CHANGES = {"none": (anybody, 0), "5 % anybody": (anybody, 0.05), "20 % anybody": (anybody, 0.2)}
CHANGES["5 % look-alike"] = look_alike, 0.05


def main(argv=None):
    """Print the table."""
    parser = Parser(__doc__)
    parser.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="features, as .mat or .npz"
    )
    parser.add_argument(
        "--seeds", type=positive(int), default=5, help="number of draws of each kind of change"
    )
    options = parser.parse_args(argv)
    logging.disable(logging.WARNING)
    ranges = [f"{low} to {high}" for low, high in pairwise(BINS)]
    print(
        f"| features | Rank@1 | labels changed | {' | '.join(ranges)} |\n"
        f"|{'---|' * (3 + len(ranges))}",
        flush=True,
    )
    for file in options.files:
        features, labels, cameras = read(file)
        first = rank1(features, labels, cameras)
        for kind, change in CHANGES.items():
            cells = row(features, labels, cameras, *change, options.seeds if change[1] else 1)
            print(
                f"| {file.stem} | {100 * first:.0f} % | {kind} | {' | '.join(cells)} |", flush=True
            )


def read(file):
    """Return features (N, D) of unit length, labels and cameras (N,)."""
    if file.suffix == ".npz":
        stored = np.load(file)
        features, labels, cameras = (stored[name] for name in ("features", "labels", "cameras"))
    else:
        images = load_gallery(file)
        features = images.features
    labels = images.labels
    cameras = images.cameras
    return features / np.linalg.norm(features, axis=1, keepdims=True), labels, cameras


def rank1(features, labels, cameras):
    """Return the share of images whose nearest image from another camera shows the same person."""
    similarities = np.where(cameras[:, None] == cameras, -np.inf, features @ features.T)
    return (labels[similarities.argmax(axis=1)] == labels).mean()


def row(features, labels, cameras, change, share, seeds):
    """Return the cells of a network and a kind of change."""
    each_said, each_right = [], []
    for seed in range(seeds):
        changed = change(features, labels, cameras, share, np.random.default_rng(seed))
        try:
            found = label_errors(features, changed, cameras)
        except UserError:
            return ["refused"] * (len(BINS) - 1)
        each_said.append(found.probability)
        each_right.append((changed != labels) & (found.identity == labels))
    said, right = np.concatenate(each_said), np.concatenate(each_right)
    inside = [(said >= low) & (said < high) for low, high in pairwise(BINS)]
    return [
        f"{said[i].mean():.2f}: {right[i].mean():.2f} ({i.sum()})" if i.any() else "-"
        for i in inside
    ]


if __name__ == "__main__":
    run_script(main)
