# PYTHON_ARGCOMPLETE_OK
"""Compare the training speed of the suite with that of the usual loop, for the same networks.

    python benchmarks/speed/training.py --data_dir ../Market/pytorch
    python benchmarks/speed/training.py --data_dir ../Market/pytorch --gpu_ids 0 --steps 200
    python benchmarks/speed/training.py --data_dir ../Market/pytorch --compile float32 \\
      --backbone osnet_x0_25 osnet_x1_0 --height 128 --width 64 --batchsize 16 --rounds 1

The usual loop is benchmarks/speed/usual.py: ImageFolder, DataLoader with two workers, float32,
channels first. The suite's step runs in float32 and in bfloat16, unless the processor would have to
emulate it. --compile adds the step with PyTorch's layers instead of fused ones, plain and compiled;
compiling takes minutes the first time. Each loop runs --rounds times in its own process; the median
counts. Prints rows of a Markdown table.
"""

import statistics
import sys
import time
from itertools import chain, count
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.support.measure import apart, machine, own_peak, training_of
from benchmarks.support.parser import Parser
from person_reid.console import run_script
from person_reid.device import emulates, select_device

WARM_UP = 5  # steps that are not timed
PRECISIONS = {"float32": [], "bfloat16": ["--bf16"]}  # name: flags


def main(argv=None):
    """Print a table for each network."""
    parser = Parser(__doc__)
    parser.add_argument("--data_dir", default="../Market/pytorch", help="layout of prepare.py")
    parser.add_argument("--backbone", nargs="+", default=["resnet50"], help="the networks")
    parser.add_argument("--weights", default="none", help="weight file; none for random weights")
    parser.add_argument("--height", type=int, default=256, help="height of the images")
    parser.add_argument("--width", type=int, default=128, help="width of the images")
    parser.add_argument("--batchsize", type=int, default=32, help="images per batch")
    parser.add_argument("--steps", type=int, default=20, help="batches to time")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each loop")
    parser.add_argument("--gpu_ids", default="-1", help="the GPU to use; -1 for the CPU")
    parser.add_argument(
        "--compile", nargs="*", choices=PRECISIONS, help="also compiled: these precisions, or all"
    )
    options = parser.parse_args(argv)
    print(f"{machine()}; {options.height}×{options.width}, batch {options.batchsize}")
    for backbone in options.backbone:
        print(f"\n| {backbone} | images/s | × | peak memory |\n|{'---|' * 4}")
        compare({**vars(options), "backbone": backbone})


def compare(options):
    """Print a row for each loop; the third column is its speed relative to the first loop's."""
    loops = loops_of(options)
    runs: dict[str, list] = {name: [] for name in loops}
    for _ in range(options["rounds"]):
        for name, (loop, setting) in loops.items():
            runs[name].append(apart(loop, options, setting))
    first = None
    for name, found in runs.items():
        speed, memory = map(statistics.median, zip(*found, strict=True))
        first = first or speed
        print(f"| {name} | {speed:.0f} | {speed / first:.2f} | {memory:.2f} GB |")
    sys.stdout.flush()


def loops_of(options):
    """Return {name: (loop, its second argument)} for the loops to compare."""
    import torch  # only now: the console decides how its threads wait

    emulated = emulates(select_device(options["gpu_ids"]), torch.bfloat16)
    compiled = [] if options["compile"] is None else options["compile"] or PRECISIONS
    loops: dict = {"usual loop": (usual_loop, 2)}
    for name, flags in PRECISIONS.items():
        if name == "bfloat16" and emulated:
            continue
        loops[f"suite, {name}"] = (suite_loop, flags)
        if name in compiled:
            compiling = [*flags, "--compile", "default"]
            loops[f"PyTorch's layers, {name}"] = (unfused_loop, flags)
            loops[f"PyTorch's layers, {name}, compiled"] = (unfused_loop, compiling)
    return loops


def usual_loop(options, workers):
    """Return (images per second, peak gigabytes) of the usual loop."""
    from benchmarks.speed.usual import UsualTraining

    training = UsualTraining(parsed(options), workers)
    return timed(lambda _: training.loader, training.step, options, training.device)


def suite_loop(options, flags):
    """Return what usual_loop returns, for the suite's step."""
    step = suite_step(parsed(options, *flags))
    return timed(step.images.epoch, step, options, step.device)


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
    """Return what suite_loop returns, with PyTorch's layers instead of fused layers."""
    with patch("person_reid.training.step.fuse", lambda *_: False):
        return suite_loop(options, flags)


def launched_loop(options, flags):
    """Return what suite_loop returns, with a GPU's kernels launched one by one, unrecorded."""
    with patch("person_reid.training.step.Recorded", lambda module: module):
        return suite_loop(options, flags)


def parsed(options, *flags):
    """Return the training configuration that corresponds to the options of this program."""
    names = ("data_dir", "backbone", "weights", "height", "width", "batchsize", "gpu_ids")
    return training_of([*(f"--{name}={options[name]}" for name in names), "--train_all", *flags])


def timed(epoch, step, options, device):
    """Run the warm-up and then `steps` steps; return what usual_loop returns.

    epoch: number of an epoch → its batches.
    """
    batches = chain.from_iterable(map(epoch, count()))
    for number in range(WARM_UP + options["steps"]):
        if number == WARM_UP:
            synchronise(device)
            began = time.perf_counter()
        step(next(batches))
    synchronise(device)
    seconds = time.perf_counter() - began
    return options["steps"] * options["batchsize"] / seconds, peak_of(device)


def synchronise(device):
    """Wait until a GPU has finished."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


def peak_of(device):
    """Return the peak gigabytes of a GPU, or of this process, not counting a loader's workers."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device) / 1e9
    return own_peak()


if __name__ == "__main__":
    run_script(main)
