# PYTHON_ARGCOMPLETE_OK
"""Train, test and evaluate recipes, and write their results beside the published ones.

    python tools/reproduce.py recipes/market/resnet50.yaml
    python tools/reproduce.py recipes/market/loss_*.yaml --seeds 3           # seeds 0, 1 and 2
    python tools/reproduce.py recipes/market/osnet_x0_25.yaml --seeds 4,7    # these two seeds
    python tools/reproduce.py recipes/market/swin.yaml --bf16 --data_dir ~/Market/pytorch
    python tools/reproduce.py --table                                # write the page, train nothing

Name the recipes first. Unknown flags are passed to train.py and override the recipe. The data set
is laid out if necessary. Every finished run is a line in --results and is not repeated; an
interrupted run resumes. Failed runs are reported at the end. Networks are in model/. The results
fill the tables of docs/results.md; in a checkout, python tools/docs/pages.py then updates the other
pages.
"""

import contextlib
import logging
import os
import platform
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

import person_reid as reid
from person_reid.config.evaluate import AVERAGE_PRECISION_NAMES
from person_reid.config.forms import output_path
from person_reid.config.option import Options, changed, option
from person_reid.console import run_script
from person_reid.console.options import build, parse_known
from person_reid.console.outputs import check_outputs
from person_reid.data.datasets import DATA_SETS
from person_reid.data.readers import GALLERY, QUERY, TRAIN
from person_reid.device import dtype_of, emulates
from person_reid.errors import describe_error
from person_reid.files import PACKAGE, importable, real, shipped
from person_reid.text import parse_json, printable
from person_reid.training.writers import recorded_options
from person_reid.versions import versions
from tools.docs.results import append_record, comparison, read_results, update_page
from tools.recipes import PlannedRun, known_recipes, listed_seeds, plan, seeds

ROOT = PACKAGE.parent
RESULTS = ROOT / "docs" / "results.jsonl"
SHOWN_OUTPUT = 600  # last characters to show of a failed script's output
log = logging.getLogger("person_reid.reproduce")


class ReproduceConfig(Options, title="runs"):
    """All options of tools/reproduce.py."""

    recipes: tuple[str, ...] = option(
        (), "files in recipes/", several="*", positional=True, metavar="RECIPE"
    )
    seeds: str = option("1", "how many (3), or which (4,7; default: 0)", form=seeds)
    table: bool = option(False, "only write the page of results")
    results: str | None = option(
        None,
        "one line per run; its page is beside it (default: docs/results.jsonl, docs/results.md)",
        form=output_path,
        metavar="FILE.jsonl",
    )


