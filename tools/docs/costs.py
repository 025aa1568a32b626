"""Compare the cost of networks with their accuracy on Market-1501.

benchmarks/speed/costs.py measures the networks of recipes. For other networks, the page gives the
authors' numbers.
"""

import re
from collections.abc import Iterable
from statistics import mean
from typing import Any, NamedTuple

from person_reid.text import markdown_table
from tools.docs.figures import last_runs
from tools.docs.results import figure
from tools.docs.tradeoff import Point
from tools.recipe_file import Recipe


class Cost(NamedTuple):
    """A network's Rank@1 and mAP in %, and its cost.

    measured: whether the accuracy comes from this repository's runs; otherwise, it is published.
    definition: the definition of the mAP. float32: milliseconds per image on one core, None if not
    measured. minutes: training time, None if not trained.
    """

    name: str
    rank1: float
    mean_ap: float
    definition: str
    measured: bool
    parameters: float
    multiply_adds: float
    float32: float | None = None
    minutes: float | None = None


# docs.openvino.ai, Open Model Zoo, person-reidentification-retail-*; its GFlops count a
# multiply-add as two.
INTEL = "Intel's person-reidentification-retail"
FOREIGN_NETWORKS = [
    Cost(f"{INTEL}-0287", 92.9, 76.6, "", False, 0.595e6, 0.564e9 / 2),
    Cost(f"{INTEL}-0286", 94.8, 83.7, "", False, 1.234e6, 1.170e9 / 2),
    Cost(f"{INTEL}-0277", 96.2, 87.7, "", False, 2.103e6, 1.993e9 / 2),
]


def costs(
    recipes: Iterable[Recipe], records: list[dict[str, Any]], lines: Iterable[dict[str, Any]]
) -> list[Cost]:
    """Return the networks that have a cost and an accuracy, sorted by their multiply-adds.

    lines: the lines of docs/costs.jsonl. The accuracy is the mean over the seeds of a recipe's last
    runs, or the published accuracy if the recipe was never run.
    """
    known = {recipe.name: recipe for recipe in recipes}
    found = list(FOREIGN_NETWORKS)
    for line in (line for line in lines if line["network"] in known):
        recipe = known[line["network"]]
        if runs := last_runs(recipe.name, records):
            definition, figures = "trapezoidal", [run["figures"]["single"] for run in runs]
            mean_ap = mean(figure(one, "mAP", definition) for one in figures)
        elif {"rank1", "mAP"} <= recipe.published["single"].keys():
            definition, figures = recipe.average_precision, [recipe.published["single"]]
            mean_ap = figures[0]["mAP"]
        else:
            continue
        rank1 = mean(one["rank1"] for one in figures)
        size = line["parameters"], line["multiply_adds"], line["float32"]
        minutes = min((run["minutes"] for run in runs), default=None)
        found.append(Cost(recipe.title, rank1, mean_ap, definition, bool(runs), *size, minutes))
    return sorted(found, key=lambda row: row.multiply_adds)


def cost_table(rows: Iterable[Cost]) -> str:
    """Return the table of networks, in Markdown."""
    head = [
        "network",
        "accuracy",
        "Rank@1",
        "mAP",
        "AP",
        "parameters",
        "multiply-adds",
        "float32",
        "training",
    ]
    return markdown_table(head, [_cells(row) for row in rows])


def cost_panels(rows: Iterable[Cost]) -> dict[tuple[str, str], list[Point]]:
    """Return the panels to draw: mAP against multiply-adds, and against time if it is known."""
    rows = list(rows)
    timed = [row for row in rows if row.float32 is not None]
    return {
        ("mAP on Market-1501 by arithmetic", "Multiply-adds per image, billions"): [
            _point(row, row.multiply_adds / 1e9) for row in rows
        ],
        ("mAP on Market-1501 by time", "Milliseconds per image, one core, float32"): [
            _point(row, row.float32 or 0) for row in timed
        ],
    }


def _point(row: Cost, cost: float) -> Point:
    found = re.match(r"\w+", row.name)
    family = found.group() if found else row.name
    return Point(short_name(row.name), cost, row.mean_ap, row.measured, family)


def short_name(name: str) -> str:
    """Return a network's short name for a picture whose colours show the families.

    For example, `OSNet x0.25, from ImageNet` becomes `x0.25, ImageNet`.
    """
    name = re.sub(r"^(OSNet |Intel's person-reidentification-)", "", name)
    name = re.sub(r" from random weights| without a GPU|(?<=distilled) on a laptop", "", name)
    name, _, rest = name.partition(", ")
    kept = rest.removeprefix("from ") if rest in ("from ImageNet", "in an hour") else ""
    return f"{name}, {kept}" if kept else name


def _cells(row: Cost) -> list[str]:
    size = f"{row.parameters / 1e6:.2f} M", f"{row.multiply_adds / 1e9:.2f} G"
    time = "" if row.float32 is None else f"{row.float32:.1f} ms"
    minutes = "" if row.minutes is None else f"{row.minutes:.0f} min"
    accuracy = "measured" if row.measured else "published"
    return [
        row.name,
        accuracy,
        f"{row.rank1:.1f}",
        f"{row.mean_ap:.1f}",
        row.definition,
        *size,
        time,
        minutes,
    ]
