"""Doubtful labels, decided in a browser, exported, and applied by prepare.py --corrections."""

import csv
import os

import numpy as np
import pytest
from PIL import Image

import prepare
from person_reid.data.own.corrections import CORRECTION_COLUMNS
from person_reid.errors import UserError
from person_reid.retrieval.results import FeatureSet, load_gallery, save_gallery
from person_reid.show.explorer_images import images_of
from person_reid.show.explorer_views import IMAGES_OF_STRIP, describe_proposals
from tests.support.ranked_people import lay_out
from tools import explore

EVIL = '0002_c1s1_"5",<script>window.hacked=1<&script><img src=x onerror=window.hacked=1>.png'
NAMES = [f"{p:04d}_c{1 + i % 2}s1_{i:06d}_00.png" for p in range(1, 7) for i in range(6)]


def proposed(rows):
    """Lines of a list: `2,4,move,3,0.9,yes` says that image 4 of person 2 is to be 3."""
    for row in rows:
        person, place, proposal, new, probability, accept = row.split(",")
        name = NAMES[6 * (int(person) - 1) + int(place)]
        yield f"train_all/{int(person):04d}/{name}", person, proposal, new, probability, accept


ROWS = [
    "3,1,move,4,0.91,",
    "5,2,junk,-1,0.80,yes",
    "1,1,split,7,0.62,",
    "1,3,split,7,0.62,",
    "6,0,merge,5,0.41,",
]
ROWS += ["6,1,merge,5,0.41,", "4,4,move,2,0.35,no"]


