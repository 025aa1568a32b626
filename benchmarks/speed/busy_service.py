# PYTHON_ARGCOMPLETE_OK
"""Measure the service while it is idle, and while cameras add images and old ones are forgotten.

    python benchmarks/speed/busy_service.py
    python benchmarks/speed/busy_service.py --images 20000 --minutes 0.2          # a short try

Starts tools/serve.py on an index of synthetic people (benchmarks/gallery/search.py), with the
tracks of two cameras. Four clients search, search one camera, list images and open Tracks in turn:
first alone, then while two cameras each add five images per second and the service forgets old
images (`--retain`), six times in the run. Prints rows of Markdown: milliseconds of each operation
when idle and when busy, what was added, and the memory of the service: before, two minutes later,
at its peak from then on, and at the end. The network is OSNet x0.25 with random weights. Linux.
"""

import asyncio
import sys
import tempfile
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.speed.service import DIMENSION, TOKEN, crop, fill, resident, serving
from benchmarks.support.measure import machine
from benchmarks.support.parser import Parser
from person_reid.config.times import stored
from person_reid.console import run_script
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.metadata import About
from person_reid.gallery.track_records import TrackRecord, record_tracks

ROOT = Path(__file__).resolve().parents[2]
CAMERAS, ADDED = ("door", "till"), 5  # images per second from each
CLIENTS, PAUSE = 4, 0.2  # seconds between an answer and the next question of a client
TRACKS, PER_TRACK = 40, 8  # tracks per camera, and images per track
FORGETTINGS = 6  # in the run
FIRST_MINUTES = 120  # seconds after which the memory should grow no more
# The service, with a shorter hour.
SERVE = f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
SERVE += "from person_reid.serve import service; service.HOUR = {hour}; "
SERVE += "sys.argv[0] = 'serve.py'; from tools.serve import main; main()"


def main(argv=None):
    """Print the table."""
    parser = Parser(__doc__)
    parser.add_argument("--images", type=int, default=100_000, help="images in the index")
    parser.add_argument("--minutes", type=float, default=10, help="minutes idle, and as many busy")
    options = parser.parse_args(argv)
    seconds = 60 * options.minutes
    print(f"{machine()}\n")
    with tempfile.TemporaryDirectory() as workspace:
        query = fill(Path(workspace), options.images)
        add_tracks(Path(workspace))
        program = ["-c", SERVE.format(hour=seconds / FORGETTINGS)]
        with serving(workspace, ["--retain", "1h"], program) as (address, process):
            asyncio.run(compare(address, process, query, seconds))


def add_tracks(folder):
    """Add the tracks of two cameras; half of the people appear in both."""
    index, random = SearchIndex(folder / "people.index"), np.random.default_rng(0)
    people = random.normal(size=(TRACKS, DIMENSION))
    for camera in CAMERAS:
        file = folder / f"{camera}.txt"
        frames = [(30 * track + i, track) for track in range(1, TRACKS + 1) for i in range(30)]
        file.write_text("".join(f"{i},{track},60,7,30,60,1,-1,-1,-1\n" for i, track in frames))
        record = TrackRecord(
            source=camera,
            path=str(file),
            frames="",
            camera=camera,
            crops="",
            fps=10.0,
            start="2026-11-01 09:30:00Z",
            width=640,
            height=480,
            classes=None,
        )
        record_tracks(index, record)
        abouts = {
            f"{camera}-{track}-{number}.png": About(camera=camera, track=str(track), source=camera)
            for track in range(1, TRACKS + 1)
            for number in range(PER_TRACK)
        }
        features = people.repeat(PER_TRACK, 0)
        features = features + 0.3 * random.normal(size=features.shape)
        index.add([*abouts], features, abouts, [""] * len(abouts))
        people[::2] = random.normal(size=people[::2].shape)
    index.close()


async def compare(address, process, query, seconds):
    """Print the latency of each operation on an idle and on a busy service, and the memory."""
    token = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(base_url=address, headers=token, timeout=120) as client:
        quiet = await ask(client, query, seconds)
        watching = asyncio.create_task(watch(process.pid, seconds))
        adding = [asyncio.create_task(add(client, camera, seconds)) for camera in CAMERAS]
        busy = await ask(client, query, seconds)
        added = np.concatenate(await asyncio.gather(*adding))
        memory = await watching
    print("| p50 / p95 / p99, ms | quiet | busy |\n| --- | --- | --- |")
    for name in quiet:
        print(f"| {name} | {percentiles(quiet[name])} | {percentiles(busy[name])} |")
    print(f"| add an image | | {percentiles(added)} |")
    print(f"\n{len(added):,} images added, of {2 * ADDED * seconds:,.0f}.")
    first = min(FIRST_MINUTES, len(memory) // 2)
    print(
        f"Memory: {memory[0]:.0f} MB before, {memory[first]:.0f} MB after {first} s, from then on "
        f"at most {max(memory[first:]):.0f} MB, {memory[-1]:.0f} MB at the end."
    )


def percentiles(seconds):
    """Describe the median and the 95th and 99th percentiles of times, in milliseconds."""
    return " / ".join(f"{each:.0f}" for each in 1000 * np.percentile(seconds, [50, 95, 99]))


async def watch(pid, seconds):
    """Return measurements of a process's memory in megabytes, one per second."""
    end, memory = time.perf_counter() + seconds, []
    while time.perf_counter() < end:
        memory.append(resident(pid))
        await asyncio.sleep(1)
    return memory


async def ask(client, query, seconds):
    """Return {operation: seconds of each request} for clients that repeat all operations."""
    found: dict[str, list[float]] = defaultdict(list)
    end = time.perf_counter() + seconds
    search = {"json": {"features": query}}
    questions = {
        "search": ("POST", "search", search),
        "search one camera": ("POST", "search", search | {"params": {"camera": "door"}}),
        "list images": ("GET", "images", {"params": {"limit": 60}}),
        "open Tracks": ("POST", "across", {}),
    }

    async def one(turn):
        while time.perf_counter() < end or len(found) < len(questions):
            for name, (method, path, request) in [*questions.items()][turn:]:
                began = time.perf_counter()
                answer = await client.request(method, path, **request)
                found[name].append(time.perf_counter() - began)
                if answer.status_code == 503:
                    print(f"{name}: {answer.json()['detail']}")
                else:
                    answer.raise_for_status()
                await asyncio.sleep(PAUSE)
            turn = 0

    await asyncio.gather(*map(one, range(CLIENTS)))
    return {name: found[name] for name in questions}


async def add(client, camera, seconds):
    """Return the seconds it takes to add each image from a camera; all are forgotten in the end."""
    taken, begin = [], time.perf_counter()
    for number in range(int(ADDED * seconds)):
        await asyncio.sleep(max(0, begin + number / ADDED - time.perf_counter()))
        age = timedelta(hours=1) - timedelta(seconds=seconds / FORGETTINGS / 2)
        facts = {"camera": camera, "time": stored(datetime.now(UTC) - age)}
        began = time.perf_counter()
        request = crop((CAMERAS.index(camera), number))
        (await client.post("images", params=facts, **request)).raise_for_status()
        taken.append(time.perf_counter() - began)
        if time.perf_counter() > begin + seconds:
            break
    return taken


if __name__ == "__main__":
    run_script(main)
