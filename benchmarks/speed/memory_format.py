# PYTHON_ARGCOMPLETE_OK
"""Compare training speed with images in channels_last order and in PyTorch's default order.

The suite uses channels_last.

    python benchmarks/speed/memory_format.py
    python benchmarks/speed/memory_format.py --backbone resnet50 --batchsize 16

Runs forward and backward of one batch at a time, float32, median of the steps. Prints rows of a
Markdown table.
"""

import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.support.parser import Parser
from person_reid.console import run_script
from person_reid.device import select_device
from person_reid.models.factory import create_model


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument(
        "--backbone", default="osnet_x0_25", help="the network, with random weights"
    )
    parser.add_argument("--batchsize", type=int, default=32, help="images a batch")
    parser.add_argument("--steps", type=int, default=5, help="batches whose median is printed")
    parser.add_argument("--gpu_ids", default="-1", help="the GPU to use; -1 for the CPU")
    options = parser.parse_args(argv)
    print(
        "| network | images | channels last, images/s | default, images/s | ratio |\n"
        "| --- | --- | --- | --- | --- |"
    )
    for size in ((128, 64), (256, 128)):
        last, default = (
            speed(options, size, order) for order in (torch.channels_last, torch.contiguous_format)
        )
        print(
            f"| {options.backbone} | {size[0]}×{size[1]} | {last:.0f} "
            f"| {default:.0f} | {last / default:.1f} |"
        )


def speed(options, size, order):
    """Return the images per second of forward and backward in the memory format `order`."""
    device = select_device(options.gpu_ids)
    network = (
        create_model(options.backbone, 751, weights="none", size=size)
        .to(device)
        .to(memory_format=order)
    )
    images = torch.randn(options.batchsize, 3, *size, device=device).contiguous(memory_format=order)
    times = []
    for _ in range(options.steps + 1):
        start = time.perf_counter()
        network(images)[1].sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return options.batchsize / statistics.median(times[1:])


if __name__ == "__main__":
    run_script(main)
