"""The page of results: published beside measured figures, and every run
behind them, as Markdown tables.
"""

import html
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from person_reid.basics import UserError, printable, write_text
from person_reid.reproduce.recipe import Recipe, is_of
from person_reid.reproduce.scripts import ROOT

BEGIN, END = "<!-- python tools/reproduce.py --table -->", "<!-- the end of what it writes -->"
SHOWN = {"rank1": "Rank@1", "mAP": "mAP", "mINP": "mINP"}


def update_page(
    page: str | Path,
    recipes: Sequence[Recipe],
    records: Sequence[dict[str, Any]],
    linked: bool = True,
) -> None:
    """Write the tables of all recipes into a page, as `put` does.

    linked: make links of the names of this repository's recipes, which lead there from its folder
    docs.
    """
    put(page, BEGIN, END, tables(recipes, records, linked))


def put(page: str | Path, begin: str, end: str, text: str) -> None:
    """Write a text between the lines `begin` and `end` of a page, keeping the text around them.

    A missing page is created with the text alone. Raises UserError if the page lacks the lines.
    """
    text = f"{begin}\n\n{text}\n{end}\n"
    if Path(page).exists():
        before, found, rest = Path(page).read_text(encoding="utf-8").partition(begin)
        _, ended, after = rest.partition(end + "\n")
        if not found or not ended:
            raise UserError(f"{page}: no lines {begin!r} and {end!r}; the tables go between them.")
        text = before + text + after
    write_text(page, text)


def tables(
    recipes: Sequence[Recipe], records: Sequence[dict[str, Any]], linked: bool = True
) -> str:
    """Return a table of published against measured figures for each source
    of recipes, and one of all runs.
    """
    parts = []
    for source in dict.fromkeys(recipe.source for recipe in recipes):
        rows = [
            row
            for recipe in recipes
            if recipe.source == source
            for row in recipe_rows(recipe, records, linked)
        ]
        head = [
            "recipe",
            "ranking",
            "AP",
            "published Rank@1",
            "mAP",
            "mINP",
            "measured Rank@1",
            "mAP",
            "mINP",
            "seeds",
        ]
        parts.append(f"### {_escaped(source)}\n\n{table(head, rows)}")
    figures = ["Rank@1", "mAP (trapezoidal)", "mAP (step)", "mINP"]
    head = ["recipe", "seed", "ranking", *figures, "training", "device", "versions", "date"]
    rows = [row for record in records for row in run_rows(record, recipes)]
    parts.append("### Runs\n\n" + (table(head, rows) if rows else "None yet.\n"))
    return "\n".join(parts)


def recipe_rows(
    recipe: Recipe, records: Sequence[dict[str, Any]], linked: bool = True
) -> list[list[str]]:
    """Return a recipe's rows: each ranking with each set of changed flags that
    was run, or as it is if none was.
    """
    own = [record for record in records if is_of(record, recipe.identity)]
    variants: list[dict[str, Any]] = []
    for record in own:
        if record["changes"] not in variants:
            variants.append(record["changes"])
    rows = []
    for changes in variants or [{}]:
        runs = [record for record in own if record["changes"] == changes]
        for ranking, published in recipe.published.items():
            figures = [
                record["figures"][ranking] for record in runs if ranking in record["figures"]
            ]
            name = _link(recipe.name) if linked else recipe.name
            cells = [f"{name}: {recipe.title}{_with(changes)}", ranking, recipe.average_precision]
            cells += [_number(published.get(key)) for key in SHOWN]
            cells += [
                spread([figure(one, key, recipe.average_precision) for one in figures])
                for key in SHOWN
            ]
            rows.append([*cells, str(len(figures) or "")])
    return rows


def run_rows(record: dict[str, Any], recipes: Sequence[Recipe]) -> Iterator[list[str]]:
    """Yield a run's rows, one for each ranking.

    They say so if the recipe has changed since, or is gone.
    """
    current = any(is_of(record, recipe.identity) for recipe in recipes)
    name = record["recipe"] + _with(record["changes"]) + ("" if current else " (an earlier recipe)")
    versions = ", ".join(f"{what} {version}" for what, version in record["versions"].items())
    for ranking, figures in record["figures"].items():
        numbers = [_number(figures["rank1"])]
        numbers += [_number(figures["mAP"][definition]) for definition in ("trapezoidal", "step")]
        numbers += [_number(figures["mINP"])]
        minutes = f"{record['minutes']:.3g} min"
        yield [
            name,
            str(record["seed"]),
            ranking,
            *numbers,
            minutes,
            record["device"],
            versions,
            record["date"],
        ]


def figure(figures: dict[str, Any], name: str, definition: str) -> float:
    """Return one figure of a ranking, in percent; definition: which of the
    average precisions is behind an mAP.
    """
    return float(figures[name][definition] if name == "mAP" else figures[name])


def spread(values: Sequence[float]) -> str:
    """Return `88.70 ± 0.15`, the mean and the largest distance from it, or `not run` without
    values.
    """
    if not values:
        return "not run"
    middle = mean(values)
    return f"{middle:.2f}" + (
        f" ± {max(abs(value - middle) for value in values):.2f}" if len(values) > 1 else ""
    )


def comparison(
    recipe: Recipe, seed: int, figures: dict[str, Any], changes: dict[str, Any]
) -> Iterator[str]:
    """Yield a line for each ranking of a run: published against
    measured, each mAP with its definition.
    """
    for ranking, published in recipe.published.items():
        parts = []
        for key, name in SHOWN.items():
            title = f"{name} ({recipe.average_precision})" if key == "mAP" else name
            measured = figure(figures[ranking], key, recipe.average_precision)
            against = f"published {_number(published[key])}, " if key in published else ""
            parts.append(f"{title} {against}measured {_number(measured)}")
        yield f"{recipe.name}{_with(changes)} seed {seed}, {ranking}: {'; '.join(parts)}"


def _with(changes: dict[str, Any]) -> str:
    """Return ` with --bf16 --weights FILE`, the changes to a recipe."""
    words = [
        f"--{name}" if value is True else f"--{name} {value}" for name, value in changes.items()
    ]
    return f" with `{' '.join(words)}`" if words else ""


def _link(name: str) -> str:
    """Return the name of a recipe, as a link if the recipe belongs to this repository."""
    return (
        f"[{name}](../recipes/{name}.yaml)"
        if (ROOT / "recipes" / f"{name}.yaml").exists()
        else name
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(_escaped, cells))} |\n" for cells in lines)


def _escaped(text: str) -> str:
    """Return text on one line, without HTML and without the bars that end a cell of a table."""
    return html.escape(printable(" ".join(text.split())), quote=False).replace("|", "&#124;")
