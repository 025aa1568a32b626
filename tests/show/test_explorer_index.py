"""The explorer of a search index: no queries, and some images of unknown identity and camera."""

import json

import numpy as np
import pytest
from PIL import Image

from person_reid.errors import UserError
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.metadata import About
from tests.support.page_in_node import run_scripts
from tools import explore

KNOWN = {
    0: ("Anna", "3"),
    1: ("Anna", "4"),
    2: ("Anna", "3"),
    3: ("7", "12"),
    4: ("-1", None),
    5: (None, "3"),
}
KNOWN |= {10: ("0", "5"), 11: ("0000", "6")}
EVIL = "<img src=x onerror=window.hacked=1>"


@pytest.fixture(scope="module")
def look(tmp_path_factory):
    """(folder of an explorer, features) of an index of 30 images, nine of which are described."""
    folder = tmp_path_factory.mktemp("index")
    rng = np.random.default_rng(4)
    paths = [folder / f"{number:02}.png" for number in range(30)]
    for path in paths:
        Image.fromarray(rng.integers(60, 200, (64, 32, 3), np.uint8)).save(path)
    features = rng.normal(size=(30, 16)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    index = SearchIndex(folder / "people.index")
    index.add(paths[:20], features[:20])
    index.add(paths[20:], features[20:])
    index.describe(
        {paths[i]: About(*known) for i, known in KNOWN.items()}
        | {paths[6]: About(EVIL, EVIL, more={EVIL: EVIL}), paths[8]: About(more={"store": "3"})}
    )
    index.close()
    explore.main(["--index", str(folder / "people.index"), "--save", str(folder / "look")])
    return folder / "look", features


@pytest.fixture
def browser(shared_browser, look):
    """A browser that shows the explorer and complains about nothing."""
    shared_browser.open(look[0] / "index.html")
    yield shared_browser
    assert shared_browser.complaints == []
    assert shared_browser.value("window.hacked") is None


def images(browser, selector):
    return [
        int(i)
        for i in browser.value(
            f"[...document.querySelectorAll('{selector}')].map((a) => a.dataset.image)"
        )
    ]


def test_every_image_can_be_the_query(browser, look):
    _, features = look
    assert images(browser, "#wall .tile") == list(range(30))
    tabs = "[...document.querySelectorAll('nav a:not([hidden])')].map((tab) => tab.textContent)"
    assert browser.value(tabs) == ["Images", "Ranking", "Map"]
    assert browser.texts("#figures li") == []
    browser.wait("document.body.dataset.features === 'loaded'")
    browser.click("#wall .tile", 8)
    browser.wait("document.querySelectorAll('#answers .tile').length === 29")
    found = images(browser, "#answers .tile")
    similarities = features[found] @ features[8]
    assert sorted(found) == [i for i in range(30) if i != 8]
    assert (np.diff(similarities) < 0.01).all()
    said = " ".join(browser.texts("#asked") + browser.texts("#answers"))
    assert "not known" in said
    assert "AP" not in said
    assert "✗" not in said
    browser.key("n")
    browser.wait("state().image === '9'")
    # Anna by camera 3, whom camera 4 saw once
    browser.value("location.hash = '#view=ranking&image=0'")
    browser.wait("document.querySelector('#asked h2').textContent === 'Image 0'")
    kinds = {i: browser.value(f"kindOf(0, {i})") for i in (1, 2, 3, 4, 5, 6, 7)}
    assert kinds == {
        1: "right",
        2: "own",
        3: "wrong",
        4: "junk",
        5: "unknown",
        6: "wrong",
        7: "unknown",
    }
    assert browser.value("[kindOf(10, 11), kindOf(10, 0), kindOf(0, 10)]") == [
        "unknown",
        "wrong",
        "wrong",
    ]
    about = browser.texts(".answer p")[0]
    assert "1 right in the gallery" in about
    assert "AP" not in about
    browser.key("3")
    browser.wait("!document.getElementById('view-map').hidden")
    assert "30 images" in browser.texts("#legend")[0]


def test_filters_choose_what_is_known(browser):
    for name, value, wanted in (
        ("person", "Anna", [0, 1, 2]),
        ("camera", "3", [0, 2, 5]),
        ("person", "0007", [3]),
        ("where", "store=3", [8]),
        ("where", f"{EVIL}={EVIL}", [6]),
    ):
        browser.choose(f"[name={name}]", value)
        assert images(browser, "#wall .tile") == wanted
        assert browser.texts("#chosen") == [f"{len(wanted)} of 30 images"]
        browser.click("#reset")
    shown = (
        "[...document.querySelectorAll('#filters label:not([hidden]) "
        "[name]')].map((field) => field.name)"
    )
    assert browser.value(shown) == ["person", "camera", "where"]
    browser.value("location.hash = '#view=ranking&image=8'")
    browser.wait("document.querySelector('#asked h2').textContent === 'Image 8'")
    assert browser.texts("#asked dl dt")[3:] == ["store"]
    assert browser.texts("#asked dd")[3:] == ["3"]
    browser.value("location.hash = '#view=map&person=0007'")
    browser.wait("document.getElementById('legend').textContent.startsWith('1 image by ')")


def test_the_page_filters_by_further_columns(look):
    nothing = {
        "first": "",
        "low": "",
        "high": "",
        "person": "",
        "camera": "",
        "tag": "",
        "where": "",
    }
    lines = [
        "const rankingOf = () => ({});",
        (look[0] / "data" / "images.js").read_text(encoding="utf-8"),
        f"const nothing = {json.dumps(nothing)};",
        "const chosenBy = (where) =>"
        " [...DATA.images.names.keys()].filter(filterOf({ ...nothing, where }));",
    ]
    answer = f"['store=3', {json.dumps(f'{EVIL}={EVIL}')}, 'store=4', ''].map(chosenBy)"
    found = run_scripts(("data", "elements", "queries"), lines, f"[{answer}, furtherOf(8)]")
    assert found == [[[8], [6], [], [*range(30)]], [["store", "3"]]]


def test_what_an_index_cannot_show_is_refused(look, tmp_path, monkeypatch):
    index, empty = str(look[0].parent / "people.index"), str(tmp_path / "empty.index")
    SearchIndex(empty).close()
    save = ["--save", str(tmp_path / "look")]
    for words, message in (
        ([str(tmp_path / "none.index")], "no such index"),
        ([empty], r"empty\.index: 0 images; expected 3 to 100,000"),
        ([index, "--result", "result.mat"], "index replaces result"),
        ([index, "--rerank"], "are about rankings of queries"),
        ([index, "--ignore_cameras"], "are about rankings of queries"),
    ):
        with pytest.raises(UserError, match=message):
            explore.main(["--index", *words, *save])
    monkeypatch.setattr(explore, "MOST_COMPARED", 29)
    with pytest.raises(UserError, match="30 images; expected 3 to 29"):
        explore.main(["--index", index, *save])
    assert not (tmp_path / "look").exists()


def test_a_folder_is_shown_by_the_network_in_the_package_or_another(tmp_path):
    rng = np.random.default_rng(4)
    for number in range(3):
        pixels = rng.integers(60, 200, (64, 32, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    found = []
    for words in ([], ["--network", "osnet_x0_25=none --no_flip"]):
        save = tmp_path / f"look{len(words)}"
        explore.main([str(tmp_path / "0.png"), str(tmp_path), "--save", str(save), *words])
        text = (save / "data" / "images.js").read_text("ascii")
        found.append(json.loads(text[text.index(", ") + 2 : -3]))
    packaged, other = found
    assert [name.rpartition("/")[2] for name in packaged["names"]] == ["0.png", "1.png", "2.png"]
    assert packaged["commands"][0].endswith(f"{tmp_path} --index {tmp_path / '0.index'}")
    assert other["commands"][0].endswith(" --backbone osnet_x0_25 --weights none --no_flip")
    scales = [(tmp_path / f"look{n}" / "data" / "features_0.js").read_text() for n in (0, 2)]
    assert scales[0] != scales[1]
    for words, message in (
        ([str(tmp_path / "0.png")], "1 images; expected 3"),
        ([str(tmp_path), "--result", "a.mat"], "Images replace result"),
        (["--network", "net.onnx"], "network=net.onnx would be ignored"),
    ):
        with pytest.raises(UserError, match=message):
            explore.main([*words, "--save", str(tmp_path / "none")])
