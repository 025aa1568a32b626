"""Numbers in the pages' prose: each is named by a mark, and supplied by the results.

    <!-- = networks -->49<!-- / -->
        the number of networks that python model.py lists
    <!-- = published -->228<!-- / -->, <!-- = downloaded -->20<!-- / -->
        the number of published networks, and how many of their files are downloaded automatically
    <!-- = market/osnet_x0_25_laptop single rank1 -->92.6<!-- / -->
        the mean over the seeds, in %
    <!-- = market/osnet_x0_25_laptop single mAP ± -->81.13 ± 0.01<!-- / -->
        and their sample standard deviation
    <!-- = market/osnet_x0_25_laptop seeds -->2<!-- / -->
        the number of seeds
    <!-- = market/osnet_x0_25_laptop single mAP-step -->81.7<!-- / -->
        the mAP by the other definition
    <!-- = market/osnet_x0_25_laptop minutes 1 -->44<!-- / -->
        the minutes of training, for seed 1
    <!-- = market/osnet_x0_25_laptop epochs -->28<!-- / -->
    <!-- = compared -->33<!-- / -->, <!-- = difference -->3.7e-05<!-- / -->
        the number of comparisons with the authors' networks, and the largest difference
    <!-- = results.md: Accuracy and cost: ResNet-50: mAP -->71.6<!-- / -->
        the cell of a table below a heading of a page in docs/: its row, its column

Of a recipe's runs, only those with the same flags and changes as its last run are used.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

from person_reid.config.zoo import zoo
from person_reid.errors import UserError
from person_reid.models.factory import ARCHITECTURES
from person_reid.retrieval.metric_tables import with_deviation
from tools.docs.results import figure

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
FAMILIES = ROOT / "tests" / "fixtures" / "families.json"  # written by benchmarks/peers/families.py
MARKED_FIGURES = re.compile(r"(<!-- = ([^\n]*?) -->)([^<]*)(<!-- / -->)")
COUNTED_FIGURES: dict[str, Callable[[], object]] = {
    "networks": lambda: len(ARCHITECTURES),
    "published": lambda: len(zoo()),
    "downloaded": lambda: sum(entry.downloads for entry in zoo().values()),
    "compared": lambda: len(differences()),
    "difference": lambda: f"{max(differences()):.1e}",
}
MARKUP = re.compile(r"\]\([^)]*\)|[\[`*]")
ALIKE = ("flags", "test", "rerank", "changes")


def fill(text: str, records: list[dict[str, Any]]) -> str:
    """Fill in a page's marked numbers from the records. Raises UserError for an unknown mark."""
    return MARKED_FIGURES.sub(lambda match: match[1] + value(match[2], records) + match[4], text)


def without_marks(text: str) -> str:
    """Return a page's text with its numbers but without their marks."""
    return MARKED_FIGURES.sub(r"\3", text)


def value(key: str, records: list[dict[str, Any]]) -> str:
    """Return the number that a mark names, as text."""
    if key in COUNTED_FIGURES:
        return str(COUNTED_FIGURES[key]())
    try:
        if key.count(": ") == 3:
            return cell(*key.split(": "))
        name, what, *rest = key.split()
        runs = last_runs(name, records)
        last = runs[-1]
        if what == "epochs":
            return str(int(last["flags"]["total_epoch"]))
        if what == "seeds":
            return str(len(runs))
        if what == "minutes":
            return f"{next(run['minutes'] for run in runs if [str(run['seed'])] == rest):.0f}"
        measure, _, definition = rest[0].partition("-")
        values = [
            figure(run["figures"][what], measure, definition or "trapezoidal") for run in runs
        ]
    except (IndexError, KeyError, OSError, StopIteration, TypeError, ValueError) as error:
        raise UserError(
            f"<!-- = {key} -->: no such figure in the results; "
            "tools/docs/figures.py shows the form."
        ) from error
    return with_deviation(values) if rest[1:] == ["±"] else f"{mean(values):.1f}"


def differences() -> list[float]:
    """Return, for each of the authors' networks, how much its features differ from ours."""
    records = json.loads(FAMILIES.read_text(encoding="utf-8"))
    return [record["difference"] for record in records.values()]


def cell(page: str, heading: str, row: str, column: str) -> str:
    """Return a cell of the first table below a heading that has the given row and column."""
    head: list[str] | None = None
    text = (DOCS / page).read_text(encoding="utf-8")
    section = re.split(rf"^#+ {re.escape(heading)}$", text, flags=re.M)[1]
    for line in re.split("^#+ ", section, flags=re.M)[0].splitlines():
        if not line.startswith("|"):
            head = None
            continue
        cells = [part.strip() for part in MARKUP.sub("", line).strip("|").split("|")]
        head = head or cells
        if cells[0] == row and column in head:
            return cells[head.index(column)]
    raise KeyError(row)


def last_runs(name: str, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a recipe's runs with the settings of its last run, or an empty list if it has none."""
    own = [record for record in records if record["recipe"] == name]
    return [record for record in own if all(record[entry] == own[-1][entry] for entry in ALIKE)]
