# PYTHON_ARGCOMPLETE_OK
"""Compare the time and peak memory of each loss with pytorch-metric-learning's.

    python benchmarks/speed/losses.py  # batches of 64, 256 and 1024 features of 512 dimensions
    OMP_NUM_THREADS=1 python benchmarks/speed/losses.py --batches 64

Needs pytorch-metric-learning (requirements-dev.txt) and computes on the CPU. The batch has 4 images
of each identity. --spread sets how far the features are from their identity's direction: at 2.5,
the default, about half of all pairs are worth mining, as early in training; at 1.5, almost none.
Time is the median of the runs (forward, backward and miner) in one second, at least REPEATS of
them. On one thread, it is CPU time, which other programs hardly affect. Memory is the peak that a
run itself allocates. Prints Markdown rows.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from pytorch_metric_learning import losses as library
from pytorch_metric_learning import miners
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.support.measure import machine
from benchmarks.support.parser import Parser
from person_reid import losses
from person_reid.console import run_script
from person_reid.device import seed_everything
from person_reid.text import markdown_table

DIM = 512
IMAGES_PER_IDENTITY = 4
REPEATS = 5  # runs, at least
HEADER = ["batch", "loss", "ms", "library, ms", "faster", "MB", "library, MB"]


def library_losses():
    """Return {name: loss(features, labels)} from pytorch-metric-learning with the same settings."""
    miner, hardest = miners.MultiSimilarityMiner(epsilon=0.1), miners.BatchHardMiner()
    triplet = library.TripletMarginLoss(margin=0.3)
    multi_similarity = library.MultiSimilarityLoss(2, 50, 0.5)
    return {
        "triplet": lambda x, y: triplet(x, y, miner(x, y)),
        "triplet_hard": lambda x, y: triplet(x, y, hardest(x, y)),
        "circle": library.CircleLoss(m=0.25, gamma=32),
        "multi_similarity": lambda x, y: multi_similarity(x, y, miner(x, y)),
    }


def make_batch(count, spread):
    """Return features (count, DIM) that require a gradient, and labels (count,)."""
    labels = torch.arange(count) // IMAGES_PER_IDENTITY
    directions = torch.randn(count, DIM)[labels]
    return (directions + spread * torch.randn(count, DIM)).requires_grad_(), labels


def step(loss, features, labels):
    """Run a loss forward and backward."""
    features.grad = None
    loss(features, labels).backward()


def milliseconds(pair, features, labels):
    """Return the median milliseconds of a step for each of two losses, timed alternately."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    times: tuple[list, list] = ([], [])
    begin = clock()
    while len(times[0]) <= REPEATS or clock() < begin + 1:
        for loss, taken in zip(pair, times, strict=True):
            start = clock()
            step(loss, features, labels)
            taken.append(clock() - start)
    return [1000 * statistics.median(taken[1:]) for taken in times]


def peak_memory(loss, features, labels):
    """Return the peak MB that a step allocates, from PyTorch's profiler."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        step(loss, features, labels)
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        record.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    held = [event["args"] for event in events if event["name"] == "[memory]"]
    before = held[0]["Total Allocated"] - held[0]["Bytes"]
    return (max(each["Total Allocated"] for each in held) - before) / 1e6


def main(argv=None):
    """Print the table."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--batches", type=int, nargs="+", default=[64, 256, 1024], help="features per batch"
    )
    parser.add_argument(
        "--spread", type=float, default=2.5, help="how far apart the features of an identity lie"
    )
    options = parser.parse_args(argv)
    rows = []
    for count in options.batches:
        for name, theirs in library_losses().items():
            seed_everything(0)
            features, labels = make_batch(count, options.spread)
            pair = losses.create_loss(name, count // IMAGES_PER_IDENTITY, DIM), theirs
            ours_ms, theirs_ms = milliseconds(pair, features, labels)
            times = f"{ours_ms:.2f}", f"{theirs_ms:.2f}", f"{theirs_ms / ours_ms:.2f}×"
            memory = [f"{peak_memory(loss, features, labels):.1f}" for loss in pair]
            rows.append([str(count), name, *times, *memory])
    print(f"{machine()}, {torch.get_num_threads()} threads, spread {options.spread}\n")
    print(markdown_table(HEADER, rows))


if __name__ == "__main__":
    run_script(main)