@pytest.fixture(scope="module")
def look(tmp_path_factory):
    """Six people, a list about them, its features, and the folder of its explorer.

    One image has a hostile name.
    """
    folder = tmp_path_factory.mktemp("labels")
    rng = np.random.default_rng(2)
    names = [EVIL if os.name != "nt" and name == NAMES[6] else name for name in NAMES]
    paths = [folder / "layout" / "train_all" / name[:4] / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(60, 200, (64, 32, 3), np.uint8)).save(path)
    labels = np.array([int(name[:4]) for name in names])
    features = rng.normal(size=(len(paths), 16)).astype(np.float32)
    features[np.arange(len(paths)), labels] += 3
    cameras = np.array([int(path.name[6]) for path in paths])
    save_gallery(
        folder / "list.mat",
        FeatureSet(features, labels, cameras, [path.as_posix() for path in paths]),
    )
    rows = [*proposed(ROWS), (f"train_all/0002/{names[6]}", 2, "move", 3, "0.31", "")]
    with (folder / "list.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([CORRECTION_COLUMNS, *rows])
    explore.main(["--label_errors", str(folder / "list.csv"), "--save", str(folder / "look")])
    return folder


def corrected(look, list_, save):
    """{identity: names} of the layout that prepare.py makes of a list."""
    prepare.main(
        ["--data_dir", str(look / "layout"), "--corrections", str(list_), "--save_dir", str(save)]
    )
    return {
        folder.name: {path.name for path in folder.iterdir()}
        for folder in (save / "train_all").iterdir()
    }


def test_strips_are_those_of_a_slow_loop(look):
    images = load_gallery(look / "list.mat")
    found = describe_proposals(images_of(None, images), look / "list.csv")["proposals"]
    kinds = [("move", 1), ("junk", 1), ("split", 2), ("merge", 2), ("move", 1), ("move", 1)]
    assert [(each["proposal"], len(each["images"])) for each in found] == kinds
    assert [each["accepted"] for each in found] == [None, True, None, None, False, None]
    units = images.features / np.linalg.norm(images.features, axis=1, keepdims=True)
    going_to = {13: 4, 26: -1, 1: 7, 3: 7, 30: 5, 31: 5, 22: 2, 6: 3}
    for each in found:
        own, new = (-1 if each[name] == "junk" else int(each[name]) for name in ("own", "new"))
        others = [i for i in range(36) if i not in each["images"]]
        similar = {i: np.mean([units[i] @ units[j] for j in each["images"]]) for i in others}
        nearest = sorted(others, key=similar.__getitem__, reverse=True)
        wanted = {
            "nearest": nearest,
            "own": [i for i in nearest if images.labels[i] == own],
            "new": [i for i in nearest if images.labels[i] == new],
            "coming": [i for i in nearest if images.labels[i] != new and going_to.get(i) == new],
        }
        for name, strip in wanted.items():
            shown = each["strips"][name]
            assert [i for i, _ in shown] == strip[:IMAGES_OF_STRIP], (each["number"], name)
            np.testing.assert_allclose(
                [s for _, s in shown], [similar[i] for i in strip[:IMAGES_OF_STRIP]], atol=1e-4
            )


def test_only_images_of_the_proposed_identity_stand_below_it(look, tmp_path):
    with (tmp_path / "list.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(
            [CORRECTION_COLUMNS, *proposed(["3,1,move,4,0.9,", "5,2,move,4,0.8,"])]
        )
    first, second = describe_proposals(
        images_of(None, load_gallery(look / "list.mat")), tmp_path / "list.csv"
    )["proposals"]
    assert {i // 6 for each in (first, second) for i, _ in each["strips"]["new"]} == {3}
    assert [[i for i, _ in each["strips"]["coming"]] for each in (first, second)] == [[26], [13]]


def test_images_of_a_person_that_were_decided_differently_are_shown_apart(look, tmp_path):
    rows = proposed(["1,0,merge,2,0.5,yes", "1,1,merge,2,0.5,no", "1,2,merge,2,0.5,"])
    with (tmp_path / "list.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([CORRECTION_COLUMNS, *rows])
    found = describe_proposals(
        images_of(None, load_gallery(look / "list.mat")), tmp_path / "list.csv"
    )["proposals"]
    assert [(each["images"], each["accepted"]) for each in found] == [
        ([0], True),
        ([1], False),
        ([2], None),
    ]


def test_what_cannot_be_shown_is_refused(look, tmp_path):
    (tmp_path / "list.csv").write_bytes((look / "list.csv").read_bytes())
    words = ["--label_errors", str(tmp_path / "list.csv"), "--save", str(tmp_path / "look")]
    with pytest.raises(UserError, match=r"list\.mat: not there\. tools/label_errors\.py writes it"):
        explore.main(words)
    for flag in ("--rerank", "--ignore_cameras"):
        with pytest.raises(UserError, match="are about rankings of queries"):
            explore.main([*words, flag])
    (tmp_path / "list.mat").write_bytes((look / "list.mat").read_bytes())
    (tmp_path / "list.csv").write_text(
        ",".join(CORRECTION_COLUMNS) + "\ntrain_all/0001/gone.jpg,1,move,2,0.9,\n", "utf-8"
    )
    with pytest.raises(UserError, match="line 2: there is no image"):
        explore.main(words)
    assert not (tmp_path / "look").exists()


def test_the_labels_of_a_result_stand_beside_its_rankings(tmp_path):
    result, _, gallery = lay_out(tmp_path)
    path = gallery.paths[-1].removeprefix(f"{tmp_path.as_posix()}/pytorch/")
    label = gallery.labels[-1]
    (tmp_path / "list.csv").write_text(
        f"{','.join(CORRECTION_COLUMNS)}\n{path},{label},move,{label + 1},0.9,\n", "utf-8"
    )
    words = [
        "--result",
        str(result),
        "--label_errors",
        str(tmp_path / "list.csv"),
        "--save",
        str(tmp_path / "look"),
    ]
    explore.main(words)
    names = {file.stem for file in (tmp_path / "look" / "data").iterdir()}
    assert names == {"images", "rankings", "thresholds", "labels", "features_0"}


def test_a_list_without_a_label_is_refused_before_the_ranking(tmp_path, monkeypatch):
    result, *_ = lay_out(tmp_path)
    (tmp_path / "list.csv").write_text(f"{','.join(CORRECTION_COLUMNS)}\n", "utf-8")
    monkeypatch.setattr(explore, "rank_all", lambda *_: pytest.fail("ranked"))
    with pytest.raises(UserError, match=r"list\.csv"):
        explore.main(
            ["--result", str(result), "--label_errors", str(tmp_path / "list.csv"), "--rerank"]
        )


@pytest.fixture
def browser(shared_browser, look):
    """A browser that has decided nothing so far, and complains about nothing."""
    shared_browser.open(look / "look" / "index.html")
    shared_browser.value("localStorage.clear()")
    shared_browser.open(look / "look" / "index.html")
    yield shared_browser
    assert shared_browser.complaints == []
    assert shared_browser.value("window.hacked") is None


def exported(browser, folder):
    """The file that a click on Export writes."""
    return browser.saved("#export", folder)


def decisions(browser):
    return browser.value(
        "[...document.querySelectorAll('#suspects article')].map((row) => row.dataset.decision)"
    )


def test_decisions_by_mouse_and_key_are_exported_and_applied(browser, look, tmp_path):
    assert browser.texts("#suspects h3:has(.faint)")[0] == "move 0003 → 0004probability 0.91"
    assert decisions(browser) == ["open", "accepted", "open", "open", "rejected", "open"]
    assert browser.texts("#progress") == ["1 accepted, 1 rejected, 4 undecided"]
    browser.click("#suspects article:nth-of-type(1) button")
    browser.click("#suspects article:nth-of-type(2) button", 1)
    browser.key("n", "a", "r", "u", "p", "n", "n", "a")
    assert decisions(browser) == [
        "accepted",
        "rejected",
        "accepted",
        "rejected",
        "open",
        "accepted",
    ]
    with exported(browser, tmp_path / "out").open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    rows = list(proposed(ROWS))
    wanted = [[*rows[i][:5], "yes"] for i in (0, 2, 3)]
    assert lines == [
        list(CORRECTION_COLUMNS),
        *wanted,
        [f"train_all/0002/{EVIL}", "2", "move", "3", "0.31", "yes"],
    ]
    people = corrected(look, tmp_path / "out" / "list_accepted.csv", tmp_path / "mended")
    assert {name: len(images) for name, images in people.items()} == {
        "0001": 4, "0002": 5, "0003": 6, "0004": 7, "0005": 6, "0006": 6, "0007": 2
    }  # fmt: skip
    assert any(EVIL in name for name in people["0003"])


def test_images_that_are_also_proposed_have_a_strip_of_their_own(browser):
    strips = "{nearest: [], own: [], new: [[18, 0.9]], coming: [[5, 0.5]]}"
    row = f"proposalRow({{...DATA.labels.proposals[0], strips: {strips}}})"
    heads = browser.value(
        f"[...{row}.querySelectorAll('.strips h3')].map((each) => each.textContent)"
    )
    assert heads == ["0004, proposed", "proposed for 0004 as well"]


def test_decisions_are_kept_and_can_be_taken_back(browser, look):
    page = look / "look" / "index.html"
    browser.key("n", "n", "a")  # from the first one, which has the focus
    browser.open(page)
    assert decisions(browser)[2] == "accepted"
    browser.click("#suspects article:nth-of-type(3) button")
    browser.click("#suspects article:nth-of-type(2) button")
    assert decisions(browser) == ["open", "open", "open", "open", "rejected", "open"]
    assert browser.value("document.getElementById('export').disabled")


def test_at_200_percent_the_keys_show_a_proposal_from_its_top(browser, look):
    browser.resize(680, 450)
    browser.open(look / "look" / "index.html")
    top = "document.activeElement.getBoundingClientRect().top"
    for key in ("n", "n", "p", "p"):
        browser.key(key)
        browser.wait(f"{top} > -1 && {top} < 60")
    browser.resize()


def test_a_browser_that_keeps_nothing_says_so(browser, look, tmp_path):
    browser.value("void (Storage.prototype.setItem = () => { throw new Error('no'); })")
    assert browser.value("document.getElementById('unkept').hidden")
    browser.click("#suspects article:nth-of-type(4) button")
    assert not browser.value("document.getElementById('unkept').hidden")
    assert len(exported(browser, tmp_path / "out").read_text("utf-8").splitlines()) == 4


def test_proposals_are_filtered_and_lead_to_rankings(browser, look):
    browser.choose("#proposal", "move")
    assert len(decisions(browser)) == 3
    browser.choose("#decision", "rejected")
    assert decisions(browser) == ["rejected"]
    browser.choose("[name=person]", "3")
    assert decisions(browser) == []
    assert "No proposal" in browser.texts("#suspects")[0]
    browser.open(look / "look" / "index.html", "#doubt=3")
    assert browser.value("document.activeElement.dataset.number") == "3"
    browser.click("#suspects article:nth-of-type(4) a.tile")
    browser.wait("!document.getElementById('view-ranking').hidden")
    browser.wait("document.querySelectorAll('#answers .tile').length === 35")
    assert browser.texts("#asked h2") == ["Image 30"]
    browser.key("Escape", "4")  # to the images, and to the labels again
    browser.wait("!document.getElementById('view-labels').hidden")
    assert browser.value("document.activeElement.closest('article').dataset.number") == "3"
