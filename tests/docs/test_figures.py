"""The marked figures of the pages: in step with the results, and read as they are meant."""

import re

import pytest

from person_reid.errors import UserError
from person_reid.models.factory import ARCHITECTURES
from tests.support.pages import PAGES
from tools.docs.figures import MARKED_FIGURES, fill, value, without_marks
from tools.docs.pages import MEASURED_MARKS, README, fill_pages, measured_table
from tools.docs.results import read_records
from tools.recipes import known_recipes
from tools.reproduce import RESULTS

AGAIN = "python tools/docs/pages.py writes the figures again"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_figures_of_every_page_are_those_of_the_results(path):
    page = path.read_text(encoding="utf-8")
    assert fill(page, read_records(RESULTS)) == page, AGAIN
    assert len(re.findall("<!-- [=/]", page)) == 2 * len(MARKED_FIGURES.findall(page)), (
        "a mark without its end"
    )
    assert re.findall(r"^ *<!-- =.*", page, re.M) == [], (
        "Markdown ends a paragraph at a line that begins with a comment"
    )


def test_the_pages_say_how_many_networks_there_are_and_what_the_laptop_recipe_reached():
    marked = {
        path.name: {key for _, key, *_ in MARKED_FIGURES.findall(path.read_text(encoding="utf-8"))}
        for path in PAGES
    }
    assert {name for name, keys in marked.items() if "networks" in keys} == {"choose-a-network.md"}
    assert {"published", "downloaded"} <= marked["README.md"]
    recipe = "market/osnet_x0_25_laptop single rank1"
    assert {
        name for name, keys in marked.items() if recipe in {key.removesuffix(" ±") for key in keys}
    } == {"faq.md", "tutorial.md"}


def test_the_table_of_the_readme_is_that_of_the_results():
    table = measured_table(known_recipes([]), read_records(RESULTS))
    assert "\n".join((MEASURED_MARKS[0], "", table, MEASURED_MARKS[1])) in README.read_text(
        "utf-8"
    ), AGAIN


def a_record(seed, rank1, recipe="market/small", **changes):
    figures = {
        "single": {
            "rank1": rank1,
            "mAP": {"trapezoidal": rank1 / 2, "step": rank1 / 2 + 1},
            "mINP": 1.0,
        }
    }
    same = {"flags": {"total_epoch": 7}, "test": "", "rerank": "", "changes": changes}
    return {"recipe": recipe, "seed": seed, "figures": figures, "minutes": 10.4 + seed, **same}


RECORDS = [
    a_record(0, 10.0, weights="none"), a_record(0, 80.0), a_record(3, 90.0),
    a_record(0, 20.0, "market/other"),
]  # fmt: skip


@pytest.mark.parametrize(
    "key, text",
    [
        ("networks", str(len(ARCHITECTURES))),
        ("market/small single rank1", "85.0"),
        ("market/small single rank1 ±", "85.00 ± 7.07"),
        ("market/small single mAP", "42.5"),
        ("market/small single mAP-step ±", "43.50 ± 3.54"),
        ("market/small minutes 0", "10"),
        ("market/small minutes 3", "13"),
        ("market/small seeds", "2"),
        ("market/small epochs", "7"),
        ("market/other single rank1 ±", "20.00"),
    ],
)
def test_a_mark_names_a_figure_of_the_last_runs_of_a_recipe(key, text):
    assert value(key, RECORDS) == text
    page = f"before <!-- = {key} -->stale<!-- / --> after"
    assert fill(page, RECORDS) == f"before <!-- = {key} -->{text}<!-- / --> after"
    assert without_marks(fill(page, RECORDS)) == f"before {text} after"


PAGE = """# Speed

| | s |
| --- | --- |
| fast | 3 |

## Fast networks

| network | s | [mAP](x.md) |
| --- | --- | --- |
| **`fast`** | 1 | **2.0 / 3.0** |

| network | GB |
| --- | --- |
| `fast` | 5 |

## Others

| slow | 7 |
"""


@pytest.mark.parametrize(
    "key, text",
    [
        ("page.md: Fast networks: fast: mAP", "2.0 / 3.0"),
        ("page.md: Fast networks: fast: GB", "5"),
        ("page.md: Speed: fast: s", "3"),
        ("page.md: Fast networks: slow: s", None),
        ("page.md: Fast networks: fast: kg", None),
        ("page.md: None: fast: s", None),
        ("none.md: Speed: fast: s", None),
    ],
)
def test_a_mark_names_a_cell_of_a_table(key, text, tmp_path, monkeypatch):
    (tmp_path / "page.md").write_text(PAGE)
    monkeypatch.setattr("tools.docs.figures.DOCS", tmp_path)
    if text is None:
        with pytest.raises(UserError, match="no such figure"):
            value(key, RECORDS)
    else:
        assert value(key, RECORDS) == text


UNKNOWN = [
    "market/none single rank1",
    "market/small multi rank1",
    "market/small single",
    "market/small minutes 1",
]


@pytest.mark.parametrize("key", [*UNKNOWN, "netwroks"])
def test_a_figure_that_is_not_there_is_named(key):
    with pytest.raises(UserError, match=f"<!-- = {re.escape(key)} -->: no such figure"):
        value(key, RECORDS)


def test_a_page_that_the_results_do_not_suffice_for_stays_and_the_others_are_filled_in(
    tmp_path, capsys
):
    asks, other = tmp_path / "asks.md", tmp_path / "other.md"
    seed = "<!-- = market/small minutes 1 -->44<!-- / -->"
    asks.write_text(f"{seed}, <!-- = market/small epochs -->6<!-- / -->")
    other.write_text("<!-- = market/small epochs -->6<!-- / -->")
    fill_pages([asks, other], RECORDS)
    assert asks.read_text() == f"{seed}, <!-- = market/small epochs -->6<!-- / -->"
    assert other.read_text() == "<!-- = market/small epochs -->7<!-- / -->"
    assert f"{asks} does not change: <!-- = market/small minutes 1 -->" in capsys.readouterr().err
