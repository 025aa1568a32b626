# PYTHON_ARGCOMPLETE_OK
"""Compare time and peak memory of each loss, forward and backward, with pytorch-metric-learning.

Prints Markdown rows.

    python benchmarks/speed/losses.py  # batches of 64, 256 and 1024 features of 512 dimensions
    OMP_NUM_THREADS=1 python benchmarks/speed/losses.py --batches 64 --losses triplet circle \\
      --gpu_ids -1

Needs pytorch-metric-learning (requirements-dev.txt). The batch has 4 images of each identity.
--spread sets how far they are from their identity's direction: at 2.5, the default, about half of
all pairs are worth mining, as early in training; at 1.5, almost none. Time is the median of one
second of runs, at least --repeats of them, including the miner. On one CPU thread, it is CPU time,
which other programs hardly affect. Memory is the peak that a run allocates in addition.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.support.parser import Parser
from person_reid import losses
from person_reid.console import run_script
from person_reid.device import seed_everything, select_device
from person_reid.errors import UserError

DIM = 512
IMAGES_PER_IDENTITY = 4


def library_losses(num_classes):
    """Return {name: loss of pytorch-metric-learning with the same settings}.

    Each is called as loss(features, labels).
    """
    try:
        from pytorch_metric_learning import losses as library
        from pytorch_metric_learning import miners
    except ImportError:
        raise UserError(
            "pytorch-metric-learning is missing: pip install -r requirements-dev.txt"
        ) from None
    miner, hardest = miners.MultiSimilarityMiner(epsilon=0.1), miners.BatchHardMiner()
    soft = library.TripletMarginLoss(smooth_loss=True)
    triplet = library.TripletMarginLoss(margin=0.3)
    multi_similarity = library.MultiSimilarityLoss(2, 50, 0.5)
    return {
        "triplet": lambda x, y: triplet(x, y, miner(x, y)),
        "triplet_hard": lambda x, y: triplet(x, y, hardest(x, y)),
        "triplet_soft": lambda x, y: soft(x, y, hardest(x, y)),
        "contrast": library.ContrastiveLoss(pos_margin=0, neg_margin=1),
        "lifted": library.GeneralizedLiftedStructureLoss(neg_margin=1, pos_margin=0),
        "circle": library.CircleLoss(m=0.25, gamma=32),
        "multi_similarity": lambda x, y: multi_similarity(x, y, miner(x, y)),
        "ranked": library.RankedListLoss(margin=1.3, Tn=1, alpha=2.0),
        "instance": library.InstanceLoss(gamma=32),
        "arcface": library.ArcFaceLoss(num_classes, DIM),
        "cosface": library.CosFaceLoss(num_classes, DIM),
        "sphere": library.SphereFaceLoss(num_classes, DIM),
    }


def make_batch(count, spread, device):
    """Return features (count, DIM) that need a gradient, and labels (count,)."""
    labels = torch.arange(count, device=device) // IMAGES_PER_IDENTITY
    directions = torch.randn(count, DIM, device=device)[labels]
    return (directions + spread * torch.randn(count, DIM, device=device)).requires_grad_(), labels


def step(loss, features, labels):
    """Run forward and backward; both are complete on return."""
    features.grad = None
    loss(features, labels).backward()
    if features.is_cuda:
        torch.cuda.synchronize()


def measure_time(pair, features, labels, repeats, clock):
    """Return the median milliseconds of a step for each of two losses.

    They alternate, so that the machine treats both alike. After one warm-up step, runs at least
    `repeats` steps and at least one second.
    """
    times: tuple[list, list] = ([], [])
    begin = clock()
    while len(times[0]) <= repeats or clock() < begin + 1:
        for loss, taken in zip(pair, times, strict=True):
            start = clock()
            step(loss, features, labels)
            taken.append(clock() - start)
    return [1000 * statistics.median(taken[1:]) for taken in times]


def measure_memory(loss, features, labels):
    """Return the peak MB that a step allocates.

    It comes from the allocator on a GPU and from the profiler on a CPU.
    """
    features.grad = None
    if features.is_cuda:
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step(loss, features, labels)
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        step(loss, features, labels)
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        record.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    held = [event["args"]["Total Allocated"] for event in events if event["name"] == "[memory]"]
    first = next(event["args"] for event in events if event["name"] == "[memory]")
    return (max(held) - (first["Total Allocated"] - first["Bytes"])) / 1e6


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument(
        "--batches", type=int, nargs="+", default=[64, 256, 1024], help="features a batch"
    )
    parser.add_argument(
        "--losses", nargs="+", default=None, help="names; by default all that the library also has"
    )
    parser.add_argument(
        "--spread", type=float, default=2.5, help="how far apart the features of an identity lie"
    )
    parser.add_argument("--repeats", type=int, default=5, help="minimum number of runs")
    parser.add_argument("--gpu_ids", default="0", help="the GPU to use; -1 for the CPU")
    options = parser.parse_args(argv)
    device = select_device(options.gpu_ids)
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    print(f"{device.type}, {torch.get_num_threads()} threads, spread {options.spread}\n")
    print("| batch | loss | ms | library, ms | faster | MB | library, MB |")
    print("|---|---|---|---|---|---|---|")
    for count in options.batches:
        classes = count // IMAGES_PER_IDENTITY
        theirs = library_losses(classes)
        for name in options.losses or theirs:
            seed_everything(0)
            features, labels = make_batch(count, options.spread, device)
            pair = losses.create_loss(name, classes, DIM).to(device), theirs[name]
            ours_ms, theirs_ms = measure_time(pair, features, labels, options.repeats, clock)
            ours_mb, theirs_mb = (measure_memory(loss, features, labels) for loss in pair)
            print(
                f"| {count} | {name} | {ours_ms:.2f} "
                f"| {theirs_ms:.2f} | {theirs_ms / ours_ms:.2f}× "
                f"| {ours_mb:.1f} | {theirs_mb:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    run_script(main)