def main(argv: list[str] | None = None) -> None:
    """Run the recipes that have no results yet, and update the page of results."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # also ends a training
    config, further = parse_known(ReproduceConfig, argv, __doc__)
    check_table(config, further)
    recipes = [shipped(path) for path in config.recipes]
    runs = [plan(path, seed, further) for seed in listed_seeds(config.seeds) for path in recipes]

    results = Path(config.results or RESULTS)
    if results.suffix != ".jsonl":
        raise reid.UserError(f"results={results}: expected a name that ends in .jsonl.")
    check_outputs(config, recipes, results=[results, results.with_suffix(".md")])
    read_results(results)
    results.open("a").close()  # fails before hours of work if it is not writable
    page, failed = write_page(results, recipes), []
    try:
        for run in runs:
            if error := attempt(run, results):
                failed.append(f"{run.recipe.name} seed {run.seed}: {error}")
    except KeyboardInterrupt:
        print("To continue, run the same command again.")
        raise
    finally:  # finished runs of an interrupted program also count
        write_page(results, recipes)
        print(printable(f"The table is in {page}."))
        if results == RESULTS:
            print("Other pages repeat its figures: python tools/docs/pages.py")
    if failed:
        raise reid.UserError(f"{len(failed)} of {len(runs)} runs failed:\n" + "\n".join(failed))


def check_table(config: ReproduceConfig, further: Sequence[str]) -> None:
    """Reject --table with flags that it would ignore, and a command line without a task."""
    if config.table == bool(config.recipes):
        build(ReproduceConfig, __doc__).error("expected recipes to run, or --table")
    given = ["--seeds"] if config.seeds != ReproduceConfig.seeds else []
    if config.table and (given or further):
        ignored = " ".join([*given, *further])
        raise reid.UserError(
            f"{ignored} would be ignored beside table, which trains nothing: leave it out."
        )


def attempt(run: PlannedRun, results: Path) -> str:
    """Unless a run has a record, perform it, record it and print its metrics.

    Returns the message of the error that ended the run, or "".
    """
    name = f"{run.recipe.name} seed {run.seed}"
    if run.done(read_results(results)):
        print(printable(f"{name}: in {results} already."))
        return ""
    print(printable(f"--- {run.recipe.name}, seed {run.seed}"), flush=True)
    try:
        record = reproduce(run)
    except (reid.UserError, OSError) as error:
        print(printable(f"error: {describe_error(error)}"), file=sys.stderr, flush=True)
        return describe_error(error)
    append_record(results, record)
    lines = comparison(run.recipe, run.seed, record["figures"], run.changes)
    print(printable("\n".join(lines)), flush=True)
    return ""


# ----- the steps of a run


def reproduce(run: PlannedRun) -> dict[str, Any]:
    """Perform the steps of a run that are not complete yet, and return its record."""
    prepare(run)
    train(run)
    return {
        **run.identity,
        "figures": evaluate(run),
        "minutes": round(reid.RunFolder(run.config.name).minutes(), 1),
        "device": describe_device(run.config.gpu_ids, dtype_of(run.config)),
        "versions": versions(),
        "date": str(date.today()),
    }


def prepare(run: PlannedRun) -> None:
    """Lay out the data set if necessary.

    Raises UserError if the folder holds another data set, because its results would not be
    comparable.
    """
    folder, data_set = run.config.roots[0], DATA_SETS[run.recipe.dataset]
    if (folder / "pytorch" / TRAIN).is_dir():
        inner = folder / "pytorch"
        raise reid.UserError(
            f"data_dir={folder}: not a layout, but {inner} is one: pass that folder instead."
        )
    if not (folder / TRAIN).is_dir():
        words: list[str | Path] = ["--dataset", run.recipe.dataset, "--save_dir", folder]
        with contextlib.suppress(reid.UserError):  # prepare.py then searches the usual places
            words += ["--data_dir", reid.find_data_set(folder.parent, run.recipe.dataset)[1]]
        call("prepare.py", *words, show=True)
    for split in (TRAIN, QUERY, GALLERY):
        expected = data_set.published.get(split, (None, None, None))[1]
        count = len(reid.read_split(folder, split)) if expected else None
        if count != expected:
            raise reid.UserError(
                f"{folder}: {count:,} images in {split}; {data_set.name}, which "
                f"{run.recipe.name} is for, has {expected:,}. Figures of another data set are not "
                "comparable: name the right folder with --data_dir."
            )


def train(run: PlannedRun) -> None:
    """Train the network anew, or resume an interrupted run with the same options.

    A finished run is not repeated.
    """
    config, folder = run.config, reid.RunFolder(run.config.name)
    resume = folder.state_file.exists() and folder.options_file.exists()
    if resume:
        share = config.batchsize // len(config.gpu_ids.split(","))  # as train.py notes it
        planned = recorded_options(replace(config, batchsize=share))
        resume = not changed(type(config), folder.options(), planned)
    last = folder.path / ("net_average_bn.pth" if config.wa else "net_last.pth")
    if not (resume and len(folder.history()) >= config.total_epoch and last.exists()):
        call("train.py", *run.words, *(["--resume"] if resume else []), show=True)


def evaluate(run: PlannedRun) -> dict[str, dict[str, Any]]:
    """Test the network, and compute the recipe's rankings.

    Returns {ranking: {"rank1", "rank5", "rank10", "mINP": percent, "mAP": {definition: percent}}}.
    """
    recipe = run.recipe
    config = run.config
    folder = reid.RunFolder(run.config.name).path
    result, measured = folder / "result.mat", folder / "measured.json"
    words = ["--name", config.name, "--test_dir", str(config.roots[0])]
    words += ["--gpu_ids", config.gpu_ids.split(",")[0], *shlex.split(recipe.test)]
    words += ["--plugin", config.plugin] if config.plugin else []
    if "multi" in recipe.published:
        words.append("--multi")
    call("test.py", "--result", result, *words, show=True, hide=f"Features are in {result}")
    scripts: dict[str, list[str]] = {"evaluate.py": []}
    if "re-ranked" in recipe.published:
        scripts["evaluate_rerank.py"] = shlex.split(recipe.rerank)

    figures: dict[str, dict[str, Any]] = {ranking: {"mAP": {}} for ranking in recipe.published}
    for definition in AVERAGE_PRECISION_NAMES:
        for script, flags in scripts.items():
            call(script, "--result", result, "--ap", definition, *flags, "--json", measured)
            for ranking, shares in parse_json(measured.read_bytes()).items():
                if ranking in figures:
                    percent = {
                        name: round(100 * share, 4)
                        for name, share in shares.items()
                        if isinstance(share, float)
                    }
                    figures[ranking]["mAP"][definition] = percent.pop("mAP")
                    figures[ranking] |= percent
    for file in (result, reid.multi_query_file(result), measured):
        file.unlink(missing_ok=True)
    return figures


def describe_device(gpu_ids: str, dtype: torch.dtype | None = None) -> str:
    """Name the device of a run with these --gpu_ids: `NVIDIA H200`, or `AMD EPYC 9B45, 2 threads`.

    dtype: the type that the run requests; a processor without it gives `AMD EPYC, 2 threads, in
    float32`.
    """
    count = len(gpu_ids.split(","))
    device = reid.select_device(gpu_ids.split(",")[0])
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        return f"{count} × {name}" if count > 1 else name
    if device.type == "mps":
        return "Apple GPU"
    cores = Path("/proc/cpuinfo")
    lines = cores.read_text().splitlines() if cores.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    threads = torch.get_num_threads()
    model = models[0] if models else platform.processor() or platform.machine()
    instead = ", in float32" if dtype and emulates(device, dtype) else ""
    return f"{model}, {threads} {'threads' if threads > 1 else 'thread'}{instead}"


def call(script: str, *words: str | int | Path, show: bool = False, hide: str = "\n") -> str:
    """Run a script in the repository with these arguments, and return its output and errors.

    show: also log each line as it arrives, unless it begins with `hide`.

    An exception here, such as an interruption, first ends the script with SIGTERM, so that a
    training saves its current epoch. Raises UserError if the script fails.
    """
    own = [str(ROOT / script)] if "/" in script else ["-m", "person_reid", Path(script).stem]
    printed = []
    with subprocess.Popen(
        [sys.executable, *own, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | importable() | {"PYTHONIOENCODING": "utf-8"},
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                printed.append(line)
                if show and not line.startswith(hide):
                    log.info(line.rstrip("\n"))
        except BaseException:
            process.terminate()
            process.wait()
            raise
    text = "".join(printed)
    if process.returncode:
        raise reid.UserError(
            f"python {script} {shlex.join(map(str, words))}: {text.strip()[-SHOWN_OUTPUT:]}"
        )
    return text


def write_page(results: Path, recipes: Iterable[Path]) -> Path:
    """Write the page of results, and return its path."""
    page = results.with_suffix(".md")
    linked = real(page).parent == RESULTS.parent
    update_page(page, known_recipes(recipes), read_results(results), linked)
    return page


if __name__ == "__main__":
    run_script(main)
