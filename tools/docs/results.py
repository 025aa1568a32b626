"""The file of results, with a line for every run, and the page that shows them in tables."""

import json
from collections.abc import Iterator, Sequence
from itertools import compress
from pathlib import Path
from typing import Any

from person_reid.config.evaluate import AVERAGE_PRECISION_NAMES
from person_reid.config.option import as_flag
from person_reid.errors import UserError
from person_reid.files import make_folder, read_json_lines, write_text
from person_reid.recipe import Recipe
from person_reid.retrieval.metric_tables import with_deviation
from person_reid.text import in_markdown, markdown_table

RECIPES = Path(__file__).resolve().parents[2] / "recipes"

RESULTS_BEGIN = "<!-- python tools/reproduce.py --table -->"
RESULTS_END = "<!-- the end of what it writes -->"
NOT_RUN = "not run"
SHOWN_RESULTS = {"rank1": "Rank@1", "mAP": "mAP", "mINP": "mINP"}


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
    put(page, RESULTS_BEGIN, RESULTS_END, tables(recipes, records, linked))


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
    """Return what was measured and what was not, a table for each source, and all runs."""
    known = ["recipe", "ranking", "AP", *named("published")]
    measured: dict[str, list[list[str]]] = {}
    others: dict[str, list[list[str]]] = {}
    for recipe in recipes:
        for *row, seeds in recipe_rows(recipe, records, linked):
            if seeds:
                measured.setdefault(recipe.source, []).append([*row, seeds])
            else:
                reason = lacking(recipe) if linked else NOT_RUN
                others.setdefault(recipe.source, []).append([*row[: len(known)], reason])
    parts = by_source([*known, *named("measured"), "seeds"], measured)
    if others:
        parts += ["## Not measured\n", *by_source([*known, "lacking"], others)]
    figures = ["Rank@1", "mAP (trapezoidal)", "mAP (step)", "mINP"]
    head = ["recipe", "seed", "ranking", *figures, "training", "device", "versions", "date"]
    rows = [row for record in records for row in run_rows(record, recipes)]
    parts.append("## Runs\n\n" + (markdown_table(head, rows) if rows else "None yet.\n"))
    return "\n".join(parts)


def by_source(head: list[str], rows: dict[str, list[list[str]]]) -> list[str]:
    """Return the table of each source, with its heading.

    Empty columns are left out, and a recipe is named only in the first of its rows.
    """
    parts = []
    for source, own in rows.items():
        names = ["", *(row[0] for row in own)]
        once = [
            ["" if row[0] == above else row[0], *row[1:]]
            for row, above in zip(own, names, strict=False)
        ]
        filled = [any(column) for column in zip(*own, strict=True)]
        shown, *lines = [list(compress(line, filled)) for line in (head, *once)]
        table = markdown_table(shown, lines)
        parts.append(f"### {in_markdown(source)}\n\n{table}")
    return parts


def lacking(recipe: Recipe) -> str:
    """Return what this repository lacked to measure one of its recipes, in one word.

    Market-1501 was at hand, and weights of OSNet that were trained on people, but no weights from
    ImageNet.
    """
    if not _is_ours(recipe.name):
        return NOT_RUN
    if recipe.dataset != "market" or recipe.flags.get("DG"):
        return "data"
    return "GPU" if recipe.flags.get("weights") == "none" else "weights"


def is_of(record: dict[str, Any], identity: dict[str, Any]) -> bool:
    """Return whether a record belongs to the recipe, or the run, of this identity."""
    return all(record[name] == value for name, value in identity.items())


def named(kind: str) -> list[str]:
    """Return the heads of three columns: `published Rank@1`, `published mAP`, `published mINP`."""
    return [f"{kind} {name}" for name in SHOWN_RESULTS.values()]


