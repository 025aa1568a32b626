"""The format of a recipe: an options file of train.py with the expected results.

    use_dense: true
    train_all: true
    recipe:
      title: DenseNet-121
      source: Person_reID_baseline_pytorch, README, "Trained Model"
      dataset: market
      average_precision: trapezoidal
      published:
        single: {rank1: 90.17, mAP: 74.02}

recipes/README.md explains the entries.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import person_reid as reid
from person_reid.config.evaluate import AVERAGE_PRECISION_NAMES
from person_reid.data.datasets import DATA_SETS
from person_reid.files import real
from person_reid.text import did_you_mean

RECIPE_KEY = "recipe"
RANKINGS = ("single", "multi", "re-ranked")  # single query, multiple query, single query re-ranked
FIGURES = ("rank1", "rank5", "rank10", "mAP", "mINP")


@dataclass(frozen=True)
class Recipe:
    """A training run and the results that it should reach.

    name: the recipe's folder and file, such as `market/resnet50`.
    flags: {name: value} of train.py.
    title, source: what the recipe trains, and where its published results are from.
    dataset: a key of DATA_SETS.
    average_precision: the definition of its mAP.
    published: {ranking: {metric: percent}}; rankings without metrics are also measured.
    command: the published command.
    test, rerank: flags of test.py and evaluate_rerank.py.
    note: possible differences from the publication.
    """

    name: str
    flags: dict[str, Any]
    title: str
    source: str
    dataset: str
    average_precision: str
    published: dict[str, dict[str, float]]
    command: str = ""
    test: str = ""
    rerank: str = ""
    note: str = ""

    @classmethod
    def of(cls, path: Path, content: dict[str, Any]) -> Recipe:
        """Return the recipe in the content of the file `path`. Raises UserError if it has none."""
        if RECIPE_KEY not in content:
            raise reid.UserError(
                f"{path}: not a recipe: it has no entry {RECIPE_KEY!r}. "
                "recipes/README.md shows the form."
            )
        check_recipe(content[RECIPE_KEY], path)
        flags = {name: value for name, value in content.items() if name != RECIPE_KEY}
        published = {
            name: content[RECIPE_KEY]["published"][name]
            for name in RANKINGS
            if name in content[RECIPE_KEY]["published"]
        }
        about = {**content[RECIPE_KEY], "published": published}
        return cls(f"{real(path).parent.name}/{path.stem}", flags, **about)

    @property
    def identity(self) -> dict[str, Any]:
        """Return the entries that a run's record shares with an unchanged recipe."""
        return {"recipe": self.name, "flags": self.flags, "test": self.test, "rerank": self.rerank}


ENTRIES = {entry.name: entry for entry in fields(Recipe) if entry.name not in ("name", "flags")}
REQUIRED = [name for name, entry in ENTRIES.items() if entry.default is MISSING]
CHOICES: dict[str, Collection[str]] = {
    "dataset": DATA_SETS,
    "average_precision": AVERAGE_PRECISION_NAMES,
}


def check_recipe(about: Any, path: str | Path) -> None:
    """Raise UserError unless a file's entry `recipe` has the form given in recipes/README.md."""
    if not isinstance(about, dict):
        raise reid.UserError(
            f"{path}: {RECIPE_KEY}: expected 'name: value' lines, found {type(about).__name__}."
        )
    for name, value in about.items():
        if name not in ENTRIES:
            raise reid.UserError(
                f"{path}: {RECIPE_KEY}: unknown entry {name!r}.{did_you_mean(str(name), ENTRIES)}"
            )
        if name != "published" and not isinstance(value, str):
            raise reid.UserError(f"{path}: {RECIPE_KEY}: {name}: expected text, found {value!r}.")
        if name in CHOICES and value not in CHOICES[name]:
            expected = (
                " or ".join(CHOICES[name])
                if len(CHOICES[name]) < 5
                else "a name that prepare.py --dataset has"
            )
            raise reid.UserError(
                f"{path}: {RECIPE_KEY}: {name}: {value!r}: expected "
                f"{expected}.{did_you_mean(value, CHOICES[name])}"
            )
    missing = [name for name in REQUIRED if name not in about]
    if missing:
        raise reid.UserError(f"{path}: {RECIPE_KEY}: lacks {', '.join(missing)}.")
    _check_published(about["published"], f"{path}: {RECIPE_KEY}: published")


def _check_published(published: Any, where: str) -> None:
    if (
        not isinstance(published, dict)
        or not published
        or not all(isinstance(v, dict) for v in published.values())
    ):
        raise reid.UserError(
            f"{where}: expected rankings and figures, such as 'single: "
            f"{{rank1: 88.84, mAP: 71.59}}'."
        )
    for ranking, figures in published.items():
        if ranking not in RANKINGS:
            raise reid.UserError(f"{where}: {ranking!r}: expected one of {', '.join(RANKINGS)}.")
        for name, value in figures.items():
            if name not in FIGURES:
                raise reid.UserError(f"{where}: {name!r}: expected one of {', '.join(FIGURES)}.")
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not 1 <= value <= 100
            ):
                raise reid.UserError(
                    f"{where}: {name}: {value!r}: expected a percentage from 1 to 100."
                )
