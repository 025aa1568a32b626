"""Write the generated parts of the pages: tables, numbers in prose, and the notebook.

python tools/docs/pages.py

docs/results.jsonl holds the numbers, and tools/docs/figures.py explains how prose marks them.
python tools/reproduce.py --table writes the table of runs in docs/results.md.
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
from tools.docs.costs import FOREIGN_NETWORKS, cost_panels, cost_table, costs
from tools.docs.figures import fill, last_runs, value
from tools.docs.notebook import notebook
from tools.docs.results import RECIPES, put, read_records, recipe_tables
from tools.docs.tradeoff import draw_panels
from tools.recipe_file import Recipe
from tools.recipes import known_recipes
from tools.reproduce import RESULTS

COSTS = ROOT / "docs" / "costs.jsonl"
COST_PICTURE = ROOT / "docs" / "images" / "costs.png"
COST_MARKS = "<!-- the table of costs -->", "<!-- its end -->"
README = ROOT / "README.md"
RECIPE_PAGE, RECIPE_MARKS = RECIPES / "README.md", ("<!-- recipes -->", "<!-- its end -->")
MEASURED_MARKS = "<!-- measured -->", "<!-- its end -->"
MEASURED = {
    "market/osnet_x0_5_hour": "OSNet x0.5, from random weights",
    "market/osnet_x0_25_laptop": "OSNet x0.25",
    "market/osnet_x0_25_taught_long": "OSNet x0.25, distilled",
    "market/osnet_x1_0_taught": "OSNet x1.0, distilled",
}
SAME_NETWORK = {"market/osnet_x0_25_taught_long": "market/osnet_x0_25_taught"}
PUBLISHED = {
    "market/resnet50": "ResNet-50",
    "market/osnet_x0_25": "OSNet x0.25",
    "market/osnet_x1_0": "OSNet x1.0",
    "market/ranked_resnet50_ibn_a": "ResNet-50-IBN-a",
}
TUTORIAL, NOTEBOOK = ROOT / "docs" / "tutorial.md", ROOT / "docs" / "tutorial.ipynb"


def update(records: list[dict[str, Any]]) -> None:
    """Write tables and marked numbers into the pages, and the notebook of the tutorial."""
    recipes = known_recipes([])
    put(RECIPE_PAGE, *RECIPE_MARKS, recipe_tables(recipes))
    rows = costs(recipes, records, read_records(COSTS))
    put(RESULTS.with_suffix(".md"), *COST_MARKS, cost_table(rows))
    draw_panels(cost_panels(rows), COST_PICTURE)
    put(README, *MEASURED_MARKS, measured_table(recipes, records))
    fill_pages([README, *sorted((ROOT / "docs").glob("*.md"))], records)
    replace(NOTEBOOK, notebook(TUTORIAL.read_text(encoding="utf-8")))


def measured_table(recipes: Iterable[Recipe], records: list[dict[str, Any]]) -> str:
    """Return the table for the README: our networks beside published ones, sorted by mAP.

    All mAP are means of the step AP, which most toolboxes compute; † marks trapezoids, and ? an
    unknown kind. Numbers of parameters are from docs/costs.jsonl, without the classifier. The
    minutes are for the first seed.
    """
    known = {recipe.name: recipe for recipe in recipes}
    sizes = {line["network"]: line["parameters"] for line in read_records(COSTS)}
    intel = FOREIGN_NETWORKS[-1]
    rows = [(intel.name, intel.parameters, intel.rank1, intel.mean_ap, " ?", "Open Model Zoo")]
    for name, network in PUBLISHED.items():
        recipe, size = known[name], sizes[name]
        rank1, mean_ap = (recipe.published["single"][figure] for figure in ("rank1", "mAP"))
        source = recipe.source.partition(",")[0]
        mark = "" if recipe.average_precision == "step" else " †"
        rows.append((network, size, rank1, mean_ap, mark, source))
    for name, network in MEASURED.items():
        first = last_runs(name, records)[0]
        rank1, mean_ap = (
            float(value(f"{name} single {each}", records)) for each in ("rank1", "mAP-step")
        )
        size = sizes.get(name) or sizes[SAME_NETWORK[name]]
        made = f"[ours](recipes/{name}.yaml), {first['minutes']:.0f} minutes, {first['device']}"
        rows.append((f"**{network}**", size, rank1, mean_ap, "", made))
    head = ["network", "parameters", "Rank@1", "mAP", "source"]
    return markdown_table(
        head,
        [
            [name, f"{size / 1e6:.1f} M", f"{rank1:.1f}", f"{mean_ap:.1f}{mark}", source]
            for name, size, rank1, mean_ap, mark, source in sorted(rows, key=lambda row: row[3])
        ],
    )


def fill_pages(pages: Iterable[Path], records: list[dict[str, Any]]) -> None:
    """Fill in the marked numbers in pages.

    A page with an unknown number does not change, and is reported.
    """
    for page in pages:
        try:
            replace(page, fill(page.read_text(encoding="utf-8"), records))
        # The last runs of a recipe need not have every seed that a page mentions.
        except UserError as error:
            print(printable(f"{page} does not change: {error}"), file=sys.stderr)


def replace(path: Path, text: str) -> None:
    """Write a page if its text has changed."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


if __name__ == "__main__":
    update(read_records(RESULTS))
