"""A lasso on the explorer's map, tags, and the lists that prepare.py and tools/search.py read."""

import json

import numpy as np
import pytest
from PIL import Image

import prepare
from person_reid.data.datasets import MARKET_NAME
from person_reid.data.readers import by_name
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.metadata import About
from tests.support.ranked_people import lay_out
from tools import explore, search


@pytest.fixture(scope="module")
def look(tmp_path_factory):
    """The folder of an explorer of query and gallery in pytorch/."""
    folder = tmp_path_factory.mktemp("marks")
    lay_out(folder)
    explore.main(["--result", str(folder / "result.mat"), "--save", str(folder / "look")])
    return folder


@pytest.fixture(scope="module")
def indexed(tmp_path_factory):
    """The folder of an explorer of an index with 12 images, the first of which is 07."""
    folder = tmp_path_factory.mktemp("index")
    rng = np.random.default_rng(2)
    paths = [folder / f"{number:02}, a.png" for number in range(12)]
    for path in paths:
        Image.fromarray(rng.integers(60, 200, (64, 32, 3), np.uint8)).save(path)
    index = SearchIndex(folder / "people.index")
    index.add(paths, rng.normal(size=(12, 8)).astype(np.float32))
    index.describe({paths[0]: About("07", "1")})
    index.close()
    explore.main(["--index", str(folder / "people.index"), "--save", str(folder / "look")])
    return folder


@pytest.fixture
def browser(shared_browser):
    yield shared_browser
    shared_browser.value("localStorage.clear()")
    assert shared_browser.complaints == []


def open_map(browser, folder):
    browser.open(folder / "look" / "index.html", "#view=map")


def lasso(browser, corners):
    """Drag the mouse around a part of the map; corners: shares of its width and height."""
    browser.value("holdLasso(true)")
    box = browser.value(
        "(() => { const b = document.getElementById('map').getBoundingClientRect();"
        " return [b.left, b.top, b.width, b.height]; })()"
    )
    places = [(box[0] + x * box[2], box[1] + y * box[3]) for x, y in corners]

    mouse = browser.page.mouse
    mouse.move(*places[0])
    mouse.down()
    for place in places[1:]:
        mouse.move(*place)
    mouse.up()


ALL = [(0.02, 0.02), (0.98, 0.02), (0.98, 0.98), (0.02, 0.98)]
LEFT = [(0.02, 0.02), (0.5, 0.02), (0.5, 0.98), (0.02, 0.98)]


def tag(browser, images, name):
    browser.value(f"select({json.dumps(images)})")
    browser.choose("#new-tag", name)
    browser.click("#give-tag")


def test_a_lasso_selects_what_it_surrounds_and_the_filters_let_through(browser, look):
    open_map(browser, look)
    names, points = browser.value("[DATA.images.names, [...DATA.images.points]]")
    lasso(browser, LEFT)
    left = [i for i in range(len(names)) if points[2 * i] < 65535 / 2]
    assert browser.value("[...marks.selected]") == left
    assert browser.texts("#marked") == [f"{len(left)} selected"]
    camera = browser.value("DATA.images.cameras[0]")
    browser.choose("#camera", camera)
    lasso(browser, ALL)
    chosen = browser.value("[...marks.selected]")
    assert chosen == [i for i, name in enumerate(names) if f"_c{camera}s" in name]
    browser.choose("#tag", "selected")
    browser.key("1")
    browser.wait("state().view === 'queries'")
    queries = browser.value("DATA.images.queries")
    drawn = sum(i < queries for i in chosen)  # a moment after the view has changed
    browser.wait(f"document.querySelectorAll('#wall .tile').length === {drawn}")


def test_tags_are_kept_filtered_and_taken_back(browser, look):
    open_map(browser, look)
    assert browser.value("document.getElementById('marks').hidden")
    tag(browser, [0, 1, 2], "hat <b>")
    tag(browser, [2], "coat")
    open_map(browser, look)
    assert browser.value("tagsHere()") == ["coat", "hat <b>"]
    browser.choose("#tag", "=hat <b>")
    assert browser.value("chosenQueries(state())") in ([0, 1], [1, 0])
    browser.choose("#colour", "tag")
    browser.value("location.hash = '#view=ranking&image=2'")
    browser.wait("document.querySelector('#asked dd:last-child').textContent === 'coat'")
    open_map(browser, look)
    tag(browser, [0, 1, 2], "")
    assert browser.value("Object.keys(marks.tags).length") == 0


def test_prepare_lays_out_an_exported_selection(browser, look, tmp_path):
    open_map(browser, look)
    people = browser.value("DATA.images.names.map((_, image) => personOf(image))")
    chosen = [i for i, person in enumerate(people) if person in ("0001", "0002")]
    browser.value(f"select({chosen})")
    table = browser.saved("#export-selection", tmp_path)
    layout, laid_out = str(look / "pytorch"), tmp_path / "new"
    words = ["--csv", str(table), "--data_dir", layout, "--save_dir", str(laid_out)]
    prepare.main([*words, "--test_fraction", "0"])
    found = by_name(laid_out, {"train_all": "train_all"}, MARKET_NAME)["train_all"]
    assert len(found) == len(chosen) > 2
    assert len({picture.identity for picture in found}) == 2


def test_prepare_applies_tags_that_are_numbers_of_people(browser, look, tmp_path):
    open_map(browser, look)
    names = browser.value("DATA.images.names")
    moved, junk = (
        next(i for i, name in enumerate(names) if name.startswith(f"gallery/{person}"))
        for person in ("0001", "0002")
    )
    tag(browser, [moved], "0002")
    tag(browser, [junk], "junk")
    tag(browser, [0], "a hat")
    browser.click("#unselect")
    table = browser.saved("#export-corrections", tmp_path)
    layout, new = look / "pytorch", tmp_path / "new"
    prepare.main(["--data_dir", str(layout), "--corrections", str(table), "--save_dir", str(new)])
    count = {
        folder: [len(list((folder / "gallery" / who).iterdir())) for who in ("0001", "0002", "-1")]
        for folder in (layout, new)
    }
    assert np.subtract(count[new], count[layout]).tolist() == [-1, 0, 1]


def test_an_index_takes_tags_as_the_names_of_people(browser, indexed, tmp_path):
    open_map(browser, indexed)
    assert browser.value("personOf(0)") == "07"
    tag(browser, [3, 4], "Anna")
    browser.value("select([0, 3, 4, 5])")
    assert browser.value("document.getElementById('export-corrections').hidden")
    table = browser.saved("#export-selection", tmp_path)
    place = str(indexed / "people.index")
    search.main(["apply", str(table), "--index", place])
    index = SearchIndex(place)
    known = {path.name: about.identity for chunk, _ in index.entries() for path, about in chunk}
    index.close()
    assert {name: who for name, who in known.items() if who} == {
        "00, a.png": "07", "03, a.png": "Anna", "04, a.png": "Anna"
    }  # fmt: skip


def test_the_page_names_the_commands_that_search_with_a_picture_of_ones_own(look, indexed):
    said = {}
    for folder in (look, indexed):
        text = (folder / "look" / "data" / "images.js").read_text("ascii")
        said[folder] = json.loads(text[text.index(", ") + 2 : -3])["commands"]
    assert len(said[look]) == 2
    assert str(look / "pytorch" / "gallery") in said[look][0]
    assert str(indexed / "people.index") in said[indexed][0]
