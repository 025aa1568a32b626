# PYTHON_ARGCOMPLETE_OK
"""Compare how fast PyTorch, ONNX Runtime and OpenVINO compute features on a CPU.

    python benchmarks/speed/runtimes.py --weights osnet_x0_25_msmt17.pth \\
      --test_dir ../Market/pytorch
    python benchmarks/speed/runtimes.py --weights osnet.pth --test_dir ../Market/pytorch --bf16

The runtimes alternate, so that a busy machine slows all of them. The last column counts CPU
seconds, which depend little on other programs. "PyTorch alone" is the plain network, channels first
and nothing fused; its batches suit the cache, as the others' do. Images are decoded and networks
exported beforehand.
"""

import os
import statistics
import sys
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path
from unittest.mock import patch

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.support.measure import ROOT, machine
from benchmarks.support.parser import Parser
from person_reid.config.tested import TestConfig
from person_reid.config.train import PrecisionOptions
from person_reid.console import parse, run_script
from person_reid.data.images.bank import load_bank
from person_reid.data.layout import read_split
from person_reid.deploy.embedder import Embedder
from person_reid.device import dtype_of
from person_reid.models.factory import find_architecture
from person_reid.text import markdown_table

ALONE = "PyTorch alone, float32"
IMAGES, ROUNDS = 256, 5  # gallery images per run, and runs of each runtime; the median counts


def main(argv=None):
    """Print the table."""
    parser = Parser(__doc__)
    parser.add_argument("--backbone", default="osnet_x0_25", help="the network")
    parser.add_argument("--weights", required=True, help="weight file")
    parser.add_argument("--test_dir", required=True, help="folder of prepare.py")
    parser.add_argument("--bf16", action="store_true", help="also PyTorch and OpenVINO in bfloat16")
    options = parser.parse_args(argv)
    network = ["--backbone", options.backbone, "--weights", options.weights]
    ways = {ALONE: network}  # {name: flags of test.py}
    for name in ("torch", "onnxruntime", "openvino"):
        ways[f"{name}, float32"] = [*network, "--runtime", name]
    if options.bf16:
        for name in ("torch", "openvino"):
            ways[f"{name}, bfloat16"] = [*network, "--runtime", name, "--bf16"]
    print(machine())
    extraction(ways, options)


class ChannelsFirst(torch.nn.Module):
    """An embedding network for images (B, 3, H, W), whatever their order in memory."""

    def __init__(self, embedding):
        super().__init__()
        self.embedding = embedding.to(memory_format=torch.contiguous_format)

    def forward(self, images):
        """Return the features (B, D)."""
        return self.embedding(images.contiguous())


@contextmanager
def eager():
    """In this context, features are computed by unfused networks, channels first."""
    with patch("person_reid.retrieval.features.fuse", ChannelsFirst):
        yield


def extraction(ways, options):
    """Print a table of images per second, mirrored images included."""
    size = find_architecture(options.backbone).size
    bank = load_bank(read_split(options.test_dir, "gallery").paths[:IMAGES], *size)
    embedders = {}
    for name, flags in ways.items():
        given = parse(TestConfig, flags)
        source, runtime = given.backbone or "", given.runtime
        dtype = dtype_of(PrecisionOptions(fp16=given.fp16, bf16=given.bf16))
        with eager() if name == ALONE else nullcontext():
            embedders[name] = Embedder(source, given.weights, "cpu", dtype=dtype, runtime=runtime)
        embedders[name].features(bank[:64])  # compiles
    times: dict = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, embedder in embedders.items():
            clock, processor = time.perf_counter(), time.process_time()
            embedder.features(bank)
            times[name].append((time.perf_counter() - clock, time.process_time() - processor))
    rows, alone = [], None
    for name, runs in times.items():
        wall, core = map(statistics.median, zip(*runs, strict=True))
        alone = alone or wall
        speeds = f"{len(bank) / wall:.0f}", f"{alone / wall:.1f}", f"{len(bank) / core:.0f}"
        rows.append([name, *speeds])
    print(markdown_table(["runtime", "images/s", "times as fast", "images/s per core"], rows))


if __name__ == "__main__":
    os.chdir(ROOT)
    run_script(main)
