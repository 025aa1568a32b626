# PYTHON_ARGCOMPLETE_OK
"""Measure extraction speed by batch size, with each convolution fused with its batch norm, as in test.py, and without.
--data_dir measures the first run on images that are not cached yet, which decodes and extracts at the same time.

    python benchmarks/extraction.py
    python benchmarks/extraction.py --backbone resnet50 --batches 8 32 128 --gpu_ids 0
    python benchmarks/extraction.py --data_dir ../Market/pytorch --images 2000

Float32, median of the runs. Prints rows of Markdown tables. On a CPU, test.py never takes more than 32 images at a
time; the first table, of one view, shows why. The second has the two views of test.py, and also a device that only
waits, as this processor sees an accelerator.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from person_reid.cli.main import run_script
from person_reid.cli.parser import Parser
from person_reid.data.bank import load_bank, open_bank
from person_reid.data.layout import read_split
from person_reid.device import select_device
from person_reid.models.factory import create_model
from person_reid.models.registry import find_backbone
from person_reid.retrieval.features import extract_features, fused_embedding

IMAGES = 256  # at least, in a run
PAUSE = 1e-3  # seconds that the device which only waits takes for a view of an image


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument("--backbone", default="osnet_x0_25", help="the network, with random weights")
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 16, 32, 64, 256], help="images a batch")
    parser.add_argument("--runs", type=int, default=3, help="their median is printed")
    parser.add_argument("--gpu_ids", default="-1", help="the GPU to use; -1 for the CPU")
    parser.add_argument("--data_dir", help="measure the first run on images of this folder of prepare.py")
    parser.add_argument("--split", default="gallery", help="the images to use")
    parser.add_argument("--images", type=int, default=2000, help="how many of them")
    options = parser.parse_args(argv)
    device = select_device(options.gpu_ids)
    network = create_model(options.backbone, None, weights="none")
    fused = fused_embedding(network, device)
    if options.data_dir:
        first_runs({options.backbone: fused, f"{1e3 * PAUSE:g} ms a view": pause}, options, device)
        return
    print("| network | batch | fused, images/s | as it is, images/s | ratio |\n| --- | --- | --- | --- | --- |")
    for batch in options.batches:
        images = torch.randn(batch, 3, *find_backbone(options.backbone).size, device=device)
        images = images.contiguous(memory_format=torch.channels_last)
        fast, plain = (speed(embed, images, options.runs) for embed in (fused, network.embed))
        print(f"| {options.backbone} | {batch} | {fast:.0f} | {plain:.0f} | {fast / plain:.1f} |", flush=True)


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


def pause(images):
    """Stand in for a network that takes time but not this processor's."""
    time.sleep(PAUSE * len(images))
    return torch.ones(len(images), 1, device=images.device)


def first_runs(networks, options, device):
    """Print the seconds of networks {name: embed} to extract from files, decoding first and decoding meanwhile."""
    paths = read_split(options.data_dir, options.split).paths[: options.images]
    size = find_backbone(options.backbone).size
    print("| network | images | decoded first, s | decoded meanwhile, s | ratio |\n| --- | --- | --- | --- | --- |")
    for name, embed in networks.items():
        times: dict = {load_bank: [], open_bank: []}
        for _ in range(options.runs):
            for way, seconds in times.items():
                with tempfile.TemporaryDirectory() as cache:
                    began = time.perf_counter()
                    extract_features(embed, way(paths, *size, cache), device, options.batches[-1])
                    seconds.append(time.perf_counter() - began)
        first, meanwhile = (statistics.median(seconds) for seconds in times.values())
        print(f"| {name} | {len(paths)} | {first:.1f} | {meanwhile:.1f} | {first / meanwhile:.2f} |", flush=True)


if __name__ == "__main__":
    run_script(main)
