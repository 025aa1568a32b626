# PYTHON_ARGCOMPLETE_OK
"""Compare the search index with embedded vector databases, on the same made-up people as benchmarks/search.py.

    python benchmarks/engines.py
    python benchmarks/engines.py --images 100000 --engines person_reid lancedb

Every engine has a process of its own, whose peak memory is printed. One that is not installed is left out: pip install
lancedb "pymilvus[milvus-lite]" qdrant-client. It looks at as many parts of its index as 0.98 of the ten nearest images
take, twice as many at each attempt. Then a process is killed while it adds images, twenty at a time, and two processes
add at once. Prints rows of two Markdown tables. POSIX only.
"""

import multiprocessing
import random
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measure import machine, peak_gigabytes
from benchmarks.search import FILTERS, NEIGHBOURS, images, new_images, timed
from person_reid.cli.main import run_script
from person_reid.cli.parser import Parser
from person_reid.cli.values import positive
from person_reid.gallery.index import SearchIndex
from person_reid.retrieval.neighbours import ExactNeighbours

RECALL = 0.98
FILTER = FILTERS["one camera, ten days"]
WORDS = f'camera = "{FILTER.camera}" and time >= "{FILTER.after}" and time < "{FILTER.before}"'
STEP, ADDED = 20, 400  # images in a transaction, and by a process, while others are killed or add at once
COLUMNS = "| | add | build the lists | on the disk | memory | a query | recall | filtered | recall | exact |"
HARD = "| | acknowledged images lost, of {} kills | two processes add at once |"


class Ours:
    """The index of tools/search.py."""

    module = "faiss"
    efforts = (0,)  # it finds out by itself

    def __init__(self, folder, dimension):
        self.index = SearchIndex(folder / "people.index")

    def add(self, paths, features, abouts):
        self.index.add(paths, features, dict(zip(paths, abouts, strict=True)))

    def build(self):
        self.index.prepare()

    def search(self, query, effort, among):
        found = self.index.search(query[None], NEIGHBOURS, effort is None, FILTER if among else None)[0]
        return [str(match.path) for match in found]

    def __len__(self):
        return len(self.index)


class LanceDB:
    """Lance files, IVF_FLAT and an index of each column."""

    module = "lancedb"
    efforts = (4, 8, 16, 32, 64, 128, 256)

    def __init__(self, folder, dimension):
        import lancedb
        import pyarrow as pa

        text, vector = pa.string(), pa.list_(pa.float32(), dimension)
        self.schema = pa.schema({"path": text, "camera": text, "time": text, "vector": vector})
        self.table = lancedb.connect(folder).create_table("people", schema=self.schema, exist_ok=True)

    def add(self, paths, features, abouts):
        import pyarrow as pa

        vectors = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), features.shape[1])
        columns = [paths, [about.camera for about in abouts], [about.time for about in abouts], vectors]
        self.table.add(pa.table(columns, schema=self.schema))

    def build(self):
        from lancedb.index import Bitmap, BTree, IvfFlat

        self.table.optimize()
        self.table.create_index("vector", config=IvfFlat(distance_type="dot"))
        self.table.create_index("camera", config=Bitmap())
        self.table.create_index("time", config=BTree())

    def search(self, query, effort, among):
        asked = self.table.search(query).distance_type("dot").select(["path"]).limit(NEIGHBOURS)
        asked = asked.where(WORDS.replace('"', "'")) if among else asked
        asked = asked.bypass_vector_index() if effort is None else asked.nprobes(effort)
        return asked.to_arrow()["path"].to_pylist()

    def __len__(self):
        return self.table.count_rows()


class MilvusLite:
    """The client of Milvus with a local file, IVF_FLAT and an index of each column."""

    module = "milvus_lite"
    efforts = (4, 8, 16, 32, 64, 128, 256)

    def __init__(self, folder, dimension):
        from pymilvus import DataType, MilvusClient

        self.client = MilvusClient(str(folder / "people.db"))
        if not self.client.has_collection("people"):
            schema = self.client.create_schema()
            schema.add_field("path", DataType.VARCHAR, max_length=64, is_primary=True)
            schema.add_field("camera", DataType.VARCHAR, max_length=64)
            schema.add_field("time", DataType.VARCHAR, max_length=64)
            schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimension)
            self.client.create_collection("people", schema=schema)

    def add(self, paths, features, abouts):
        rows = zip(paths, features, abouts, strict=True)
        each = [{"path": path, "vector": row, "camera": who.camera, "time": who.time} for path, row, who in rows]
        for start in range(0, len(each), 5000):  # a message has at most 64 MB
            self.client.insert("people", each[start : start + 5000])

    def build(self):
        parameters = self.client.prepare_index_params()
        parameters.add_index("vector", index_type="IVF_FLAT", metric_type="IP", params={"nlist": 256})
        for column in ("camera", "time"):
            parameters.add_index(column, index_type="INVERTED")
        self.client.create_index("people", parameters)
        self.client.load_collection("people")

    def search(self, query, effort, among):
        found = self.client.search(
            "people",
            [query],
            filter=WORDS.replace(" = ", " == ") if among else "",
            limit=NEIGHBOURS,
            search_params={"metric_type": "IP", "params": {"nprobe": effort or 256}},
        )
        return [match["path"] for match in found[0]]

    def __len__(self):
        return int(self.client.get_collection_stats("people")["row_count"])


