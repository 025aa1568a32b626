"""A recipe with a seed, from the data set to its figures: every step as a user would type it, none of them twice."""

import contextlib
import json
import platform
import re
import shlex
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import torch

from person_reid.basics import UserError, select_device
from person_reid.cli.evaluation import evaluation_parser
from person_reid.cli.flags import testing_parser, training_parser
from person_reid.cli.options import (
    WITHOUT_EFFECT,
    changed_flags,
    load_run_options,
    options_file,
    parse_train,
    read_yaml,
    training_roots,
    training_split,
)
from person_reid.data.datasets import DATA_SETS
from person_reid.data.layout import join_splits, read_split, read_training_splits
from person_reid.data.readers import GALLERY, QUERY, TRAIN
from person_reid.data.recognise import find_data_set
from person_reid.distributed import World
from person_reid.reproduce.recipe import Recipe, is_of
from person_reid.reproduce.scripts import call, metrics
from person_reid.retrieval.metrics import AVERAGE_PRECISIONS
from person_reid.retrieval.rerank import add_rerank_flags
from person_reid.retrieval.results import multi_query_file
from person_reid.run_folder import RunFolder
from person_reid.training.setup import build_sampler
from person_reid.versions import versions

OURS = ("name", "seed", "config", "resume", "dry_run")  # flags of train.py that are not the user's to give here


class Run(NamedTuple):
    """A recipe with a seed. words: the flags of train.py for it. options: what they resolve to. changes: {flag: value},
    what the user changed about the recipe's training."""

    recipe: Recipe
    seed: int
    words: list[str]
    options: Any
    changes: dict[str, Any]

    @property
    def identity(self):
        """What a record has in common with the run whose record it is."""
        return {**self.recipe.identity, "seed": self.seed, "changes": self.changes}

    def done(self, records):
        """Whether one of the records is this run's, with all rankings that the recipe asks for."""
        own = [record for record in records if is_of(record, self.identity)]
        return any(self.recipe.published.keys() <= record["figures"].keys() for record in own)


def read_recipe(path):
    """The Recipe in a file, all its flags checked. Raises UserError for a file that is none."""
    path = Path(path)
    recipe = Recipe.of(path, read_yaml(path))
    parse_train(["--config", str(path)])
    _check_flags(testing_parser(), recipe.test, f"{path}: recipe: test")
    rerank = evaluation_parser("")
    add_rerank_flags(rerank)
    _check_flags(rerank, recipe.rerank, f"{path}: recipe: rerank")
    return recipe


def plan(path, seed, further=()):
    """The Run of the recipe in the file `path` with a seed. further: flags of train.py, which win over the recipe's."""
    recipe = read_recipe(path)
    given = _given(further)
    taken = [name for name in OURS if name in given]
    if taken:
        raise UserError(f"--{taken[0]} is for this program to choose; --seeds says how many runs a recipe has.")
    plain = parse_train(["--config", str(path)])
    changes = {
        name: _without_folders(value)
        for name, value in given.items()
        if name not in WITHOUT_EFFECT and value != getattr(plain, name)
    }
    parts = [recipe.name.replace("/", "_"), f"seed{seed}", *(f"{name}-{value}" for name, value in changes.items())]
    name = "_".join("".join(c if c.isalnum() or c in "._-" else "-" for c in part) for part in parts)
    words = ["--config", str(path), *further, "--seed", str(seed), "--name", name]
    return Run(recipe, seed, words, parse_train(words), changes)


def reproduce(run):
    """Prepare, train, test and evaluate, each as far as it is not done yet; returns the record of the run."""
    prepare(run)
    train(run)
    return {
        **run.identity,
        "figures": evaluate(run),
        "minutes": round(training_minutes(run.options), 1),
        "device": describe_device(run.options.gpu_ids),
        "versions": versions(),
        "date": str(date.today()),
    }


def prepare(run):
    """Lay the data set out where it is not. Raises UserError where what lies there is another one, whose figures could
    not be compared."""
    folder, data_set = Path(run.options.data_dir), DATA_SETS[run.recipe.dataset]
    if not (folder / TRAIN).is_dir():
        words = ["--dataset", run.recipe.dataset, "--save_dir", folder]
        with contextlib.suppress(UserError):  # not beside the layout: prepare.py looks in the usual places
            words += ["--data_dir", find_data_set(folder.parent, run.recipe.dataset)[1]]
        call("prepare.py", *words, show=True)
    for split in (TRAIN, QUERY, GALLERY):
        expected = data_set.published.get(split, (None, None, None))[1]
        count = len(read_split(folder, split)) if expected else None
        if count != expected:
            raise UserError(
                f"{folder}: {count:,} images in {split}; {data_set.name}, which {run.recipe.name} is for, has "
                f"{expected:,}. Figures of another data set are not comparable: name its folder with --data_dir."
            )


