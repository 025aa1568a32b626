# PYTHON_ARGCOMPLETE_OK
"""Train and test one network for every row of a table, over several seeds.

    python tools/ablation.py benchmarks/ablations/losses.yaml --seeds 0,1 \\
        --data_dir ../Market/pytorch --weights osnet_x0_25_msmt17.pth
    python tools/ablation.py mine.yaml --seeds 3 --rows plain circle --train_all

A table is a YAML file. `train` holds the flags of train.py that all rows share, `test` those of
test.py, and `rows` maps the name of each row to its own flags. Unknown flags are passed to every
train.py. Every finished run is a line in --results and is not repeated, so an interrupted program
resumes where it stopped. The printed table has the mean of the seeds ± their sample standard
deviation. The features of each run are in model/RUN/result.mat, for tools/figures.py and
tools/compare_networks.py --results.
"""

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import person_reid as reid
from person_reid.config.forms import file_ending_in
from person_reid.config.look import TableForm
from person_reid.config.option import option
from person_reid.config.run import PluginOptions
from person_reid.config.train import TrainConfig
from person_reid.console import run_script
from person_reid.console.options import parse_known, plugins_named
from person_reid.console.outputs import check_outputs
from person_reid.files import shipped
from person_reid.progress import progress
from person_reid.retrieval.metric_tables import with_deviation, written_table
from person_reid.run_folder import read_yaml
from person_reid.text import did_you_mean, parse_json, printable
from tools.docs.results import append_record, read_records
from tools.recipes import listed_seeds, seeds
from tools.reproduce import call

ABLATION_PARTS = ("train", "test", "rows")
ABLATION_FIGURES = {
    "Rank@1": "rank1",
    "mAP": "mAP",
    "mINP": "mINP",
}  # {column: name in test.py's JSON}
ABLATION_HEAD = ("row", "seeds", *ABLATION_FIGURES, "parameters", "training", "extraction")
Record = dict[str, Any]


class AblationConfig(TableForm, PluginOptions, title="runs"):
    """All options of tools/ablation.py."""

    table: str = option(
        "",
        "a YAML file: train, test, and rows, each with flags of train.py",
        positional=True,
        metavar="TABLE",
    )
    seeds: str = option("2", "how many (3), or which (4,7; default: 0,1)", form=seeds)
    rows: tuple[str, ...] = option((), "only these rows", several="+", metavar="ROW")
    results: str | None = option(
        None,
        "one line per run (default: model/TABLE.jsonl)",
        form=file_ending_in(".jsonl"),
        metavar="FILE.jsonl",
    )


def main(argv: list[str] | None = None) -> None:
    """Train and test the rows that have no result yet, and print the table."""
    config, further = parse_known(AblationConfig, argv, __doc__)
    file = shipped(config.table)
    results = Path(config.results or Path("model") / f"{file.stem}.jsonl")
    check_outputs(config, [file], results=[results])
    table = read_table(file)
    rows = chosen(table["rows"], config.rows, file)
    further += ["--plugin", config.plugin] if config.plugin else []
    plugins = ",".join(plugins_named(further))
    test_flags = table["test"] + (f" --plugin {shlex.quote(plugins)}" if plugins else "")

    runs = [(name, seed) for seed in listed_seeds(config.seeds) for name in rows]
    for name, seed in progress(runs, desc=file.stem):
        if not any(is_of(record, name, rows[name], seed) for record in read_records(results)):
            run = f"{file.stem}_{re.sub('[^a-z0-9_]+', '_', name.lower())}_{seed}"
            words = [*shlex.split(table["train"]), *shlex.split(rows[name]), *further]
            measured = one_run(run, [*words, "--name", run, "--seed", str(seed)], test_flags)
            about = {"row": name, "seed": seed, "flags": rows[name]}
            append_record(results, about | measured)
    lines = summary(read_records(results), rows)
    print(printable(written_table(ABLATION_HEAD, lines, config)))


