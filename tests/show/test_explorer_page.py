"""The explorer in a browser: clicks, keys, filters, slider, address, a file name with <script>."""

import json
from pathlib import Path

import numpy as np
import pytest

from person_reid.errors import UserError
from person_reid.retrieval.matches import find_pairs
from person_reid.retrieval.metrics import evaluate
from person_reid.retrieval.results import load_result, save_result
from person_reid.retrieval.similarity import CosineScores
from person_reid.show import explorer
from tests.support.ranked_people import lay_out
from tools import explore

EVIL = "<img src=x onerror=window.hacked=1><script>window.hacked=1<&script>.jpg"
FILES = "document.querySelector('#asked dd:last-child').textContent"


@pytest.fixture(scope="module")
def look(tmp_path_factory):
    """The folder of an explorer with two rankings; one image has a hostile name."""
    folder = tmp_path_factory.mktemp("explorer")
    result, query, gallery = lay_out(folder)
    rng = np.random.default_rng(5)
    for images in (query, gallery):
        images.features = rng.normal(size=(len(images), 16)).astype(np.float32)
        images.features[np.arange(len(images)), images.labels % 16] += 3
    query.paths[0] = Path(query.paths[0]).rename(Path(query.paths[0]).with_name(EVIL)).as_posix()
    save_result(result, query, gallery)
    rerank = ["--rerank", "--method", "aqe", "--k1", "3"]
    explore.main(["--result", str(result), "--save", str(folder / "look"), *rerank])
    return folder / "look"


@pytest.fixture(scope="module")
def people(look):
    """(query, gallery, metrics, similarities) of the plain ranking."""
    query, gallery = load_result(look.parent / "result.mat", paths=True)
    return (
        query,
        gallery,
        evaluate(query, gallery),
        CosineScores(query.features, gallery.features)(0, len(query)),
    )


@pytest.fixture
def browser(shared_browser, look):
    """A browser that shows the explorer and complains about nothing."""
    shared_browser.open(look / "index.html")
    yield shared_browser
    assert shared_browser.complaints == []
    assert shared_browser.value("window.hacked") is None


def shown(browser, fragment):
    browser.wait(f"document.body.dataset.shown.includes({json.dumps(fragment)})")


def images(browser, selector):
    return [
        int(i)
        for i in browser.value(
            f"[...document.querySelectorAll('{selector}')].map((a) => a.dataset.image)"
        )
    ]


def test_the_wall_begins_with_the_worst_and_shows_the_figures(browser, people):
    metrics = people[2]
    figures = [
        f"{100 * value:.2f}" for value in metrics.figures().values() if isinstance(value, float)
    ]
    assert browser.texts("#figures b") == figures
    order = np.argsort(metrics.average_precision, kind="stable")
    assert images(browser, "#wall .tile") == order.tolist()
    assert f"AP {metrics.average_precision[order[0]]:.3f}" in browser.texts("#wall .tile")[0]
    browser.choose("#by", 1)
    assert browser.texts("#figures b") != figures


def test_one_query_without_cameras_is_one_query_and_its_pairs_name_none(
    look, people, shared_browser
):
    query, gallery, *_ = people
    save_result(look.parent / "one.mat", query.select(np.array([0])), gallery)
    explore.main(
        [
            "--result",
            str(look.parent / "one.mat"),
            "--save",
            str(look.parent / "one"),
            "--ignore_cameras",
        ]
    )
    shared_browser.open(look.parent / "one" / "index.html")
    assert shared_browser.texts("#chosen") == ["1 query"]
    assert shared_browser.value("document.getElementById('apart').hidden")
    assert shared_browser.value("sortedPairs().right.length + sortedPairs().wrong.length") > 0
    assert "· c" not in shared_browser.texts("#wall .tile")[0]


