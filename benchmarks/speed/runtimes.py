# PYTHON_ARGCOMPLETE_OK
"""Compare what computes features on a CPU: PyTorch, ONNX Runtime and OpenVINO.

They compute in float32, bfloat16 and int8.

    python benchmarks/speed/runtimes.py --weights osnet_x0_25_msmt17.pth \\
      --test_dir ../Market/pytorch --int8 int8.onnx
    python benchmarks/speed/runtimes.py --weights osnet_x0_25_msmt17.pth \\
      --test_dir ../Market/pytorch --people 100
    python benchmarks/speed/runtimes.py --weights osnet.pth --test_dir ../Market/pytorch --whole \\
      --engines openvino

--int8 is a file of tools/export.py --int8 --calibrate; --bf16 needs a processor that computes in
it. The ways take turns, so that a busy machine slows all of them. The table has seconds by the
clock and seconds of the processor; these depend little on what else runs. "PyTorch alone" is the
network as it is (benchmarks/speed/eager.py), channels first and nothing fused, in batches that suit
the cache like the others'. --people also measures the whole process of test.py, on the first people
of the test set and 15 distractors for each, and prints its mAP; --whole takes all images. Images
are decoded and networks exported beforehand, as in every run but the first.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.speed.eager import eager
from benchmarks.support.measure import ROOT, machine
from benchmarks.support.parser import Parser
from person_reid.config.tested import TestConfig
from person_reid.config.train import PrecisionOptions
from person_reid.console import parse, run_script
from person_reid.data.images.bank import load_bank
from person_reid.data.layout import read_split
from person_reid.deploy.embedder import Embedder
from person_reid.device import dtype_of
from person_reid.errors import UserError
from person_reid.models.registry import find_backbone

ENGINES = ("onnxruntime", "openvino")
ALONE = "PyTorch alone"


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument("--backbone", default="osnet_x0_25", help="the network")
    parser.add_argument("--weights", required=True, help="its weight file")
    parser.add_argument("--test_dir", required=True, help="folder of prepare.py")
    parser.add_argument(
        "--int8", metavar="FILE", help="the network in int8, a file of tools/export.py"
    )
    parser.add_argument("--bf16", action="store_true", help="also PyTorch and OpenVINO in bfloat16")
    parser.add_argument("--images", type=int, default=256, help="gallery images in a turn")
    parser.add_argument(
        "--rounds", type=int, default=5, help="turns of each way; their median is printed"
    )
    parser.add_argument(
        "--people", type=int, default=0, help="people to run test.py on; 0 leaves test.py out"
    )
    parser.add_argument("--whole", action="store_true", help="run test.py on the whole test set")
    parser.add_argument(
        "--engines", nargs="+", choices=ENGINES, default=ENGINES, help="only these beside PyTorch"
    )
    options = parser.parse_args(argv)
    # {name: flags of test.py}
    network = ["--backbone", options.backbone, "--weights", options.weights]
    ways = {ALONE: network}
    ways |= {
        f"{name}, float32": [*network, "--runtime", name] for name in ("torch", *options.engines)
    }
    if options.bf16:
        ways |= {
            f"{name}, bfloat16": [*network, "--runtime", name, "--bf16"]
            for name in ("torch", "openvino")
        }
    if options.int8:
        ways |= {
            f"{name}, int8": ["--engine", options.int8, "--runtime", name]
            for name in options.engines
        }
    print(machine())
    extraction(ways, options)
    if options.whole:
        whole_test(ways, Path(options.test_dir), options)
    elif options.people:
        with tempfile.TemporaryDirectory() as folder:
            whole_test(
                ways,
                part_of(Path(options.test_dir), Path(folder), options.people, options),
                options,
            )


def extraction(ways, options):
    """Print a table of images a second, mirrored images included."""
    size = find_backbone(options.backbone).size
    bank = load_bank(read_split(options.test_dir, "gallery").paths[: options.images], *size)
    embedders = {}
    for name, flags in ways.items():
        given = parse(TestConfig, flags)
        source = given.engine or given.backbone or ""
        with eager() if name == ALONE else nullcontext():
            dtype = dtype_of(PrecisionOptions(fp16=given.fp16, bf16=given.bf16))
            embedders[name] = Embedder(
                source, given.weights, "cpu", dtype=dtype, runtime=given.runtime
            )
        embedders[name].features(bank[:64])  # compiles
    times: dict = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, embedder in embedders.items():
            clock, processor = time.perf_counter(), time.process_time()
            embedder.features(bank)
            times[name].append((time.perf_counter() - clock, time.process_time() - processor))
    print(
        "\n| way | images/s | times as fast | images per second of a core | times as fast |\n"
        + "| --- " * 5
        + "|"
    )
    show(times, lambda clock, core: (f"{len(bank) / clock:.0f}", f"{len(bank) / core:.0f}"))


def whole_test(ways, test_dir, options):
    """Print a table of whole processes of test.py, from start to end."""
    times: dict = {name: [] for name in ways}
    metrics = {}
    with tempfile.TemporaryDirectory() as folder:
        files = ["--result", f"{folder}/features.mat", "--json", f"{folder}/figures.json"]
        for _ in range(options.rounds):
            for name, flags in ways.items():
                script = "benchmarks/speed/eager.py" if name == ALONE else "test.py"
                times[name].append(
                    seconds_of(script, *flags, "--gpu_ids", "-1", "--test_dir", test_dir, *files)
                )
                metrics[name] = json.loads(Path(files[3]).read_text())["single"]["mAP"]
    print(
        "\n| way | test.py, s | times as fast | seconds of a core | times as fast |\n"
        + "| --- " * 5
        + "|"
    )
    show(times, lambda clock, core: (f"{clock:.1f}", f"{core:.1f}"))
    print("\n" + "\n".join(f"{name}: mAP {found}" for name, found in metrics.items()))


def show(times, figures):
    """Print the rows of a table from {way: [(seconds, processor seconds)]}.

    The first way is what others are held to.

    figures: the medians (seconds, processor seconds) → their texts.
    """
    medians = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)]
        for name, rows in times.items()
    }
    first = next(iter(medians.values()))
    for name, found in medians.items():
        cells = zip(
            figures(*found),
            (f"{one / other:.1f}" for one, other in zip(first, found, strict=True)),
            strict=True,
        )
        print(
            f"| {name} | " + " | ".join(cell for pair in cells for cell in pair) + " |", flush=True
        )


def seconds_of(*arguments):
    """Run Python with `arguments`. Returns (seconds, processor seconds)."""
    began = time.perf_counter()
    pid = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, *map(str, arguments)])
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise UserError(f"{' '.join(map(str, arguments))}: ended with status {status}")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime


def part_of(test_dir, folder, people, options):
    """Link the first people of a layout, and 15 distractors for each, into a folder; return it."""
    for split in ("query", "gallery"):
        names = sorted(path.name for path in (test_dir / split).iterdir() if path.is_dir())
        chosen = [name for name in names if name.isdigit() and int(name)][:people]
        for name in [*chosen, *(name for name in names if name == "0000")]:
            (folder / split / name).mkdir(parents=True)
            images = sorted((test_dir / split / name).iterdir())
            for image in images[: 15 * people] if name == "0000" else images:
                (folder / split / name / image.name).symlink_to(image.resolve())
        paths = read_split(folder, split).paths
        load_bank(paths, *find_backbone(options.backbone).size, folder / ".cache", split)
        print(f"{split}: {len(paths)} images")
    return folder


if __name__ == "__main__":
    os.chdir(ROOT)
    run_script(main)
