"""Run a recipe with a seed, from the data set to its figures: each step
once, as a user would type it.
"""

import contextlib
import platform
import shlex
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import torch

from person_reid.basics import UserError, parse_json
from person_reid.config import TrainConfig
from person_reid.config.option import changed
from person_reid.data.datasets import DATA_SETS
from person_reid.data.downloads import find_data_set
from person_reid.data.layout import read_split
from person_reid.data.readers import GALLERY, QUERY, TRAIN
from person_reid.device import dtype_of, emulates, select_device
from person_reid.reproduce.recipe import Recipe, is_of
from person_reid.reproduce.scripts import call, read_records
from person_reid.retrieval.metrics import AVERAGE_PRECISIONS
from person_reid.retrieval.results import multi_query_file
from person_reid.run_folder import RunFolder
from person_reid.versions import versions


class Run(NamedTuple):
    """A recipe with a seed.

    words: its flags of train.py.
    config: the training that they describe.
    changes: {flag: value} that the user changed in the recipe's training.
    """

    recipe: Recipe
    seed: int
    words: list[str]
    config: TrainConfig
    changes: dict[str, Any]

    @property
    def identity(self) -> dict[str, Any]:
        """Return the entries that a record shares with its run."""
        return {**self.recipe.identity, "seed": self.seed, "changes": self.changes}

    def done(self, records: list[dict[str, Any]]) -> bool:
        """Return whether one of the records is this run's, with all
        rankings that the recipe asks for.
        """
        own = [record for record in records if is_of(record, self.identity)]
        return any(self.recipe.published.keys() <= record["figures"].keys() for record in own)


# Types of the entries of a record.
RECORD: dict[str, tuple[type, ...]] = {
    "recipe": (str,), "flags": (dict,), "test": (str,), "rerank": (str,), "seed": (int,),
    "changes": (dict,), "figures": (dict,), "minutes": (int, float), "device": (str,),
    "versions": (dict,), "date": (str,),
}  # fmt: skip


def read_results(path: str | Path) -> list[dict[str, Any]]:
    """Read the records of finished runs; an empty list without a file.

    Raises UserError if one of them is not what `reproduce` returns.
    """
    records = read_records(path)
    for number, record in enumerate(records, 1):
        typed = all(type(record.get(name)) in types for name, types in RECORD.items())
        if not typed or not all(map(_are_figures, record["figures"].values())):
            raise UserError(
                f"{path}: record {number}: expected {', '.join(RECORD)}, as "
                "tools/reproduce.py writes them. "
                "Correct or remove that line."
            )
    return records


def _are_figures(figures: Any) -> bool:
    """Return whether these are the figures of one ranking, in percent."""
    try:
        percents = [
            figures["rank1"],
            figures["mINP"],
            *(figures["mAP"][name] for name in AVERAGE_PRECISIONS),
        ]
    except (KeyError, TypeError):
        return False
    return all(type(value) in (int, float) and 0 <= value <= 100 for value in percents)


def reproduce(run: Run) -> dict[str, Any]:
    """Prepare, train, test and evaluate, skipping what is done already.

    Returns the record of the run.
    """
    prepare(run)
    train(run)
    return {
        **run.identity,
        "figures": evaluate(run),
        "minutes": round(RunFolder(run.config.name).minutes(), 1),
        "device": describe_device(run.config.gpu_ids, dtype_of(run.config)),
        "versions": versions(),
        "date": str(date.today()),
    }


def prepare(run: Run) -> None:
    """Lay out the data set if that is still to be done.

    Raises UserError if the folder holds another data set, whose figures could not be compared.
    """
    folder, data_set = run.config.roots[0], DATA_SETS[run.recipe.dataset]
    if (folder / "pytorch" / TRAIN).is_dir():
        raise UserError(
            f"--data_dir {folder}: not a layout, but {folder / 'pytorch'} is "
            "one: pass that folder instead."
        )
    if not (folder / TRAIN).is_dir():
        words: list[str | Path] = ["--dataset", run.recipe.dataset, "--save_dir", folder]
        # if it is not beside the layout, prepare.py looks in the usual places
        with contextlib.suppress(UserError):
            words += ["--data_dir", find_data_set(folder.parent, run.recipe.dataset)[1]]
        call("prepare.py", *words, show=True)
    for split in (TRAIN, QUERY, GALLERY):
        expected = data_set.published.get(split, (None, None, None))[1]
        count = len(read_split(folder, split)) if expected else None
        if count != expected:
            raise UserError(
                f"{folder}: {count:,} images in {split}; {data_set.name}, which "
                f"{run.recipe.name} is for, has "
                f"{expected:,}. Figures of another data set are not comparable: "
                "name its folder with --data_dir."
            )


def train(run: Run) -> None:
    """Train the network from the beginning, or resume an interrupted training with the same
    options.

    A finished training is left as it is.
    """
    config, folder = run.config, RunFolder(run.config.name)
    resume = folder.state_file.exists() and folder.options_file.exists()
    if resume:
        # what train.py notes with several devices
        share = config.batchsize // len(config.gpu_ids.split(","))
        resume = not changed(folder.options(), replace(config, batchsize=share))
    last = "net_average_bn.pth" if config.wa else "net_last.pth"
    if not (
        resume and len(folder.history()) >= config.total_epoch and (folder.path / last).exists()
    ):
        call("train.py", *run.words, *(["--resume"] if resume else []), show=True)


def evaluate(run: Run) -> dict[str, dict[str, Any]]:
    """Test the network and rank as the recipe asks.

    Returns {ranking: {"rank1", "rank5", "rank10", "mINP": percent, "mAP": {definition: percent}}}.
    """
    recipe, config = run.recipe, run.config
    result, measured = (
        RunFolder(config.name).path / "result.mat",
        RunFolder(config.name).path / "measured.json",
    )
    multi = ["--multi"] if "multi" in recipe.published else []
    words = [
        "--name",
        config.name,
        "--test_dir",
        str(config.roots[0]),
        "--gpu_ids",
        config.gpu_ids.split(",")[0],
    ]
    call("test.py", *words, "--result", result, *shlex.split(recipe.test), *multi, show=True)
    scripts: dict[str, list[str]] = {"evaluate.py": []}
    if "re-ranked" in recipe.published:
        scripts["evaluate_rerank.py"] = shlex.split(recipe.rerank)
    figures: dict[str, dict[str, Any]] = {ranking: {"mAP": {}} for ranking in recipe.published}
    for definition in AVERAGE_PRECISIONS:
        for script, flags in scripts.items():
            call(script, "--result", result, "--ap", definition, *flags, "--json", measured)
            for ranking, shares in parse_json(measured.read_bytes()).items():
                if ranking in figures:
                    percent = {name: round(100 * share, 4) for name, share in shares.items()}
                    figures[ranking]["mAP"][definition] = percent.pop("mAP")
                    figures[ranking] |= percent
    for file in (result, multi_query_file(result), measured):
        file.unlink(missing_ok=True)
    return figures


def describe_device(gpu_ids: str, dtype: torch.dtype | None = None) -> str:
    """Name the device of a run with these --gpu_ids: `NVIDIA H200`, or `AMD EPYC 9B45, 2 threads`.

    dtype: that the run asked for; a processor that lacks it is `AMD EPYC, 2 threads, in float32`.
    """
    count = len(gpu_ids.split(","))
    device = select_device(gpu_ids.split(",")[0])
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
