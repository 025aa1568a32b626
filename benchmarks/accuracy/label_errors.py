# PYTHON_ARGCOMPLETE_OK
"""Measure how many wrong labels tools/label_errors.py finds.

Known labels are changed, and looked for.

    python benchmarks/accuracy/label_errors.py --result features.npz
    python benchmarks/accuracy/label_errors.py --result features.npz --share 0.2 --seeds 3

features.npz holds features (N, D), labels (N,) and cameras (N,) of images whose labels are right,
by a network that was not trained on them. Without it, features are made. Prints rows of Markdown.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.speed.clustering import CAMERAS, made_features
from benchmarks.support.measure import machine
from benchmarks.support.parser import Parser, fraction, positive
from person_reid.console import run_script
from person_reid.retrieval.label_errors import label_errors
from person_reid.retrieval.neighbours import ExactNeighbours

LISTED = (0.3, 0.5)
HEADER = "| wrong labels | number | {} | precision at 60 % recall | at 90 % | time |".format(
    " | ".join(f"listed at ≥ {least:g}: images, recall, precision" for least in LISTED)
)


def main(argv=None):
    """Print a table with a row for each kind of error and seed."""
    parser = Parser(__doc__)
    parser.add_argument("--result", type=Path, help="features, labels and cameras as an .npz file")
    parser.add_argument(
        "--images",
        type=positive(int),
        default=4000,
        help="number of made features without --result",
    )
    parser.add_argument("--share", type=fraction, default=0.05, help="share of labels to change")
    parser.add_argument("--seeds", type=positive(int), default=2, help="number of draws")
    options = parser.parse_args(argv)
    if options.result:
        stored = np.load(options.result)
        features, labels, cameras = (stored[name] for name in ("features", "labels", "cameras"))
    else:
        features, labels = made_features(options.images)
        labels, cameras = labels + 1, np.random.default_rng(1).integers(0, CAMERAS, options.images)
    print(machine(), f"{HEADER}\n|{'---|' * (5 + len(LISTED))}", sep="\n\n", flush=True)
    print(row("none", features, labels, labels, cameras), flush=True)
    for kind, change in MISTAKES.items():
        for seed in range(options.seeds):
            changed = change(features, labels, cameras, options.share, np.random.default_rng(seed))
            print(row(kind, features, labels, changed, cameras), flush=True)


def anybody(features, labels, cameras, share, random):
    """Return labels, a share of which names another person at random."""
    changed, names = labels.copy(), np.unique(labels)
    for image in random.choice(len(labels), round(share * len(labels)), replace=False):
        changed[image] = random.choice(names[names != labels[image]])
    return changed


def look_alike(features, labels, cameras, share, random):
    """Return labels, a share of which names the person in the most similar other image."""
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

    Each is used in half of the cameras.
    """
    changed, names = labels.copy(), np.unique(labels)
    for person in random.choice(names, round(share * len(names)), replace=False):
        half = np.unique(cameras[labels == person])[1::2]
        changed[(labels == person) & np.isin(cameras, half)] = names[-1] + person
    return changed


def mixed(features, labels, cameras, share, random):
    """Return labels in which a share of the people include somebody else.

    Another camera saw that person.
    """
    changed, names = labels.copy(), np.unique(labels)
    for person in random.choice(names, round(share * len(names)), replace=False):
        camera = random.choice(cameras[labels == person])
        seen = np.unique(labels[cameras == camera])
        if len(free := np.setdiff1d(names, seen)):
            changed[(labels == person) & (cameras == camera)] = random.choice(free)
    return changed


MISTAKES = {
    "anybody": anybody,
    "look-alike": look_alike,
    "identity cut in two": cut,
    "a camera saw another": mixed,
}


def row(kind, features, labels, changed, cameras):
    """Return the row of a kind of error.

    Either half of an identity that was cut in two may be listed.
    """
    bad = labels != changed
    if kind == "identity cut in two":
        bad = np.isin(labels, labels[bad])
    began = time.perf_counter()
    found = label_errors(features, changed, cameras)
    seconds = time.perf_counter() - began
    right = np.cumsum(bad[found.order])
    cells = [kind, f"{bad.sum():,}"]
    for least in LISTED:
        listed = found.probability >= least
        hits = (listed & bad).sum()
        cells.append(
            f"{listed.sum():,}, {hits / max(bad.sum(), 1):.2f}, {hits / max(listed.sum(), 1):.2f}"
        )
    for recall in (0.6, 0.9):
        at = np.searchsorted(right, recall * bad.sum())
        cells.append(f"{right[at] / (at + 1):.2f}" if bad.any() else "-")
    return f"| {' | '.join([*cells, f'{seconds:.1f} s'])} |"


if __name__ == "__main__":
    run_script(main)
