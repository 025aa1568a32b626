"""Write what the pages repeat: the table of costs and its picture, figures in prose, the notebook.

python tools/docs/pages.py

docs/results.jsonl holds the figures, and tools/docs/figures.py shows how prose marks them. The
tables of docs/results.md are written by python tools/reproduce.py --table, and those of a large
gallery by python benchmarks/gallery/scale.py --save docs/benchmarks.md.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from person_reid.errors import UserError
from person_reid.files import write_text
from person_reid.text import markdown_table, printable
from tools.docs.costs import cost_panels, cost_table, costs
from tools.docs.figures import fill, last_runs, value
from tools.docs.notebook import notebook
from tools.docs.results import put, read_records
from tools.docs.tradeoff import draw_panels
from tools.recipes import known_recipes
from tools.reproduce import RESULTS

COSTS = ROOT / "docs" / "costs.jsonl"
COST_PICTURE = ROOT / "docs" / "images" / "costs.png"
COST_MARKS = "<!-- the table of costs -->", "<!-- its end -->"
README = ROOT / "README.md"
MEASURED_MARKS = "<!-- measured -->", "<!-- its end -->"
MEASURED = {
    "market/osnet_x0_5_hour": "OSNet x0.5 from random weights",
    "market/osnet_x0_25_laptop": "OSNet x0.25 from weights of MSMT17",
    "market/osnet_x0_25_taught": "the same, distilled",
    "market/osnet_x0_25_taught_long": "the same, three times as long",
    "market/osnet_x1_0_taught": "OSNet x1.0, distilled",
}
TUTORIAL, NOTEBOOK = ROOT / "docs" / "tutorial.md", ROOT / "docs" / "tutorial.ipynb"


def update(records: list[dict[str, Any]]) -> None:
    """Write the costs and the marked figures into the pages, and the notebook of the tutorial."""
    rows = costs(known_recipes([]), records, read_records(COSTS))
    put(RESULTS.with_suffix(".md"), *COST_MARKS, cost_table(rows))
    draw_panels(cost_panels(rows), COST_PICTURE)
    put(README, *MEASURED_MARKS, measured_table(records))
    fill_pages([README, *sorted((ROOT / "docs").glob("*.md"))], records)
    replace(NOTEBOOK, notebook(TUTORIAL.read_text(encoding="utf-8")))


def measured_table(records: list[dict[str, Any]]) -> str:
    """Return the table of the README: what some recipes reached, each over its seeds.

    The minutes are the first seed's.
    """
    head = ["network", "training", "Rank@1", "mAP", "re-ranked Rank@1", "mAP", "seeds"]
    rows = []
    for name, network in MEASURED.items():
        seed = last_runs(name, records)[0]["seed"]
        epochs, minutes = (
            value(f"{name} {what}", records) for what in ("epochs", f"minutes {seed}")
        )
        figures = [
            value(f"{name} {ranking} {measure} ±", records)
            for ranking in ("single", "re-ranked")
            for measure in ("rank1", "mAP")
        ]
        link = f"[{network}](recipes/{name}.yaml)"
        seeds = value(f"{name} seeds", records)
        rows.append([link, f"{epochs} epochs, {minutes} minutes", *figures, seeds])
    return markdown_table(head, rows)


def fill_pages(pages: Iterable[Path], records: list[dict[str, Any]]) -> None:
    """Fill the marked figures in.

    A page with one that the records do not hold stays as it is, and a line says so.
    """
    for page in pages:
        try:
            replace(page, fill(page.read_text(encoding="utf-8"), records))
        # The last runs of a recipe need not have every seed that a page speaks of.
        except UserError as error:
            print(printable(f"{page} stays as it is: {error}"), file=sys.stderr)


def replace(path: Path, text: str) -> None:
    """Write a page if its text has changed."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


if __name__ == "__main__":
    update(read_records(RESULTS))
