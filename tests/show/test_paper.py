"""Pictures for a paper: as wide as its column or page, in legible letters that are text."""

import re
from itertools import pairwise, product

import numpy as np
import pytest
from matplotlib.axis import Tick
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from PIL import Image

from person_reid.config.look import Look
from person_reid.data.own.labels import Words
from person_reid.errors import UserError
from person_reid.gallery.index import Found
from person_reid.gallery.metadata import About
from person_reid.retrieval.metrics import evaluate
from person_reid.retrieval.thresholds import pair_similarities
from person_reid.show.charts import draw_accuracy_by_time, draw_cmc, draw_curves, draw_similarities
from person_reid.show.embedding import draw_embedding
from person_reid.show.image_sheets import draw_found
from person_reid.show.ranking import Match, ranking_row
from person_reid.show.sheet import SheetRow, Tile, draw_sheet
from person_reid.show.style import ACCEPTED, ASKED, FAINT, RIGHT, WRONG
from tests.support.ranked_people import random_sets

WIDTHS = {"column": 3.3, "page": 6.9}
HISTORY = [
    {"epoch": i, "loss": 3 / i, "val_loss": 2 / i, "error": 1 / i, "lr": 0.1} for i in range(1, 4)
]
LABELS = {"cmc": 1, "curves": 2, "histogram": 5, "map": 3, "costs": 2, "sheet": 1}
KINDS = [*LABELS]


def draw(kind, save, look):
    query, gallery = random_sets()
    rng = np.random.default_rng(0)
    if kind == "cmc":
        draw_cmc({"a run": [evaluate(*random_sets(seed)) for seed in range(3)]}, save, 20, look)
    elif kind == "curves":
        draw_curves(HISTORY, save, look)
    elif kind == "histogram":
        draw_similarities(pair_similarities(query, gallery), 0.5, save, look)
    elif kind == "map":
        labels = rng.integers(1, 4, 60)
        draw_embedding(rng.normal(size=(60, 2)), labels, labels % 2, save, "PCA", look)
    elif kind == "costs":
        accuracy = {"Market": {"mAP": 0.8}, "Duke": {"mAP": 0.7}}
        names = {"small": 3.0, "large": 30.0}
        rows = [{"network": n, "milliseconds": ms, "accuracy": accuracy} for n, ms in names.items()]
        draw_accuracy_by_time(rows, save, look)
    else:
        grey = save.with_name("grey.png")
        Image.new("RGB", (64, 128), (90, 90, 90)).save(grey)
        matches = [Match(i, 7, 2, 0.5, i % 2 == 0, grey) for i in range(10)]
        draw_sheet([ranking_row(grey, matches, "Query 7", "5 are right")], save, look)


@pytest.mark.parametrize(("kind", "width"), [*product(KINDS, WIDTHS)])
def test_a_picture_is_as_wide_as_the_paper_and_its_words_fit_in_letters_of_eight_points(
    kind, width, tmp_path, drawn
):
    draw(kind, tmp_path / "a.png", Look(width=width))
    figure = drawn[0]
    assert figure.get_figwidth() == WIDTHS[width]
    figure.draw_without_rendering()
    of_ticks = {text for tick in figure.findobj(Tick) for text in tick.findobj(Text)}
    words = [text for text in figure.findobj(Text) if text.get_text().strip()]
    assert len(words) > 5
    assert {text.get_fontsize() for text in words} == {8}
    for text in words:
        if text not in of_ticks:  # some of which are beyond the axes
            box = text.get_window_extent()
            assert box.x0 > -2, text
            assert box.x1 < figure.bbox.x1 + 2, text
            assert box.y0 > -2, text
            assert box.y1 < figure.bbox.y1 + 2, text


@pytest.mark.parametrize("count", [1, 9])
@pytest.mark.parametrize("width", [None, *WIDTHS])
def test_the_legend_of_a_cmc_is_below_its_axes_and_says_n(width, count, tmp_path, drawn):
    seeds = [evaluate(*random_sets(seed)) for seed in range(3)]
    runs = {f"a network with a name {number}": seeds for number in range(count)}
    draw_cmc(runs, tmp_path / "a.png", 20, Look(width=width))
    figure = drawn[0]
    figure.draw_without_rendering()
    (axes,), (legend,) = figure.axes, figure.legends
    box = legend.get_window_extent()
    assert box.y1 <= axes.xaxis.label.get_window_extent().y0 + 1
    assert box.x0 >= -2
    assert box.x1 <= figure.bbox.x1 + 2
    assert box.y0 >= -2
    assert axes.get_window_extent().height > 0.55 * axes.get_window_extent().width
    assert all(text.get_text().endswith("n = 3") for text in legend.get_texts())


def a_sheet(save, look, queries=1, top=5):
    grey = save.with_name("grey.png")
    Image.new("RGB", (64, 128), (90, 90, 90)).save(grey)
    matches = [Match(place, 7, 2, 0.5, True, grey, place < 3, place + 1) for place in range(top)]
    rows = [
        ranking_row(grey, matches, f"Query {number}", "5 are right") for number in range(queries)
    ]
    draw_sheet(rows, save, look)


