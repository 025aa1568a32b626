# PYTHON_ARGCOMPLETE_OK
"""Measure what the networks in recipes cost.

Prints parameters, multiply-adds, and milliseconds per image on one core.

    python benchmarks/speed/costs.py recipes/market/osnet_x0_25_laptop.yaml \\
      recipes/market/resnet50.yaml

The network is exported to ONNX, and OpenVINO computes one view of each image, without decoding. The
weights are random, which does not change the time. Each line of docs/costs.jsonl describes a
network; lines of other networks are kept. `python tools/docs/pages.py` puts them into
docs/results.md, beside the accuracy.
"""

import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from benchmarks.support.measure import ROOT, machine, training_of
from benchmarks.support.parser import Parser
from person_reid.console import run_script
from person_reid.deploy.embedder import Embedder
from person_reid.deploy.export import export
from person_reid.deploy.exported_files import Contents
from person_reid.deploy.publish import milliseconds
from person_reid.files import atomic_write
from person_reid.models.complexity import complexity
from person_reid.models.factory import build_network, input_size
from tools.docs.pages import COSTS
from tools.docs.results import read_records
from tools.recipes import read_recipe


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument("recipes", nargs="+", type=Path, metavar="RECIPE", help="files of recipes/")
    parser.add_argument("--rounds", type=int, default=5, help="times to measure; the median counts")
    options = parser.parse_args(argv)
    for path in options.recipes:
        name = read_recipe(path).name
        lines = {line["network"]: line for line in read_records(COSTS)}
        lines[name] = {"network": name, **cost(path, options.rounds), "machine": machine()}
        print(lines[name], flush=True)
        with atomic_write(COSTS) as temporary:
            temporary.write_text(
                "".join(json.dumps(line) + "\n" for line in lines.values()), encoding="utf-8"
            )


def cost(path, rounds):
    """Return the size of a recipe's network, and its milliseconds per image."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    spec = training_of(["--config", str(path)])
    height, width = input_size(spec)
    network = build_network(spec, None, weights="none").eval()
    found = complexity(network, (height, width))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.onnx"
        export(
            network,
            Contents(height, width, network.dim, network.pieces, spec.backbone),
            file,
            "onnx",
        )
        embedder = Embedder(file, device="cpu", runtime="openvino", flip=False)
        time = statistics.median(milliseconds(embedder) for _ in range(rounds))
    size = {"parameters": found.parameters, "multiply_adds": found.multiply_adds}
    return {**size, "float32": round(time, 2)}


if __name__ == "__main__":
    os.chdir(ROOT)
    run_script(main)
