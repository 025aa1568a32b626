"""Train, test and evaluate recipes, and write their figures beside the published ones.

    python tools/reproduce.py recipes/market/resnet50.yaml
    python tools/reproduce.py recipes/market/loss_*.yaml --seeds 3         # mean and spread
    python tools/reproduce.py recipes/market/osnet_x0_25.yaml --seeds 4,7  # these two seeds
    python tools/reproduce.py recipes/market/swin.yaml --bf16 --data_dir ~/Market/pytorch \\
      --gpu_ids 0,1
    python tools/reproduce.py --table                                      # only the page

Recipes come first; flags that this program does not know go to train.py and override the recipe's.
A data set that is not laid out yet is laid out. Every finished run is a line of --results and is
not repeated; an interrupted one continues where it stopped. A run that fails is reported at the
end, after the others. Networks are in model/. The results fill the tables of docs/results.md; in a
checkout, python tools/docs/pages.py then updates the other pages.
"""

import signal
import sys
from collections.abc import Iterable
from pathlib import Path

from person_reid.basics import UserError, describe, printable, real
from person_reid.cli.outputs import check_outputs
from person_reid.cli.parser import Parser
from person_reid.cli.recipes import plan, read_recipe
from person_reid.cli.values import output_path, seed
from person_reid.console.commands import shipped
from person_reid.reproduce.page import comparison, update_page
from person_reid.reproduce.recipe import Recipe
from person_reid.reproduce.runs import Run, read_results, reproduce
from person_reid.reproduce.scripts import ROOT, append_record

MOST_SEEDS = 1000
RECIPES = ROOT / "recipes"
RESULTS = ROOT / "docs" / "results.jsonl"


def main(argv: list[str] | None = None) -> None:
    """Run the recipes that have no results yet, and update the page of results."""
    # so that a training ends, too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    parser = Parser(__doc__, allow_abbrev=False)
    parser.add_argument("recipes", type=Path, nargs="*", metavar="RECIPE", help="files in recipes/")
    parser.add_argument(
        "--seeds", type=seeds, default=[0], help="how many (3), or which (4,7; default: 0)"
    )
    parser.add_argument("--table", action="store_true", help="only rewrite the page of results")
    parser.add_argument(
        "--results", type=output_path, default=RESULTS, metavar="FILE.jsonl",
        help="one line per run; its page is beside it (default: "
             "docs/results.jsonl, docs/results.md)",
    )  # fmt: skip
    options, further = parser.parse_known_args(argv)
    if options.table == bool(options.recipes):
        parser.error("expected recipes to run, or --table")
    given = further if options.seeds == parser.get_default("seeds") else ["--seeds", *further]
    if options.table and given:
        raise UserError(
            f"{' '.join(given)} would be ignored beside --table, "
            "which trains nothing: leave it out."
        )
    options.recipes = [shipped(path) for path in options.recipes]
    runs = [plan(path, seed, further) for seed in options.seeds for path in options.recipes]
    if options.results.suffix != ".jsonl":
        raise UserError(f"--results {options.results}: expected a name that ends in .jsonl.")
    check_outputs(options, results=[options.results, options.results.with_suffix(".md")])
    # a results file, or a page, that cannot be written is known before hours of work
    options.results.open("a").close()
    page, failed = write_page(options.results, options.recipes), []
    try:
        for run in runs:
            if error := attempt(run, options.results):
                failed.append(f"{run.recipe.name} seed {run.seed}: {error}")
    finally:  # the finished runs of an interrupted program count, too
        write_page(options.results, options.recipes)
        print(printable(f"The table is in {page}."))
        if options.results == RESULTS:
            print("Other pages repeat its figures: python tools/docs/pages.py")
    if failed:
        raise UserError(f"{len(failed)} of {len(runs)} runs failed:\n" + "\n".join(failed))


def attempt(run: Run, results: Path) -> str:
    """Do a run that is not in the results yet, add it and print its figures.

    Return the error message, or "".
    """
    if run.done(read_results(results)):
        print(printable(f"{run.recipe.name} seed {run.seed}: in {results} already."))
        return ""
    print(printable(f"--- {run.recipe.name}, seed {run.seed}"), flush=True)
    try:
        record = reproduce(run)
    except (UserError, OSError) as error:
        print(printable(f"error: {describe(error)}"), file=sys.stderr, flush=True)
        return describe(error)
    append_record(results, record)
    print(
        printable("\n".join(comparison(run.recipe, run.seed, record["figures"], run.changes))),
        flush=True,
    )
    return ""


def write_page(results: Path, recipes: Iterable[Path]) -> Path:
    """Write the page of results and return its path."""
    page = results.with_suffix(".md")
    linked = real(page).parent == RESULTS.parent
    update_page(page, known_recipes(recipes), read_results(results), linked)
    return page


def known_recipes(further: Iterable[Path]) -> list[Recipe]:
    """Return the recipes of this repository and those given, each
    once, sorted by source and name.
    """
    paths = {real(path) for path in [*RECIPES.glob("*/*.yaml"), *further]}
    return sorted(map(read_recipe, paths), key=lambda recipe: (recipe.source, recipe.name))


def seeds(text: str) -> list[int]:
    """Return [0, 1, 2] for "3" and [4, 7] for "4,7".

    Raises ValueError or ArgumentTypeError, which argparse reports.
    """
    numbers = [seed(part) for part in text.split(",") if part]
    if not numbers or ("," not in text and not 1 <= numbers[0] <= MOST_SEEDS):
        raise ValueError
    return numbers if "," in text else list(range(numbers[0]))
