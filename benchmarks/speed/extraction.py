# PYTHON_ARGCOMPLETE_OK
"""Measure extraction speed by batch size.

Each convolution is fused with its batch norm, as in test.py, or it is not.

    python benchmarks/speed/extraction.py
    python benchmarks/speed/extraction.py --backbone resnet50 --batches 8 32 128 --gpu_ids 0

Float32, one view, median of the runs. Prints rows of a Markdown table, which shows why test.py
never takes more than 32 images at a time on a CPU.
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
from person_reid.models.registry import find_backbone
from person_reid.retrieval.features import fused_embedding

IMAGES = 256  # at least, in a run


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument(
        "--backbone", default="osnet_x0_25", help="the network, with random weights"
    )
    parser.add_argument(
        "--batches", type=int, nargs="+", default=[8, 16, 32, 64, 256], help="images a batch"
    )
    parser.add_argument("--runs", type=int, default=3, help="their median is printed")
    parser.add_argument("--gpu_ids", default="-1", help="the GPU to use; -1 for the CPU")
    options = parser.parse_args(argv)
    device = select_device(options.gpu_ids)
    network = create_model(options.backbone, weights="none")
    fused = fused_embedding(network, device)
    print(
        "| network | batch | fused, images/s | as it is, images/s | ratio |\n"
        "| --- | --- | --- | --- | --- |"
    )
    for batch in options.batches:
        images = torch.randn(batch, 3, *find_backbone(options.backbone).size, device=device)
        images = images.contiguous(memory_format=torch.channels_last)
        fast, plain = (speed(embed, images, options.runs) for embed in (fused, network.embed))
        print(
            f"| {options.backbone} | {batch} | {fast:.0f} | {plain:.0f} | {fast / plain:.1f} |",
            flush=True,
        )


@torch.inference_mode()
def speed(embed, images, runs):
    """Return the images per second."""
    steps, times = -(-IMAGES // len(images)), []
    for _ in range(runs + 1):
        start = time.perf_counter()
        for _ in range(steps):
            features = embed(images)
        features.sum().item()  # waits for an accelerator
        times.append(time.perf_counter() - start)
    return steps * len(images) / statistics.median(times[1:])


if __name__ == "__main__":
    run_script(main)
