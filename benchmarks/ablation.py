# PYTHON_ARGCOMPLETE_OK
"""Train and test one network for every row of a table, over several seeds, and print the table.

    python benchmarks/ablation.py benchmarks/ablations/losses.yaml --seeds 0 1 \\
        --data_dir ../Market/pytorch --weights osnet_x0_25_msmt17.pth

A table is a YAML file. `train` holds the train.py flags that all rows share, `test` those of
test.py, and `rows` maps each row's name to the flags it adds. Unknown flags are passed to every
train.py. Every finished run adds a line to --results; runs listed there are not repeated, so an
interrupted program continues where it stopped.
"""

import json
import re
import shlex
import sys
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.support.parser import Parser
from person_reid.console import run_script
from person_reid.progress import progress
from person_reid.run_folder import RunFolder, read_yaml
from tools.docs.results import append_record, read_records
from tools.reproduce import call


def main(argv=None):
    parser = Parser(__doc__, allow_abbrev=False)
    parser.add_argument("table", type=Path, help="a file of benchmarks/ablations")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1], help="each row is trained with each of them"
    )
    parser.add_argument("--rows", nargs="+", help="these rows alone")
    parser.add_argument(
        "--results", type=Path, help="a JSON line for every run (default: model/TABLE.jsonl)"
    )
    options, train_flags = parser.parse_known_args(argv)
    table = read_yaml(options.table)
    chosen = {
        name: flags
        for name, flags in table["rows"].items()
        if name in (options.rows or table["rows"])
    }
    results = options.results or Path("model") / f"{options.table.stem}.jsonl"
    runs = [(seed, name) for seed in options.seeds for name in chosen]
    done = read_results(results)
    for seed, name in progress(runs, desc=options.table.stem):
        if (name, seed, str(chosen[name] or "")) not in done:
            run = f"{options.table.stem}_{re.sub('[^a-z0-9_]+', '_', name.lower())}_{seed}"
            record = one_run(run, table, chosen[name] or "", seed, train_flags)
            append_record(
                results, {"row": name, "seed": seed, "flags": chosen[name] or "", **record}
            )
    print(markdown(read_results(results), chosen))


def one_run(run, table, flags, seed, train_flags):
    """Train and test one network as model/<run>. Returns its measurements as a dict."""
    words = [
        *shlex.split(table["train"]),
        *shlex.split(str(flags)),
        *train_flags,
        "--name",
        run,
        "--seed",
        str(seed),
    ]
    trained = call("train.py", *words)
    data = (
        words[len(words) - 1 - words[::-1].index("--data_dir") + 1]
        if "--data_dir" in words
        else "../Market/pytorch"
    )
    single, tested = test(run, data, *shlex.split(table["test"]))
    epochs = RunFolder(run).history()
    return {
        "Rank@1": single["rank1"],
        "mAP": single["mAP"],
        "parameters": float(re.findall(r"([\d.]+) M parameters", trained)[0]),
        "training": max(epoch["images_per_second"] for epoch in epochs),
        "extraction": float(re.findall(r"gallery: .* ([\d.]+) images/s", tested)[0]),
        "loss": epochs[-1]["loss"],
    }


def test(run, data, *flags):
    """Test model/<run>. Returns its figures with a single query, and what test.py printed."""
    result, measured = (Path("model") / run / name for name in ("result.mat", "measured.json"))
    printed = call(
        "test.py", "--name", run, "--test_dir", data, "--result", result, "--json", measured, *flags
    )
    result.unlink()
    return json.loads(measured.read_text())["single"], printed


def markdown(records, rows):
    """Return the table: the mean over the seeds and their distance from it."""
    lines = [
        "| row | seeds | Rank@1 | mAP | ± | parameters | training | extraction |",
        "| --- " * 8 + "|",
    ]
    for name, flags in rows.items():
        runs = [
            record
            for key, record in records.items()
            if key[0] == name and key[2] == str(flags or "")
        ]
        if runs:
            column = {
                key: [record[key] for record in runs]
                for key in runs[0]
                if key not in ("row", "flags")
            }
            lines.append(
                f"| {name} | {len(runs)} | "
                f"{mean(column['Rank@1']):.2%} | {mean(column['mAP']):.2%} "
                f"| {(max(column['mAP']) - min(column['mAP'])) / 2:.2%} | "
                f"{runs[0]['parameters']:.2f} M "
                f"| {max(column['training']):.0f}/s | {max(column['extraction']):.0f}/s |"
            )
    return "\n".join(lines)


def read_results(path):
    """Return {(row, seed, flags): record} of a results file; empty if the file does not exist."""
    return {
        (record["row"], record["seed"], str(record["flags"])): record
        for record in read_records(path)
    }


if __name__ == "__main__":
    run_script(main)
