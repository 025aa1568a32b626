# PYTHON_ARGCOMPLETE_OK
"""Measure the service under load: images embedded, searches answered, and memory used.

    python benchmarks/speed/service.py
    python benchmarks/speed/service.py --images 1000000 --seconds 60 --requests 20000

Starts tools/serve.py twice on one index of synthetic people (benchmarks/gallery/search.py): as
usual, and with batches of one image, the baseline. Each of the --clients sends a request as soon as
its previous request is answered. Prints rows of Markdown: requests per second, and the median, 95th
and 99th percentile of their milliseconds. At the end, --requests small requests show how the
service's memory grows. The network is OSNet x0.25 with random weights. Linux.
"""

import asyncio
import io
import re
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.gallery.search import images, new_images
from benchmarks.support.measure import ROOT, machine
from benchmarks.support.parser import Parser
from person_reid.console import run_script
from person_reid.gallery.index import SearchIndex

DIMENSION = 512
TOKEN = "benchmark-of-the-service"
NETWORK = ["--backbone", "osnet_x0_25", "--weights", "none", "--gpu_ids", "-1"]


def main(argv=None):
    """Print the table."""
    parser = Parser(__doc__)
    parser.add_argument("--images", type=int, default=100_000, help="images in the index")
    parser.add_argument("--clients", type=int, default=50, help="clients that ask at once")
    parser.add_argument("--seconds", type=float, default=15, help="seconds of each row")
    parser.add_argument("--requests", type=int, default=20_000, help="requests for the memory")
    options = parser.parse_args(argv)
    print(f"{machine()}\n")
    print("| service | request | clients | per second | p50 ms | p95 ms | p99 ms |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as workspace:
        query = fill(Path(workspace), options.images)
        for name, flags in (("batch size 1", ["--batchsize", "1"]), ("default", [])):
            with serving(workspace, flags) as (address, process):
                asyncio.run(measure(name, address, query, options))
                if not flags:
                    before, many = resident(process.pid), {"requests": options.requests}
                    asyncio.run(ask(address, "embed", crop(), options.clients, **many))
                    after = resident(process.pid)
    print(f"\n{options.requests:,} requests: {before:.0f} MB before, {after:.0f} MB after")


def fill(folder, count):
    """Write an index of synthetic people, and return the feature of a new image of one of them."""
    index = SearchIndex(folder / "people.index")
    for paths, features, _ in images(count, DIMENSION):
        index.add(paths, features)
    index.prepare()
    (folder / "tokens").write_text(f"forget {TOKEN}\n")
    return new_images(index.store.sample(1)).tolist()


@contextmanager
def serving(folder, flags, program=(ROOT / "tools/serve.py",)):
    """Yield the address and the process of a service. program: Python arguments that start it."""
    limits = ["--per_minute", "100000000", "--port", "0", "--tokens", "tokens"]
    command = [*program, "--index", "people.index", *NETWORK, *limits, *flags]
    with subprocess.Popen(
        [sys.executable, "-u", *map(str, command)], cwd=folder, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            line = next(line for line in process.stdout if "Listening" in line)
            yield re.findall(r"Listening at (\S+)", line)[0], process
        finally:
            process.terminate()


def crop(seed=0):
    """Return a JPEG of noise, as large as a person's image."""
    random = np.random.default_rng(seed)
    content, noise = io.BytesIO(), random.integers(0, 256, (128, 64, 3), np.uint8)
    Image.fromarray(noise).save(content, "JPEG")
    return {"content": content.getvalue(), "headers": {"content-type": "image/jpeg"}}


async def measure(name, address, query, options):
    """Print the rows for a service. query: the feature to search with."""
    questions = {
        "embed a crop": ("embed", crop()),
        "search": ("search", {"json": {"features": query}}),
    }
    for question, (path, request) in questions.items():
        for clients in (1, options.clients):
            taken = await ask(address, path, request, clients, seconds=options.seconds)
            rate = len(taken) / options.seconds
            times = " | ".join(f"{1000 * t:.0f}" for t in np.percentile(taken, [50, 95, 99]))
            print(f"| {name} | {question} | {clients} | {rate:.0f} | {times} |", flush=True)


async def ask(address, path, request, clients, seconds=np.inf, requests=np.inf):
    """Return the seconds that each request takes, until a time or number of requests is reached."""
    taken: list[float] = []
    end = time.perf_counter() + seconds
    token = {"Authorization": f"Bearer {TOKEN}"}
    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(headers=token, limits=limits, timeout=60) as client:

        async def one():
            while time.perf_counter() < end and len(taken) < requests:
                began = time.perf_counter()
                (await client.post(f"{address}/{path}", **request)).raise_for_status()
                taken.append(time.perf_counter() - began)

        await asyncio.gather(*(one() for _ in range(clients)))
    return taken


def resident(pid):
    """Return the memory of a process in megabytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


if __name__ == "__main__":
    run_script(main)
