# PYTHON_ARGCOMPLETE_OK
"""Measure searches among one or ten million features.

Prints the times to add images, build the lists and answer, the memory and disk space, and recall.

    python benchmarks/gallery/search.py
    python benchmarks/gallery/search.py --images 10000000 --folder /scratch

The features belong to synthetic people, some of whom look alike. The numbers of images of a person,
and of people who look alike, are as uneven as in reality. Cameras are drawn at random, and the
times of a person are close to one another. One process adds the images and builds the lists;
another searches. Prints rows of three Markdown tables: making the index, searches in the whole
index, and searches with filters. A "cold" search is the first after the system dropped the files
from its cache; "warm" is the median of searches with other queries. POSIX only.
"""

import os
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.support.measure import apart, machine, own_peak
from benchmarks.support.parser import Parser
from person_reid.console import run_script
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.metadata import EVERYTHING, About, Filter
from person_reid.progress import progress

IMAGES = 10  # images per person, on average
LOOKS = 1000  # groups of people who look alike
CHUNK = 20_000  # features made at a time
QUERIES, NEIGHBOURS = 200, 10
CAMERAS = 8
BEGIN = datetime(2026, 11, 1)
PERIOD = timedelta(days=30)
FILTERS = {
    "three days": Filter(after="2026-11-11 00:00:00", before="2026-11-14 00:00:00"),
    "one camera, ten days": Filter(
        camera="3", after="2026-11-11 00:00:00", before="2026-11-21 00:00:00"
    ),
}


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument("--images", type=int, default=1_000_000, help="features in the index")
    parser.add_argument("--dimension", type=int, default=512, help="their width")
    parser.add_folder()
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        file = Path(folder) / "people.index"
        apart(make, file, options)
        for each in file.parent.iterdir():
            let_go(each)
        apart(measure, file)
    print(f"\n{machine()}")


def make(file, options):
    """Create an index and its lists, and print how long this took and how much space they need."""
    index = SearchIndex(file)
    report(f"{options.images:,} × {options.dimension} added", timed(lambda: fill(index, options)))
    report("lists built and tuned", timed(index.prepare))
    sizes = [each.stat().st_size / 1e9 for each in file.parent.iterdir()]
    print(f"| on the disk | {sum(sizes):.2f} GB |")
    print(f"| memory while it was made | {own_peak():.2f} GB |", flush=True)


def let_go(file):
    """Ask the operating system to drop a file from its cache."""
    descriptor = os.open(file, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def fill(index, options):
    """Add synthetic images to an index."""
    for paths, features, abouts in images(options.images, options.dimension):
        index.add(paths, features)
        index.describe(dict(zip(paths, abouts, strict=True)))


def images(count, dimension):
    """Yield the synthetic images in chunks: n paths, features (n, dimension) and Abouts."""
    random = np.random.default_rng(0)
    kinds = random.standard_normal((LOOKS, dimension), np.float32)
    for start in progress(range(0, count, CHUNK), desc="adding", unit=" chunks"):
        numbers = range(start, min(start + CHUNK, count))
        cameras = np.random.default_rng(start).integers(0, CAMERAS, len(numbers))
        times = [str(BEGIN + PERIOD * number // count)[:19] for number in numbers]
        features, persons = people(random, kinds, len(numbers))
        names = [str(start + person) for person in persons]
        abouts = [*map(About, names, map(str, cameras), times)]
        yield [f"{number:08d}.jpg" for number in numbers], features, abouts


def people(random, kinds, count):
    """Return features (count, D) of unit length, and the person (count,) in each image.

    A kind, a person of that kind, and an image of that person are drawn in turn.
    """
    persons = np.arange(count).repeat(random.geometric(1 / IMAGES, count))[:count]
    looks = (len(kinds) * random.random(persons[-1] + 1) ** 2).astype(int)
    centres = kinds[looks] + random.standard_normal((len(looks), kinds.shape[1]), np.float32)
    features = centres[persons] + random.standard_normal((count, kinds.shape[1]), np.float32)
    return features / np.linalg.norm(features, axis=1, keepdims=True), persons


def new_images(features):
    """Return features (N, D) of N new images of the people in N synthetic images."""
    noise = np.random.default_rng(1).standard_normal(features.shape, np.float32)
    queries = features + noise / features.shape[1] ** 0.5 / 2
    return queries / np.linalg.norm(queries, axis=1, keepdims=True)


def measure(file):
    """Search an index with new images of its people, one by one and exactly; print the times."""
    index = SearchIndex(file)
    queries = new_images(index.store.sample(QUERIES))
    let_go(file)
    cold = [timed(lambda query=query: index.search(query[None], NEIGHBOURS)) for query in queries]
    each = [timed(lambda query=query: index.search(query[None], NEIGHBOURS)) for query in queries]
    report("a query, its candidates cold", np.median(cold))
    report("a query, warm", np.median(each))
    exact = timed(lambda: index.search(queries[:1], NEIGHBOURS, exact=True))
    report("a query compared with all of them", exact)
    print(f"recall of the {NEIGHBOURS} nearest against exact search: {recall(index, queries):.4f}")
    print(
        "\n| filter | images | one in | first query | a query | recall |\n|---|---|---|---|---|---|"
    )
    for name, which in FILTERS.items():
        row = filtered(index, queries, name, which)
        print(f"{row} {recall(index, queries, which):.4f} |", flush=True)


def filtered(index, queries, name, which):
    """Return a row for the last table, without its recall."""
    first = timed(lambda: index.search(queries[:1], NEIGHBOURS, among=which))
    each = [
        timed(lambda query=query: index.search(query[None], NEIGHBOURS, among=which))
        for query in queries
    ]
    count = index.store.allowed(which)[1]
    share = len(index) / max(1, count)
    times = f"{1000 * first:.0f} ms | {1000 * np.median(each):.1f} ms"
    return f"| {name} | {count:,} | {share:,.{int(share < 10)}f} | {times} |"


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
    time = f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.2f} ms"
    print(f"| {what} | {time} |", flush=True)


if __name__ == "__main__":
    run_script(main)
