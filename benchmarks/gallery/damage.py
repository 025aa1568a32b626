# PYTHON_ARGCOMPLETE_OK
"""Damage the files of an index, and count what is named, harmless or silent.

    python benchmarks/gallery/damage.py
    python benchmarks/gallery/damage.py --bytes 50 --blocks 10

For each kind of codes, an index of 3,000 images answers from inverted lists. Then one byte, or a
block of 4,096, of the index or of its lists is overwritten, and the same questions are asked again,
with and without filters. An answer is right if it is the one from before. After a wrong one,
`check` reads the file. Prints a row for each kind of codes.
"""

import shutil
import sys
import tempfile
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.support.measure import machine
from benchmarks.support.parser import Parser, positive
from person_reid.config.search import CODE_NAMES
from person_reid.console import run_script
from person_reid.errors import UserError
from person_reid.gallery import index as gallery_index
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.metadata import EVERYTHING, About, Filter
from person_reid.gallery.upkeep import faults_of

KINDS = ("named", "harmless", "wrong, named by check", "wrong, named by nothing")
IMAGES, WIDTH = 3000, 64
BLOCK_BYTES = 4096
QUESTIONS = (EVERYTHING, Filter(camera="3"), Filter(identity="p7"), Filter(after="2026-11-15"))


def main(argv=None):
    """Print a row for each kind of codes."""
    parser = Parser(__doc__)
    parser.add_argument("--bytes", type=positive(int), default=500, help="damages of one byte")
    parser.add_argument("--blocks", type=positive(int), default=100, help="damages of a block")
    options = parser.parse_args(argv)
    gallery_index.EXACT = 500
    print(f"{machine()}\n\n| codes | {' | '.join(KINDS)} |\n|{'---|' * 5}", flush=True)
    for codes in CODE_NAMES:
        with tempfile.TemporaryDirectory() as folder:
            found = damage_all(Path(folder), codes, options.bytes, options.blocks)
        print(f"| {codes} | {' | '.join(str(found[kind]) for kind in KINDS)} |", flush=True)


def damage_all(folder, codes, single, blocks):
    """Return how many of some damages were named, harmless, and so on."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((IMAGES // 10, WIDTH)).repeat(10, axis=0)
    features = (features + 0.5 * rng.standard_normal(features.shape)).astype(np.float32)
    whole = folder / "whole"
    whole.mkdir()
    with closing(SearchIndex(whole / "a.index", codes)) as index:
        names = [f"/crops/{number:05}.jpg" for number in range(IMAGES)]
        index.add(names, features, {name: about(i) for i, name in enumerate(names)})
        index.prepare()
    right = answers(whole / "a.index", features[:5])
    found: Counter[str] = Counter()
    for size in [1] * single + [BLOCK_BYTES] * blocks:
        place = folder / "damaged"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(whole, place)
        overwrite(rng, place, size)
        found[verdict(place / "a.index", features[:5], right)] += 1
    return found


def about(number):
    """Return what is known of an image."""
    return About(f"p{number // 10}", str(number % 8), f"2026-11-{number % 28 + 1:02} 08:00:00Z")


def overwrite(rng, place, size):
    """Overwrite bytes somewhere in the files of a folder, by others."""
    files = sorted(place.iterdir())
    sizes = [file.stat().st_size for file in files]
    file = files[rng.choice(len(files), p=np.array(sizes) / sum(sizes))]
    content = bytearray(file.read_bytes())
    start = int(rng.integers(max(1, len(content) - size)))
    part = content[start : start + size]
    content[start : start + size] = bytes((byte + int(rng.integers(1, 256))) % 256 for byte in part)
    file.write_bytes(bytes(content))


def answers(path, queries):
    """Return what an index answers to all questions."""
    with closing(SearchIndex(path)) as index:
        searched = [index.search(queries, 10, among=which) for which in QUESTIONS]
        return [*searched, index.values("camera"), len(index)]


def verdict(path, queries, right):
    """Return what became of a damage."""
    with suppress(UserError):
        if answers(path, queries) == right:
            return "harmless"
        with closing(SearchIndex(path)) as index:
            return KINDS[2 if next(faults_of(index), None) else 3]
    return "named"


if __name__ == "__main__":
    run_script(main)
