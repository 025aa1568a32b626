"""The explorer on a phone, a large window at 200 %, a wall of monitors, and without a mouse."""

import shutil

import numpy as np
import pytest

from person_reid.retrieval.results import save_result
from tests.support.ranked_people import lay_out
from tools import explore

PHONE, WALL = (360, 740), (7680, 4320)
MANY = 700


@pytest.fixture(scope="module")
def look(tmp_path_factory):
    """The page of an explorer with many queries and two rankings."""
    folder = tmp_path_factory.mktemp("screens")
    result, query, gallery = lay_out(folder)
    save_result(result, query.select(np.arange(MANY) % len(query)), gallery)
    (folder / "other").mkdir()
    shutil.copy(result, folder / "other" / result.name)
    rankings = ["--result", str(result), "--other", str(folder / "other" / result.name)]
    explore.main([*rankings, "--save", str(folder / "look")])
    return folder / "look" / "index.html"


@pytest.fixture
def browser(shared_browser):
    """A browser whose window has another size in each test. It complains about nothing."""
    yield shared_browser
    shared_browser.resize()
    assert shared_browser.complaints == []


def test_a_phone_shows_the_map_and_small_queries_beside_their_rankings(browser, look):
    browser.resize(*PHONE)
    browser.open(look, "#view=map")
    assert browser.value("document.getElementById('map').clientHeight") > PHONE[1] / 2
    assert browser.value("document.getElementById('map').height") > PHONE[1] / 2
    assert (
        browser.value("document.getElementById('map').getBoundingClientRect().bottom") <= PHONE[1]
    )
    browser.open(look, "#view=compare")
    assert (
        browser.value("document.querySelector('.pair > .tile .photo').clientWidth") < PHONE[0] / 3
    )


def test_a_phone_folds_the_filters_until_they_are_asked_for(browser, look):
    shown = (
        "[...document.querySelectorAll('#filters > label')]"
        ".filter((each) => each.offsetHeight).length"
    )
    browser.resize()
    browser.open(look)
    assert browser.value(shown) > 5
    assert not browser.value("document.getElementById('unfold').offsetHeight")
    browser.resize(*PHONE)
    assert browser.value(shown) == 0
    assert (
        browser.value("document.querySelector('#wall .tile').getBoundingClientRect().top")
        < PHONE[1] / 2
    )
    browser.click("#unfold")
    assert browser.value(shown) > 5
    assert (
        browser.value("document.getElementById('unfold').getAttribute('aria-expanded')") == "true"
    )
    browser.click("#unfold")
    browser.key("/")  # to a filter that was folded away
    assert browser.value("document.activeElement.name") == "person"


def test_two_results_of_one_name_are_told_apart_by_their_folders(browser, look):
    browser.open(look)
    names = browser.texts("#by option")
    assert names[1] == "other/result"
    assert names[0] != names[1]
    assert len(names[0]) < 20


def test_no_view_is_wider_than_a_phone(browser, look):
    browser.resize(*PHONE)
    for view in ("queries", "ranking", "map", "threshold", "compare"):
        browser.open(look, f"#view={view}&beside=1")
        pane = f"document.getElementById('view-{view}')"
        assert browser.value(f"{pane}.scrollWidth - {pane}.clientWidth") == 0, view


def test_a_wall_of_monitors_is_filled(browser, look):
    browser.resize(*WALL)
    browser.open(look)
    browser.wait(f"document.querySelectorAll('#wall .tile').length === {MANY}")


def test_on_a_phone_a_ranking_begins_at_its_top_and_the_wall_keeps_its_place(browser, look):
    browser.resize(*PHONE)
    browser.open(look)
    browser.click("#wall .tile", 60)
    browser.wait("!document.getElementById('view-ranking').hidden")
    assert browser.value("window.scrollY") == 0
    browser.page.go_back()
    browser.wait("!document.getElementById('view-queries').hidden")
    box = "document.activeElement.getBoundingClientRect()"
    assert (
        browser.value(
            "[...document.querySelectorAll('#wall .tile')].indexOf(document.activeElement)"
        )
        == 60
    )
    browser.wait(f"{box}.top >= 0 && {box}.bottom <= innerHeight")


def test_the_map_answers_keys_at_once_and_its_hint_leaves_with_the_focus(browser, look):
    browser.open(look)
    browser.key("3")
    browser.wait("!document.getElementById('view-map').hidden")
    browser.key("+", "ArrowLeft")
    assert browser.value("placeOf(state()).zoom > 1 && placeOf(state()).x < SIDE / 2")
    browser.wait("!document.getElementById('hint').hidden")
    browser.key("/")
    assert browser.value("document.getElementById('hint').hidden")
