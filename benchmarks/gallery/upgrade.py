# PYTHON_ARGCOMPLETE_OK
"""Measure how long it takes until an index of an earlier version has a column of one's own.

    python benchmarks/gallery/upgrade.py --before ../earlier  # a checkout of version 0.2, say

The other checkout makes the index; this one opens it, gives an image a column, and finds the image
by it. Prints a Markdown table.
"""

import os
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.gallery.search import report, timed
from benchmarks.support.measure import machine
from benchmarks.support.parser import Parser, positive
from person_reid.console import run_script
from person_reid.errors import UserError
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.metadata import About, Filter

MAKE = """
import sys
import numpy as np
from person_reid.gallery.index import SearchIndex

index, count = SearchIndex(sys.argv[1]), int(sys.argv[2])
for start in range(0, count, 20_000):
    names = [f"{number:08}.jpg" for number in range(start, min(start + 20_000, count))]
    features = np.random.default_rng(start).standard_normal((len(names), 512), np.float32)
    index.add(names, features / np.linalg.norm(features, axis=1, keepdims=True))
index.close()
"""


def main(argv=None):
    """Make the index with the other checkout, and change it with this one."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--before", type=Path, required=True, metavar="DIR", help="checkout that makes the index"
    )
    parser.add_argument("--images", type=positive(int), default=1_000_000, help="features")
    parser.add_folder()
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        file = Path(folder) / "people.index"
        words = [sys.executable, "-c", MAKE, str(file), str(options.images)]
        before = options.before.resolve()
        made = subprocess.run(words, cwd=before, env=os.environ | {"PYTHONPATH": str(before)})
        if made.returncode:
            raise UserError(f"{before}: could not make an index.")
        print(f"| {options.images:,} images | seconds |\n|---|---|", flush=True)
        change(file)
    print(f"\n{machine()}")


def change(file):
    """Give an image of an older index a column, and print how long that took."""
    seconds = timed(lambda: SearchIndex(file).close())
    with closing(SearchIndex(file)) as index:
        before = index.version()
        report(f"opened, version {before}", seconds)
        add = {"00000007.jpg": About(more={"store": "3"})}
        report("an image gets a column", timed(lambda: index.describe(add)))
        found: list[list[tuple[Path, About]]] = []
        which = Filter(where={"store": "3"})
        report("it is found by it", timed(lambda: found.extend(index.images(which))))
        report("another change", timed(lambda: index.describe({"00000008.jpg": About("Anna")})))
        if index.version() == before or [str(path) for ((path, _),) in found] != [*add]:
            raise UserError(f"{file}: not upgraded, or the image is not found.")
        print(f"| version now | {index.version()} |")


if __name__ == "__main__":
    run_script(main)
