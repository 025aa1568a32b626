# PYTHON_ARGCOMPLETE_OK
"""Measure how many wrong labels tools/label_errors.py finds, and whether its probabilities hold.

It changes correct labels, and then searches for the changes.

    python tools/label_errors.py --data_dir ../Market/pytorch --from osnet_msmt17 --save osnet.csv
    python benchmarks/accuracy/label_errors.py osnet.mat
    python benchmarks/accuracy/label_errors.py osnet.mat --share 0.2 --seeds 3

osnet.mat holds features, labels and cameras of correctly labelled images, from a network that was
not trained on them; tools/label_errors.py writes it. Prints two tables in Markdown. The second has,
for each kind of change that the tool proposes to undo, the mean probability of the proposals, the
share that name the original identity, and their number.
"""

import logging
import sys
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.support.measure import machine
from benchmarks.support.parser import Parser, fraction, positive
from person_reid.console import run_script
from person_reid.retrieval.label_errors import label_errors
from person_reid.retrieval.neighbours import ExactNeighbours
from person_reid.retrieval.results import load_gallery
from person_reid.retrieval.similarity import unit_rows
from person_reid.text import markdown_table

LISTED = (0.3, 0.5)
BINS = (0.3, 0.5, 0.7, 0.9, 1)


def main(argv=None):
    """Print both tables."""
    parser = Parser(__doc__)
    parser.add_argument("features", metavar="FEATURES.mat", help="features, labels and cameras")
    parser.add_argument("--share", type=fraction, default=0.05, help="share of labels to change")
    parser.add_argument("--seeds", type=positive(int), default=2, help="number of draws")
    options = parser.parse_args(argv)
    logging.disable(logging.WARNING)
    images = load_gallery(options.features)
    known = unit_rows(images.features), images.labels, images.cameras
    rows, cells = [], []
    for kind, change in MISTAKES.items():
        draws = [
            row(kind, *known, change(*known, options.share, np.random.default_rng(seed)))
            for seed in range(options.seeds)
        ]
        rows += [first for first, _ in draws]
        cells.append([kind, *shares(*np.concatenate([each for _, each in draws], axis=1))])
    listed = [f"listed at ≥ {least:g}: images, recall, precision" for least in LISTED]
    print(machine(), markdown_table(["changed to", "number", *listed], rows), sep="\n\n")
    print(markdown_table(["changed to", *(f"{a} to {b}" for a, b in pairwise(BINS))], cells[:2]))


def anybody(features, labels, cameras, share, random):
    """Return the labels, a share of them replaced with the labels of random other people."""
    changed, names = labels.copy(), np.unique(labels)
    for image in random.choice(len(labels), round(share * len(labels)), replace=False):
        changed[image] = random.choice(names[names != labels[image]])
    return changed


def look_alike(features, labels, cameras, share, random):
    """Return the labels, a share of them replaced with the most similar other person's label."""
    near = (
        ExactNeighbours()
        .search(features, features, min(101, len(labels)), itself=True)
        .indices[:, 1:]
    )
    changed = labels.copy()
    for image in random.choice(len(labels), round(share * len(labels)), replace=False):
        others = near[image][labels[near[image]] != labels[image]]
        changed[image] = labels[others[0]] if len(others) else labels[image]
    return changed


def cut(features, labels, cameras, share, random):
    """Return labels in which a share of the people have two identities.

    Each identity is used in half of the cameras.
    """
    changed, names = labels.copy(), np.unique(labels)
    for person in random.choice(names, round(share * len(names)), replace=False):
        half = np.unique(cameras[labels == person])[1::2]
        changed[(labels == person) & np.isin(cameras, half)] = names[-1] + person
    return changed


def mixed(features, labels, cameras, share, random):
    """Return labels in which a share of the identities include images of another person.

    These images come from another camera.
    """
    changed, names = labels.copy(), np.unique(labels)
    for person in random.choice(names, round(share * len(names)), replace=False):
        camera = random.choice(cameras[labels == person])
        seen = np.unique(labels[cameras == camera])
        if len(free := np.setdiff1d(names, seen)):
            changed[(labels == person) & (cameras == camera)] = random.choice(free)
    return changed


MISTAKES = {
    "anybody": anybody, "look-alike": look_alike, "identity cut in two": cut,
    "a camera saw another": mixed,
}  # fmt: skip


def row(kind, features, labels, cameras, changed):
    """Return a draw's table cells, and (2, N): each proposal's probability and correctness.

    Either half of an identity that was cut in two may be listed.
    """
    bad = labels != changed
    if kind == "identity cut in two":
        bad = np.isin(labels, labels[bad])
    found = label_errors(features, changed, cameras)
    cells = [kind, f"{bad.sum():,}"]
    for least in LISTED:
        listed = found.probability >= least
        hits = (listed & bad).sum()
        cells.append(f"{listed.sum():,}, {hits / bad.sum():.2f}, {hits / max(listed.sum(), 1):.2f}")
    right = (changed != labels) & (found.identity == labels)
    return cells, np.stack([found.probability, right])


def shares(said, right):
    """Return `mean probability: share right (number)` for each bin, such as `0.40: 0.19 (188)`."""
    inside = [(said >= low) & (said < high) for low, high in pairwise(BINS)]
    return [
        f"{said[i].mean():.2f}: {right[i].mean():.2f} ({i.sum()})" if i.any() else "-"
        for i in inside
    ]


if __name__ == "__main__":
    run_script(main)
