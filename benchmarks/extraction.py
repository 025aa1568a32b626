"""Extraction speed by batch size, each convolution fused with its batch norm, as test.py runs it, and as it is.

    python benchmarks/extraction.py
    python benchmarks/extraction.py --backbone resnet50 --batches 8 32 128 --gpu_ids 0

One view, float32, median of the runs; prints rows of a Markdown table. On a CPU, test.py never takes more than 32 at a
time: this is why.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from model import build_model
from reid.models.backbones import find_backbone
from reid.retrieval.features import fused_embedding
from utils import run_script, select_device

IMAGES = 256  # in a run, at least


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="osnet_x0_25")
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 16, 32, 64, 256])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--gpu_ids", default="-1")
    options = parser.parse_args(argv)
    device = select_device(options.gpu_ids)
    network = build_model(options.backbone, None, weights="none")
    fused = fused_embedding(network, device)
    print("| network | batch | fused, images/s | as it is, images/s | ratio |\n| --- | --- | --- | --- | --- |")
    for batch in options.batches:
        images = torch.randn(batch, 3, *find_backbone(options.backbone).size, device=device)
        images = images.contiguous(memory_format=torch.channels_last)
        fast, plain = (speed(embed, images, options.runs) for embed in (fused, network.embed))
        print(f"| {options.backbone} | {batch} | {fast:.0f} | {plain:.0f} | {fast / plain:.1f} |", flush=True)


@torch.inference_mode()
def speed(embed, images, runs):
    """Images a second."""
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
