"""Read recipes, and plan their runs: the flags of train.py for a seed and a user's changes."""

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import person_reid as reid
from person_reid.config import TrainConfig
from person_reid.config.evaluate import EvaluateRerankConfig
from person_reid.config.option import SEED, Options, as_flag, checked_number
from person_reid.config.tested import TestConfig
from person_reid.console import parse
from person_reid.console.options import build
from person_reid.files import real
from person_reid.run_folder import read_yaml
from tools.docs.results import RECIPES, is_of
from tools.recipe_file import Recipe

# Flags that choose the measured network and the written files. This program sets them.
OF_TRAINING = ("name", "seed", "config", "resume", "dry_run")
OF_TEST = (
    "name", "from_run", "backbone", "weights", "engine", "seed", "test_dir", "result", "json",
    "gpu_ids",
)  # fmt: skip
OF_RERANKING = ("result", "multi_query", "ap", "json", "save_per_query", "gpu_ids")
MOST_SEEDS = 1000


class PlannedRun(NamedTuple):
    """A recipe to run with a seed.

    words: its flags for train.py.
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
        """Return the entries that identify this run in its record."""
        return {**self.recipe.identity, "seed": self.seed, "changes": self.changes}

    def done(self, records: Iterable[dict[str, Any]]) -> bool:
        """Return whether a record of this run has all rankings of the recipe."""
        own = [record for record in records if is_of(record, self.identity)]
        return any(self.recipe.published.keys() <= record["figures"].keys() for record in own)


def read_recipe(path: str | Path) -> Recipe:
    """Return the Recipe in a file.

    Raises UserError for a file that is not a recipe, or a flag that does not fit.
    """
    path = Path(path)
    recipe = Recipe.of(path, read_yaml(path))
    refuse(recipe.flags, OF_TRAINING, f"{path}: ")
    trained(["--config", str(path)])  # raises UserError for flags that do not fit
    check_flags(TestConfig, recipe.test, OF_TEST, f"{path}: recipe: test: ")
    check_flags(EvaluateRerankConfig, recipe.rerank, OF_RERANKING, f"{path}: recipe: rerank: ")
    return recipe


def plan(path: str | Path, seed: int, further: Sequence[str] = ()) -> PlannedRun:
    """Return the PlannedRun for a recipe's file and a seed.

    further: flags of train.py, which override the recipe's options.
    """
    recipe = read_recipe(path)
    known = TrainConfig.declared()
    said = vars(build(TrainConfig).parse_args(list(further)))
    refuse(said, OF_TRAINING)
    plain = trained(["--config", str(path)])
    named = {
        name: without_folders(said[name])
        for name, each in known.items()
        if name in said and each.about.effect
    }
    changes = {
        name: value
        for name, value in named.items()
        if value != without_folders(getattr(plain, name))
    }
    name = run_name(recipe.name, seed, changes)
    words = ["--config", str(path), *further, "--seed", str(seed), "--name", name]
    return PlannedRun(recipe, seed, words, trained(words), changes)


def run_name(recipe: str, seed: int, changes: dict[str, Any]) -> str:
    """Return the name of a run: `market_resnet50_seed0_bf16-True`."""
    parts = [recipe.replace("/", "_"), f"seed{seed}", *(f"{k}-{v}" for k, v in changes.items())]
    return re.sub(r"[^\w.-]", "-", "_".join(parts)).strip(".-")


def trained(words: Sequence[str]) -> TrainConfig:
    """Return the training configuration that these flags of train.py describe."""
    config = parse(TrainConfig, words)
    reid.check_training(config)
    return config


def without_folders(value: Any) -> Any:
    """Return a path without its folders, which differ between machines."""
    return re.split(r"[/\\]", value)[-1] if isinstance(value, str) else value


def refuse(given: Iterable[str], ours: Sequence[str], where: str = "") -> None:
    """Raise UserError if a reserved flag is given."""
    if taken := [name for name in ours if name in given]:
        flag = as_flag(taken[0])
        raise reid.UserError(
            f"{where}{flag} is set by this program: leave it out (--seeds chooses the runs)."
        )


def check_flags(kind: type[Options], text: str, ours: Sequence[str], where: str) -> None:
    """Raise UserError if a script does not accept the flags in `text`, or if one is reserved."""
    try:
        given = vars(build(kind).parse_args(shlex.split(text)))
    except (SystemExit, ValueError) as error:
        reason = f"({error})" if isinstance(error, ValueError) else "see above"
        raise reid.UserError(f"{where}{text!r} does not fit, {reason}.") from None
    refuse(given, ours, where)


def known_recipes(further: Iterable[Path]) -> list[Recipe]:
    """Return the suite's recipes and those in `further`, each once, sorted by source and name."""
    paths = {real(path) for path in [*RECIPES.glob("*/*.yaml"), *further]}
    return sorted(map(read_recipe, paths), key=lambda recipe: (recipe.source, recipe.name))


def listed_seeds(text: str) -> list[int]:
    """Return the seeds that text counts or lists: [0, 1, 2] for "3" and [4, 7] for "4,7"."""
    numbers = [checked_number(int, part, SEED) for part in text.split(",") if part]
    if not numbers or ("," not in text and not 1 <= numbers[0] <= MOST_SEEDS):
        raise ValueError(f"{text}: expected how many seeds, such as 3, or which, such as 4,7")
    return numbers if "," in text else list(range(numbers[0]))


def seeds(text: str) -> str:
    """Return `text` after checking that listed_seeds can read it."""
    listed_seeds(text)
    return text
