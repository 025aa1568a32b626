"""The results file, with a line for each run, and the tables of runs and recipes."""

import json
import shlex
from collections.abc import Sequence
from itertools import compress
from pathlib import Path
from typing import Any

from person_reid.config.evaluate import AVERAGE_PRECISION_NAMES
from person_reid.config.option import as_flag
from person_reid.errors import UserError
from person_reid.files import make_folder, read_json_lines, write_text
from person_reid.retrieval.metric_tables import with_deviation
from person_reid.text import in_markdown, markdown_table
from tools.recipe_file import RANKINGS, Recipe

RECIPES = Path(__file__).resolve().parents[2] / "recipes"

RESULTS_BEGIN = "<!-- python tools/reproduce.py --table -->"
RESULTS_END = "<!-- the end of what it writes -->"
RESULTS_HEAD = [
    "recipe", "AP", "published", "single query", "multiple queries", "re-ranked", "seeds",
    "minutes", "machine", "from", "command",
]  # fmt: skip
SHOWN_RESULTS = {"rank1": "Rank@1", "mAP": "mAP", "mINP": "mINP"}


def update_page(
    page: str | Path,
    recipes: Sequence[Recipe],
    records: Sequence[dict[str, Any]],
    linked: bool = True,
) -> None:
    """Write the table of the runs into a page, as `put` does.

    linked: turn the names of this repository's recipes into links, relative to its folder docs.
    """
    put(page, RESULTS_BEGIN, RESULTS_END, results_table(recipes, records, linked))


def put(page: str | Path, begin: str, end: str, text: str) -> None:
    """Write text between the lines `begin` and `end` in a page, keeping the rest of the page.

    A missing page is created with only the text. Raises UserError if the page lacks the lines.
    """
    text = f"{begin}\n\n{text}\n{end}\n"
    if Path(page).exists():
        before, found, rest = Path(page).read_text(encoding="utf-8").partition(begin)
        _, ended, after = rest.partition(end + "\n")
        if not found or not ended:
            raise UserError(f"{page}: no lines {begin!r} and {end!r}; the tables go between them.")
        text = before + text + after
    write_text(page, text)


def results_table(
    recipes: Sequence[Recipe], records: Sequence[dict[str, Any]], linked: bool = True
) -> str:
    """Return a table with a row for each recipe that was run and each set of changes to it.

    Records of earlier versions of a recipe are ignored. Empty columns are omitted.
    """
    rows = [row for recipe in recipes for row in recipe_rows(recipe, records, linked)]
    if not rows:
        return "None yet.\n"
    filled = [any(column) for column in zip(*rows, strict=True)]
    head, *rows = [list(compress(row, filled)) for row in (RESULTS_HEAD, *rows)]
    return markdown_table(head, rows)


def recipe_rows(
    recipe: Recipe, records: Sequence[dict[str, Any]], linked: bool = True
) -> list[list[str]]:
    """Return a row of cells under RESULTS_HEAD for each set of changes made to a recipe."""
    own = [record for record in records if is_of(record, recipe.identity)]
    variants: list[dict[str, Any]] = []
    for record in own:
        if record["changes"] not in variants:
            variants.append(record["changes"])
    rows = []
    for changes in variants:
        runs = [record for record in own if record["changes"] == changes]
        machines = "; ".join(dict.fromkeys(run["device"] for run in runs))
        rows.append(
            [
                f"{_link(recipe.name, '../recipes/') if linked else recipe.name}: {recipe.title}",
                recipe.average_precision,
                published(recipe),
                *(_measured(recipe, runs, ranking) for ranking in RANKINGS),
                str(len(runs)),
                ", ".join(f"{run['minutes']:.0f}" for run in runs),
                f"{machines}, {runs[-1]['date']}",
                str({**recipe.flags, **changes}.get("weights", "ImageNet")),
                f"`{command(recipe, changes)}`",
            ]
        )
    return rows


def recipe_tables(recipes: Sequence[Recipe]) -> str:
    """Return the tables of recipes with published metrics, one for each source."""
    by_source: dict[str, list[list[str]]] = {}
    for recipe in recipes:
        if figures := published(recipe):
            name = f"{_link(recipe.name)}: {recipe.title}"
            row = [name, figures, recipe.average_precision]
            by_source.setdefault(recipe.source, []).append(row)
    head = ["recipe", "published", "AP"]
    return "\n".join(
        f"### {in_markdown(source)}\n\n{markdown_table(head, rows)}"
        for source, rows in by_source.items()
    )


