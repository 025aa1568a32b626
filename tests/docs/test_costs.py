"""The table and the picture of accuracy against cost."""

import dataclasses

import pytest
import yaml
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.speed import costs as benchmark
from person_reid.config.network import NetworkOptions
from person_reid.models.complexity import complexity
from person_reid.models.factory import build_network
from tools.docs.costs import FOREIGN_NETWORKS, cost_panels, cost_table, costs, short_name
from tools.docs.pages import COST_MARKS, COST_PICTURE, COSTS
from tools.docs.results import put, read_records
from tools.docs.tradeoff import Point, draw_panels
from tools.recipe_file import Recipe
from tools.recipes import known_recipes
from tools.reproduce import RESULTS

PUBLISHED = {"single": {"rank1": 91.2, "mAP": 75.0}}
SMALL = Recipe("market/small", {}, "Small", "a test", "market", "step", PUBLISHED)
LINE = {
    "network": "market/small",
    "parameters": 2e5,
    "multiply_adds": 8e7,
    "float32": 4.25,
}


def run(seed, rank1, mean_ap, changes=None):
    figures = {"single": {"rank1": rank1, "mAP": {"trapezoidal": mean_ap, "step": 99}}}
    about = {
        "recipe": "market/small",
        "flags": {},
        "test": "",
        "rerank": "",
        "changes": changes or {},
    }
    return {**about, "seed": seed, "figures": figures, "minutes": 70.0 - seed}


def test_accuracy_is_that_of_the_last_runs_or_published():
    small = next(row for row in costs([SMALL], [], [LINE]) if row.name == "Small")
    assert (small.rank1, small.mean_ap, small.definition, small.measured) == (
        91.2,
        75.0,
        "step",
        False,
    )
    assert small.minutes is None
    records = [run(0, 10, 5), run(0, 90, 80, {"bf16": True}), run(1, 92, 81, {"bf16": True})]
    small = next(row for row in costs([SMALL], records, [LINE]) if row.name == "Small")
    assert (small.rank1, small.mean_ap, small.definition, small.measured) == (
        91,
        80.5,
        "trapezoidal",
        True,
    )
    assert small.minutes == 69


def test_networks_without_an_accuracy_are_left_out_and_the_others_sorted():
    unknown = dataclasses.replace(SMALL, published={"single": {"mAP": 75.0}})
    assert costs([unknown], [], [LINE]) == FOREIGN_NETWORKS
    rows = costs([SMALL], [], [LINE])
    assert [row.name for row in rows] == ["Small", *(row.name for row in FOREIGN_NETWORKS)]


def test_a_cell_that_is_not_known_is_empty():
    first = cost_table(costs([SMALL], [], [LINE])).splitlines()[2]
    assert first == "| Small | published | 91.2 | 75.0 | step | 0.20 M | 0.08 G | 4.2 ms |  |"


def test_only_what_was_timed_is_drawn_against_time(tmp_path):
    panels = cost_panels(costs([SMALL], [run(0, 90, 80)], [LINE]))
    (by_work, by_time) = panels.values()
    names = ["Small", *(short_name(row.name) for row in FOREIGN_NETWORKS)]
    assert [point.name for point in by_work] == names
    assert [point.family for point in by_work] == ["Small", "Intel", "Intel", "Intel"]
    assert [(point.cost, point.mean_ap, point.full) for point in by_time] == [(4.25, 80, True)]
    draw_panels(panels, tmp_path / "costs.png")
    assert Image.open(tmp_path / "costs.png").size[0] > 1000


def test_names_are_short_where_colours_tell_the_families_apart_and_differ():
    rows = costs(known_recipes([]), read_records(RESULTS), read_records(COSTS))
    for points in cost_panels(rows).values():
        assert len({point.name for point in points}) == len(points)
        assert max(len(point.name) for point in points) < 20
    assert short_name("OSNet x0.25, from ImageNet") == "x0.25, ImageNet"
    assert short_name("ResNet-50-ibn-a, ranked list loss") == "ResNet-50-ibn-a"


def test_the_page_is_in_step_with_the_costs(tmp_path):
    page, copy = RESULTS.with_suffix(".md"), tmp_path / "results.md"
    copy.write_text(page.read_text(encoding="utf-8"), encoding="utf-8")
    rows = costs(known_recipes([]), read_records(RESULTS), read_records(COSTS))
    put(copy, *COST_MARKS, cost_table(rows))
    assert copy.read_text(encoding="utf-8") == page.read_text(encoding="utf-8"), (
        "tools/docs/pages.py"
    )
    assert f"({COST_PICTURE.relative_to(RESULTS.parent).as_posix()})" in page.read_text(
        encoding="utf-8"
    )


def test_the_benchmark_writes_a_line_for_each_network_once(tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    file = tmp_path / "costs.jsonl"
    monkeypatch.setattr(benchmark, "COSTS", file)
    recipe = tmp_path / "market" / "tiny.yaml"
    recipe.parent.mkdir()
    about = {"title": "Tiny", "source": "a test", "dataset": "market", "published": PUBLISHED}
    about["average_precision"] = "step"
    size = {"height": 64, "width": 32}
    recipe.write_text(yaml.safe_dump({"backbone": "test_resnet", **size, "recipe": about}))
    words = [str(recipe), "--rounds", "1"]
    benchmark.main(words)
    (line,) = read_records(file)
    assert line["network"] == "market/tiny"
    assert line["float32"] > 0
    options = NetworkOptions(backbone="test_resnet", height=64, width=32)
    network = build_network(options, None, weights="none").eval()
    found = complexity(network, (64, 32))
    assert line["parameters"] == found.parameters
    assert line["multiply_adds"] == found.multiply_adds
    monkeypatch.setattr(benchmark, "cost", lambda *_: {"float32": 2.5})  # measured again
    benchmark.main(words)
    (again,) = read_records(file)
    assert again["float32"] == 2.5


def test_a_line_connects_what_is_the_best_for_its_cost(tmp_path, monkeypatch):
    figures: list[Figure] = []
    write = Figure.savefig

    def remember(self, *arguments, **settings):
        figures.append(self)
        write(self, *arguments, **settings)

    monkeypatch.setattr(Figure, "savefig", remember)
    points = [Point("a", 1, 50), Point("b", 2, 40), Point("c", 2, 70), Point("d", 4, 70)]
    draw_panels({("title", "cost"): points}, tmp_path / "costs.png")
    axes = figures[0].axes[0]
    front = next(line for line in axes.lines if line.get_drawstyle() == "steps-post")
    assert front.get_xydata().tolist() == [[1, 50], [2, 70]]
    assert {text.get_text() for text in axes.texts} == {"a", "b", "c", "d"}
    assert "the best for its cost" in [text.get_text() for text in figures[0].legends[0].texts]
