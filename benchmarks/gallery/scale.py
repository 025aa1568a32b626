# PYTHON_ARGCOMPLETE_OK
"""Compute what galleries of ten million images to a billion need, from what was measured.

    python benchmarks/gallery/scale.py                                  # print the tables
    python benchmarks/gallery/scale.py --memory 512 --price 4 --replicas 1
    python benchmarks/gallery/scale.py --save docs/benchmarks.md        # with no other flag
    python benchmarks/gallery/scale.py --graph 200000                   # measure GRAPH

The tables of docs/benchmarks.md come from MEASURED, GRAPH and the defaults of the flags.
benchmarks/gallery/search.py measures what MEASURED holds.
"""

import math
import sys
import textwrap
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.gallery.search import NEIGHBOURS, QUERIES, images, new_images
from benchmarks.support.parser import Parser, positive
from person_reid.console import run_script
from person_reid.gallery.milvus import GRAPH as SETTINGS
from person_reid.retrieval.neighbours import ExactNeighbours, overlap
from person_reid.text import markdown_table
from tools.docs.results import put, read_records

ROOT = Path(__file__).resolve().parents[2]
MARKS = "<!-- benchmarks/gallery/scale.py -->", "<!-- its end -->"


class Measured(NamedTuple):
    """A gallery in a file: seconds, GB, and milliseconds of a warm query."""

    images: int
    add: float
    build: float
    disk: float
    memory: float
    query: float
    filtered: float


# In ascending order of images. The largest stands for all that are larger.
MEASURED = [
    Measured(1_000_000, 34.1, 24.4, 1.23, 0.79, 2.16, 3.6),
    Measured(10_000_000, 362.9, 298.2, 12.34, 1.68, 4.76, 16.0),
]
SOURCE = "Two cores of an AMD EPYC, 2026-11-28 ([searches](#searches-in-a-large-gallery))."
# A graph of Milvus's default index, by FAISS on one core: images added a second, ms a query, recall
GRAPH = {"images": 200_000, "added": 1867.8, "query": 0.247, "recall": 0.989}
EMBEDDED = "market/osnet_x1_0"  # in docs/costs.jsonl: OSNet x1.0 at 256×128
ON_A_GPU = 5970  # images a second: OSNet x1.0 in bfloat16, docs/benchmarks.md

