"""Read recipes, check their flags, and plan their runs."""

import re
import shlex
from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from person_reid.basics import UserError
from person_reid.cli.flags import testing_parser
from person_reid.config import TrainConfig
from person_reid.config.evaluate import EvaluateRerankConfig
from person_reid.console.options import build, parse
from person_reid.reproduce.recipe import Recipe
from person_reid.reproduce.runs import Run
from person_reid.run_folder import read_yaml
from person_reid.training.build import resolved

# Flags that decide which network is measured, and which files are written: neither the user nor a
# recipe sets them.
OF_TRAINING = ("name", "seed", "config", "resume", "dry_run")
OF_TEST = ("name", "backbone", "weights", "engine", "seed", "test_dir", "result", "json", "gpu_ids")
OF_RERANKING = ("result", "multi_query", "ap", "json", "save_per_query", "gpu_ids")


def read_recipe(path: str | Path) -> Recipe:
    """Return the Recipe in a file.

    Raises UserError for a file that is not a recipe, or a flag that does not fit.
    """
    path = Path(path)
    recipe = Recipe.of(path, read_yaml(path))
    _refuse(recipe.flags, OF_TRAINING, f"{path}: ")
    trained(["--config", str(path)])  # raises UserError for flags that do not fit
    _check_flags(testing_parser(), recipe.test, OF_TEST, f"{path}: recipe: test: ")
    _check_flags(
        build(EvaluateRerankConfig), recipe.rerank, OF_RERANKING, f"{path}: recipe: rerank: "
    )
    return recipe


def plan(path: str | Path, seed: int, further: Sequence[str] = ()) -> Run:
    """Return the Run of a recipe's file with a seed. further: flags of
    train.py, which override the recipe's.
    """
    recipe = read_recipe(path)
    known = TrainConfig.declared()
    said = vars(build(TrainConfig).parse_args(list(further)))
    given = {name: said[name] for name in known if name in said}
    _refuse(given, OF_TRAINING)
    plain = trained(["--config", str(path)])
    named = {
        name: _without_folders(value) for name, value in given.items() if known[name].about.effect
    }
    changes = {
        name: value
        for name, value in named.items()
        if value != _without_folders(getattr(plain, name))
    }
    parts = [
        recipe.name.replace("/", "_"),
        f"seed{seed}",
        *(f"{name}-{value}" for name, value in changes.items()),
    ]
    name = "_".join(
        "".join(c if c.isalnum() or c in "._-" else "-" for c in part) for part in parts
    ).strip(".-")
    words = ["--config", str(path), *further, "--seed", str(seed), "--name", name]
    return Run(recipe, seed, words, trained(words), changes)


def trained(words: Sequence[str]) -> TrainConfig:
    """Return the training that flags of train.py describe."""
    return resolved(parse(TrainConfig, words))


def _given(parser: ArgumentParser, words: Sequence[str]) -> dict[str, Any]:
    """Return {flag: value} of the flags that the words name,
    abbreviated or not, without defaults.
    """
    absent = object()
    parser.set_defaults(**dict.fromkeys(vars(parser.parse_args([])), absent))
    return {
        name: value
        for name, value in vars(parser.parse_args(list(words))).items()
        if value is not absent
    }


def _without_folders(value: Any) -> Any:
    """Return a path without its folders, which mean nothing on another
    machine, and any other value as it is.
    """
    return re.split(r"[/\\]", value)[-1] if isinstance(value, str) else value


def _refuse(given: Iterable[str], ours: Sequence[str], where: str = "") -> None:
    """Raise UserError if one of our flags is given."""
    if taken := [name for name in ours if name in given]:
        raise UserError(
            f"{where}--{taken[0]} is set by this program: leave it out (--seeds chooses the runs)."
        )


def _check_flags(parser: ArgumentParser, text: str, ours: Sequence[str], where: str) -> None:
    """Raise UserError if the parser does not accept the flags in a text, or one of them is ours."""
    try:
        given = _given(parser, shlex.split(text))
    except (SystemExit, ValueError) as error:
        reason = f"({error})" if isinstance(error, ValueError) else "see above"
        raise UserError(f"{where}{text!r} does not fit, {reason}.") from None
    _refuse(given, ours, where)
