# PYTHON_ARGCOMPLETE_OK
"""Compute what galleries of ten million images to a billion need, from what was measured.

    python benchmarks/gallery/scale.py                                  # print the tables
    python benchmarks/gallery/scale.py --memory 512 --cores 64
    python benchmarks/gallery/scale.py --save docs/benchmarks.md        # with no other flag

The tables of docs/benchmarks.md come from MEASURED and the defaults of the flags.
benchmarks/gallery/search.py measures what MEASURED holds.
"""

import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

from scipy.optimize import brentq

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.support.parser import Parser, positive
from person_reid.console import run_script
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
EMBEDDED = "market/osnet_x1_0"  # in docs/costs.jsonl: OSNet x1.0 at 256×128
ON_A_GPU = 5970  # images a second: OSNet x1.0 in bfloat16, docs/benchmarks.md

SIZES = [10**7, 10**8, 10**9]
WIDTH = 512
FILE_HEAD = ["images", "", "add", "build", "disk", "memory", "query", "filtered", "limits first"]
LATENCY = 1000  # ms for a query
DAY = 86_400  # seconds to add and build


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument("--cores", type=positive(int), default=16, help="cores of a machine")
    parser.add_argument("--memory", type=positive(float), default=128, help="its memory in GB")
    parser.add_argument("--disk", type=positive(float), default=4000, help="its disk in GB")
    parser.add_argument("--save", type=Path, metavar="FILE", help="put the tables into this page")
    options = parser.parse_args(argv)
    if options.save:
        put(options.save, *MARKS, tables(options))
    else:
        print(tables(options))


def tables(options):
    """Return all tables as Markdown, with what they assume."""
    texts = {
        machine_text(options): None,
        "### Features": None,
        f"OSNet x1.0 at 256×128. Decoding is not included, and {options.cores} cores are assumed "
        f"to be {options.cores} times as fast as one.": embedding_rows(options),
        "### One machine, a file": None,
        file_text(): file_rows(options),
        "### What fits on one machine": [["limit", "images"], *limit_rows(options)],
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
        f"{options.disk:g} GB of NVMe disk. A feature has {WIDTH} numbers. These are assumptions; "
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
