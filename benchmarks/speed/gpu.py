# PYTHON_ARGCOMPLETE_OK
"""Measure everything in docs/benchmarks.md that needs a GPU.

Each part ends within nine minutes.

    python benchmarks/speed/gpu.py --save gpu.md                              # all parts
    python benchmarks/speed/gpu.py --save gpu.md --images bounding_box_train  # with photographs
    python benchmarks/speed/gpu.py --parts training epochs --networks resnet50 --save gpu.md
    python benchmarks/speed/gpu.py --dry_run --gpu_ids -1                     # every part, tiny

For a bare machine with one GPU and no network: without --images it draws synthetic people of
Market-1501's size. Each part runs in its own process and is added to --save when it ends; a part
that fails or takes too long does not affect the others. The peak is the speed of a large matrix
product measured in the same process; a training step is counted as three forward passes.
"""

import gc
import logging
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import prepare
import train
from benchmarks.speed.training import launched_loop, suite_loop, synchronise, usual_loop
from benchmarks.support.measure import SIZES, best, best_and_result, machine, make_result
from benchmarks.support.parser import Parser
from person_reid.config.evaluate import RerankOptions
from person_reid.console import run_script
from person_reid.device import select_device
from person_reid.errors import UserError
from person_reid.models.complexity import complexity
from person_reid.models.factory import create_model
from person_reid.retrieval.features import extract_features, fused_embedding
from person_reid.retrieval.metrics import evaluate
from person_reid.retrieval.rerank import rescorer
from person_reid.retrieval.results import load_result
from person_reid.retrieval.similarity import DISTANCES
from person_reid.run_folder import RunFolder

MINUTES = 9  # the most that a part may take
NETWORKS = {
    "resnet50": (256, 128, 64),
    "osnet_x1_0": (256, 128, 64),
    "swin_base_patch4_window7_224": (224, 224, 32),
}
TINY = {"osnet_x0_25": (64, 32, 8)}  # name: height, width, batch size
VARIANTS = {
    "suite, TF32": (suite_loop, []), "suite, float32": (suite_loop, ["--no_tf32"]),
    "suite, bfloat16": (suite_loop, ["--bf16"]),
    "suite, bfloat16, not recorded": (launched_loop, ["--bf16"]),
}  # fmt: skip
COMPILED = {
    "suite, bfloat16": (suite_loop, ["--bf16"]),
    "suite, bfloat16, compiled": (suite_loop, ["--bf16", "--compile"]),
    "suite, bfloat16, compiled and recorded": (
        suite_loop,
        ["--bf16", "--compile", "reduce-overhead"],
    ),
}


