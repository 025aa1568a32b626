# PYTHON_ARGCOMPLETE_OK
"""Compare the search index with embedded vector databases.

The images are the synthetic people of benchmarks/gallery/search.py.

    python benchmarks/gallery/engines.py
    python benchmarks/gallery/engines.py --images 100000 --engines person_reid lancedb

Every engine runs in its own process, whose peak memory is printed. Engines that are not installed
are skipped: pip install lancedb qdrant-client. The number of parts of the index that a search
visits is doubled until the recall of the ten nearest images is 0.98. Then a process is killed while
it adds images, twenty at a time, and two processes add images at once. Prints rows of two Markdown
tables. POSIX only.
"""

import multiprocessing
import random
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.gallery.search import NEIGHBOURS, images, new_images, timed
from benchmarks.gallery.stores import ENGINES, FILTER
from benchmarks.support.measure import apart, machine, own_peak
from benchmarks.support.parser import Parser, positive
from person_reid.console import run_script
from person_reid.retrieval.neighbours import nearest_of_chunks

RECALL = 0.98
# Images per transaction, and per process, in the tests of kills and of simultaneous additions.
STEP, ADDED = 20, 400
COLUMNS = (
    "| | add | build the lists | on the disk | memory | a query "
    "| recall | filtered | recall | exact |"
)
HARD = "| | acknowledged images lost, of {} kills | two processes add at once |"


def main(argv=None):
    """Print a row for each engine."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--images", type=positive(int), default=1_000_000, help="images in each engine"
    )
    parser.add_argument("--dimension", type=positive(int), default=512, help="their width")
    parser.add_argument("--queries", type=positive(int), default=100, help="queries of each kind")
    parser.add_argument(
        "--engines", nargs="+", choices=ENGINES, default=list(ENGINES), help="engines to compare"
    )
    parser.add_argument("--kills", type=positive(int), default=5, help="processes to kill")
    parser.add_folder()
    options = parser.parse_args(argv)
    names = [name for name in options.engines if find_spec(ENGINES[name].module)]
    queries, truths = questions(options.images, options.dimension, options.queries)
    print(f"{machine()}\n\n{COLUMNS}\n|{'---|' * 10}", flush=True)
    for name in names:
        with tempfile.TemporaryDirectory(dir=options.folder, ignore_cleanup_errors=True) as folder:
            print(apart(measured, name, Path(folder), options.images, queries, truths), flush=True)
    print(f"\n{HARD.format(options.kills)}\n|---|---|---|", flush=True)
    for name in names:
        lost = kills(name, options.dimension, options.kills)
        together = at_once(name, options.dimension)
        print(f"| {name} | {lost} | {together} |", flush=True)


def questions(count, dimension, number):
    """Return queries (Q, D) and the paths of their nearest images.

    The paths are a pair: among all images, and among those that the filter admits.
    """
    chosen = np.linspace(0, count - 1, number).astype(int)
    queries = np.empty((number, dimension), np.float32)
    for paths, features, _ in images(count, dimension):
        first = int(paths[0].split(".")[0])
        here = (first <= chosen) & (chosen < first + len(paths))
        queries[here] = features[chosen[here] - first]
    queries = new_images(queries)
    truths = []
    for filtered in (False, True):
        nearest = nearest_of_chunks(queries, compared(count, dimension, filtered), NEIGHBOURS)[1]
        truths.append([[f"{number:08d}.jpg" for number in row] for row in nearest])
    return queries, truths


def compared(count, dimension, filtered):
    """Yield numbers (n,) and features (n, D) of all images, or of the filtered ones."""
    for paths, features, abouts in images(count, dimension):
        inside = [
            i
            for i, who in enumerate(abouts)
            if not filtered
            or (who.camera == FILTER.camera and FILTER.after <= who.time < FILTER.before)
        ]
        if inside:
            yield np.array([int(paths[i].split(".")[0]) for i in inside]), features[inside]


def measured(name, folder, count, queries, truths):
    """Return the row of an engine."""
    engine = ENGINES[name](folder, queries.shape[1])
    chunks, adding = images(count, queries.shape[1]), 0.0
    for chunk in chunks:
        adding += timed(lambda chunk=chunk: engine.add(*chunk))
    building = timed(engine.build)
    disk = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    cells = [name, f"{adding:.0f} s", f"{building:.0f} s", f"{disk / 1e9:.1f} GB"]
    asked = []
    for truth, among in zip(truths, (False, True), strict=True):
        for effort in engine.efforts:
            seconds, share = asking(engine, queries, truth, effort, among)
            if share >= RECALL:
                break
        asked += [f"{1000 * seconds:.1f} ms", f"{share:.3f}"]
    exact = asking(engine, queries[:5], truths[0], None, False)[0]
    memory = own_peak()
    return f"| {' | '.join([*cells, f'{memory:.1f} GB', *asked, f'{1000 * exact:.0f} ms'])} |"


def asking(engine, queries, truth, effort, among):
    """Return (median seconds of a single query, recall)."""
    seconds = []
    hits = 0
    wanted = 0
    engine.search(queries[0], effort, among)
    for query, right in zip(queries, truth, strict=False):
        began = time.perf_counter()
        found = engine.search(query, effort, among)
        seconds.append(time.perf_counter() - began)
        hits, wanted = hits + len(set(found) & set(right)), wanted + len(right)
    return float(np.median(seconds)), hits / wanted


def filling(name, folder, dimension, first, acknowledged):
    """Add ADDED images, and count in a shared number how many were acknowledged."""
    engine = ENGINES[name](folder, dimension)
    (paths, features, abouts), *_ = images(ADDED, dimension)
    paths = [f"{first + i:08d}.jpg" for i in range(ADDED)]
    for start in range(0, ADDED, STEP):
        part = slice(start, start + STEP)
        engine.add(paths[part], features[part], abouts[part])
        acknowledged.value += STEP


def counted(name, folder, dimension):
    """Return how many images an engine holds."""
    return len(ENGINES[name](folder, dimension))


def kills(name, dimension, number):
    """Return how many acknowledged images were lost in processes killed at a random moment."""
    context, lost = multiprocessing.get_context("spawn"), 0
    for _ in range(number):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            acknowledged = context.Value("i", 0)
            arguments = name, Path(folder), dimension, 0, acknowledged
            process = context.Process(target=filling, args=arguments)
            process.start()
            most = random.randrange(STEP, ADDED, STEP)
            while acknowledged.value < most and process.is_alive():
                time.sleep(0.001)
            process.kill()
            process.join()
            try:
                lost += max(0, acknowledged.value - apart(counted, name, Path(folder), dimension))
            except Exception as error:
                return f"{type(error).__name__} after a kill"
    return lost


def at_once(name, dimension):
    """Describe the result of two processes that add ADDED images each at the same time."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        apart(counted, name, Path(folder), dimension)
        counts = [context.Value("i", 0) for _ in range(2)]
        each = [
            context.Process(target=filling, args=(name, Path(folder), dimension, i * ADDED, count))
            for i, count in enumerate(counts)
        ]
        for process in each:
            process.start()
        for process in each:
            process.join()
        refused = sum(process.exitcode != 0 for process in each)
        found = apart(counted, name, Path(folder), dimension)
    said = sum(count.value for count in counts)
    return (
        f"{('', 'one is refused, ', 'both are refused, ')[refused]}{found} of {said} images there"
    )


if __name__ == "__main__":
    run_script(main)
