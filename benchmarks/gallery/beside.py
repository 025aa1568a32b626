# PYTHON_ARGCOMPLETE_OK
"""Search for two minutes while one process adds images and another forgets a person.

    python benchmarks/gallery/beside.py
    python benchmarks/gallery/beside.py --images 1000000 --seconds 300 --folder /scratch

One exact search with many queries begins; then a process adds twenty images at a time until the
search ends, and another forgets a person. Prints a Markdown table: what each did, in how many
seconds. It is an error if the search sees anything but the state in which it began, if an added
image is not there afterwards, or if a file holds a feature of the person.
"""

import multiprocessing
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.gallery.search import NEIGHBOURS, images, timed
from benchmarks.support.measure import machine
from benchmarks.support.parser import Parser, positive
from person_reid.console import run_script
from person_reid.errors import UserError
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.metadata import Filter

WIDTH = 512
PERSON = "0"
ADDED, ADDED_AT_ONCE = "added", 20  # the folder of their paths, and how many at a time
FEW_QUERIES, MORE_QUERIES = 10, 500
LEAD = 5  # seconds before the others begin


def main(argv=None):
    """Search, add and forget at once, and print what each did."""
    parser = Parser(__doc__)
    parser.add_argument("--images", type=positive(int), default=500_000, help="features")
    parser.add_argument(
        "--seconds", type=positive(int), default=120, help="how long the search shall take"
    )
    parser.add_folder()
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        file = Path(folder) / "people.index"
        index = SearchIndex(file)
        for paths, features, abouts in images(options.images, WIDTH):
            index.add(paths, features, dict(zip(paths, abouts, strict=True)))
        queries = enough_queries(index, options.seconds)
        stored = "SELECT feature FROM images WHERE identity = ?"
        forgotten = [feature for (feature,) in index.database.execute(stored, (PERSON,))]
        index.close()
        print(f"{machine()}\n\n| process | did | seconds |\n|---|---|---|", flush=True)
        work_together(file, queries)
        check_after(file, forgotten)


def enough_queries(index, seconds):
    """Return queries whose exact search takes about some seconds: reading, and a bit for each."""
    few, more = (
        timed(lambda count=count: index.search(index.sample(count), NEIGHBOURS, exact=True))
        for count in (FEW_QUERIES, MORE_QUERIES)
    )
    for_each = max(more - few, 0.01) / (MORE_QUERIES - FEW_QUERIES)
    return index.sample(int(seconds / for_each))


def work_together(file, queries):
    """Run the three processes, and print a row for each."""
    ended = file.with_name("ended")
    with ProcessPoolExecutor(3, multiprocessing.get_context("spawn")) as pool:
        searching = pool.submit(search_long, file, queries)
        others = [pool.submit(add_images_until, file, ended), pool.submit(forget_person, file)]
        print(f"| search | {searching.result()} |", flush=True)
        ended.touch()
        for each in others:
            print(f"| {each.result()} |", flush=True)


def search_long(file, queries):
    """Search for queries exactly, in one state of the index."""
    index = SearchIndex(file)
    count = len(index)
    began = time.perf_counter()
    found = index.search(queries, NEIGHBOURS, exact=True)
    seconds = time.perf_counter() - began
    if any(match.path.parent.name == ADDED for matches in found for match in matches):
        raise UserError("The search found images that were added after it had begun.")
    return f"{len(found):,} queries among {count:,} images | {seconds:.1f}"


def add_images_until(file, ended):
    """Add images until there is a file, and at least once. Say how long one addition took."""
    time.sleep(LEAD)
    index = SearchIndex(file)
    seconds: list[float] = []
    random = np.random.default_rng(2)
    while not (seconds and ended.exists()):
        features = random.standard_normal((ADDED_AT_ONCE, WIDTH), np.float32)
        paths = [f"{ADDED}/{len(seconds):06}_{number:02}.jpg" for number in range(ADDED_AT_ONCE)]
        seconds.append(timed(lambda paths=paths, features=features: index.add(paths, features)))
    (file.parent / ADDED).write_text(str(len(seconds) * ADDED_AT_ONCE))
    return (
        f"writer | {len(seconds):,} additions of {ADDED_AT_ONCE} images | "
        f"{np.median(seconds):.3f} each, {max(seconds):.1f} at most"
    )


def forget_person(file):
    """Forget a person, which waits for the search. Say how long it took."""
    time.sleep(LEAD)
    index = SearchIndex(file)
    began = time.perf_counter()
    count = index.forget(Filter(identity=PERSON), "identity")
    seconds = time.perf_counter() - began
    return (
        f"forgetter | forgot a person on {count} images, and waited for the search | {seconds:.1f}"
    )


def check_after(file, forgotten):
    """Raise UserError if an added image is not there, or a forgotten feature still is."""
    added = int((file.parent / ADDED).read_text())
    with closing(SearchIndex(file)) as index:
        paths = (path for images in index.images() for path, _ in images)
        there = sum(path.parent.name == ADDED for path in paths)
    if there != added:
        raise UserError(f"{added} images were added, and {there} are there.")
    for each in file.parent.iterdir():
        content = each.read_bytes()
        if any(feature in content for feature in forgotten):
            raise UserError(f"{each}: holds a feature of the person who was forgotten.")
    print(f"\nAll {added:,} added images are there, and no file holds a forgotten feature.")


if __name__ == "__main__":
    run_script(main)