class Qdrant:
    """The client of Qdrant with a local folder, which compares a query with all vectors."""

    module = "qdrant_client"
    efforts = (0,)

    def __init__(self, folder, dimension):
        from qdrant_client import QdrantClient, models

        self.client, self.models = QdrantClient(path=str(folder / "people")), models
        if not self.client.collection_exists("people"):
            vectors = models.VectorParams(size=dimension, distance=models.Distance.DOT)
            self.client.create_collection("people", vectors)

    def add(self, paths, features, abouts):
        payload = [{"path": path, **about._asdict()} for path, about in zip(paths, abouts, strict=True)]
        numbers = [int(path.split(".")[0]) for path in paths]
        self.client.upload_collection("people", features, payload, numbers)

    def build(self):
        pass

    def search(self, query, effort, among):
        models = self.models
        period = models.DatetimeRange(gte=FILTER.after, lt=FILTER.before)
        camera = models.FieldCondition(key="camera", match=models.MatchValue(value=FILTER.camera))
        which = models.Filter(must=[camera, models.FieldCondition(key="time", range=period)]) if among else None
        found = self.client.query_points("people", query=query, query_filter=which, limit=NEIGHBOURS)
        return [point.payload["path"] for point in found.points]

    def __len__(self):
        return self.client.count("people").count


ENGINES: dict[str, Any] = {"person_reid": Ours, "lancedb": LanceDB, "milvus_lite": MilvusLite, "qdrant": Qdrant}


def main(argv=None):
    """Print a row for each engine."""
    parser = Parser(__doc__)
    parser.add_argument("--images", type=positive(int), default=1_000_000, help="features of each engine")
    parser.add_argument("--dimension", type=positive(int), default=512, help="their width")
    parser.add_argument("--queries", type=positive(int), default=100, help="queries of each kind")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES), help="those to compare")
    parser.add_argument("--kills", type=positive(int), default=5, help="processes to kill")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="folder for temporary files (default: the system's)")
    options = parser.parse_args(argv)
    names = [name for name in options.engines if find_spec(ENGINES[name].module)]
    queries, truths = questions(options.images, options.dimension, options.queries)
    print(f"{machine()}\n\n{COLUMNS}\n|{'---|' * 10}", flush=True)
    for name in names:
        with tempfile.TemporaryDirectory(dir=options.folder, ignore_cleanup_errors=True) as folder:
            print(apart(measured, name, Path(folder), options.images, queries, truths).result(), flush=True)
    print(f"\n{HARD.format(options.kills)}\n|---|---|---|", flush=True)
    for name in names:
        lost, together = kills(name, options.dimension, options.kills), at_once(name, options.dimension)
        print(f"| {name} | {lost} | {together} |", flush=True)


def apart(work, *arguments):
    """Start work(*arguments) in a new process, and return its Future."""
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    future = pool.submit(work, *arguments)
    pool.shutdown(wait=False)
    return future


def questions(count, dimension, number):
    """Return queries (Q, D) and the paths of their nearest images: (of all, of those that the filter lets through)."""
    chosen = np.linspace(0, count - 1, number).astype(int)
    queries = np.empty((number, dimension), np.float32)
    for paths, features, _ in images(count, dimension):
        first = int(paths[0].split(".")[0])
        here = (first <= chosen) & (chosen < first + len(paths))
        queries[here] = features[chosen[here] - first]
    queries = new_images(queries)
    best = [[(np.full((number, NEIGHBOURS), -2.0), np.full((number, NEIGHBOURS), ""))] for _ in range(2)]
    for paths, features, abouts in images(count, dimension):
        begin, end = FILTER.after, FILTER.before
        inside = [i for i, who in enumerate(abouts) if who.camera == FILTER.camera and begin <= who.time < end]
        for kept, which in zip(best, (range(len(paths)), inside), strict=True):
            if len(which):
                found = ExactNeighbours().search(queries, features[which], min(NEIGHBOURS, len(which)))
                names = np.array(paths)[which][found.indices]
                scores = np.concatenate([kept[0][0], found.similarities], axis=1)
                order = np.argsort(-scores, axis=1, kind="stable")[:, :NEIGHBOURS]
                names = np.concatenate([kept[0][1], names], axis=1)
                kept[0] = np.take_along_axis(scores, order, 1), np.take_along_axis(names, order, 1)
    return queries, [kept[0][1].tolist() for kept in best]


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
    memory = peak_gigabytes(resource.getrusage(resource.RUSAGE_SELF))
    return f"| {' | '.join([*cells, f'{memory:.1f} GB', *asked, f'{1000 * exact:.0f} ms'])} |"


def asking(engine, queries, truth, effort, among):
    """Return (median seconds of a query by itself, recall)."""
    seconds, hits, wanted = [], 0, 0
    engine.search(queries[0], effort, among)
    for query, right in zip(queries, truth, strict=False):
        began = time.perf_counter()
        found = engine.search(query, effort, among)
        seconds.append(time.perf_counter() - began)
        hits, wanted = hits + len(set(found) & set(right)), wanted + sum(map(bool, right))
    return float(np.median(seconds)), hits / wanted


def filling(name, folder, dimension, first, acknowledged):
    """Add ADDED images, and count in a shared number how many were acknowledged."""
    engine = ENGINES[name](folder, dimension)
    (paths, features, abouts), *_ = images(ADDED, dimension)
    paths = [f"{first + i:07d}.jpg" for i in range(ADDED)]
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
                lost += max(0, acknowledged.value - apart(counted, name, Path(folder), dimension).result())
            except Exception as error:
                return f"{type(error).__name__} after a kill"
    return lost


def at_once(name, dimension):
    """Return what two processes that add ADDED images each at the same time leave behind, in words."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        apart(counted, name, Path(folder), dimension).result()
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
        found = apart(counted, name, Path(folder), dimension).result()
    said = sum(count.value for count in counts)
    return f"{'one is refused, ' * (refused == 1)}{'both are refused, ' * (refused == 2)}{found} of {said} images there"


if __name__ == "__main__":
    run_script(main)
