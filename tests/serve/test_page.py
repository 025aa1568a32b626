"""The page of the service in a browser: search, names, merging, forgetting, people along time."""

import base64
import json

import numpy as np
import pytest

from person_reid.gallery.index import SearchIndex
from person_reid.page_files import page_sources
from person_reid.serve.app import PAGE_POLICY
from tests.serve.conftest import listening, picture, sent
from tests.serve.test_live_pictures import walk_again, watched
from tests.support.camera_tracks import STAYS, fill
from tools import across
from tools.docs.browser import chromium

EVIL = "<img src=x onerror=window.hacked=1>"
TOKEN = "forget" * 4
in_chromium = pytest.mark.skipif(
    chromium() is None, reason="no Chromium or Chrome that could be driven here"
)


def test_the_page_loads_its_own_files_alone_and_they_carry_a_policy(client):
    index = client.get("/", headers={"Authorization": ""})
    assert index.status_code == 200
    assert "<script>" not in index.text
    assert " on" not in index.text
    files = [part.split('"')[0] for part in index.text.split("page/")[1:]]
    assert sorted(files) == sorted(page_sources("service"))
    assert files[-1] == "main.js"
    for file in ["", *(f"page/{name}" for name in files)]:
        answer = client.get(f"/{file}", headers={"Authorization": ""})
        assert answer.status_code == 200
        assert answer.headers["content-security-policy"] == PAGE_POLICY
        assert "{{" not in answer.text
        assert "http" not in answer.text.replace(SVG_NAME, "")
    for other in ("page/", "page/index.html", "page/..%2fservice.py", "page/../app.py"):
        assert client.get(f"/{other}").status_code == 404


SVG_NAME = "http://www.w3.org/2000/svg"


@pytest.fixture
def page(shared_browser, service, client):
    """A browser that shows the page of a service with three images. It complains about nothing."""
    for color, name, camera in (("red", "Anna", "1"), ("blue", "Bob", "2"), ("green", EVIL, "1")):
        asked = {"identity": name, "camera": camera, "time": "2026-11-01T08:30Z"}
        assert client.post("/v1/images", params=asked, **sent(picture(color))).is_success
    shared_browser.complaints.clear()
    with listening(service, lifespan="off") as address:  # the client has begun it
        shared_browser.open(address, f"#token={TOKEN}")
        shared_browser.wait("known.people.length === 3")
        yield shared_browser
        assert shared_browser.value("window.hacked") is None
        shared_browser.page.goto("about:blank")
    assert shared_browser.complaints == []


def give(browser, content, kind="drop"):
    """Drop or paste a photograph."""
    transfer, event = {
        "paste": ("clipboardData", "ClipboardEvent"),
        "drop": ("dataTransfer", "DragEvent"),
    }[kind]
    encoded = json.dumps(base64.b64encode(content).decode())
    browser.value(
        "(() => { const all = new DataTransfer();"
        f" const bytes = Uint8Array.from(atob({encoded}), (letter) => letter.charCodeAt(0));"
        " all.items.add(new File([bytes], 'a.png', { type: 'image/png' }));"
        f" document.dispatchEvent(new {event}('{kind}', {{ {transfer}: all }})); }})()"
    )


def answer(browser, text=None):
    """Agree to a question, after typing a text."""
    browser.wait("document.getElementById('question').open")
    if text is not None:
        browser.value(f"document.getElementById('reply').value = {json.dumps(text)}")
    browser.click("#agree")


@in_chromium
def test_a_photograph_is_searched_added_named_and_forgotten(page, client):
    assert page.value("location.hash") == ""
    assert page.value("history.length") < 50
    for kind in ("drop", "paste"):
        page.value("document.getElementById('answers').replaceChildren()")  # of the search before
        give(page, picture((250, 0, 0)), kind)
        page.wait("document.querySelectorAll('#answers .tile').length === 3")
        assert "Anna" in page.texts("#answers .tile")[0]
        page.wait("document.querySelector('#asked dd')?.textContent.startsWith('Anna')")
    page.choose("#filters [name=camera]", "2")
    page.wait("document.querySelectorAll('#answers .tile').length === 1")
    assert "Bob" in page.texts("#answers .tile")[0]
    page.click("#reset")

    page.wait("!!document.querySelector('#asked-image input')")
    page.value("document.querySelector('#asked-image input').value = 'Carl'")
    page.click("#asked-image form button")
    page.wait("location.hash.includes('image=')")
    assert client.get("/v1/people").json()["people"] == [EVIL, "Anna", "Bob", "Carl"]
    page.wait("document.querySelector('#asked dd')?.textContent === 'Carl'")
    page.click("#asked-image button")
    answer(page, "Anna")
    page.wait("document.querySelector('#asked dd')?.textContent === 'Anna'")
    page.click("#asked-image button.danger")
    page.wait("document.getElementById('question').open")
    page.key("Enter")  # refuses: the button that has the focus
    page.wait("!document.getElementById('question').open")
    assert len(client.get("/v1/images").json()["images"]) == 4
    page.click("#asked-image button.danger")
    answer(page)
    page.wait("location.hash === ''")
    page.until(lambda: len(client.get("/v1/images").json()["images"]) == 3)


@in_chromium
def test_a_photograph_that_arrives_late_moves_no_button_from_under_the_mouse(page, client):
    waiting: list = []
    page.page.route("**/picture*", lambda request: waiting.append(request))
    page.value(f"location.hash = '#image={client.get('/v1/images').json()['images'][0]['id']}'")
    rename = page.page.locator("#asked-image button").first
    before = rename.bounding_box()
    page.until(lambda: waiting)
    for request in waiting:
        request.continue_()
    page.page.unroute("**/picture*")
    page.wait("document.querySelector('#asked-image img').naturalWidth > 0")
    assert rename.bounding_box() == before


