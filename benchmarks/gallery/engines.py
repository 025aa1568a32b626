# PYTHON_ARGCOMPLETE_OK
"""Compare the search index with LanceDB, an embedded vector database.

The images are the synthetic people of benchmarks/gallery/search.py.

    python benchmarks/gallery/engines.py
    python benchmarks/gallery/engines.py --images 100000

Needs `pip install lancedb`. Every engine runs in its own process, whose peak memory is printed. A
search visits enough parts of the index for a recall of 0.98 of the ten nearest images; their number
is doubled at each attempt. Prints rows of a Markdown table. POSIX only.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.gallery.search import FILTERS, NEIGHBOURS, images, timed
from benchmarks.gallery.shared import questions
from benchmarks.support.measure import apart, machine, own_peak
from benchmarks.support.parser import Parser, positive
from person_reid.console import run_script
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.metadata import EVERYTHING

RECALL = 0.98
FILTERED = "one camera, ten days"
FILTER = FILTERS[FILTERED]
WORDS = f"camera = '{FILTER.camera}' and time >= '{FILTER.after}' and time < '{FILTER.before}'"
COLUMNS = (
    "| | add | build the lists | on the disk | memory | a query "
    "| recall | filtered | recall | exact |"
)


def main(argv=None):
    """Print a row for each engine."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--images", type=positive(int), default=1_000_000, help="images in each engine"
    )
    parser.add_argument("--dimension", type=positive(int), default=512, help="their width")
    parser.add_folder()
    options = parser.parse_args(argv)
    queries, right = apart(questions, options.images, options.dimension)
    truths = [
        [[f"{number:08d}.jpg" for number in row] for row in right[name][1]]
        for name in ("all", FILTERED)
    ]
    print(f"{machine()}\n\n{COLUMNS}\n|{'---|' * 10}", flush=True)
    for engine in (Ours, LanceDB):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            print(apart(measured, engine, Path(folder), options.images, queries, truths))
            sys.stdout.flush()


class Ours:
    """The index of tools/search.py.

    An engine adds (paths, features, abouts), builds its lists, and finds the paths of the
    NEIGHBOURS nearest images, `among` all or those that FILTER admits. It searches `effort` parts
    of its lists; if `effort` is None, the search is exact.
    """

    efforts = (0,)  # it chooses the effort itself

    def __init__(self, folder, dimension):
        self.index = SearchIndex(folder / "people.index")

    def add(self, paths, features, abouts):
        self.index.add(paths, features, dict(zip(paths, abouts, strict=True)))

    def build(self):
        self.index.prepare()

    def search(self, query, effort, filtered):
        among = FILTER if filtered else EVERYTHING
        (found,) = self.index.search(query[None], NEIGHBOURS, effort is None, among)
        return [str(match.path) for match in found]


class LanceDB:
    """Lance files with an IVF_FLAT index, and an index on each column."""

    efforts = (4, 8, 16, 32, 64, 128, 256)

    def __init__(self, folder, dimension):
        import lancedb
        import pyarrow as pa

        text, vector = pa.string(), pa.list_(pa.float32(), dimension)
        self.schema = pa.schema({"path": text, "camera": text, "time": text, "vector": vector})
        self.table = lancedb.connect(folder).create_table("people", schema=self.schema)

    def add(self, paths, features, abouts):
        import pyarrow as pa

        vectors = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), features.shape[1])
        facts = [[about.camera for about in abouts], [about.time for about in abouts]]
        self.table.add(pa.table([paths, *facts, vectors], schema=self.schema))

    def build(self):
        from lancedb.index import Bitmap, BTree, IvfFlat

        self.table.optimize()
        self.table.create_index("vector", config=IvfFlat(distance_type="dot"))
        self.table.create_index("camera", config=Bitmap())
        self.table.create_index("time", config=BTree())

    def search(self, query, effort, filtered):
        asked = self.table.search(query).distance_type("dot").select(["path"]).limit(NEIGHBOURS)
        asked = asked.where(WORDS) if filtered else asked
        asked = asked.bypass_vector_index() if effort is None else asked.nprobes(effort)
        return asked.to_arrow()["path"].to_pylist()


def measured(make, folder, count, queries, truths):
    """Measure an engine, and return its row."""
    engine = make(folder, queries.shape[1])
    chunks = images(count, queries.shape[1])
    adding = sum(timed(lambda chunk=chunk: engine.add(*chunk)) for chunk in chunks)
    building = timed(engine.build)
    disk = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    asked = []
    for truth, filtered in zip(truths, (False, True), strict=True):
        for effort in engine.efforts:
            seconds, share = asking(engine, queries, truth, effort, filtered)
            if share >= RECALL:
                break
        asked += [f"{1000 * seconds:.1f} ms", f"{share:.3f}"]
    exact = asking(engine, queries[:5], truths[0][:5], None, False)[0]
    cells = [make.__name__, f"{adding:.0f} s", f"{building:.0f} s", f"{disk / 1e9:.1f} GB"]
    return f"| {' | '.join([*cells, f'{own_peak():.1f} GB', *asked, f'{1000 * exact:.0f} ms'])} |"


def asking(engine, queries, truth, effort, filtered):
    """Return (median seconds per query, recall) for single queries."""
    seconds, hits = [], 0
    engine.search(queries[0], effort, filtered)
    for query, right in zip(queries, truth, strict=True):
        began = time.perf_counter()
        found = engine.search(query, effort, filtered)
        seconds.append(time.perf_counter() - began)
        hits += len({*found} & {*right})
    return float(np.median(seconds)), hits / sum(map(len, truth))


if __name__ == "__main__":
    run_script(main)
