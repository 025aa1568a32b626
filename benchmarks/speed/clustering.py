# PYTHON_ARGCOMPLETE_OK
"""Measure time and memory of clustering made features as adapt.py does.

It finds neighbours, makes the sparse Jaccard graph, and runs DBSCAN.

    python benchmarks/speed/clustering.py
    python benchmarks/speed/clustering.py --images 12936 100000 --radius 0.5

Prints rows of Markdown. Each size has its own process; the peak of memory is the whole process's.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.support.measure import apart, machine, own_peak
from benchmarks.support.parser import Parser, positive
from person_reid.console import run_script
from person_reid.retrieval.clusters import dbscan, jaccard_graph

DIMENSION = 512
PER_PERSON = 17  # images, as in Market-1501's training set
CAMERAS = 6
SPREAD = 1.8  # how far a person's images lie from their mean; the means' spread is 1
HEADER = (
    "| images | pairs within the radius | graph | DBSCAN | clusters | right pairs found | peak GB |"
)


def main(argv=None):
    """Print a table with one row for each size."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--images",
        type=positive(int),
        nargs="+",
        default=[12_936, 100_000],
        help="numbers of images",
    )
    parser.add_argument("--radius", type=float, default=0.5, help="largest distance of neighbours")
    options = parser.parse_args(argv)
    print(machine(), f"{HEADER}\n|---|---|---|---|---|---|---|", sep="\n\n", flush=True)
    for count in options.images:
        print(apart(measure, count, options.radius), flush=True)


def made_features(count, seed=0):
    """Return features (count, 512) of unit length, as after a ReLU, and the person of each."""
    random = np.random.default_rng(seed)
    people = np.arange(count) // PER_PERSON
    features = SPREAD * random.standard_normal((count, DIMENSION), np.float32)
    features += random.standard_normal((people[-1] + 1, DIMENSION), np.float32)[people]
    features += (
        0.3
        * random.standard_normal((CAMERAS, DIMENSION), np.float32)[
            random.integers(0, CAMERAS, count)
        ]
    )
    np.maximum(features, 0, out=features)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return features, people


def measure(count, radius):
    """Return the row of a size."""
    features, people = made_features(count)
    began = time.perf_counter()
    graph = jaccard_graph(features, radius)
    middle = time.perf_counter()
    labels = dbscan(graph, radius)
    end = time.perf_counter()
    right = sum(
        pairs(np.unique(people[labels == cluster], return_counts=True)[1])
        for cluster in range(labels.max() + 1)
    )
    found = right / pairs(np.unique(people, return_counts=True)[1])
    peak = own_peak()
    return (
        f"| {count:,} | {graph.nnz:,} | {middle - began:.1f} s "
        f"| {end - middle:.1f} s | {labels.max() + 1:,} "
        f"| {found:.1%} | {peak:.2f} |"
    )


def pairs(sizes):
    """Return the number of pairs within groups of these sizes."""
    return (sizes * (sizes - 1) // 2).sum()


if __name__ == "__main__":
    run_script(main)