@pytest.mark.parametrize(("width", "top"), [("page", 3), ("page", 5), ("page", 10), ("column", 3)])
def test_the_photographs_of_a_ranking_fill_the_width_of_a_paper(width, top, tmp_path, drawn):
    a_sheet(tmp_path / "a.png", Look(width=width), top=top)
    right = max(axes.get_position().x1 for axes in drawn[0].axes)
    assert 0.95 < right <= 1
    photograph = drawn[0].axes[0].get_window_extent()
    assert photograph.height == pytest.approx(2 * photograph.width)


@pytest.mark.parametrize(("queries", "top"), [(1, 1), (2, 5), (4, 5)])
def test_a_ranking_on_a_page_is_no_higher_than_a_page(queries, top, tmp_path, drawn):
    a_sheet(tmp_path / "a.png", Look(width="page"), queries, top)
    assert drawn[0].get_figheight() <= 9.001


MATHEMATICS = "OSNet$_{0.25}$"


@pytest.mark.parametrize(("kind", "count"), LABELS.items())
def test_a_label_of_ones_own_may_hold_mathematics(kind, count, tmp_path, drawn):
    labels = [MATHEMATICS, *(f"own {number}" for number in range(1, count))]
    draw(kind, tmp_path / "a.png", Look(labels=",".join(labels), width="page"))
    own = [text for text in drawn[0].findobj(Text) if MATHEMATICS in text.get_text()]
    assert own
    assert all(text.get_parse_math() for text in own)
    with pytest.raises(UserError, match="labels=.*: not mathematics that matplotlib reads"):
        draw(kind, tmp_path / "b.png", Look(labels=",".join([r"$\frac$", *labels[1:]])))
    assert not (tmp_path / "b.png").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_letters_of_vector_files_are_text(kind, tmp_path):
    draw(kind, tmp_path / "a.svg", Look(width="column"))
    draw(kind, tmp_path / "a.pdf", Look(width="column"))
    text = (tmp_path / "a.svg").read_text()
    assert text.count("<text ") > 5
    assert "sans-serif" in text
    assert b"/Type3" not in (tmp_path / "a.pdf").read_bytes()


@pytest.mark.parametrize(("kind", "count"), LABELS.items())
def test_words_of_ones_own_take_the_place_of_a_pictures(kind, count, tmp_path, drawn):
    labels = [f"own {number}" for number in range(count)]
    draw(kind, tmp_path / "a.png", Look(labels=",".join(labels)))
    words = " ".join(text.get_text() for text in drawn[0].findobj(Text))
    assert all(label in words for label in labels)
    with pytest.raises(UserError, match=f"expected {count}, in place of"):
        draw(kind, tmp_path / "a.png", Look(labels=",".join([*labels, "too many"])))


@pytest.mark.parametrize("kind", KINDS)
def test_without_titles_panels_are_told_apart_by_their_axes(kind, tmp_path, drawn):
    for look in (Look(), Look(no_title=True)):
        draw(kind, tmp_path / "a.png", look)
    bold = [
        {text.get_text() for text in figure.findobj(Text) if text.get_weight() == "bold"} - {""}
        for figure in drawn
    ]
    assert bold[0]
    assert all(re.fullmatch(r"\d{4}", text) for text in bold[1])  # of people, on a map
    named = [(axes.get_xlabel(), axes.get_ylabel()) for axes in drawn[1].axes]
    assert kind == "sheet" or len(set(named)) == len(named)


def test_names_of_files_below_photographs_do_not_run_into_one_another(tmp_path, drawn):
    paths = [tmp_path / f"1501_c{i}s3_069052_0{i}.png" for i in range(1, 4)]
    for path in paths:
        Image.new("RGB", (64, 128), (90, 90, 90)).save(path)
    found = [Found(path, 0.8, About(time="2026-11-01 09:30:00")) for path in paths]
    draw_found(paths[:1], [found], tmp_path / "a.png", look=Look(width="column"))
    check_captions_apart(drawn[0])


@pytest.mark.parametrize("width", [None, *WIDTHS])
def test_words_below_photographs_do_not_run_into_one_another(width, tmp_path, drawn):
    grey = tmp_path / "grey.png"
    Image.new("RGB", (64, 128), (90, 90, 90)).save(grey)
    words = Words({"camera": {2: "north_west_gate"}})
    matches = [Match(i, 7, 2, 0.5, True, grey, words=words) for i in range(3)]
    draw_sheet([ranking_row(grey, matches, "Query 7")], tmp_path / "a.png", Look(width=width))
    check_captions_apart(drawn[0])


def check_captions_apart(figure):
    figure.draw_without_rendering()
    boxes = [axes.xaxis.label.get_window_extent() for axes in figure.axes[1:]]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


@pytest.mark.parametrize("kind", [RIGHT, WRONG, ACCEPTED, ASKED, FAINT])
def test_captions_stand_out_from_a_dark_screen(kind, tmp_path, drawn):
    pixels = np.zeros((4, 2, 3), np.uint8)
    draw_sheet([SheetRow([Tile(pixels, kind, "1", "a")])], tmp_path / "a.png", Look(dark=True))
    (axes,) = drawn[0].axes
    paper = luminance(drawn[0].get_facecolor())
    for text in (axes.xaxis.label, axes.title):
        assert (luminance(text.get_color()) + 0.05) / (paper + 0.05) > 4.5  # WCAG 2, level AA


def luminance(colour):
    """Relative luminance, as WCAG 2 defines it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))