def train(run):
    """Train the network: from the beginning, from where an interrupted training with the same options stopped, or not
    at all where it is finished."""
    options = run.options
    folder = RunFolder(options.name)
    resume = folder.state_file.exists() and options_file(options.name).exists()
    if resume:
        before = load_run_options(options.name)
        before.batchsize *= len(options.gpu_ids.split(","))  # of several devices, it holds the share of one
        resume = not changed_flags(before, options)
    last = "net_average_bn.pth" if options.wa else "net_last.pth"
    if not (resume and len(_epochs(options)) >= options.total_epoch and (folder.path / last).exists()):
        call("train.py", *run.words, *(["--resume"] if resume else []), show=True)


def evaluate(run):
    """Test the network, and rank as the recipe asks.

    Returns {ranking: {"rank1", "rank5", "rank10", "mINP": per cent, "mAP": {definition: per cent}}}.
    """
    recipe, options = run.recipe, run.options
    result = RunFolder(options.name).path / "result.mat"
    multi = ["--multi"] if "multi" in recipe.published else []
    words = ["--name", options.name, "--test_dir", options.data_dir, "--gpu_ids", options.gpu_ids.split(",")[0]]
    call("test.py", *words, "--result", result, *shlex.split(recipe.test), *multi, show=True)
    figures: dict[str, dict[str, Any]] = {ranking: {"mAP": {}} for ranking in recipe.published}
    for definition in AVERAGE_PRECISIONS:
        printed = call("evaluate.py", "--result", result, "--ap", definition)
        if "re-ranked" in recipe.published:
            printed += call("evaluate_rerank.py", "--result", result, "--ap", definition, *shlex.split(recipe.rerank))
        for ranking, shares in metrics(printed).items():
            if ranking in figures:
                percent = {name: round(100 * share, 4) for name, share in shares.items()}
                figures[ranking]["mAP"][definition] = percent.pop("mAP")
                figures[ranking] |= percent
    for file in (result, multi_query_file(result)):
        file.unlink(missing_ok=True)
    return figures


def training_minutes(options):
    """What the epochs of a run took, by their speeds in log.jsonl; interruptions and validation do not count."""
    split = join_splits(read_training_splits(training_roots(options), training_split(options)))
    images = sum(map(len, build_sampler(options, split, World()).batches(0)))  # balanced batches repeat some
    return sum(images / epoch["images_per_second"] for epoch in _epochs(options)) / 60


def describe_device(gpu_ids):
    """What a run with these --gpu_ids computes on: `NVIDIA H200`, or `AMD EPYC 9B45, 2 threads`."""
    count = len(gpu_ids.split(","))
    device = select_device(gpu_ids.split(",")[0])
    if device.type == "cuda":
        return f"{count} × " * (count > 1) + torch.cuda.get_device_name(device)
    if device.type == "mps":
        return "Apple GPU"
    cores = Path("/proc/cpuinfo")
    lines = cores.read_text().splitlines() if cores.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    threads = torch.get_num_threads()
    return f"{(models or [platform.processor() or platform.machine()])[0]}, {threads} thread{'s' * (threads > 1)}"


def _given(words):
    """{flag: value} of those flags of train.py alone that the words name."""
    parser, absent = training_parser(), object()
    parser.set_defaults(**dict.fromkeys(vars(parser.parse_args([])), absent))
    return {name: value for name, value in vars(parser.parse_args(list(words))).items() if value is not absent}


def _without_folders(value):
    """A path without its folders, which mean nothing on another machine."""
    return re.split(r"[/\\]", value)[-1] if isinstance(value, str) else value


def _check_flags(parser, text, where):
    """Raise UserError where the parser does not take the flags in a text."""
    try:
        parser.parse_args(shlex.split(text))
    except SystemExit:
        raise UserError(f"{where}: {text!r} does not fit, see above.") from None


def _epochs(options):
    """The lines of model/NAME/log.jsonl, as dicts."""
    log = RunFolder(options.name).path / "log.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
