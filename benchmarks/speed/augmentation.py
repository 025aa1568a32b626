# PYTHON_ARGCOMPLETE_OK
"""Compare the time to augment a batch with torchvision's transforms of the same images.

torchvision transforms one image after the other, in the same run.

    python benchmarks/speed/augmentation.py
    python benchmarks/speed/augmentation.py --batchsize 64 --height 384 --width 192 --gpu_ids 0

torchvision starts from decoded Pillow images and makes one batch of them in this process. Both
crop, flip and normalise; each row adds one augmentation. The result is the mean of the runs,
because the work of each run is random. On a CPU it is processor time, which excludes other
programs. Prints rows of a Markdown table.
"""

import sys
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torchvision import transforms

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.support.parser import Parser
from person_reid.console import run_script
from person_reid.data.images.augment import MEAN, STD, Augment
from person_reid.device import select_device


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument("--batchsize", type=int, default=32, help="images a batch")
    parser.add_argument("--height", type=int, default=256, help="height of the images")
    parser.add_argument("--width", type=int, default=128, help="width of the images")
    parser.add_argument("--runs", type=int, default=20, help="batches whose times are averaged")
    parser.add_argument("--gpu_ids", default="-1", help="the GPU to use; -1 for the CPU")
    options = parser.parse_args(argv)
    size, device = (options.height, options.width), select_device(options.gpu_ids)
    smooth = torch.rand(options.batchsize, 3, 16, 8, generator=torch.Generator().manual_seed(0))
    bank = torch.nn.functional.interpolate(255 * smooth, size, mode="bicubic").clamp(0, 255).byte()
    bank = bank.permute(0, 2, 3, 1).contiguous()
    print("| flags | ms a batch | torchvision, ms | times faster |\n| --- | --- | --- | --- |")
    for flags, (before, after) in pipelines(size).items():
        name, _, probability = flags.partition(" ")
        chance: dict[str, Any] = {name: float(probability) if probability else True}
        augment = Augment(*size, **chance)
        ours = 1e3 * mean_time(batch_of(bank.to(device), augment), options.runs, device)
        row = f"| {flags} | {ours:.2f} |"
        if before is None:
            print(f"{row} | |")
        else:
            theirs = 1e3 * mean_time(one_by_one(bank, size, before, after), options.runs, device)
            print(f"{row} {theirs:.1f} | {theirs / ours:.1f} |")


def mean_time(work, runs, device):
    """Return the mean seconds of work() after one warm-up run."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    work()
    began = clock()
    for _ in range(runs):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (clock() - began) / runs


def pipelines(size):
    """Map flags to torchvision's transforms, or to None if it has none.

    The transforms are (of a Pillow image, of a normalised tensor).
    """
    zoom = [transforms.Resize([round(1.125 * side) for side in size]), transforms.RandomCrop(size)]
    policy = transforms.AutoAugment()
    return {
        "erasing_p 0": ([], []),
        "color_jitter": ([transforms.ColorJitter(0.1, 0.1, 0.1)], []),
        "autoaugment_p 0.1": ([transforms.RandomApply([policy], 0.1)], []),
        "autoaugment_p 1": ([policy], []),
        "translation_p 0.5": ([transforms.RandomApply(zoom, 0.5)], []),
        "erasing_p 0.5": ([], [transforms.RandomErasing(0.5, scale=(0.02, 0.4))]),
        "lgt_p 0.5": (None, []),
        "grayscale_erasing_p 0.5": (None, []),
        "cutout_p 0.5": (None, []),
    }


def batch_of(bank, augment):
    """Return the work to time: one batch of the suite's augmentation."""
    indices = torch.arange(len(bank), device=bank.device)
    generator = torch.Generator(bank.device).manual_seed(0)
    return lambda: augment(bank, indices, generator)


def one_by_one(bank, size, before, after):
    """Return the work to time: the same batch with torchvision."""
    crop = [transforms.RandomCrop(size, 10), transforms.RandomHorizontalFlip()]
    finish = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    transform = transforms.Compose([*before, *crop, *finish, *after])
    images = [Image.fromarray(image.numpy()) for image in bank]
    return lambda: torch.stack([transform(image) for image in images])


if __name__ == "__main__":
    run_script(main)