def test_a_click_ranks_a_query_and_a_second_click_a_gallery_image(browser, people):
    query, gallery, metrics, similarities = people
    browser.click("#wall .tile")
    shown(browser, "view=ranking")
    asked = int(metrics.average_precision.argmin())
    order = np.argsort(-similarities[asked], kind="stable")
    assert images(browser, "#answers .tile") == (order + len(query)).tolist()
    tiles = browser.texts("#answers .tile")
    assert all(
        f"{similarities[asked, i]:.3f}" in text for i, text in zip(order, tiles, strict=True)
    )
    same = gallery.labels[order] == query.labels[asked]
    own = same & (gallery.cameras[order] == query.cameras[asked])
    kinds = np.where(
        gallery.labels[order] == -1, "junk", np.where(own, "own", np.where(same, "right", "wrong"))
    )
    found = browser.value(
        "[...document.querySelectorAll('#answers .tile')].map((a) => a.classList[1])"
    )
    assert found == kinds.tolist()
    above = browser.texts("#answers .tile .above")
    assert {text for text, kind in zip(above, kinds, strict=True) if kind == "own"} <= {
        "own camera"
    }
    assert {text for text, kind in zip(above, kinds, strict=True) if kind == "junk"} <= {"junk"}
    counted = [text for text, kind in zip(above, kinds, strict=True) if kind in ("right", "wrong")]
    assert counted == [str(rank) for rank in range(1, len(counted) + 1)]
    browser.wait("document.body.dataset.features === 'loaded'")
    browser.click("#answers .tile", 3)
    shown(browser, f"image={order[3] + len(query)}")
    assert browser.texts("#asked h2") == [f"Gallery image {order[3]}"]
    assert "≈" in browser.texts(".answer p")[0]
    exact = CosineScores(gallery.features[order[3] : order[3] + 1], gallery.features)(0, 1)[0]
    exact[order[3]] = -np.inf
    found = np.array(images(browser, "#answers .tile")) - len(query)
    assert len(found) == len(gallery) - 1
    assert order[3] not in found
    assert (np.diff(exact[found]) < 0.01).all()
    browser.page.go_back()
    shown(browser, f"image={asked}")
    browser.page.go_back()
    browser.wait("!document.getElementById('view-queries').hidden")


def test_the_same_person_from_the_camera_of_the_query_is_not_called_junk(browser, people):
    query, gallery, *_ = people
    pairs = (query.labels[:, None] == gallery.labels) & (query.cameras[:, None] == gallery.cameras)
    asked = int(pairs.sum(axis=1).argmax())
    browser.value(f"location.hash = '#view=ranking&image={asked}'")
    shown(browser, f"image={asked}" if asked else "view=ranking")
    assert (
        sorted(images(browser, "#answers .own"))
        == (np.flatnonzero(pairs[asked]) + len(query)).tolist()
    )
    assert set(browser.texts("#answers .own .above")) == {"own camera"}
    assert (
        sorted(images(browser, "#answers .junk"))
        == (np.flatnonzero(gallery.labels == -1) + len(query)).tolist()
    )


def test_the_address_holds_the_view(browser, look):
    browser.choose("[name=camera]", 2)
    browser.choose("[name=low]", "0.1")
    browser.click("nav a", 2)
    shown(browser, "view=map")
    address = browser.value("location.hash")
    seen = browser.texts("#chosen")
    browser.open(look / "index.html", address)
    assert browser.value("document.querySelector('[name=camera]').value") == "2"
    assert browser.texts("#chosen") == seen
    assert not browser.value("document.getElementById('view-map').hidden")
    browser.open(look / "index.html", "#view=nothing&image=99999&by=7&threshold=x&place=a&first=q")
    assert len(images(browser, "#wall .tile")) == 12


def test_filters_choose_queries(browser, people):
    query, _, metrics, similarities = people
    plain = {
        "camera": query.cameras == 1,
        "first": (metrics.first_match >= 1) & (metrics.first_match < 5),
    }
    for name, value in (("camera", 1), ("first", 5)):
        browser.choose(f"[name={name}]", value)
        assert sorted(images(browser, "#wall .tile")) == np.flatnonzero(plain[name]).tolist()
        browser.click("#reset")
    browser.choose("[name=person]", f"{query.labels[3]:04d}")
    assert (
        sorted(images(browser, "#wall .tile"))
        == np.flatnonzero(query.labels == query.labels[3]).tolist()
    )
    browser.click("#reset")
    _, junk = find_pairs(*people[:2])
    valid = similarities.copy()
    valid[:, people[1].labels == -1] = -np.inf
    valid[junk] = -np.inf
    middle = float(np.median(valid.max(axis=1))) + 1e-4
    browser.choose("[name=low]", f"{middle:.6f}")
    assert (
        sorted(images(browser, "#wall .tile"))
        == np.flatnonzero(valid.max(axis=1) >= middle).tolist()
    )
    assert browser.texts("#chosen") == [f"{(valid.max(axis=1) >= middle).sum()} of 12 queries"]


def test_the_slider_counts_what_is_accepted_rejected_and_wrong(browser, people):
    query, gallery, _, similarities = people
    browser.click("nav a", 3)
    shown(browser, "view=threshold")
    same = query.labels[:, None] == gallery.labels
    pairs = (query.cameras[:, None] != gallery.cameras) & (gallery.labels != -1)
    for value in (6_000, 12_000):
        browser.choose("#slider", value)
        place = int(browser.value("document.getElementById('slider').value"))
        accepted = np.rint(similarities * 10_000) >= place - 10_000  # as they are printed
        counts = {
            "right-accepted": accepted & same, "misses": ~accepted & same,
            "false-matches": accepted & ~same, "strangers-rejected": ~accepted & ~same,
        }  # fmt: skip
        for name, which in counts.items():
            assert browser.texts(f"#{name} b") == [str((which & pairs).sum())], (value, name)
    before = browser.value("document.getElementById('point').getAttribute('cx')")
    browser.value("document.getElementById('slider').focus()")
    browser.key(*["ArrowRight"] * 3)
    assert place < int(browser.value("document.getElementById('slider').value"))
    browser.click("#rules button", 1)
    assert browser.value("document.getElementById('point').getAttribute('cx')") != before
    browser.click("nav a", 1)
    shown(browser, "view=ranking")
    threshold = float(browser.value("state().threshold"))
    faded = browser.value("document.querySelectorAll('#answers .faded').length")
    assert faded == (similarities[0] < threshold).sum() > 0


