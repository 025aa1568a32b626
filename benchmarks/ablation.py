"""Train and test one network for every row of a table, over several seeds, and print the table.

    python benchmarks/ablation.py benchmarks/ablations/losses.yaml --seeds 0 1 \\
        --data_dir ../Market/pytorch --weights osnet_x0_25_msmt17.pth

A table is a YAML file: `train` are the flags of train.py that all rows share, `test` those of test.py, and `rows` maps
the name of a row to the flags that it adds. Flags that this program does not know go to every train.py. Every finished
run is a line of --results; a run that is there is not repeated, so that the program goes on where it was interrupted.
"""

import argparse
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from statistics import mean

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from utils import UserError, progress, run_script  # noqa: E402


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("table", type=Path, help="a file of benchmarks/ablations")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--rows", nargs="+", help="these rows alone")
    parser.add_argument("--results", type=Path, help="a JSON line for every run (default: model/TABLE.jsonl)")
    options, train_flags = parser.parse_known_args(argv)
    table = yaml.safe_load(options.table.read_text())
    chosen = {name: flags for name, flags in table["rows"].items() if name in (options.rows or table["rows"])}
    results = options.results or Path("model") / f"{options.table.stem}.jsonl"
    runs = [(seed, name) for seed in options.seeds for name in chosen]
    done = _read(results)
    for seed, name in progress(runs, desc=options.table.stem):
        if (name, seed, str(chosen[name] or "")) not in done:
            run = f"{options.table.stem}_{re.sub('[^a-z0-9_]+', '_', name.lower())}_{seed}"
            record = one_run(run, table, chosen[name] or "", seed, train_flags)
            results.parent.mkdir(parents=True, exist_ok=True)
            with results.open("a") as file:
                file.write(json.dumps({"row": name, "seed": seed, "flags": chosen[name] or "", **record}) + "\n")
    print(markdown(_read(results), chosen))


def one_run(run, table, flags, seed, train_flags):
    """Train and test one network as model/<run>; returns its measurements as a dict."""
    words = [*shlex.split(table["train"]), *shlex.split(str(flags)), *train_flags, "--name", run, "--seed", str(seed)]
    trained = _script("train.py", *words)
    data = words[len(words) - 1 - words[::-1].index("--data_dir") + 1] if "--data_dir" in words else "../Market/pytorch"
    result = Path("model") / run / "result.mat"
    tested = _script("test.py", "--name", run, "--test_dir", data, "--result", str(result), *shlex.split(table["test"]))
    result.unlink()
    epochs = [json.loads(line) for line in (Path("model") / run / "log.jsonl").read_text().splitlines()]
    return {
        **{name: float(value) for name, value in re.findall(r"(Rank@1|mAP):([\d.]+)", tested)},
        "parameters": float(_found(r"([\d.]+) M parameters", trained)),
        "training": max(epoch["images_per_second"] for epoch in epochs),
        "extraction": float(_found(r"gallery: .* ([\d.]+) images/s", tested)),
        "loss": epochs[-1]["loss"],
    }


def markdown(records, rows):
    """The table: mean over the seeds, and how far the seeds lie from it."""
    lines = ["| row | seeds | Rank@1 | mAP | ± | parameters | training | extraction |", "| --- " * 8 + "|"]
    for name, flags in rows.items():
        found = [record for key, record in records.items() if key[0] == name and key[2] == str(flags or "")]
        if found:
            column = {key: [record[key] for record in found] for key in found[0] if key not in ("row", "flags")}
            lines.append(
                f"| {name} | {len(found)} | {mean(column['Rank@1']):.2%} | {mean(column['mAP']):.2%} "
                f"| {(max(column['mAP']) - min(column['mAP'])) / 2:.2%} | {found[0]['parameters']:.2f} M "
                f"| {max(column['training']):.0f}/s | {max(column['extraction']):.0f}/s |"
            )
    return "\n".join(lines)


def _script(name, *words):
    process = subprocess.run([sys.executable, str(ROOT / name), *words], capture_output=True, text=True)
    if process.returncode:
        raise UserError(f"python {name} {shlex.join(words)}: {process.stderr.strip()[-600:]}")
    return process.stdout


def _found(pattern, text):
    match = re.search(pattern, text)
    if not match:
        raise UserError(f"Nothing like {pattern!r} in the output:\n{text[-600:]}")
    return match[1]


def _read(path):
    """{(row, seed, flags): record} of a results file."""
    lines = path.read_text().splitlines() if path.exists() else []
    records = map(json.loads, lines)
    return {(record["row"], record["seed"], str(record["flags"])): record for record in records}


if __name__ == "__main__":
    run_script(main)