SIZES = [10**7, 10**8, 10**9]
WIDTH, LINKS = 512, SETTINGS["M"]
VALUES = 200  # bytes of an image's path, time, camera, ... and their indexes
FREE = 0.75  # share of the memory that the index may take
SEGMENT = 2**30 // (2 * WIDTH + VALUES)  # images in Milvus's largest segments, of 1 GB
REBUILT = 2  # a segment is indexed when it is sealed, and again when it is merged
FILE_HEAD = ["images", "", "add", "build", "disk", "memory", "query", "filtered", "limits first"]
MILVUS_HEAD = ["images", "memory", "storage", "build", "machines", "query", "queries/s", "month"]
LATENCY = 1000  # ms for a query
DAY = 86_400  # seconds to add and build
HOURS = 730  # a month
# {index: (bytes an image, why)}, in memory, for Milvus's defaults
INDEXES = {
    "HNSW_SQ (chosen)": (WIDTH + 8 * LINKS, "a byte a number; 2 M links of 4 bytes"),
    "HNSW, float32": (4 * WIDTH + 8 * LINKS, "4 bytes a number; 2 M links of 4 bytes"),
    "IVF_SQ8": (WIDTH + 8, "a byte a number; an identifier of 8"),
    "IVF_RABITQ, refined by SQ8": (WIDTH // 8 + 16 + WIDTH, "a bit and a byte a number; 16 more"),
    "DISKANN": (2 * WIDTH // 8, "`PQCodeBudgetGBRatio`: an eighth of float16; the rest on NVMe"),
}


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument("--cores", type=positive(int), default=16, help="cores of a machine")
    parser.add_argument("--memory", type=positive(float), default=128, help="its memory in GB")
    parser.add_argument("--disk", type=positive(float), default=4000, help="its disk in GB")
    parser.add_argument("--price", type=positive(float), default=1, help="its price an hour")
    parser.add_argument("--stored", type=positive(float), default=0.02, help="price, a GB a month")
    parser.add_argument("--replicas", type=positive(int), default=2, help="copies in memory")
    parser.add_argument("--graph", type=positive(int), metavar="N", help="measure N images instead")
    parser.add_argument("--save", type=Path, metavar="FILE", help="put the tables into this page")
    options = parser.parse_args(argv)
    if options.graph:
        print(measured_graph(options.graph))
    elif options.save:
        put(options.save, *MARKS, tables(options))
    else:
        print(tables(options))


def tables(options):
    """Return all tables as Markdown, with what they assume."""
    index_head = ["index", "bytes an image", "that is", *map(_count, SIZES)]
    texts = {
        machine_text(options): None,
        "### Features": None,
        f"OSNet x1.0 at 256×128. Decoding is not included, and {options.cores} cores are assumed "
        f"to be {options.cores} times as fast as one.": embedding_rows(options),
        "### One machine, a file": None,
        file_text(): file_rows(options),
        "### What fits on one machine": [["limit", "images"], *limit_rows(options)],
        "### Milvus: memory by index": [index_head, *index_rows()],
        "### Milvus: machines": None,
        milvus_text(options): milvus_rows(options),
    }
    parts = []
    for text, table in texts.items():
        parts.append(textwrap.fill(text, 100) + "\n")
        parts += [markdown_table(table[0], table[1:])] if table else []
    return "\n".join(parts).rstrip("\n")


def machine_text(options):
    """Return what a machine is and costs."""
    return (
        f"A machine has {options.cores} cores, {options.memory:g} GB of memory and "
        f"{options.disk:g} GB of NVMe disk. It costs {options.price:g} unit of any currency an "
        f"hour, or {HOURS * options.price:,.0f} a month ({HOURS} hours). A GB of object storage "
        f"costs {options.stored:g} a month. A feature has {WIDTH} numbers. These are assumptions; "
        "flags change all but the last."
    )


def file_text():
    """Return how the rows of a gallery in a file are computed."""
    return (
        f"{SOURCE} In the rows that are computed, adding, disk and memory grow with the number of "
        "images. Building grows with its power of 1.5, because each image is compared with as many "
        "centres as there are lists. A query grows with its square root, as the number and the "
        "length of the lists do. The memory is needed to build; a search takes a third of it. "
        "A filtered search compares one image in 24. All times are measured on two cores. The "
        "last column names the resource that comes nearest to its limit. Adding and building may "
        "take a day each, and a query a second."
    )


def milvus_text(options):
    """Return what the rows of a gallery in Milvus assume."""
    return (
        f"The index is in memory in {options.replicas} replicas, and takes {FREE:.0%} of a "
        f"machine's memory. The values of an image take {VALUES} bytes. Storage holds them, the "
        f"float16 features and the index. A graph of {GRAPH['images']:,} made images was measured "
        f"with FAISS on one core (`--graph`): {GRAPH['added']:,.0f} images added a second, "
        f"{GRAPH['query']:.2f} ms a query, recall {GRAPH['recall']:.3f}. Milvus searches a graph "
        f"for each segment of {SEGMENT:,} images, which takes longer, so these times are lower "
        f"bounds. Networks are not included. A segment is indexed twice: when it is full, "
        "and when it is merged. If the index needs more than one machine, another one runs "
        "Milvus's other processes."
    )


def embedding_rows(options):
    """Return how long features take."""
    line = next(
        line for line in read_records(ROOT / "docs/costs.jsonl") if line["network"] == EMBEDDED
    )
    rates = options.cores * 1000 / line["int8"], ON_A_GPU
    rows = [[_count(size), *(_time(size / rate) for rate in rates)] for size in SIZES]
    return [["images", f"int8, {options.cores} cores", "bfloat16, one H200"], *rows]


def at(size):
    """Return the figures of a gallery of any size, from the nearest measured one below."""
    base = max((row for row in MEASURED if row.images <= size), default=MEASURED[0])
    times = size / base.images
    powers = 1, 1.5, 1, 1, 0.5, 0.5
    return Measured(size, *(v * times**power for v, power in zip(base[1:], powers, strict=True)))


def uses(row, options):
    """Return {resource: share that a gallery uses}."""
    return {
        "memory": row.memory / options.memory,
        "disk": row.disk / options.disk,
        "a day to add and build": (row.add + row.build) / DAY,
        "a second for a query": max(row.query, row.filtered) / LATENCY,
    }


def file_rows(options):
    """Return what a gallery in a file needs, at the measured sizes and at SIZES."""
    rows = [FILE_HEAD]
    for size in sorted({*SIZES, *(row.images for row in MEASURED)}):
        row, known = at(size), size in {row.images for row in MEASURED}
        first, share = max(uses(row, options).items(), key=lambda item: item[1])
        rows.append(
            [
                _count(size),
                "measured" if known else "computed",
                _time(row.add),
                _time(row.build),
                _bytes(row.disk),
                _bytes(row.memory),
                f"{row.query:,.0f} ms",
                f"{row.filtered:,.0f} ms",
                f"{first}: {share:.0%}",
            ]
        )
    return rows


def limit_rows(options):
    """Return how many images use up each resource, the scarcest first."""

    def left(power, name):
        return 1 - uses(at(10**power), options)[name]

    most = {name: 10 ** brentq(left, 5, 15, (name,)) for name in uses(MEASURED[-1], options)}
    return [[name, _count(count)] for name, count in sorted(most.items(), key=lambda item: item[1])]


def index_rows():
    """Return how much memory each of INDEXES takes at SIZES."""
    return [
        [name, f"{size:,}", why, *(_bytes(size * count / 1e9) for count in SIZES)]
        for name, (size, why) in INDEXES.items()
    ]


def milvus_rows(options):
    """Return what the chosen index needs."""
    size = next(iter(INDEXES.values()))[0]
    rows = [MILVUS_HEAD]
    for count in SIZES:
        memory, storage = count * size / 1e9, count * (2 * WIDTH + VALUES + size) / 1e9
        searching = math.ceil(memory * options.replicas / (options.memory * FREE))
        machines = max(searching, options.replicas) + (searching > 1)
        work = math.ceil(count / SEGMENT) * GRAPH["query"] / 1000  # seconds of a core
        cores = max(searching, options.replicas) * options.cores
        month = machines * options.price * HOURS + storage * options.stored
        rows.append(
            [
                _count(count),
                _bytes(memory),
                _bytes(storage),
                f"{REBUILT * count / GRAPH['added'] / 3600:,.0f} core-hours",
                f"{machines}",
                f"{max(GRAPH['query'], 1000 * work / cores * options.replicas):,.1f} ms",
                f"{cores / work:,.0f}",
                f"{month:,.0f}",
            ]
        )
    return rows


def measured_graph(count):
    """Return GRAPH: the people of search.py, in a graph as Milvus's, on one core."""
    import faiss

    faiss.omp_set_num_threads(1)
    features = np.concatenate([features for _, features, _ in images(count, WIDTH)])
    queries = new_images(features[:: max(1, count // QUERIES)])
    index: Any = faiss.index_factory(WIDTH, f"HNSW{LINKS}_SQ8", faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = SETTINGS["efConstruction"], 128
    index.train(features)
    begin = time.process_time()
    index.add(features)
    added = time.process_time()
    _, found = index.search(queries, NEIGHBOURS)
    end = time.process_time()
    right = ExactNeighbours().search(queries, features, NEIGHBOURS).indices
    return {
        "images": count,
        "added": round(count / (added - begin), 1),
        "query": round(1000 * (end - added) / len(queries), 3),
        "recall": round(overlap(right, found), 3),
    }


def _count(images):
    return f"{images / 1e6:,.0f} million"


def _time(seconds):
    units = (("days", 86_400), ("hours", 3600), ("minutes", 60))
    name, unit = next((each for each in units if seconds >= 2 * each[1]), ("seconds", 1))
    return f"{seconds / unit:,.0f} {name}"


def _bytes(gigabytes):
    value, unit = (gigabytes / 1000, "TB") if gigabytes >= 1000 else (gigabytes, "GB")
    return f"{value:,.1f} {unit}"


if __name__ == "__main__":
    run_script(main)