def published(recipe: Recipe) -> str:
    """Return `88.84 / 71.59, re-ranked 90.20 / 84.76`, or "" if nothing was published."""
    found = []
    for ranking, figures in recipe.published.items():
        shown = " / ".join(f"{figures[key]:.2f}" for key in ("rank1", "mAP") if key in figures)
        shown = shown if "rank1" in figures or not shown else f"mAP {shown}"
        if shown:
            found.append(shown if ranking == "single" else f"{ranking} {shown}")
    return ", ".join(found)


def command(recipe: Recipe, changes: dict[str, Any]) -> str:
    """Return the command that repeats a recipe's runs with these changes."""
    words = ["python", "tools/reproduce.py", f"recipes/{recipe.name}.yaml"]
    for name, value in changes.items():
        words += as_flag(name, value).split(" ", 1)
    return shlex.join(words)


def is_of(record: dict[str, Any], identity: dict[str, Any]) -> bool:
    """Return whether a record belongs to the recipe or run with the entries in `identity`."""
    return all(record[name] == value for name, value in identity.items())


def figure(figures: dict[str, Any], name: str, definition: str) -> float:
    """Return one metric of a ranking, in %. definition: which mAP to return."""
    return float(figures[name][definition] if name == "mAP" else figures[name])


def comparison(
    recipe: Recipe, seed: int, figures: dict[str, Any], changes: dict[str, Any]
) -> list[str]:
    """Return a line for each ranking of a run, with its published and its measured metrics."""
    words = " ".join(as_flag(name, value) for name, value in changes.items())
    name = f"{recipe.name} with `{words}`" if words else recipe.name
    lines = []
    for ranking, expected in recipe.published.items():
        parts = []
        for key, title in SHOWN_RESULTS.items():
            title = f"{title} ({recipe.average_precision})" if key == "mAP" else title
            measured = figure(figures[ranking], key, recipe.average_precision)
            against = f"published {expected[key]:.2f}, " if key in expected else ""
            parts.append(f"{title} {against}measured {measured:.2f}")
        lines.append(f"{name} seed {seed}, {ranking}: {'; '.join(parts)}")
    return lines


def _measured(recipe: Recipe, runs: Sequence[dict[str, Any]], ranking: str) -> str:
    """Return mean Rank@1 and mAP ± standard deviation, such as `92.64 ± 0.04 / 81.13 ± 0.01`."""
    found = [run["figures"][ranking] for run in runs if ranking in run["figures"]]
    return " / ".join(
        with_deviation([figure(one, key, recipe.average_precision) for one in found])
        for key in ("rank1", "mAP")
        if found
    )


def _link(name: str, folder: str = "") -> str:
    """Return the name of a recipe, as a link if the recipe belongs to this repository."""
    return f"[{name}]({folder}{name}.yaml)" if (RECIPES / f"{name}.yaml").exists() else name


# ----- the results file: a line for every run

RESULTS_RECORD: dict[str, tuple[type, ...]] = {  # the types of its entries
    "recipe": (str,), "flags": (dict,), "test": (str,), "rerank": (str,), "seed": (int,),
    "changes": (dict,), "figures": (dict,), "minutes": (int, float), "device": (str,),
    "versions": (dict,), "date": (str,),
}  # fmt: skip


def read_results(path: Path) -> list[dict[str, Any]]:
    """Return the records of finished runs, or an empty list if there is no file.

    Raises UserError if a record does not have the form that `reproduce` writes.
    """
    records = read_records(path)
    for number, record in enumerate(records, 1):
        typed = all(type(record.get(name)) in types for name, types in RESULTS_RECORD.items())
        if not typed or not all(map(are_figures, record["figures"].values())):
            raise UserError(
                f"{path}: record {number}: expected {', '.join(RESULTS_RECORD)}, "
                "as tools/reproduce.py writes them. Correct or remove that line."
            )
    return records


def are_figures(figures: Any) -> bool:
    """Return whether `figures` are the metrics of one ranking, in %."""
    try:
        by_definition = [figures["mAP"][name] for name in AVERAGE_PRECISION_NAMES]
        percents = [figures["rank1"], figures["mINP"], *by_definition]
    except (KeyError, TypeError):
        return False
    return all(type(value) in (int, float) and 0 <= value <= 100 for value in percents)


def read_records(path: str | Path) -> list[dict[str, Any]]:
    """Return the records in a results file, or an empty list if there is no file."""
    return read_json_lines(path) if Path(path).exists() else []


def append_record(path: str | Path, record: dict[str, Any]) -> None:
    """Append one line to a results file, even if its last line has no line ending."""
    path = Path(path)
    make_folder(path.parent)
    end = path.read_bytes()[-1:] if path.exists() else b""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(("" if end in b"\n" else "\n") + json.dumps(record) + "\n")
    except OSError as error:  # an error of writing does not name the file
        raise OSError(error.errno, error.strerror, str(path)) from error
