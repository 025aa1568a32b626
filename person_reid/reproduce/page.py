"""The page of results: what is published beside what was measured, and every run behind it, as Markdown tables."""

from pathlib import Path
from statistics import mean

from person_reid.basics import UserError, atomic_write
from person_reid.reproduce.recipe import is_of
from person_reid.reproduce.scripts import ROOT

BEGIN, END = "<!-- python tools/reproduce.py --table -->", "<!-- the end of what it writes -->"
SHOWN = {"rank1": "Rank@1", "mAP": "mAP", "mINP": "mINP"}


def update_page(page, recipes, records):
    """Write the tables into a page, between its two marks; what a person wrote around them stays. A page that is not
    there is made of the tables alone. Raises UserError for a page without the marks."""
    text = f"{BEGIN}\n\n{tables(recipes, records)}\n{END}\n"
    if Path(page).exists():
        before, begin, rest = Path(page).read_text(encoding="utf-8").partition(BEGIN)
        _, end, after = rest.partition(END + "\n")
        if not begin or not end:
            raise UserError(f"{page}: no lines {BEGIN!r} and {END!r}, between which the tables go.")
        text = before + text + after
    with atomic_write(page) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def tables(recipes, records):
    """The tables of published against measured, one for each source of recipes, and that of all runs."""
    parts = []
    for source in dict.fromkeys(recipe.source for recipe in recipes):
        rows = [row for recipe in recipes if recipe.source == source for row in recipe_rows(recipe, records)]
        head = ["recipe", "ranking", "AP", "published Rank@1", "mAP", "mINP", "measured Rank@1", "mAP", "mINP", "seeds"]
        parts.append(f"### {source}\n\n{_table(head, rows)}")
    figures = ["Rank@1", "mAP (trapezoidal)", "mAP (step)", "mINP"]
    head = ["recipe", "seed", "ranking", *figures, "training", "device", "versions", "date"]
    rows = [row for record in records for row in run_rows(record, recipes)]
    parts.append("### Runs\n\n" + (_table(head, rows) if rows else "None yet.\n"))
    return "\n".join(parts)


def recipe_rows(recipe, records):
    """The rows of a recipe: for each ranking, as it is and then with each set of flags changed that was run."""
    own = [record for record in records if is_of(record, recipe.identity)]
    variants = [{}, *(record["changes"] for record in own if record["changes"])]
    variants = [changes for i, changes in enumerate(variants) if changes not in variants[:i]]
    rows = []
    for changes in variants:
        runs = [record for record in own if record["changes"] == changes]
        for ranking, published in recipe.published.items():
            figures = [record["figures"][ranking] for record in runs if ranking in record["figures"]]
            cells = [f"{_link(recipe.name)}: {recipe.title}{_with(changes)}", ranking, recipe.average_precision]
            cells += [_number(published.get(key)) for key in SHOWN]
            cells += [spread([figure(one, key, recipe.average_precision) for one in figures]) for key in SHOWN]
            rows.append([*cells, str(len(figures) or "")])
    return rows


def run_rows(record, recipes):
    """The rows of a run, one for each ranking; one whose recipe has changed since says so."""
    current = any(is_of(record, recipe.identity) for recipe in recipes)
    name = record["recipe"] + _with(record["changes"]) + ("" if current else " (the recipe was another one then)")
    versions = ", ".join(f"{what} {version}" for what, version in record["versions"].items())
    for ranking, figures in record["figures"].items():
        numbers = [_number(figures["rank1"])]
        numbers += [_number(figures["mAP"][definition]) for definition in ("trapezoidal", "step")]
        numbers += [_number(figures["mINP"])]
        minutes = f"{record['minutes']:.3g} min"
        yield [name, str(record["seed"]), ranking, *numbers, minutes, record["device"], versions, record["date"]]


def figure(figures, name, definition):
    """One of the figures of a ranking, in per cent; of mAP that of the definition."""
    return figures[name][definition] if name == "mAP" else figures[name]


def spread(values):
    """`88.70 ± 0.15`: the mean, and how far the values lie from it at most; `not run` without any."""
    if not values:
        return "not run"
    middle = mean(values)
    return f"{middle:.2f}" + (f" ± {max(abs(value - middle) for value in values):.2f}" if len(values) > 1 else "")


def comparison(recipe, seed, figures, changes):
    """A line for each ranking of a run: published against measured, each mAP with its definition."""
    for ranking, published in recipe.published.items():
        parts = []
        for key, name in SHOWN.items():
            name += f" ({recipe.average_precision})" * (key == "mAP")
            measured = figure(figures[ranking], key, recipe.average_precision)
            against = f"published {_number(published[key])}, " if key in published else ""
            parts.append(f"{name} {against}measured {_number(measured)}")
        yield f"{recipe.name}{_with(changes)} seed {seed}, {ranking}: {'; '.join(parts)}"


def _with(changes):
    """` with --bf16 --weights FILE`, for what was changed about a recipe."""
    words = [f"--{name}" if value is True else f"--{name} {value}" for name, value in changes.items()]
    return f" with `{' '.join(words)}`" if words else ""


def _link(name):
    """The name of a recipe, a link where the recipe is one of this repository."""
    return f"[{name}](../recipes/{name}.yaml)" if (ROOT / "recipes" / f"{name}.yaml").exists() else name


def _number(value):
    return "" if value is None else f"{value:.2f}"


def _table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
