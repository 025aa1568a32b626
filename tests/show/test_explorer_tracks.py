"""People across cameras in the explorer: cut, joined and confirmed, and the list that is saved."""

import csv
import json
import os
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

from person_reid.files import harmless
from person_reid.retrieval.association import Stay
from person_reid.show.explorer import write_explorer
from person_reid.show.explorer_images import ExplorerImages
from person_reid.show.explorer_views import describe_stays
from tests.support.page_in_node import evaluate, run_page

COLUMNS = ("path", "identity", "camera")
EVIL = 'c1_"5",<script>window.hacked=1<&script><img src=x onerror=window.hacked=1>.png'
# The person, margin and nearest other person of each track.
TRACKS = [(0, 0.3, 1), (0, 0.01, 2), (1, 0.2, 0), (2, 0.1, 1), (0, 0.25, 1), (3, None, -1)]


def stays(names):
    """Tracks with an image each, but for the last."""
    return [
        Stay(
            person, f"c{i % 2}", 10 * i, 10 * i + 8, f"track {i}", ("0.000", "8.000"), 80,
            margin, nearest,
            images=() if margin is None else (i,),
            rows=() if margin is None else ((names[i], "", f"c{i}"),),
            given=i == 3,
        )
        for i, (person, margin, nearest) in enumerate(TRACKS)
    ]  # fmt: skip


@pytest.fixture
def node():
    """A function that runs steps with the page's functions, and returns what they say."""
    content = describe_stays(stays([f"{i}.png" for i in range(5)]), "list.csv", COLUMNS)
    return partial(run_page, content)


def test_only_what_was_given_is_saved_before_anything_is_decided(node):
    (rows,) = node()
    assert rows == [list(COLUMNS), ["3.png", "person 0003", "c3"]]


def test_a_track_that_is_cut_is_somebody_new(node):
    state, rows = node("cut(1)")
    assert state == {"people": [0, 4, 1, 2, 0, 3], "checked": [0, 4]}
    assert rows[1:] == [
        ["0.png", "person 0001", "c0"],
        ["1.png", "person 0005", "c1"],
        ["3.png", "person 0003", "c3"],
        ["4.png", "person 0001", "c4"],
    ]


def test_people_that_are_joined_are_one_and_can_be_taken_apart_again(node):
    *states, rows = node(
        "join(0, 1)", "move([2], 2)", "Object.assign(across, JSON.parse(across.past.pop()))"
    )
    assert states == [
        {"people": [1, 1, 1, 2, 1, 3], "checked": [1]},
        {"people": [1, 1, 2, 2, 1, 3], "checked": [1, 2]},
        {"people": [1, 1, 1, 2, 1, 3], "checked": [1]},
    ]
    assert {row[1] for row in rows[1:]} == {"person 0002", "person 0003"}


def test_a_person_that_is_right_is_saved_until_that_is_taken_back(node):
    *states, rows = node("confirmPerson(1)", "confirmPerson(0)", "confirmPerson(1)")
    assert [each["checked"] for each in states] == [[1], [0, 1], [0]]
    assert [row[0] for row in rows[1:]] == ["0.png", "1.png", "3.png", "4.png"]


def test_a_name_goes_with_the_tracks_of_its_person_until_it_is_taken_back(node):
    *_, rows = node('callPerson(0, " Anna ")', "cut(4)")
    saved = {path: name for path, name, _ in rows[1:]}
    assert saved["0.png"] == saved["1.png"] == "Anna"
    assert saved["4.png"] == "person 0005"
    *_, rows = node('callPerson(0, "Anna")', "Object.assign(across, JSON.parse(across.past.pop()))")
    assert [row[0] for row in rows[1:]] == ["3.png"]
    *_, rows = node('callPerson(0, "Anna")', 'callPerson(0, "")')
    assert ["0.png", "person 0001", "c0"] in rows


def test_what_is_not_a_person_is_listed_as_junk_and_may_become_somebody_again(node):
    *_, rows = node("dismiss(0)")
    assert ["0.png", "-1", "c0"] in rows
    *_, again, rows = node("dismiss(0)", "cut(0)")
    assert again["people"][0] == 4
    assert ["0.png", "person 0005", "c0"] in rows


def test_the_page_knows_of_whom_two_tracks_cannot_be():
    some = stays([f"{i}.png" for i in range(5)])
    some[0] = replace(some[0], apart=(2,), twice=(3,))
    content = describe_stays(some, "list.csv", COLUMNS, names={0: "Bo", 1: "Anna"})
    answer = "[clashOf([0, 1], 1, 'apart'), clashOf([0, 1], 2, 'twice'), clashOf([1], 1, 'apart')]"
    assert evaluate("", answer, content) == [[0, 2], [0, 3], None]
    assert evaluate("join(1, 2)", "across.names", content) == {"0": "Bo", "2": "Anna"}
    assert evaluate("cut(1)", "across.names", content) == {"0": "Bo", "1": "Anna"}


def test_what_may_not_be_a_person_is_first_and_is_exported_only_once_confirmed():
    some = stays([f"{i}.png" for i in range(5)])
    some[0], some[2] = replace(some[0], person=-2), replace(some[2], person=-2)
    content = describe_stays(some, "list.csv", COLUMNS)
    first, moved, confirmed, rows = run_page(content, "", "dismiss(0)", "confirmPerson(-2)")
    assert first["people"][0] == first["people"][2] == -2
    assert (moved["people"][0], moved["checked"]) == (-1, [-1])
    assert confirmed["checked"] == [-1, -2]
    assert [row for row in rows if row[1] == "-1"] == [["0.png", "-1", "c0"], ["2.png", "-1", "c2"]]


