# PYTHON_ARGCOMPLETE_OK
"""Measure the accuracy that smaller features cost a search among synthetic distractors.

Prints Rank@1, mAP and recall for each kind of code.

    python benchmarks/gallery/codes.py --result market.mat
    python benchmarks/gallery/codes.py --result market.mat --distractors 0 500000 5000000 \\
      --folder /scratch

The gallery of a test set and the distractors are indexed, and some queries, spread evenly, are
answered with their DEPTH nearest images; an image at a later rank counts as not found. Distractors
are people of about ten images each, drawn from a Gaussian: their means scatter as the means of the
gallery's people do, and their images as the images of one person. The first row for each number of
distractors is an exact search in float32, the reference for recall. The others search with inverted
lists, even in a gallery that a search would compare exhaustively. Prints rows of a Markdown table.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.gallery.search import CHUNK, IMAGES, NEIGHBOURS, timed
from benchmarks.support.measure import machine
from benchmarks.support.parser import Parser, positive
from person_reid.config.search import CODE_NAMES
from person_reid.console import run_script
from person_reid.gallery import index as gallery_index
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.inverted_lists import delete_lists
from person_reid.progress import progress
from person_reid.retrieval.neighbours import nearest_of_chunks, overlap
from person_reid.retrieval.results import load_result
from person_reid.retrieval.similarity import unit_rows

DEPTH = 100
HEADER = "| distractors | codes | Rank@1 | mAP | recall | the lists | built | a query |"


def main(argv=None):
    """Print a row for each number of distractors and each kind of code."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--result", type=Path, required=True, metavar="FILE", help="features of test.py"
    )
    parser.add_argument(
        "--distractors", type=int, nargs="+", default=[0, 500_000], help="numbers of distractors"
    )
    parser.add_argument("--queries", type=positive(int), default=1000, help="queries to ask")
    parser.add_folder()
    options = parser.parse_args(argv)
    query, gallery = load_result(options.result)
    query = query.select(np.linspace(0, len(query) - 1, options.queries).astype(int))
    gallery_index.MOST_COMPARED = 0
    print(f"{machine()}\n\n{HEADER}\n|{'---|' * 8}", flush=True)
    for count in options.distractors:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            compare(Path(folder) / "people.index", query, gallery, count)


def compare(file, query, gallery, count):
    """Print the rows for `count` distractors."""
    queries = unit_rows(query.features)
    right = nearest_of_chunks(queries, images(gallery, count), DEPTH)[1]
    rank1, mean = scores(query, gallery, right)
    print(f"| {count:,} | exact, float32 | {rank1:.2f} | {mean:.2f} | | | | |", flush=True)

    index = SearchIndex(file)
    for numbers, features in images(gallery, count):
        index.add([str(number) for number in numbers], features)

    for codes in CODE_NAMES:
        index = SearchIndex(file)
        index.store.codes = codes
        delete_lists(index.store)
        built = timed(index.prepare)
        (size,) = (lists.stat().st_size for lists in file.parent.glob("*.lists"))
        began = time.perf_counter()
        answers = index.search(queries, DEPTH)
        seconds = time.perf_counter() - began
        numbers = np.array([[int(match.path.name) for match in found] for found in answers])
        rank1, mean = scores(query, gallery, numbers)
        share = overlap(right[:, :NEIGHBOURS], numbers[:, :NEIGHBOURS])
        print(
            f"| {count:,} | {codes} | {rank1:.2f} | {mean:.2f} | {share:.4f} "
            f"| {size / 1e6:,.0f} MB | {built:.0f} s | {1000 * seconds / len(queries):.1f} ms |",
            flush=True,
        )


def images(gallery, count):
    """Yield numbers (n,) and features (n, D) of the gallery, then of distractors, in chunks."""
    features = unit_rows(gallery.features)
    yield np.arange(len(features)), features

    known = np.flatnonzero(gallery.labels > 0)
    people, person = np.unique(gallery.labels[known], return_inverse=True)
    means = np.stack([features[known[person == number]].mean(0) for number in range(len(people))])
    between, within = spread(means), spread(features[known] - means[person])
    random = np.random.default_rng(0)
    for start in progress(range(0, count, CHUNK), desc="distractors", unit=" chunks"):
        number = min(CHUNK, count - start)
        person = np.arange(number).repeat(random.geometric(1 / IMAGES, number))[:number]
        strangers = means.mean(0) + drawn(random, between, person[-1] + 1)
        made = strangers[person] + drawn(random, within, number)
        yield len(features) + start + np.arange(number), unit_rows(made.astype(np.float32))


def spread(points):
    """Return a matrix (D, D) that gives unit-variance noise the scatter of `points`."""
    values, vectors = np.linalg.eigh(np.cov(points.T))
    return (vectors * np.sqrt(np.maximum(values, 0))).T.astype(np.float32)


def drawn(random, scatter, count):
    """Draw points (count, D) around zero."""
    return random.standard_normal((count, len(scatter)), np.float32) @ scatter


def scores(query, gallery, found):
    """Return Rank@1 and mAP in per cent for the images found (Q, DEPTH)."""
    firsts, means = [], []
    for label, camera, numbers in zip(query.labels, query.cameras, found, strict=True):
        mine, here = gallery.labels == label, gallery.cameras == camera
        right, junk = mine & ~here, mine & here | (gallery.labels == -1)
        known = np.minimum(numbers, len(gallery))  # all distractors share one number
        known = known[~np.append(junk, False)[known]]
        hits = np.append(right, False)[known]
        precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
        means.append(precision[hits].sum() / max(1, right.sum()))
        firsts.append(hits[0])
    return 100 * np.mean(firsts), 100 * np.mean(means)


if __name__ == "__main__":
    run_script(main)
