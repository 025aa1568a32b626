# PYTHON_ARGCOMPLETE_OK
"""Measure everything in docs/benchmarks.md that needs a GPU.

    python benchmarks/speed/gpu.py --data_dir ../Market/pytorch | tee gpu.md
    python benchmarks/speed/gpu.py --data_dir ../Market/pytorch --parts training epochs \\
      --networks resnet50
    python benchmarks/speed/gpu.py --data_dir people/pytorch --dry_run --gpu_ids -1

A part takes at most nine minutes. On a machine without photographs, draw as many as Market-1501
has: `prepare.py --synthetic --data_dir people --identities 719 --test_identities 1 --distractors 0
--junk 0`. --dry_run uses tiny sizes, to check that every part works. Prints tables in Markdown.
"""

import gc
import os
import sys
import tempfile
from functools import partial
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import train
from benchmarks.speed.training import launched_loop, suite_loop, synchronise, usual_loop
from benchmarks.support.measure import SIZES, best_and_result, machine, make_result
from benchmarks.support.parser import Parser
from person_reid.config.evaluate import RerankOptions
from person_reid.console import run_script
from person_reid.device import select_device
from person_reid.models.factory import create_model
from person_reid.retrieval.features import extract_features, fused_embedding
from person_reid.retrieval.metrics import evaluate
from person_reid.retrieval.rerank import rescorer
from person_reid.retrieval.results import load_result
from person_reid.run_folder import RunFolder

NETWORKS = {  # name: height, width, batch size
    "resnet50": (256, 128, 64),
    "osnet_x1_0": (256, 128, 64),
    "swin_base_patch4_window7_224": (224, 224, 32),
}
TINY = {"osnet_x0_25": (64, 32, 8)}  # for --dry_run
LOOPS = {
    "usual loop": (usual_loop, min(8, os.cpu_count() or 1)),  # and how many processes load images
    "suite, TF32": (suite_loop, []),
    "suite, bfloat16": (suite_loop, ["--bf16"]),
    "suite, bfloat16, not recorded": (launched_loop, ["--bf16"]),
}
COMPILED = {  # takes a minute or more to start
    "suite, bfloat16": (suite_loop, ["--bf16"]),
    "suite, bfloat16, compiled": (suite_loop, ["--bf16", "--compile"]),
    "compiled and recorded": (suite_loop, ["--bf16", "--compile", "reduce-overhead"]),
}


def main(argv=None):
    """Run the parts one after another."""
    parser = Parser(__doc__)
    parser.add_argument("--data_dir", type=Path, required=True, help="layout of prepare.py")
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=PARTS,
        default=[*PARTS],
        help=f"only some of {', '.join(PARTS)}",
        metavar="PART",
    )
    parser.add_argument(
        "--networks",
        nargs="+",
        choices=NETWORKS,
        default=[*NETWORKS],
        metavar="NETWORK",
        help=f"only some of {', '.join(NETWORKS)}",
    )
    parser.add_argument("--gpu_ids", default="0", help="the GPU to use; -1 for the CPU")
    parser.add_argument("--dry_run", action="store_true", help="tiny sizes")
    options = parser.parse_args(argv)
    options.data_dir = options.data_dir.resolve()
    options.networks = TINY if options.dry_run else {n: NETWORKS[n] for n in options.networks}
    device = select_device(options.gpu_ids)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    print(f"{machine()}, torch {torch.__version__}, {where}")
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # training writes there
        try:
            for part in options.parts:
                print(f"\n## {part}\n", flush=True)
                PARTS[part](options, device)
        finally:
            os.chdir(before)


def training(loops, options, device):
    """Print images per second for each network and loop. loops: {name: (loop, second argument)}."""
    print("| network | | images/s | times | peak memory |\n| --- | --- | --- | --- | --- |")
    for name, (height, width, batch) in options.networks.items():
        settings = {
            "data_dir": options.data_dir,
            "backbone": name,
            "weights": "none",
            "height": height,
            "width": width,
            "batchsize": batch,
            "gpu_ids": options.gpu_ids,
            "steps": 1 if options.dry_run else 60,
        }
        first = None
        for text, (loop, setting) in list(loops.items())[: 2 if options.dry_run else None]:
            if device.type == "cuda":
                gc.collect()
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            speed, memory = loop(settings, setting)
            first = first or speed
            cells = f"{speed:.0f} | {speed / first:.2f} | {memory:.2f} GB"
            print(f"| {name} | {text} | {cells} |", flush=True)


def epochs(options, device):
    """Train for two epochs with each precision, and print the time of each epoch."""
    print("| | first epoch | second |\n| --- | --- | --- |")
    name, (height, width, batch) = next(iter(options.networks.items()))
    for precision, flags in {"TF32": [], "bfloat16": ["--bf16"]}.items():
        words = ["--backbone", name, "--weights", "none", "--train_all", "--total_epoch", "2"]
        words += [f"--height={height}", f"--width={width}", f"--batchsize={min(batch, 32)}"]
        words += [f"--data_dir={options.data_dir}", f"--gpu_ids={options.gpu_ids}"]
        train.main([*words, "--name", precision, *flags])
        seconds = [f"{epoch['seconds']:.1f} s" for epoch in RunFolder(precision).history()]
        print(f"| {name}, {precision} | {' | '.join(seconds)} |", flush=True)


def extraction(options, device):
    """Print the speed (images/s) of extraction from a bank in memory, mirrored images included."""
    images, batch = (16, 8) if options.dry_run else (23_100, 256)
    print(f"{images:,} images, two views\n\n| network | | images/s |\n| --- | --- | --- |")
    for name, (height, width, _) in options.networks.items():
        bank = torch.randint(0, 256, (images, height, width, 3), dtype=torch.uint8)
        embed = fused_embedding(create_model(name, weights="none", size=(height, width)), device)
        for dtype in (None, torch.bfloat16):
            extract = partial(extract_features, embed, batch_size=batch, dtype=dtype, device=device)
            extract(bank[:batch])  # warm up
            seconds, _ = best_and_result(partial(extract, bank), 1)
            print(f"| {name} | {dtype or 'float32'} | {images / seconds:.0f} |", flush=True)


def ranking(options, device):
    """Print the milliseconds that re-ranking and evaluation take, for features in memory."""
    sizes = {"tiny": (40, 200)} if options.dry_run else {n: SIZES[n] for n in ("market", "msmt17")}
    print("| features | | re-ranking, ms | evaluation, ms |\n|---|---|---|---|")
    for name, size in sizes.items():
        make_result("made.mat", *size)
        query, gallery = load_result("made.mat")
        for method in ("k-reciprocal", "gnn"):
            rescore = rescorer(RerankOptions(method=method, memory_gb=16))
            made, scores = best_and_result(partial(prepared, rescore, query, gallery, device))
            ranked, _ = best_and_result(partial(evaluate, query, gallery, scores=scores))
            print(f"| {name} | {method} | {1e3 * made:.1f} | {1e3 * ranked:.1f} |", flush=True)


def prepared(rescore, query, gallery, device):
    """Return the scores of a re-ranking once the device has computed them."""
    scores = rescore(query.features, gallery.features, device if device.type == "cuda" else None)
    synchronise(device)
    return scores


PARTS: dict = {
    "training": partial(training, LOOPS),
    "epochs": epochs,
    "extraction": extraction,
    "ranking": ranking,
    "compiled": partial(training, COMPILED),
}


if __name__ == "__main__":
    run_script(main)