def main(argv=None):
    """Run the parts, or the single one of --only in this process."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--parts", nargs="+", metavar="PART", choices=PARTS, default=list(PARTS), help="only these"
    )
    parser.add_argument(
        "--networks",
        nargs="+",
        metavar="NAME",
        choices=NETWORKS,
        default=list(NETWORKS),
        help="to measure",
    )
    parser.add_argument(
        "--images", type=Path, metavar="FOLDER", help="photographs with Market-1501's names"
    )
    parser.add_argument("--save", type=Path, metavar="FILE.md", help="file to add the tables to")
    parser.add_argument("--gpu_ids", default="0", help="the GPU to use; -1 for the CPU")
    parser.add_argument(
        "--dry_run", action="store_true", help="tiny sizes, to see that every part works"
    )
    parser.add_argument(
        "--only",
        metavar="PART",
        choices=PARTS,
        help="run it here, with people in the working folder",
    )
    options = parser.parse_args(argv)
    if options.only:
        PARTS[options.only](options, select_device(options.gpu_ids))
        return
    failed = []
    with tempfile.TemporaryDirectory() as workspace:
        lay_out(options, workspace)
        for part in options.parts:
            text, ended_well = run_part(part, options, workspace)
            failed += [] if ended_well else [part]
            print(text, flush=True)
            if options.save:
                with options.save.open("a", encoding="utf-8") as file:
                    file.write(text)
    if failed:
        raise UserError(f"parts that failed: {', '.join(failed)}; the reasons are above.")


def lay_out(options, workspace):
    """Put as many people as Market-1501 has into `workspace`/people."""
    if options.images:
        named = ["--pattern", r"(?P<id>-?\d+)_c(?P<camera>\d+)", "--test_fraction", "0"]
        prepare.main(
            ["--data_dir", str(options.images), "--save_dir", f"{workspace}/people/pytorch", *named]
        )
        return
    sizes = ["--identities", "4"] if options.dry_run else ["--identities", "719"]
    nobody = ["--test_identities", "1", "--distractors", "0", "--junk", "0"]
    prepare.main(["--synthetic", "--data_dir", f"{workspace}/people", *sizes, *nobody])


def run_part(part, options, workspace):
    """Run a part in its own process.

    Return its output as a section, and whether it succeeded.
    """
    flags = ["--only", part, "--gpu_ids", options.gpu_ids, "--networks", *options.networks]
    flags += ["--dry_run"] if options.dry_run else []
    command = [sys.executable, str(Path(__file__).resolve()), *flags]
    began = time.perf_counter()
    try:
        done = subprocess.run(
            command,
            cwd=workspace,
            timeout=60 * MINUTES,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        text, status = done.stdout, done.returncode
    except subprocess.TimeoutExpired as error:
        text = (error.stdout or b"").decode(errors="replace") + f"stopped after {MINUTES} minutes\n"
        status = 1
    return f"## {part}\n\n{text}\n({time.perf_counter() - began:.0f} s)\n\n", status == 0


def training(options, device):
    """Print images per second of the usual loop and of the suite, by network and precision."""
    compare(options, device, VARIANTS)


def compiled(options, device):
    """Print the same for the suite with --compile, which takes a minute or more to start."""
    compare(options, device, COMPILED)


def compare(options, device, variants):
    """Print a row for each network with the usual loop and with each of `variants`.

    variants: {name: (loop, flags)}.
    """
    peaks = {name: peak(device, name) for name in ("TF32", "bfloat16")}
    print(
        describe(device),
        ", ".join(f"{name} {value:.0f} TFLOP/s" for name, value in peaks.items()),
        sep="; ",
    )
    print("\n| network | | images/s | times | of the peak | waits for data | peak memory |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    workers = min(8, os.cpu_count() or 1)
    loops = {f"usual loop, {workers} workers": (usual_loop, workers), **variants}
    for name, (height, width, batch) in networks(options).items():
        with torch.device("meta"):
            work = complexity(
                create_model(name, weights="none").eval(), (height, width)
            ).multiply_adds
        settings = {
            "data_dir": "people/pytorch",
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
            speed, waits, memory = loop(settings, setting)
            first = first or speed
            share = 6 * work * speed / 1e12 / peaks["bfloat16" if "bfloat16" in text else "TF32"]
            cells = [
                name,
                text,
                f"{speed:.0f}",
                f"{speed / first:.2f}",
                f"{share:.1%}",
                f"{waits:.1%}",
            ]
            print(f"| {' | '.join(cells)} | {memory:.2f} GB |", flush=True)


def epochs(options, device):
    """Train two epochs of Market-1501's size, and print the time of sixty."""
    size = (
        ["--height", "64", "--width", "32", "--batchsize", "8"]
        if options.dry_run
        else ["--batchsize", "32"]
    )
    network = ["--backbone", "osnet_x0_25" if options.dry_run else "resnet50", "--weights", "none"]
    shared = [
        "--train_all",
        "--total_epoch",
        "2",
        "--gpu_ids",
        options.gpu_ids,
        "--data_dir",
        "people/pytorch",
    ]
    print("| | first epoch | second | sixty, extrapolated |\n| --- | --- | --- | --- |")
    for precision in ["TF32"] if options.dry_run else ["TF32", "bf16"]:
        flags = [
            *network,
            *size,
            *shared,
            "--name",
            precision,
            *(["--bf16"] if precision == "bf16" else []),
        ]
        train.main(flags)
        history = RunFolder(precision).history()
        first, second = (epoch["seconds"] for epoch in history)
        print(
            f"| {network[1]}, {precision} | {first:.1f} s | {second:.1f} s "
            f"| {(first + 59 * second) / 60:.1f} min |"
        )


