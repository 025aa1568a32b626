"""Make synthetic features, and measure the time and memory of a whole process."""

import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from person_reid.errors import UserError
from person_reid.retrieval.results import FeatureSet, load_result, save_result

ROOT = Path(__file__).resolve().parents[2]
# Numbers of queries and gallery images.
SIZES = {"market": (3368, 19732), "msmt17": (11659, 82161), "market+500k": (3368, 519732)}
CAMERAS = 6


def make_result(path, num_queries, num_gallery, dimension=512, seed=0):
    """Write a result file of synthetic people, who vary as much as real people.

    Identity sizes follow a power law, some identities are tight and some loose, and cameras shift
    every feature. A fifth of the gallery is junk and a seventh are distractors, as in Market-1501.
    Features are rectified, as after a ReLU, and have unit norm. If there are more than 100,000
    images, the rest are distractors.
    """
    random = np.random.default_rng(seed)
    num_people = num_queries // 4
    sizes = random.pareto(1.5, num_people) + 1
    labels = random.choice(num_people, num_gallery, p=sizes / sizes.sum()) + 1
    labels[random.random(num_gallery) < 0.14] = 0
    labels[random.random(num_gallery) < 0.19] = -1
    if num_gallery > 100_000:
        labels[20_000:] = 0
    centres = random.standard_normal((num_people + 1, dimension), np.float32)
    centres[0] = 0
    spreads = random.uniform(0.5, 1.6, num_people + 1).astype(np.float32)
    shifts = random.standard_normal((CAMERAS + 1, dimension), np.float32) / 2
    common = random.standard_normal(dimension, np.float32)

    def images(labels):
        cameras = random.integers(1, CAMERAS + 1, len(labels))
        features = np.empty((len(labels), dimension), np.float32)
        for start in range(0, len(labels), 4096):
            part = slice(start, start + 4096)
            person = np.maximum(labels[part], 0)
            noise = random.standard_normal((len(person), dimension), np.float32)
            features[part] = centres[person] + shifts[cameras[part]] + common
            features[part] += np.where(person > 0, spreads[person], 2)[:, None] * noise
        np.maximum(features, 0, out=features)
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        return FeatureSet(features, labels, cameras)

    save_result(path, images(np.arange(num_queries) % num_people + 1), images(labels))


def describe(path):
    """Return the size of the features in a file, such as (`3,368 × 19,732 × 512`, gigabytes)."""
    query, gallery = load_result(path)
    name = f"{len(query):,} × {len(gallery):,} × {gallery.features.shape[1]}"
    return name, (query.features.nbytes + gallery.features.nbytes) / 1e9


def result_files(options, folder):
    """Yield the file that --result names, or a synthetic file for each of --sizes.

    Synthetic files are written into `folder`.
    """
    if options.result:
        yield options.result.resolve()
        return
    for size in options.sizes:
        path = Path(folder) / f"{size}.mat"
        apart(make_result, path, *SIZES[size])
        yield path
        path.unlink()


def run_process(*arguments):
    """Run Python with `arguments`.

    Returns (seconds, peak resident gigabytes, output). Linux and macOS.
    """
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen([sys.executable, *map(str, arguments)], cwd=ROOT, stdout=printed)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        printed.seek(0)
        if status:
            raise UserError(f"{' '.join(map(str, arguments))}: ended with status {status}")
        return seconds, peak_gigabytes(usage), printed.read().strip()


def peak_gigabytes(usage):
    """Return the peak resident memory from os.wait4 or resource.getrusage.

    Linux counts kilobytes, macOS bytes.
    """
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def own_peak():
    """Return the peak resident gigabytes of this process. Linux and macOS."""
    import resource

    return peak_gigabytes(resource.getrusage(resource.RUSAGE_SELF))


def apart(work, *arguments, **named):
    """Run work(*arguments, **named) in its own process, to measure its memory.

    It is spawned: on Linux, a forked child's peak would include the memory of this process.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments, **named).result()


def best_and_result(work, times=3):
    """Return the shortest time of work(), in seconds, and what it returned last."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - began)
    return min(seconds), result


def machine():
    """Return a line for the docs: the machine, the date and the load of this measurement."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{date.today()}, {os.cpu_count()} cores of {platform.machine()}{load}, "
        f"NumPy {np.__version__}"
    )


def training_of(words):
    """Return the training configuration that flags of train.py describe."""
    from person_reid.config import TrainConfig
    from person_reid.console import parse
    from person_reid.training.build import check_training

    config = parse(TrainConfig, words)
    check_training(config)
    return config
