# PYTHON_ARGCOMPLETE_OK
"""Compare the training speed of the suite and of the usual loop.

Both train the same network in one run of this program.

    python benchmarks/speed/training.py --data_dir ../Market/pytorch
    python benchmarks/speed/training.py --data_dir ../Market/pytorch --backbone osnet_x0_25 \\
      --height 128 --width 64
    python benchmarks/speed/training.py --data_dir ../Market/pytorch --gpu_ids 0 --steps 200 \\
      --compile

The usual loop is benchmarks/speed/usual.py (ImageFolder, DataLoader, float32, channels first),
with two workers and with one for each core. The suite's step runs in float32, in bfloat16 (unless
the processor would have to emulate it) and, on request, compiled or with PyTorch's layers instead
of fused ones. Each variant runs --rounds times in its own process; the median counts. Prints rows
of a Markdown table: images per second, share of time waiting for data, peak memory.
"""

import os
import statistics
import sys
import time
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.support.measure import apart, machine, own_peak
from benchmarks.support.parser import Parser
from person_reid.console import run_script
from person_reid.device import emulates, select_device

WARM_UP = 5  # steps that do not count


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument(
        "--data_dir", default="../Market/pytorch", help="the folder that prepare.py laid out"
    )
    parser.add_argument("--backbone", default="resnet50", help="the network")
    parser.add_argument(
        "--weights", default="none", help="its weight file; none for random weights"
    )
    parser.add_argument("--height", type=int, default=256, help="height of the images")
    parser.add_argument("--width", type=int, default=128, help="width of the images")
    parser.add_argument("--batchsize", type=int, default=32, help="images a batch")
    parser.add_argument("--steps", type=int, default=20, help="batches to time")
    parser.add_argument(
        "--rounds", type=int, default=3, help="number of rounds; the median is printed"
    )
    parser.add_argument("--gpu_ids", default="-1", help="the GPU to use; -1 for the CPU")
    parser.add_argument("--compile", action="store_true", help="also the suite with --compile")
    parser.add_argument(
        "--unfused", action="store_true", help="also the suite with PyTorch's layers for fused ones"
    )
    options = parser.parse_args(argv)
    import torch  # only now: the console decides how its threads wait

    suite: dict[str, list[str]] = {"suite, float32": []}
    if not emulates(select_device(options.gpu_ids), torch.bfloat16):
        suite["suite, bfloat16"] = ["--bf16"]
    if options.compile:
        suite |= {f"{name}, compiled": [*flags, "--compile"] for name, flags in suite.items()}
    variants = {
        f"usual loop, {name}": (usual_loop, count) for name, count in worker_counts().items()
    }
    variants |= {name: (suite_loop, flags) for name, flags in suite.items()}
    if options.unfused:
        variants |= {f"{name}, not fused": (unfused_loop, flags) for name, flags in suite.items()}
    measured: dict[str, list] = {name: [] for name in variants}
    for _ in range(options.rounds):
        for name, (loop, setting) in variants.items():
            measured[name].append(apart(loop, vars(options), setting))
    print(
        f"{machine()}; {options.backbone}, "
        f"{options.height}×{options.width}, batch {options.batchsize}\n"
    )
    print(
        "| | images/s | against 2 workers | waits for data | peak memory |\n"
        "| --- | --- | --- | --- | --- |"
    )
    first = statistics.median(speed for speed, _, _ in measured["usual loop, 2 workers"])
    for name, runs in measured.items():
        speed, share, memory = (statistics.median(values) for values in zip(*runs, strict=True))
        print(f"| {name} | {speed:.0f} | {speed / first:.2f} | {share:.1%} | {memory:.2f} GB |")


def worker_counts():
    """Return {"2 workers": 2} and, if there are more cores, one worker for each."""
    cores = os.cpu_count() or 2
    return {"2 workers": 2, **({f"{cores} workers": cores} if cores > 2 else {})}


def usual_loop(options, workers):
    """Return (images per second, share of waiting for data, peak gigabytes) of the usual loop."""
    from benchmarks.speed.usual import UsualTraining

    training = UsualTraining(parsed(options), workers)
    return timed(iter(training.loader), training.step, options, training.device)


def suite_loop(options, flags):
    """Return the same for the suite's step."""
    step = suite_step(parsed(options, *flags))
    return timed(step.images.epoch(0), step, options, step.device)


def suite_step(config):
    """Return a training step, as train.py sets it up."""
    import person_reid as reid

    world = reid.World()
    device = world.device(config.gpu_ids)
    reid.prepare_training(device, tf32=not config.no_tf32)
    splits = reid.read_training_splits(config.roots, config.split)
    images = reid.TrainingImages(splits, config, device, world, config.seed)
    reid.seed_everything(config.seed)
    network = reid.create_network(config, images.num_classes)
    criterion = reid.create_criterion(config, network)
    images.decode(network.size, network.padding)
    reid.prepare_modules(network, criterion, config, device)
    return reid.TrainingStep(network, criterion, config, images, world)


def unfused_loop(options, flags):
    """Return the same with PyTorch's layers instead of fused ones."""
    with patch("person_reid.training.step.fuse", lambda *_: False):
        return suite_loop(options, flags)


def launched_loop(options, flags):
    """Return the same for a step that launches a GPU's kernels one by one, unrecorded."""
    with patch("person_reid.training.step.Recorded", lambda module: module):
        return suite_loop(options, flags)


def parsed(options, *flags):
    """Return the training configuration that corresponds to the options of this program."""
    from benchmarks.support.measure import training_of

    names = ("data_dir", "backbone", "weights", "height", "width", "batchsize", "gpu_ids")
    return training_of([*(f"--{name}={options[name]}" for name in names), "--train_all", *flags])


def timed(batches, step, options, device):
    """Run the warm-up and then `steps` steps. Returns the same as usual_loop."""
    waited = 0.0
    for count in range(WARM_UP + options["steps"]):
        if count == WARM_UP:
            synchronise(device)
            waited, began = 0.0, time.perf_counter()
        before = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - before
        step(batch)
    synchronise(device)
    seconds = time.perf_counter() - began
    return (
        options["steps"] * options["batchsize"] / seconds,
        waited / seconds,
        _peak_gigabytes(device),
    )


def synchronise(device):
    """Wait for a GPU."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


def _peak_gigabytes(device):
    """Return the peak of the accelerator or, without one, of this process.

    Workers of the loader do not count.
    """
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device) / 1e9
    return own_peak()


if __name__ == "__main__":
    run_script(main)