def extraction(options, device):
    """Print the images per second of extraction with two views, from a bank in memory."""
    images, batch = (16, 8) if options.dry_run else (23_100, 256)
    print(f"{describe(device)}; {images:,} images, two views\n")
    print("| network | | s | images/s |\n| --- | --- | --- | --- |")
    for name, (height, width, _) in networks(options).items():
        bank = torch.randint(0, 256, (images, height, width, 3), dtype=torch.uint8)
        embed = fused_embedding(create_model(name, weights="none", size=(height, width)), device)
        for text, dtype in {
            "float32": None,
            "float16": torch.float16,
            "bfloat16": torch.bfloat16,
        }.items():
            extract_features(embed, bank[:batch], device, batch, dtype=dtype)  # warm up
            seconds = best(
                lambda d=dtype, b=bank, e=embed: extract_features(e, b, device, batch, dtype=d), 1
            )
            print(f"| {name} | {text} | {seconds:.2f} | {images / seconds:.0f} |", flush=True)


def ranking(options, device):
    """Print the milliseconds of evaluation and of the re-rankings, features in memory."""
    sizes = (
        {"tiny": (40, 200)}
        if options.dry_run
        else {name: SIZES[name] for name in ("market", "msmt17")}
    )
    where = None if device.type == "cpu" else device
    logging.getLogger("person_reid").setLevel(logging.ERROR)
    print(
        f"{describe(device)}\n\n| features | | re-ranking, ms | evaluation, ms | result |\n"
        "|---|---|---|---|---|"
    )
    for name, (queries, images) in sizes.items():
        make_result("made.mat", queries, images)
        query, gallery = load_result("made.mat")
        times = 3 if queries < 5000 else 1
        for method in (None, "k-reciprocal", "gnn"):
            rescore = (
                DISTANCES["cosine"]
                if method is None
                else rescorer(RerankOptions(method=method, memory_gb=16))
            )
            made, scores = best_and_result(partial(prepared, rescore, query, gallery, where), times)
            ranked, metrics = best_and_result(
                partial(evaluate, query, gallery, scores=scores), times
            )
            cells = [
                name,
                method or "none",
                f"{1e3 * made:.1f}",
                f"{1e3 * ranked:.1f}",
                metrics.line(),
            ]
            print(f"| {' | '.join(cells)} |", flush=True)


def prepared(rescore, query, gallery, where):
    """Return the scores of a re-ranking once the device has prepared them."""
    scores = rescore(query.features, gallery.features, where)
    if where:
        synchronise(where)
    return scores


PARTS = {
    "training": training, "epochs": epochs, "extraction": extraction, "ranking": ranking,
    "compiled": compiled,
}  # fmt: skip


def networks(options):
    """Return {name: (height, width, batch size)} of the networks to measure."""
    return TINY if options.dry_run else {name: NETWORKS[name] for name in options.networks}


def describe(device):
    """Return a line about the machine and the device."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{machine()}, torch {torch.__version__}, {name}"


def peak(device, precision):
    """Return the TFLOP/s of a large matrix product."""
    torch.backends.cuda.matmul.allow_tf32 = True
    size = 8192 if device.type == "cuda" else 512
    matrix = torch.randn(
        size,
        size,
        device=device,
        dtype=torch.bfloat16 if precision == "bfloat16" else torch.float32,
    )

    def multiply():
        product = matrix
        for _ in range(10):
            product = matrix @ matrix
        return float(product[0, 0])  # waits for the device

    multiply()
    return 10 * 2 * size**3 / best(multiply) / 1e12


if __name__ == "__main__":
    run_script(main)