@in_chromium
def test_a_photograph_is_searched_where_nobody_has_a_name(page, client):
    answer = client.patch("/v1/images", params={"camera": "1"}, json={"identity": ""})
    assert answer.json() == {"images": 2}
    page.choose("#filters [name=camera]", "1")
    give(page, picture((250, 0, 0)))
    page.wait("document.querySelectorAll('#answers .tile').length === 2")
    assert page.texts("#asked-image dd") == ["nobody has a name"]
    page.complaints = [each for each in page.complaints if "422" not in each]


@in_chromium
def test_people_are_merged_and_forgotten_and_their_names_are_text(page, client):
    page.click('nav [data-view="people"]')
    page.wait("document.querySelectorAll('#known .lanes').length === 3")
    assert page.texts("#known h2 a") == [EVIL, "Anna", "Bob"]
    assert "camera 1" in page.texts("#known .lanes")[1]
    page.click("#known article:nth-of-type(3) button")
    answer(page, "Anna")
    page.wait("document.getElementById('asking').textContent.includes('become one person')")
    answer(page)
    page.wait("document.querySelectorAll('#known .lanes').length === 2")
    assert client.get("/v1/people").json() == {"people": [EVIL, "Anna"]}
    page.click("#known article:nth-of-type(2) .danger")
    answer(page)
    page.wait("document.querySelectorAll('#known article').length === 1")
    assert client.get("/v1/people").json() == {"people": [EVIL]}


@in_chromium
def test_tracks_are_linked_and_named(page, client, tmp_path):
    for camera in STAYS:
        fill(SearchIndex(tmp_path / "people.index"), tmp_path, camera, faces=np.eye(6))
    page.key("4")
    page.wait("document.querySelectorAll('#walkers article').length === 4")
    assert "3 tracks · 2 cameras" in " ".join(page.texts("#walkers h2"))
    page.click("#walkers article button")
    answer(page, "Dora")
    page.until(lambda: "Dora" in client.get("/v1/people").json()["people"])
    page.wait("document.getElementById('walkers').textContent.includes('Dora')")


@in_chromium
def test_the_people_of_the_tracks_are_those_of_people_html(page, client, tmp_path):
    for camera in STAYS:
        fill(SearchIndex(tmp_path / "people.index"), tmp_path, camera, faces=np.eye(6))
    for track, name in (("1", "Dora"), ("2", "-1")):
        which = {"source": "hall-1", "track": track}
        assert client.patch("/v1/images", params=which, json={"identity": name}).is_success
    across.main(["--index", str(tmp_path / "people.index"), "--save", str(tmp_path / "linked")])
    people = []
    for address in (page.value("location.href"), tmp_path / "linked/people.html"):
        page.open(address)
        page.value("location.hash = '#view=tracks'")
        page.wait("document.querySelectorAll('#walkers article').length > 2")
        people.append(sorted(page.texts("#walkers h2")))
    assert people[0] == [each for each in people[1] if "not a person" not in each]
    assert len(people[1]) == len(people[0]) + 1
    assert any("Dora" in each for each in people[0])


@in_chromium
def test_keys_move_and_a_wrong_token_is_asked_for(page):
    page.key("2")
    page.wait("document.querySelectorAll('#wall .tile').length === 3")
    page.key("ArrowRight", "ArrowRight", "Enter")
    page.wait("document.querySelectorAll('#answers .tile').length === 2")
    page.key("/")
    assert page.value("document.activeElement.name") == "person"
    page.key("Escape", "Escape")
    page.wait("location.hash === ''")

    page.value("sessionStorage.clear()")
    page.key("3")
    page.wait("document.getElementById('question').open")
    answer(page, TOKEN)
    page.wait("document.querySelectorAll('#known .lanes').length === 3")
    page.complaints = [each for each in page.complaints if "401" not in each]


@in_chromium
def test_who_appears_is_shown_as_it_happens(page, service, client):
    (first, *_) = client.get("/v1/images").json()["images"]
    event = {
        "camera": "door", "track": "1", "person": "person 0007", "name": EVIL, "image": first["id"],
        "time": "2026-11-28 21:30:05.250Z", "corrected_from": None,
    }  # fmt: skip
    page.key("5")
    for number, kind in enumerate(("appeared", "corrected"), 1):
        service.events.tell(kind, event)
        page.wait(f"document.querySelectorAll('#appeared .tile').length === {number}")
    assert EVIL in page.texts("#appeared .tile")[0]
    assert "was" in page.texts("#appeared .tile")[0]


@in_chromium
def test_live_cameras_are_seen_as_long_as_somebody_looks(shared_browser, service):
    with watched(service, {"door": "door.mp4", "<b>till": "b.mp4"}, walk_again) as address:
        shared_browser.complaints.clear()
        shared_browser.open(address, f"#view=events&token={TOKEN}")
        shared_browser.key("5")
        seen = "[...document.querySelectorAll('#watched img')].filter((each) => each.naturalWidth)"
        shared_browser.wait(f"{seen}.length === 2")
        first = shared_browser.value(f"{seen}[0].src")
        shared_browser.wait(f"{seen}[0].src !== {json.dumps(first)}")
        assert shared_browser.texts("#watched figcaption") == ["camera door", "camera <b>till"]
        assert service.pictures.followers == 2
        shared_browser.key("2")
        shared_browser.until(lambda: service.pictures.followers == 0)
        shared_browser.key("5")
        shared_browser.until(lambda: service.pictures.followers == 2)
        assert shared_browser.value("window.hacked") is None
        shared_browser.page.goto("about:blank")
    assert shared_browser.complaints == []