def read_table(file: Path) -> dict[str, Any]:
    """Return the parts of a table: the flags of train.py and test.py, and {row: its flags}.

    Raises UserError if the table has another form.
    """
    table = {"train": "", "test": "", **read_yaml(file)}
    if unknown := [name for name in table if name not in ABLATION_PARTS]:
        hint = did_you_mean(str(unknown[0]), ABLATION_PARTS)
        raise reid.UserError(f"{file}: {unknown[0]}: expected {', '.join(ABLATION_PARTS)}.{hint}")
    rows = table.get("rows")
    if not isinstance(rows, dict) or not rows:
        raise reid.UserError(f"{file}: rows: expected lines `name: flags of train.py`.")
    flags = {str(name): str(each or "") for name, each in rows.items()}
    train, test_flags = (str(table[name] or "") for name in ("train", "test"))
    if any(plugins_named(shlex.split(text)) for text in (train, test_flags, *flags.values())):
        raise reid.UserError(
            f"{file}: a table names no code. Name it on the command line: --plugin FILE"
        )
    return {"train": train, "test": test_flags, "rows": flags}


def chosen(rows: Mapping[str, str], names: Sequence[str], file: Path) -> dict[str, str]:
    """Return the rows with these names, or all rows. Raises UserError for an unknown name."""
    if unknown := [name for name in names if name not in rows]:
        raise reid.UserError(f"rows={unknown[0]}: {file} has {', '.join(rows)}.")
    return {name: flags for name, flags in rows.items() if name in names or not names}


def is_of(record: Record, name: str, flags: str, seed: int | None = None) -> bool:
    """Return whether a record belongs to a row with these flags and, if given, this seed."""
    same = (record["row"], str(record["flags"])) == (name, flags)
    return same and seed in (None, record["seed"])


def one_run(run: str, words: Sequence[str], test_flags: str) -> Record:
    """Train and test one network as model/<run>, and return the measurements.

    words: the flags for train.py. Metrics of accuracy are fractions.
    """
    trained = call("train.py", *words)
    named = [words[place + 1] for place, word in enumerate(words[:-1]) if word == "--data_dir"]
    data = [TrainConfig.data_dir, *named][-1]
    single, tested = test(run, data, *shlex.split(test_flags))
    epochs = reid.RunFolder(run).history()
    return {
        **{column: single[name] for column, name in ABLATION_FIGURES.items()},
        "parameters": float(re.findall(r"([\d.]+) M parameters", trained)[0]),
        "training": max(epoch["images_per_second"] for epoch in epochs),
        "extraction": float(re.findall(r"gallery: .* ([\d.]+) images/s", tested)[0]),
        "loss": epochs[-1]["loss"],
    }


def test(run: str, data: str, *flags: str) -> tuple[Record, str]:
    """Test model/<run>, and return its single-query metrics and the output of test.py."""
    result, measured = (reid.RunFolder(run).path / name for name in ("result.mat", "measured.json"))
    files: tuple[str | Path, ...] = ("--result", result, "--json", measured)
    printed = call("test.py", "--name", run, "--test_dir", data, *files, *flags)
    return parse_json(measured.read_bytes())["single"], printed


def summary(records: Sequence[Record], rows: Mapping[str, str]) -> list[list[str]]:
    """Return the table's rows: means over the seeds in %, ± their sample standard deviation."""
    lines = []
    for name, flags in rows.items():
        if runs := [record for record in records if is_of(record, name, flags)]:
            found = [[100 * run[key] for run in runs if key in run] for key in ABLATION_FIGURES]
            shares = [with_deviation(each) if each else "" for each in found]  # "": old records
            speeds = [f"{max(run[key] for run in runs):.0f}/s" for key in ABLATION_HEAD[-2:]]
            lines.append([name, str(len(runs)), *shares, f"{runs[0]['parameters']:.2f} M", *speeds])
    return lines


if __name__ == "__main__":
    run_script(main)
