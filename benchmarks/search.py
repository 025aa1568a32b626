# PYTHON_ARGCOMPLETE_OK
"""Measure search among a million features: time to add, build the lists and answer, and recall
against exact search.

    python benchmarks/search.py
    python benchmarks/search.py --images 200000 --dimension 256 --folder /scratch

The features are made-up people of about ten images each, some alike. With a million features, the
index and its lists take some 4.5 GB of disk in --folder; memory stays below 3.5 GB. Prints rows of
two Markdown tables: searches of the whole index, and with filters, where cameras are drawn at
random and the times of a person are close to one another.
"""

import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measure import machine
from benchmarks.parser import Parser
from person_reid.console import run_script
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.metadata import EVERYTHING, About, Filter
from person_reid.progress import progress

# of a person; of people who look alike; features made at a time
IMAGES, LOOKS, CHUNK = 10, 1000, 20_000
QUERIES, NEIGHBOURS = 200, 10
CAMERAS, BEGIN, PERIOD = 8, datetime(2026, 11, 1), timedelta(days=30)
FILTERS = {
    "from the second day on": Filter(after="2026-11-02 00:00:00"),
    "one camera": Filter(camera="3"),
    "one camera, ten days": Filter(
        camera="3", after="2026-11-11 00:00:00", before="2026-11-21 00:00:00"
    ),
    "one day": Filter(after="2026-11-11 00:00:00", before="2026-11-12 00:00:00"),
    "one camera, one hour": Filter(
        camera="3", after="2026-11-11 08:00:00", before="2026-11-11 09:00:00"
    ),
    "one person": Filter(identity="1000"),
}


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument("--images", type=int, default=1_000_000, help="features in the index")
    parser.add_argument("--dimension", type=int, default=512, help="their width")
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        help="folder for temporary files (default: the system's)",
    )
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        index = SearchIndex(Path(folder) / "people.index")
        report(
            f"{options.images:,} × {options.dimension} added", timed(lambda: fill(index, options))
        )
        report("lists built and tuned", timed(index.lists))
        measure(index)
        index.close()
    print(f"\n{machine()}")


def fill(index, options):
    """Add made-up images to an index."""
    for paths, features, abouts in images(options.images, options.dimension):
        index.add(paths, features)
        index.describe(dict(zip(paths, abouts, strict=True)))


def images(count, dimension):
    """Yield the made-up images in chunks: n paths, features (n, dimension) and Abouts."""
    random = np.random.default_rng(0)
    kinds = random.standard_normal((LOOKS, dimension), np.float32)
    for start in progress(range(0, count, CHUNK), desc="adding", unit=" chunks"):
        numbers = range(start, min(start + CHUNK, count))
        cameras = np.random.default_rng(start).integers(0, CAMERAS, len(numbers))
        times = [str(BEGIN + PERIOD * number // count)[:19] for number in numbers]
        persons = [str(number // IMAGES) for number in numbers]
        abouts = [*map(About, persons, map(str, cameras), times)]
        yield (
            [f"{number:07d}.jpg" for number in numbers],
            people(random, kinds, len(numbers)),
            abouts,
        )


def people(random, kinds, count):
    """Return features (count, D) of unit length: a kind, a person of that
    kind, an image of that person.
    """
    persons = -(-count // IMAGES)
    centres = kinds[random.integers(0, LOOKS, persons)] + random.standard_normal(
        (persons, kinds.shape[1]), np.float32
    )
    features = centres.repeat(IMAGES, axis=0)[:count]
    features += random.standard_normal(features.shape, np.float32)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def new_images(features):
    """Return features (N, D) of other images of the people in N made-up images."""
    noise = np.random.default_rng(1).standard_normal(features.shape, np.float32)
    queries = features + noise / features.shape[1] ** 0.5 / 2
    return queries / np.linalg.norm(queries, axis=1, keepdims=True)


def measure(index):
    """Search for new images of people in the index: one by one, all at once, and exactly."""
    queries = new_images(index.sample(QUERIES))
    index.search(queries, NEIGHBOURS)  # the first answer reads the lists from the disk
    each = [timed(lambda query=query: index.search(query[None], NEIGHBOURS)) for query in queries]
    together = timed(lambda: index.search(queries, NEIGHBOURS)) / QUERIES
    exact = timed(lambda: index.search(queries[:1], NEIGHBOURS, exact=True))
    report("a query by itself", np.median(each))
    report(f"a query among {QUERIES}", together)
    report("a query compared with all of them", exact)
    print(f"recall of the {NEIGHBOURS} nearest against exact search: {recall(index, queries):.4f}")
    print("\n| filter | images | first query | a query | recall |\n|---|---|---|---|---|")
    for name, which in FILTERS.items():
        first = timed(lambda which=which: index.search(queries[:1], NEIGHBOURS, among=which))
        each = [
            timed(lambda query=query, w=which: index.search(query[None], NEIGHBOURS, among=w))
            for query in queries
        ]
        count = sum(len(ids) for ids, _ in index.chunks(0, which))
        share = recall(index, queries, which)
        print(
            f"| {name} | {count:,} | {1000 * first:.1f} ms | "
            f"{1000 * np.median(each):.1f} ms | {share:.4f} |",
            flush=True,
        )


def recall(index, queries, which=EVERYTHING):
    """Return the share of the exact answers that a search finds."""
    answers = (
        index.search(queries, NEIGHBOURS, exact=exact, among=which) for exact in (False, True)
    )
    pairs = [[{match.path for match in found} for found in answer] for answer in answers]
    return sum(len(a & b) for a, b in zip(*pairs, strict=True)) / max(1, sum(map(len, pairs[1])))


def timed(work):
    """Return the seconds that work() takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def report(what, seconds):
    """Print a row."""
    print(
        f"| {what} | {seconds:.1f} s |"
        if seconds >= 1
        else f"| {what} | {1000 * seconds:.2f} ms |",
        flush=True,
    )


if __name__ == "__main__":
    run_script(main)