def recipe_rows(
    recipe: Recipe, records: Sequence[dict[str, Any]], linked: bool = True
) -> list[list[str]]:
    """Return a row for each ranking of a recipe, and for each set of changes that was run."""
    own = [record for record in records if is_of(record, recipe.identity)]
    variants: list[dict[str, Any]] = []
    for record in own:
        if record["changes"] not in variants:
            variants.append(record["changes"])
    rows = []
    for changes in variants or [{}]:
        runs = [record for record in own if record["changes"] == changes]
        for ranking, published in recipe.published.items():
            found = [run["figures"][ranking] for run in runs if ranking in run["figures"]]
            name = _link(recipe.name) if linked else recipe.name
            cells = [f"{name}: {recipe.title}{_with(changes)}", ranking, recipe.average_precision]
            cells += [_number(published.get(key)) for key in SHOWN_RESULTS]
            for key in SHOWN_RESULTS:
                values = [figure(one, key, recipe.average_precision) for one in found]
                cells.append(with_deviation(values) if values else NOT_RUN)
            rows.append([*cells, str(len(found) or "")])
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
        about = [minutes, record["device"], versions, record["date"]]
        yield [name, str(record["seed"]), ranking, *numbers, *about]


def figure(figures: dict[str, Any], name: str, definition: str) -> float:
    """Return one figure of a ranking, in percent. definition: the average precision of an mAP."""
    return float(figures[name][definition] if name == "mAP" else figures[name])


def comparison(
    recipe: Recipe, seed: int, figures: dict[str, Any], changes: dict[str, Any]
) -> Iterator[str]:
    """Yield a line for each ranking of a run, with its published and its measured figures."""
    for ranking, published in recipe.published.items():
        parts = []
        for key, name in SHOWN_RESULTS.items():
            title = f"{name} ({recipe.average_precision})" if key == "mAP" else name
            measured = figure(figures[ranking], key, recipe.average_precision)
            against = f"published {_number(published[key])}, " if key in published else ""
            parts.append(f"{title} {against}measured {_number(measured)}")
        yield f"{recipe.name}{_with(changes)} seed {seed}, {ranking}: {'; '.join(parts)}"


def _with(changes: dict[str, Any]) -> str:
    """Return ` with --bf16 --weights FILE`, the changes to a recipe."""
    words = " ".join(as_flag(name, value) for name, value in changes.items())
    return f" with `{words}`" if words else ""


def _link(name: str) -> str:
    """Return the name of a recipe, as a link if the recipe belongs to this repository."""
    return f"[{name}](../recipes/{name}.yaml)" if _is_ours(name) else name


def _is_ours(name: str) -> bool:
    """Return whether a recipe of that name belongs to this repository."""
    return (RECIPES / f"{name}.yaml").exists()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


# ----- the file of results: a line for every run

RESULTS_RECORD: dict[str, tuple[type, ...]] = {  # the types of its entries
    "recipe": (str,), "flags": (dict,), "test": (str,), "rerank": (str,), "seed": (int,),
    "changes": (dict,), "figures": (dict,), "minutes": (int, float), "device": (str,),
    "versions": (dict,), "date": (str,),
}  # fmt: skip


def read_results(path: Path) -> list[dict[str, Any]]:
    """Return the records of finished runs; an empty list without a file.

    Raises UserError if one of them is not what `reproduce` returns.
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
    """Return whether these are the figures of one ranking, in percent."""
    try:
        by_definition = [figures["mAP"][name] for name in AVERAGE_PRECISION_NAMES]
        percents = [figures["rank1"], figures["mINP"], *by_definition]
    except (KeyError, TypeError):
        return False
    return all(type(value) in (int, float) and 0 <= value <= 100 for value in percents)


def read_records(path: str | Path) -> list[dict[str, Any]]:
    """Return the records of a results file; an empty list without a file."""
    return read_json_lines(path) if Path(path).exists() else []


def append_record(path: str | Path, record: dict[str, Any]) -> None:
    """Append one line to a results file, also to one whose last line has no end."""
    path = Path(path)
    make_folder(path.parent)
    end = path.read_bytes()[-1:] if path.exists() else b""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(("" if end in b"\n" else "\n") + json.dumps(record) + "\n")
    except OSError as error:  # writing does not say where
        raise OSError(error.errno, error.strerror, str(path)) from error