def test_the_rates_of_the_roc_are_all_in_per_cent(browser):
    browser.click("nav a", 3)
    shown(browser, "view=threshold")
    rates = ["0.001 %", "0.01 %", "0.1 %", "1 %", "10 %", "100 %"]
    assert browser.texts("#roc text")[:6] == rates


def test_the_ticks_of_the_histogram_are_round_and_in_place(browser):
    browser.click("nav a", 3)
    shown(browser, "view=threshold")
    ticks = browser.texts("#histogram text")[:-1]
    assert 2 <= len(ticks) <= 7
    assert all(20 * float(tick) % 1 == 0 for tick in ticks)
    browser.choose("#slider", browser.value(f"binOf({ticks[-1]})"))
    places = "document.querySelectorAll('#histogram text')"
    at = float(browser.value(f"{places}[{len(ticks) - 1}].getAttribute('x')"))
    assert abs(at - float(browser.value("document.getElementById('mark').getAttribute('x1')"))) < 1
    for low, high in ((0.31, 0.36), (-0.2, 0.9), (-0.4, 1), (-1, 1)):
        found = browser.value(f"roundTicks({low}, {high})")
        assert 3 <= len(found) <= 7
        assert low <= found[0]
        assert found[-1] <= high


def test_the_page_says_that_not_all_false_matches_are_looked_through(browser, people):
    browser.click("nav a", 3)
    shown(browser, "view=threshold")
    assert browser.texts("#partial") == [""]  # all gallery images are listed
    browser.value("adjust({ threshold: -1 })")
    total = int(browser.texts("#false-matches b")[0])
    browser.value("showPairs(-1, 1234567)")
    words = (
        "Of 1,234,567 false matches, "
        f"the {total} among the first {len(people[1])} images of their query"
    )
    assert browser.texts("#partial")[0].startswith(words)


def test_the_map_of_many_people_begins_with_errors_or_cameras(browser):
    assert browser.value("DEFAULTS.colour") == "identity"
    browser.value(
        "DATA.images.people = Array.from({ length: 41 }, (_, i) => `p${i}`); DATA.images.junk = -1"
    )
    browser.value("DATA.images.distractor = -1")
    assert browser.value("usualColour()") == "error"
    browser.value("DATA.images.queries = 0")
    assert browser.value("usualColour()") == "camera"
    browser.value("DATA.images.cameras = ['']")
    assert browser.value("usualColour()") == "identity"


def test_the_address_follows_a_slider_that_moves_more_often_than_browsers_allow(browser):
    browser.key("4")
    shown(browser, "view=threshold")
    browser.value("for (let i = 1; i <= 400; i++) adjust({ threshold: (i / 1000).toFixed(5) })")
    assert browser.value("document.getElementById('exact').value") == "0.4000"
    browser.wait("location.hash.endsWith('threshold=0.40000')")
    browser.value("adjust({ threshold: 0.5 }); adjust({ threshold: 0.6 })")
    browser.click("nav a", 1)
    shown(browser, "view=ranking")
    browser.page.go_back()
    browser.wait("location.hash === '#view=threshold&threshold=0.6'")


def test_the_keyboard_does_what_the_mouse_does(browser):
    wall = images(browser, "#wall .tile")
    browser.key("ArrowDown", "ArrowRight", "Enter")
    shown(browser, f"image={wall[1]}")
    browser.key("n")
    shown(browser, f"image={wall[2]}")
    browser.key("p")
    shown(browser, f"image={wall[1]}")
    browser.key("Escape")
    browser.wait("!document.getElementById('view-queries').hidden")
    assert browser.value("document.activeElement.dataset.image") == str(wall[1])
    for number, view in enumerate(("queries", "ranking", "map", "threshold", "compare"), 1):
        browser.key(str(number))
        browser.wait(f"!document.getElementById('view-{view}').hidden")
        assert browser.texts("nav [aria-current=page]") == [view.capitalize()]
    browser.key("?")
    assert browser.value("document.getElementById('help').open")
    browser.key("1", "Escape")
    assert not browser.value("document.getElementById('view-compare').hidden")
    assert not browser.value("document.getElementById('help').open")
    browser.key("/")
    assert browser.value("document.activeElement.name") == "person"


