# PYTHON_ARGCOMPLETE_OK
"""Measure the accuracy of the fast path.

Trains the same recipe the usual way and with the suite, then tests it.

    python benchmarks/accuracy/fast_path.py --data_dir ../Market/pytorch \\
      --weights osnet_x0_25_msmt17.pth --seeds 0 1 2
    python benchmarks/accuracy/fast_path.py --weights osnet_x0_25_msmt17.pth --compile \\
      --total_epoch 20

The usual way is benchmarks/speed/usual.py: ImageFolder, a DataLoader with two workers, float32,
channels first. The suite is train.py, in float32, in bfloat16 (unless the processor would have to
emulate it) and, on request, compiled. Unknown flags are passed to all of them, after the recipe.
Every finished run adds a line to --results; runs listed there are not repeated.
"""

import re
import sys
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.support.parser import Parser
from person_reid.console import run_script
from person_reid.device import emulates, select_device
from person_reid.progress import progress
from person_reid.retrieval.metric_tables import with_deviation
from tools.ablation import test
from tools.docs.results import append_record, read_records
from tools.reproduce import call

RECIPE = (
    "--train_all --backbone osnet_x0_25 --height 128 --width 64 --linear_num 0 --droprate 0 "
    "--batchsize 64 --lr 0.05 --backbone_lr 0.03 --warm_epoch 1 --cosine --label_smoothing 0.1 "
    "--total_epoch 3"
)
WAYS = {
    "usual loop, float32": ("benchmarks/speed/usual.py", []),
    "suite, float32": ("train.py", []),
    "suite, bfloat16": ("train.py", ["--bf16"]),
    "suite, bfloat16, compiled": ("train.py", ["--bf16", "--compile"]),
}


def main(argv=None):
    parser = Parser(__doc__, allow_abbrev=False)
    parser.add_argument(
        "--data_dir", default="../Market/pytorch", help="the folder that prepare.py laid out"
    )
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=[0, 1, 2],
        help="each way is trained with each of them",
    )
    parser.add_argument("--compile", action="store_true", help="also the suite with --compile")
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("model/accuracy.jsonl"),
        help="a JSON line for every run",
    )
    options, train_flags = parser.parse_known_args(argv)
    import torch  # only now: cli decides how its threads wait

    left_out = set() if options.compile else {"--compile"}
    if emulates(select_device(), torch.bfloat16):
        left_out.add("--bf16")  # it would be trained in float32
    ways = {name: way for name, way in WAYS.items() if left_out.isdisjoint(way[1])}
    words = [*RECIPE.split(), *train_flags]
    flags = " ".join(words)
    done = read_results(options.results)
    for seed, name in progress(
        [(seed, name) for seed in options.seeds for name in ways], desc="accuracy"
    ):
        if (name, seed, flags) not in done:
            record = one_run(name, seed, words, options.data_dir)
            append_record(options.results, {"row": name, "seed": seed, "flags": flags, **record})
    done = read_results(options.results)
    print(markdown({name: [done[name, seed, flags] for seed in options.seeds] for name in ways}))


def read_results(path):
    """Return {(row, seed, flags): record} of a results file; empty if the file does not exist."""
    return {
        (record["row"], record["seed"], record["flags"]): record for record in read_records(path)
    }


def one_run(name, seed, words, data):
    """Train and test a network in one of WAYS.

    Returns the figures and the total seconds of training.
    """
    run = f"accuracy_{re.sub('[^a-z0-9]+', '_', name)}_{seed}"
    program, flags = WAYS[name]
    began = time.perf_counter()
    call(program, *words, *flags, "--data_dir", data, "--name", run, "--seed", seed)
    seconds = time.perf_counter() - began
    tested, _ = test(run, data)
    return {"rank1": tested["rank1"], "mAP": tested["mAP"], "seconds": seconds}


def markdown(found):
    """Return the table for {way: records}.

    It has the mean over the seeds ± their sample deviation, in percent, and the median time.
    """
    lines = ["| | seeds | Rank@1 | mAP | training |", "| --- " * 5 + "|"]
    for name, records in found.items():
        cells = [
            with_deviation([100 * record[key] for record in records]) for key in ("rank1", "mAP")
        ]
        seconds = median(record["seconds"] for record in records)
        lines.append(f"| {name} | {len(records)} | {cells[0]} | {cells[1]} | {seconds:.0f} s |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_script(main)