def test_two_people_have_two_names(node):
    script = 'callPerson(0, "Anna"); const faults = ["Anna", "person 0009", "Bert"]'
    script += ".map((name) => callPerson(1, name));"
    content = describe_stays(stays([f"{i}.png" for i in range(5)]), "list.csv", COLUMNS)
    assert evaluate(script, "faults", content) == [
        "Person 1 has this name. If they are one, join them.", "A name, not a number", ""
    ]  # fmt: skip


def test_a_new_person_gets_a_number_that_nobody_in_the_index_has():
    content = describe_stays(stays([f"{i}.png" for i in range(5)]), "list.csv", COLUMNS, highest=7)
    state, rows = run_page(content, "cut(1)")
    assert state["people"][1] == 7
    assert ["1.png", "person 0008", "c1"] in rows


def test_a_cell_of_an_export_is_as_harmless_as_in_a_file_of_a_command(node):
    cells = [
        "=1",
        "-1",
        "-1.5",
        "-",
        "-a",
        "+1",
        "@x",
        "\t=1",
        "\r=1",
        "\n=",
        "'=x",
        "''-a",
        "'x",
        "a=1",
    ]
    content = describe_stays([], "list.csv", COLUMNS)
    assert evaluate("", f"{json.dumps(cells)}.map(harmless)", content) == list(map(harmless, cells))


def test_a_camera_that_has_a_name_is_called_by_it_and_links_are_neither_right_nor_wrong():
    images = (
        "DATA.images = { camera: [0, 1], cameras: ['hall', '3'], person: [0, 0], people: ['a'] };"
    )
    content = describe_stays([], "list.csv", COLUMNS)
    answer = "[cameraShort(0), cameraShort(1), kindOf(0, 1)]"
    assert evaluate(images, answer, content) == ["hall", "c3", "unknown"]


@pytest.fixture
def page(tmp_path):
    """The page of six tracks."""
    random = np.random.default_rng(1)
    names = [tmp_path / (EVIL if i == 1 and os.name != "nt" else f"{i}.png") for i in range(5)]
    for name in names:
        Image.fromarray(random.integers(60, 200, (64, 32, 3), np.uint8)).save(name)
    features = random.normal(size=(5, 8)).astype(np.float32)
    paths = [str(name) for name in names]
    images = ExplorerImages(
        features, paths, [f"{each[0] + 1:04}" for each in TRACKS[:5]], ["c0"] * 5
    )
    some = stays(paths)
    some[1], some[0] = replace(some[1], twice=(2,)), replace(some[0], apart=(3,))
    views = {"tracks": describe_stays(some, "list.csv", COLUMNS)}
    write_explorer(tmp_path / "people.html", images, "people", views)
    return tmp_path / "people.html"


def test_the_page_waits_for_the_tracks_and_has_their_view(page):
    text = page.read_text("utf-8")
    assert 'data-needs="images rankings tracks"' in text
    assert text.count('id="view-tracks"') == text.count('data-view="tracks"') == 1


def test_links_are_cut_joined_and_exported_in_a_browser(shared_browser, page, tmp_path):
    browser = shared_browser
    browser.open(page)
    browser.value("localStorage.clear()")
    browser.open(page)
    names = "#walkers h2"
    assert [text[:11] for text in browser.texts(names)] == [
        "person 0001", "person 0003", "person 0002", "person 0004"
    ]  # fmt: skip
    browser.click('#walkers [data-act="cut"]', 1)
    assert [text[:11] for text in browser.texts(names)][:2] == ["person 0001", "person 0005"]
    browser.choose("#walkers article:nth-of-type(2) input", 2)
    browser.click('#walkers article:nth-of-type(2) [data-act="join"]')
    assert "c1 track 1 and c0 track 2 overlap in time" in browser.texts("#walkers .twice")[0]
    browser.click("#walkers .twice button")
    assert "person 0005" not in [text[:11] for text in browser.texts(names)]
    assert browser.texts("#walked") == ["4 people, 2 checked, 1 track moved"]
    browser.choose("#walkers article:nth-of-type(1) input", 3)
    browser.click('#walkers article:nth-of-type(1) [data-act="join"]')
    fault = browser.value('document.querySelector("#walkers article input").validationMessage')
    assert "c0 track 0 and c1 track 3 are at two places at once" in fault
    browser.choose("#walkers article:nth-of-type(1) .called", "Anna <b>")
    browser.click('#walkers article:nth-of-type(1) [data-act="call"]')
    assert browser.texts(names)[0].startswith("Anna <b>")
    browser.open(page)
    assert browser.texts("#walked") == ["4 people, 2 checked, 1 track moved"]
    with browser.saved("#save-people", tmp_path / "out").open(encoding="utf-8", newline="") as file:
        saved = {row["path"]: row["identity"] for row in csv.DictReader(file)}
    assert saved[str(tmp_path / EVIL)] == "person 0002"
    assert len(saved) == 5
    assert saved[str(tmp_path / "0.png")] == "Anna <b>"
    assert browser.complaints == []
    assert browser.value("window.hacked") is None