def test_a_file_name_is_text(browser):
    browser.value("location.hash = '#view=ranking&image=0'")
    shown(browser, "view=ranking")
    assert browser.value(FILES).endswith("<script>window.hacked=1<&script>.jpg")
    assert browser.value("document.querySelectorAll('img, dd script').length") == 0


def test_the_map_leads_to_its_images(browser, people):
    browser.key("3")
    shown(browser, "view=map")
    where = """(() => { const c = document.getElementById('map');
        const b = c.getBoundingClientRect(), s = scaleOf(c, 1);
        const p = DATA.images.points; return [b.left + b.width / 2 + (p[2 * 20] - SIDE / 2) * s,
        b.top + b.height / 2 + (p[41] - SIDE / 2) * s]; })()"""
    x, y = browser.value(where)
    browser.page.mouse.move(x, y)
    browser.wait("!document.getElementById('hint').hidden")
    browser.key("1", "3")
    browser.wait("!document.getElementById('view-map').hidden")
    for colour in ("camera", "error"):
        browser.choose("#colour", colour)
        shown(browser, f"colour={colour}")
    browser.page.mouse.click(x, y)
    shown(browser, "view=ranking")
    points = np.array(browser.value("[...DATA.images.points]")).reshape(-1, 2)
    found = int(browser.value("state().image"))
    assert np.linalg.norm(points[found] - points[20]) < 600


def test_queries_that_differ_most_come_first(browser, look):
    browser.key("5")
    shown(browser, "view=compare")
    first, second = browser.value("DATA.rankings.map((ranking) => [...ranking.precision])")
    order = np.argsort(-np.abs(np.subtract(second, first)), kind="stable")
    assert images(browser, ".pair > .tile")[:3] == order[:3].tolist()
    assert [text.split(": ")[1] for text in browser.texts(".pair h3")[:2]] == [
        f"AP {first[order[0]]:.3f}", f"AP {second[order[0]]:.3f}"
    ]  # fmt: skip


def test_the_page_is_dark_on_a_dark_screen(browser):
    backgrounds = []
    for scheme in ("light", "dark"):
        browser.page.emulate_media(color_scheme=scheme)
        backgrounds.append(browser.value("getComputedStyle(document.body).backgroundColor"))
    browser.page.emulate_media(color_scheme="light")
    assert backgrounds == ["rgb(255, 255, 255)", "rgb(15, 23, 42)"]


def test_a_page_without_its_folder_says_so(browser, look, tmp_path):
    for file in look.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    browser.page.goto((tmp_path / "index.html").as_uri())
    browser.wait("document.getElementById('failed')?.hidden === false")
    assert "Copy the whole folder" in browser.texts("#failed")[0]
    browser.complaints.clear()  # the scripts that are missing


def test_one_file_needs_nothing_beside_it(shared_browser, look, tmp_path):
    save = tmp_path / "alone" / "Look.HTML"
    explore.main(["--result", str(look.parent / "result.mat"), "--save", str(save)])
    explore.main(["--result", str(look.parent / "result.mat"), "--save", str(save)])
    assert [path.name for path in save.parent.iterdir()] == ["Look.HTML"]
    shared_browser.open(save, "#view=ranking&image=15")
    shared_browser.wait("document.querySelectorAll('#answers .tile').length === 29")
    sources = (
        "[...document.querySelectorAll('[src], link[href]')].map((each) => each.src ?? each.href)"
    )
    assert shared_browser.value(sources) == ["data:,"]
    in_css = "getComputedStyle(document.querySelector('#asked .photo')).backgroundImage"
    assert shared_browser.value(in_css).startswith('url("data:image/jpeg;base64,')
    load = f"image.onload = () => done(image.width); image.src = {in_css}.slice(5, -2);"
    assert (
        shared_browser.value(f"new Promise((done) => {{ const image = new Image(); {load} }})")
        == 560
    )
    shared_browser.value("location.hash = '#view=ranking&image=0'")
    shown(shared_browser, "view=ranking")
    shared_browser.wait(f"{FILES}.endsWith('<script>window.hacked=1<&script>.jpg')")
    assert shared_browser.complaints == []
    assert shared_browser.value("window.hacked") is None


def test_one_file_of_many_images_is_refused(look, tmp_path, monkeypatch):
    monkeypatch.setattr(explorer, "MOST_PAGE_BYTES", 42 * 1400)
    words = ["--result", str(look.parent / "result.mat"), "--save"]
    with pytest.raises(
        UserError, match=r"42 images would make one file of about .* --save .*look$"
    ):
        explore.main([*words, str(tmp_path / "look.html")])
    assert not list(tmp_path.iterdir())
    explore.main([*words, str(tmp_path / "look")])
    assert (tmp_path / "look" / "sheets" / "0.jpg").is_file()
