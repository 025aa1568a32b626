"""Write what the pages repeat: the table of costs and its picture, figures in prose, the notebook.

python tools/docs/pages.py

docs/results.jsonl holds the figures, and tools/docs/figures.py shows how prose marks them. The
tables of docs/results.md are written by python tools/reproduce.py --table.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from person_reid.basics import UserError, printable, write_text
from person_reid.show.tradeoff import draw_panels
from tools.docs.costs import cost_panels, cost_table, costs
from tools.docs.figures import fill
from tools.docs.notebook import notebook
from tools.docs.results import put
from tools.reproduce import RESULTS, known_recipes, read_records

COSTS = ROOT / "docs" / "costs.jsonl"
COST_PICTURE = ROOT / "docs" / "images" / "costs.png"
COST_MARKS = "<!-- the table of costs -->", "<!-- its end -->"
TUTORIAL, NOTEBOOK = ROOT / "docs" / "tutorial.md", ROOT / "docs" / "tutorial.ipynb"


def update(records: list[dict[str, Any]]) -> None:
    """Write the costs and the marked figures into the pages, and the notebook of the tutorial."""
    rows = costs(known_recipes([]), records, read_records(COSTS))
    put(RESULTS.with_suffix(".md"), *COST_MARKS, cost_table(rows))
    draw_panels(cost_panels(rows), COST_PICTURE)
    fill_pages([ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], records)
    replace(NOTEBOOK, notebook(TUTORIAL.read_text(encoding="utf-8")))


def fill_pages(pages: Iterable[Path], records: list[dict[str, Any]]) -> None:
    """Fill the marked figures in.

    A page with one that the records do not hold stays as it is, and a line says so.
    """
    for page in pages:
        try:
            replace(page, fill(page.read_text(encoding="utf-8"), records))
        # the last runs of a recipe need not have every seed that a page speaks of
        except UserError as error:
            print(printable(f"{page} stays as it is: {error}"), file=sys.stderr)


def replace(path: Path, text: str) -> None:
    """Write a page if its text has changed."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


if __name__ == "__main__":
    update(read_records(RESULTS))
