"""Reading recipes and planning their runs; the flags of train.py, test.py and evaluate_rerank.py are checked."""

import re
import shlex
from pathlib import Path

from person_reid.basics import UserError
from person_reid.cli.evaluation import evaluation_parser
from person_reid.cli.flags import testing_parser, training_parser
from person_reid.cli.options import parse_train
from person_reid.cli.reranking import add_rerank_flags
from person_reid.cli.specs import train_spec
from person_reid.reproduce.recipe import Recipe
from person_reid.reproduce.runs import Run
from person_reid.run_folder import read_yaml
from person_reid.training.spec import WITHOUT_EFFECT

OURS = ("name", "seed", "config", "resume", "dry_run")  # flags of train.py that are not the user's to give here


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
    return Run(recipe, seed, words, train_spec(parse_train(words)), changes)


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
