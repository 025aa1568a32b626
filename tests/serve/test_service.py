"""The service answers as the commands do, keeps what it acknowledges, and lets nobody else in."""

import asyncio
import base64
import io
import json
import logging
import re
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from person_reid.data.images.image_decoding import decode
from person_reid.data.images.image_files import load_image
from person_reid.errors import StoreAway, UserError
from person_reid.gallery.gallery import open_gallery
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.metadata import Filter
from person_reid.serve import operations
from person_reid.serve.access import read_tokens
from person_reid.serve.app import create_app
from person_reid.serve.openapi import SCHEMAS, openapi_document
from person_reid.serve.operations import ALL_OPERATIONS
from person_reid.serve.parameters import PARAMETERS
from person_reid.serve.problems import Problem, as_problem
from person_reid.serve.service import Service
from person_reid.serve.uploads import remove_unlisted, upload_folder
from person_reid.serve.usage import JsonLines
from tests.serve.conftest import EACH_ENGINE, LIMITS, picture, sent
from tests.support.camera_tracks import STAYS, fill
from tests.support.dictionary_gallery import DictionaryGallery

RED, GREEN, BLUE = (picture(color) for color in ("red", "green", "blue"))


class Door:
    """A live camera that is well."""

    def states(self):
        return {"1": ""}

    def try_again(self, camera):
        assert camera == "1"

    def reread(self):
        pass


def add(client, content, **facts):
    return client.post("/v1/images", params=facts, **sent(content)).json()["images"][0]


def fits(value, schema):
    """Return whether a value is what a schema says; as much of JSON Schema as the service uses."""
    if "$ref" in schema:
        return fits(value, SCHEMAS[schema["$ref"].rpartition("/")[2]])
    kinds: dict[str, Any] = {
        "object": dict, "array": list, "string": str, "boolean": bool, "null": type(None),
        "integer": int, "number": (int, float),
    }  # fmt: skip
    allowed = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not any(isinstance(value, kinds[kind]) for kind in allowed):
        return False
    if isinstance(value, list):
        return all(fits(each, schema["items"]) for each in value)
    if isinstance(value, dict):
        known, further = schema["properties"], schema["additionalProperties"]
        named = {*schema["required"]} <= {*value} and (further or {*value} <= {*known})
        return named and all(fits(value[name], known[name]) for name in known if name in value)
    return True


@EACH_ENGINE
def test_an_image_that_was_added_is_found_named_and_forgotten(client, tmp_path):
    anna = add(client, RED, identity="Anna", camera="1", time="2026-11-01T08:30Z", where="store=3")
    bob = add(client, BLUE, identity="Bob", camera="2")
    assert anna["store"] == "3"
    assert anna["time"] == "2026-11-01 08:30:00Z"

    (query,) = client.post("/v1/search", params={"k": 1}, **sent(RED)).json()["queries"]
    assert query["known"] is None
    assert query["matches"][0]["id"] == anna["id"]
    answer = client.post("/v1/search", params={"camera": "2", "threshold": 0.99}, **sent(RED))
    (query,) = answer.json()["queries"]
    assert query["known"] is False
    assert [each["id"] for each in query["matches"]] == [bob["id"]]

    (person,) = client.post("/v1/identify", params={"threshold": 0.9}, **sent(BLUE)).json()[
        "people"
    ]
    assert person["identity"] == "Bob"
    assert person["second"] == "Anna"
    assert client.get("/v1/people").json() == {"people": ["Anna", "Bob"]}

    asked = client.post("/v1/people/rename", json={"identity": "Bob", "to": "Anna"})
    assert asked.status_code == 409
    assert "merge=true" in asked.json()["detail"]
    for asked in (
        client.patch(f"/v1/images/{bob['id']}", json={"identity": "ANNA"}),
        client.post("/v1/images", params={"identity": "ANNA"}, **sent(GREEN)),
    ):
        assert asked.status_code == 409
        assert "Somebody is called 'Anna' already" in asked.json()["detail"]
    asked = client.post("/v1/people/rename", json={"identity": "Eve", "to": "Ben"})
    assert asked.status_code == 404
    assert asked.json()["detail"] == "Nobody is called 'Eve'."
    asked = client.post("/v1/people/rename", json={"identity": "Bob", "to": "Ben"})
    assert asked.json() == {"images": 1}
    facts = {"camera": "7", "identity": "Ben"}
    changed = client.patch(f"/v1/images/{bob['id']}", json=facts).json()
    assert changed["identity"] == "Ben"
    assert changed["camera"] == "7"

    assert len([*tmp_path.glob("*.crops/uploads/*.png")]) == 2
    assert client.delete(f"/v1/images/{anna['id']}").json() == {"images": 1}
    assert client.get(f"/v1/images/{anna['id']}").status_code == 404
    assert client.delete("/v1/images", params={"identity": "Ben"}).json() == {"images": 1}
    assert client.get("/v1/images").json() == {"images": [], "next": None}
    assert not [*tmp_path.glob("*.crops/**/*.png")]

    refused = client.post("/v1/images", **sent(RED))
    assert refused.status_code == 409
    assert not [*tmp_path.glob("*.crops/**/*.png")]
    assert add(client, RED, allow_forgotten="true")["id"] == anna["id"]
    audit = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    actions = ["add", "add", "rename", "name", "forget", "forget"]
    assert [line["action"] for line in audit] == actions
    assert {line["images"] for line in audit} == {1}
    assert {line.get("identity") for line in audit} | {line.get("to") for line in audit} == {None}


@EACH_ENGINE
def test_what_was_acknowledged_is_in_the_index(client, address):
    add(client, RED, identity="Anna")
    assert add(client, RED, identity="Anna") == add(client, picture("red", "BMP"))
    index = open_gallery(address)
    ((path, about),) = [image for images in index.images() for image in images]
    assert about.identity == "Anna"
    assert path.is_file()
    assert not index.missing([path])


@pytest.mark.parametrize("address", ["postgres"], indirect=True)
def test_while_the_database_is_away_nobody_is_told_where_it_was(client, address, postgres_server):
    add(client, RED, identity="Anna")
    asked = [
        partial(client.get, "/v1/health/ready"),
        partial(client.get, "/v1/images"),
        partial(client.post, "/v1/images", **sent(BLUE)),
        partial(client.delete, "/v1/images", params={"identity": "Anna"}),
    ]
    postgres_server.kill()
    try:
        answers = [ask() for ask in asked]
    finally:
        postgres_server.start()
    for answer in answers:
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert str(postgres_server.port) not in answer.text
        assert "127.0.0.1" not in answer.text
    assert [ask().status_code for ask in asked] == [200] * 4


@pytest.mark.parametrize("address", ["postgres"], indirect=True)
def test_a_locked_table_ends_a_service_no_later(service, address):
    gallery: Any
    with closing(open_gallery(address)) as gallery:
        gallery.add(["1.jpg"], np.eye(1, 6), None, [""])
        asyncio.run(service.galleries.read(len))
        with gallery._transaction() as cursor, ThreadPoolExecutor() as pool:
            cursor.execute(f'LOCK TABLE "{gallery.name}_images" IN ACCESS EXCLUSIVE MODE')
            asking = pool.submit(asyncio.run, service.galleries.read(len))
            time.sleep(0.2)
            began = time.monotonic()
            service.close()
            assert time.monotonic() - began < 20
            with pytest.raises(StoreAway):
                asking.result()


@pytest.mark.parametrize("address", ["postgres"], indirect=True)
def test_services_share_a_database(client, service, address):
    """What one adds, the other finds; what one forgets, the other shows to nobody."""
    anna = add(client, RED, identity="Anna")
    other = Service(address, service.embedder, service.access, LIMITS, 4)
    with TestClient(create_app(other), headers=client.headers) as second:
        (query,) = second.post("/v1/search", **sent(RED)).json()["queries"]
        (match,) = query["matches"]
        assert {**match, **anna} == match
        assert second.get(f"/v1/images/{anna['id']}/picture").status_code == 200
        assert second.patch(f"/v1/images/{anna['id']}", json={"camera": "7"}).status_code == 200
        assert client.get(f"/v1/images/{anna['id']}").json()["camera"] == "7"
        assert client.delete("/v1/images", params={"identity": "Anna"}).json() == {"images": 1}
        assert second.post("/v1/search", **sent(RED)).json()["queries"][0]["matches"] == []
        assert second.get(f"/v1/images/{anna['id']}/picture").status_code == 404
        assert second.get("/v1/people").json() == {"people": []}
        assert second.post("/v1/images", **sent(RED)).status_code == 409  # it was forgotten


def test_a_gallery_that_is_not_a_file_keeps_no_images():
    with pytest.raises(Problem, match="This gallery keeps no images") as refused:
        upload_folder(DictionaryGallery("memory://people"))
    assert refused.value.status == 409


@EACH_ENGINE
def test_an_image_without_a_name_and_a_time_has_that_of_its_arrival(client):
    """So --retain forgets it; somebody who is enrolled by name stays."""
    first = add(client, RED)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", first["time"])
    assert add(client, RED) == first  # the same image is added once
    assert "time" not in add(client, BLUE, identity="Anna")


def test_a_picture_is_as_small_as_somebody_needs_it(client):
    image = add(client, picture("red", "PNG", (300, 600)))
    for asked, size in (({}, (300, 600)), ({"size": 128}, (64, 128)), ({"size": 900}, (300, 600))):
        answer = client.get(f"/v1/images/{image['id']}/picture", params=asked)
        with Image.open(io.BytesIO(answer.content)) as shown:
            assert shown.size == size


def test_who_identifies_where_nobody_has_a_name_is_told_so_without_a_command(client):
    add(client, RED)
    answer = client.post("/v1/identify", **sent(RED))
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("Nobody has a name here.")


def test_images_come_in_pages(client):
    ids = [add(client, picture((10 * i, 0, 0)))["id"] for i in range(5)]
    first = client.get("/v1/images", params={"limit": 3}).json()
    second = client.get("/v1/images", params={"limit": 3, "start": first["next"]}).json()
    assert second["next"] is None
    assert [each["id"] for each in first["images"] + second["images"]] == ids


def test_nobody_gets_a_name_that_is_nearly_anothers_or_has_spaces_around_it(client):
    for content, name in ((RED, "Anna"), (GREEN, "Bob")):
        image = add(client, content, identity=name)
    for new in ("anna", " Bob", "Bob ", " "):
        asked = {"identity": "Bob", "to": new}
        assert client.post("/v1/people/rename", json=asked).status_code in (400, 409)
        described = client.patch(f"/v1/images/{image['id']}", json={"identity": new})
        assert described.status_code in (400, 409)
        params = {"camera": "7"}
        assert client.patch("/v1/images", params=params, json={"identity": " "}).status_code == 400
    assert client.get("/v1/people").json() == {"people": ["Anna", "Bob"]}
    asked = {"identity": "Bob", "to": "bob"}  # nearly the own name
    assert client.post("/v1/people/rename", json=asked).json() == {"images": 1}


def test_a_head_of_events_listens_to_nothing(client, service):
    answer = client.head("/v1/events")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert service.events.followers == 0


@EACH_ENGINE
def test_a_page_begins_where_the_one_before_ended_whatever_changed_meanwhile(client):
    ids = [add(client, picture((10 * i, 0, 0)), camera=str(i % 2))["id"] for i in range(6)]

    def page(start="", **more):
        answer = client.get("/v1/images", params={"limit": 2, "start": start, **more})
        return answer.json() | {"ids": [each["id"] for each in answer.json().get("images", [])]}

    first = page()
    assert client.delete(f"/v1/images/{ids[0]}").json() == {"images": 1}
    new = add(client, picture("blue"))["id"]
    second = page(first["next"])
    third = page(second["next"])
    assert (second["ids"], third["ids"]) == (ids[2:4], ids[4:])
    assert page(third["next"])["ids"] == [new]
    odd = page(camera="1")
    assert (odd["ids"], page(odd["next"], camera="1")["ids"]) == ([ids[1], ids[3]], [ids[5]])
    assert add(client, picture((10, 0, 0)))["id"] == ids[1] == first["ids"][-1]  # added again
    assert page(first["next"])["ids"] == ids[2:4]
    client.delete(f"/v1/images/{ids[1]}")
    assert page(first["next"])["ids"] == ids[2:4]
    for wrong in (ids[1], "1", "x"):
        assert page(wrong)["status"] == 404
    assert client.get("/v1/sightings", params={"camera": "1", "start": "x"}).status_code == 404


@EACH_ENGINE
def test_a_time_is_cleared_and_then_in_no_period(client):
    image = add(client, RED, time="2026-11-01T08:30Z")
    cleared = client.patch(f"/v1/images/{image['id']}", json={"time": ""})
    assert (cleared.status_code, cleared.json().get("time")) == (200, None)
    for period in ({"after": "2020-01-01"}, {"before": "2030-01-01"}):
        assert client.get("/v1/images", params=period).json()["images"] == []
    assert client.delete("/v1/images", params={"before": "2030-01-01"}).json() == {"images": 0}


def test_an_image_that_another_program_forgets_while_it_is_added_is_refused(
    client, address, monkeypatch
):
    """The program forgets it after it was checked; its file is there from before."""
    check = operations.not_forgotten

    def forgotten_meanwhile(gallery, paths, allowed):
        checked = check(gallery, paths, allowed)
        with closing(SearchIndex(address)) as other:
            assert other.forget_at_once(Filter(camera="1"), "camera") == 1
        return checked

    add(client, RED, camera="1")
    with monkeypatch.context() as patch:
        patch.setattr(operations, "not_forgotten", forgotten_meanwhile)
        answer = client.post("/v1/images", **sent(RED))
    assert (answer.status_code, answer.json()["detail"][-14:]) == (409, "Send it again.")
    assert client.get("/v1/images").json()["images"] == []
    again = client.post("/v1/images", **sent(RED))
    assert (again.status_code, "allow_forgotten" in again.json()["detail"]) == (409, True)


def test_a_folder_of_images_belongs_to_one_gallery(client, service, tmp_path):
    """A copy of the index, under another name, has the same folder."""
    image = add(client, RED)
    copy = str(tmp_path / "people.copy")
    other = Service(copy, service.embedder, service.access, LIMITS, 4)
    with TestClient(create_app(other), headers=client.headers) as second:
        refused = second.post("/v1/images", **sent(BLUE))
        assert refused.status_code == 409
        assert "belongs to another gallery" in refused.json()["detail"]
        with pytest.MonkeyPatch.context() as patch, closing(SearchIndex(copy)) as index:
            patch.setattr("person_reid.serve.uploads.LONGEST_ADDITION", -60)
            remove_unlisted(index)
    assert client.get(f"/v1/images/{image['id']}/picture").status_code == 200


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER   "])
def test_the_scheme_of_a_token_has_no_case(client, scheme):
    token = "read" * 4
    for sent_token, status in ((token, 200), (f"{token}x", 401), ("", 401)):
        headers = {"Authorization": f"{scheme}{sent_token}"}
        assert client.get("/v1/people", headers=headers).status_code == status
    assert client.get("/v1/people", headers={"Authorization": token}).status_code == 401


def test_sightings_come_in_pages_that_forgetting_does_not_shift(client):
    for hour in range(5):
        add(client, picture((10 * hour, 0, 0)), camera="1", time=f"2026-11-01T0{hour}:00Z")

    def page(start=""):
        asked = {"camera": "1", "limit": 2, "start": start}
        return client.get("/v1/sightings", params=asked).json()

    first = page()
    earliest, last = (each["images"][0] for each in first["sightings"])
    client.delete(f"/v1/images/{earliest}")
    second = page(first["next"])
    third = page(second["next"])
    assert [len(each["sightings"]) for each in (second, third)] == [2, 1]
    assert third["next"] is None
    shown = [each["first"] for some in (first, second, third) for each in some["sightings"]]
    assert shown == sorted({*shown})
    client.delete(f"/v1/images/{last}")
    assert page(first["next"])["status"] == 404


def test_a_picture_is_that_of_the_gallery_alone(client, tmp_path):
    image = add(client, GREEN)
    answer = client.get(f"/v1/images/{image['id']}/picture")
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.content[:2] == b"\xff\xd8"
    secret = tmp_path / "secret.png"
    secret.write_bytes(RED)
    for path in (str(secret), "/etc/passwd", "../secret.png"):
        other = base64.urlsafe_b64encode(path.encode()).decode().rstrip("=")
        assert client.get(f"/v1/images/{other}/picture").status_code == 404


@pytest.mark.parametrize("operation", ALL_OPERATIONS, ids=lambda operation: operation.name)
def test_a_token_allows_what_its_role_does(client, service, operation):
    service.end_streams()
    order, address = ["read", "write", "forget"], operation.path.replace("{id}", "x")
    for role in (None, "wrong", *order):
        token = {"Authorization": f"Bearer {(role or 'none') * 4}"}
        answer = client.request(operation.method, address, headers=token)
        if not operation.role:
            assert answer.status_code == 200
        elif role not in order:
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
        elif order.index(role) < order.index(operation.role):
            assert answer.status_code == 403
        else:
            assert answer.status_code not in (401, 403)
            assert answer.status_code < 500


def test_too_many_requests_of_a_token_wait(client, service):
    service.access._per_minute = 3
    answers = [client.get("/v1/people") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 61


def bomb():
    """Return a PNG of two gigapixels in a few bytes."""
    head = struct.pack(">IIBBBBB", 50_000, 40_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    )


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
FORM = {"content-type": "multipart/form-data; boundary=x"}
NO_BOUNDARY = {"content-type": "multipart/form-data"}
UNNAMED_PART = (
    b'--x\r\nContent-Disposition: form-data; name="image"\r\n'
    b"Content-Type: image/jpeg\r\n\r\n\xff\xd8\r\n--x--\r\n"
)
HOSTILE = {
    "text": (422, {"files": {"image": b"not an image"}}),
    "nothing": (422, {"files": {"image": b""}}),
    "svg": (422, sent(SVG)),
    "bomb": (422, sent(bomb())),
    "cut": (422, sent(picture("red", "JPEG", (64, 128))[:300])),
    "one of two": (422, sent(RED, SVG)),
    "large": (413, {"content": b"x" * 1_000_001, "headers": {"content-type": "image/png"}}),
    "many": (413, sent(*[RED] * 9)),
    "form without end": (400, {"content": b"--x\r\nContent-Dis", "headers": FORM}),
    "form without boundary": (400, {"content": b"", "headers": NO_BOUNDARY}),
    "field": (400, {"data": {"image": "x"}, "files": {}, "headers": FORM}),
    "part without file name": (400, {"content": UNNAMED_PART, "headers": FORM}),
    "json": (415, {"json": {"image": "x"}}),
    "control": (400, {"params": {"identity": "An\x1b[2Jna"}, **sent(RED)}),
    "html and time": (400, {"params": {"time": "<b>now</b>"}, **sent(RED)}),
    "blank name": (400, {"params": {"identity": "  "}, **sent(RED)}),
    "unknown": (400, {"params": {"idenity": "Anna"}, **sent(RED)}),
    "twice": (400, {"params": [("camera", "1"), ("camera", "2")], **sent(RED)}),
    "long": (400, {"params": {"camera": "x" * 501}, **sent(RED)}),
}  # fmt: skip


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\0\0\0\x20ftypheic\0\0\0\0mif1heicmiaf", "HEIC is not read. Convert it to JPEG"),
        (SVG, "not an image of a known format"),
    ],
)
def test_why_an_image_is_not_read_is_said_in_words(content, said, client, tmp_path):
    assert client.post("/v1/images", **sent(content)).json()["detail"] == f"image 1: {said}"
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UserError, match=f"a.jpg: {said}"):
        [*decode([tmp_path / "a.jpg"], partial(load_image, height=8, width=8))]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_upload_is_refused_in_one_line_and_leaves_no_file(client, tmp_path, name):
    status, request = HOSTILE[name]
    answer = client.post("/v1/images", **request)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]
    assert "\n" not in answer.json()["detail"]
    assert not [*tmp_path.glob("people.crops/**/*")]


@pytest.mark.parametrize("value", [None, 1, {}, ["Anna"], True])
def test_what_is_said_of_an_image_is_text(client, value):
    image = add(client, RED, identity="Anna")
    for name in ("identity", "track"):
        answer = client.patch(f"/v1/images/{image['id']}", json={name: value})
        assert answer.status_code == 400
        assert answer.json()["detail"] == f"{name}: expected a text."
    assert client.get(f"/v1/images/{image['id']}").json() == image
    merging = {"identity": "Anna", "to": "Ann", "merge": "no" if value is None else [value]}
    assert client.post("/v1/people/rename", json=merging).status_code == 400


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"features": [[1, 2, 3, 4, 5, 6]]}', 200),
        (b'{"features": [[1, 2]]}', 422),
        (b'{"features": [[NaN, 2, 3, 4, 5, 6]]}', 422),
        (b'{"features": "x"}', 422),
        (b'{"feature": []}', 400),
        (b"[" * 100_000, 400),
        (b"\xff\xfe", 400),
    ],
)
def test_features_are_asked_for_as_json(client, body, status):
    add(client, RED, identity="Anna")
    for question in ("search", "identify"):
        headers = {"content-type": "application/json"}
        assert client.post(f"/v1/{question}", content=body, headers=headers).status_code == status


@EACH_ENGINE
def test_a_search_gives_the_numbers_of_the_index(client, service, tmp_path, address):
    for content in (RED, GREEN, BLUE):
        add(client, content)
    (feature,) = client.post("/v1/embed", **sent(picture((200, 30, 90)))).json()["features"]
    (query,) = client.post("/v1/search", json={"features": [feature]}).json()["queries"]
    (expected,) = open_gallery(address).search(np.array([feature]), 10)
    found = [each["similarity"] for each in query["matches"]]
    assert found == [each.similarity for each in expected]


@EACH_ENGINE
def test_the_document_describes_the_answers(client, service, tmp_path, address):
    service.watch_cameras(Door())
    for camera in STAYS:
        fill(open_gallery(address), tmp_path, camera, faces=np.eye(6))
    document = client.get("/v1/openapi.json").json()
    assert document == json.loads(json.dumps(openapi_document()))
    described = {
        (method.upper(), path) for path, each in document["paths"].items() for method in each
    }
    assert described == {(each.method, each.path) for each in ALL_OPERATIONS}
    image = add(client, RED, identity="Anna", where="store=3")
    service.end_streams()
    requests = {
        "embed": sent(RED), "search": sent(RED), "identify": sent(RED), "add_images": sent(BLUE),
        "describe_image": {"json": {"camera": "2"}},
        "describe_images": {"json": {"camera": "2"}, "params": {"identity": "Anna"}},
        "list_sightings": {"params": {"camera": "2"}},
        "try_live": {"json": {"camera": "1"}}, "show_live": {"params": {"camera": "1"}},
        "rename_person": {"json": {"identity": "Anna", "to": "Ann"}},
        "forget": {"params": {"camera": "9"}},
    }  # fmt: skip
    for operation in ALL_OPERATIONS:
        place = operation.path.replace("{id}", image["id"])
        answer = client.request(operation.method, place, **requests.get(operation.name, {}))
        content = document["paths"][operation.path][operation.method.lower()]["responses"]["200"]
        ((media, described),) = content["content"].items()
        assert answer.headers["content-type"].startswith(media), operation
        assert str(tmp_path) not in answer.text, operation  # clients learn no folder
        if media == "application/json":
            assert fits(answer.json(), described["schema"]), operation
        if operation.name == "forget_image":
            add(client, RED, identity="Anna", allow_forgotten="true")


def examples(described):
    """Yield (parameters, {argument of client.request: body}) of each example of an operation."""
    for parameter in described["parameters"]:
        if "example" in parameter:
            value = parameter["example"]
            yield {parameter["name"]: "true" if value is True else value}, {}
    for body in described.get("requestBody", {}).get("content", {}).values():
        if "example" in body:
            yield {}, {"json": body["example"]}
        for each in body.get("examples", {}).values():
            if "value" in each:
                yield {}, {"json": each["value"]}
            else:
                with urlopen(each["externalValue"]) as file:
                    headers = {"content-type": file.headers["content-type"]}
                    yield {}, {"content": file.read(), "headers": headers}


@pytest.mark.parametrize(
    "name", [name for name in PARAMETERS if "minimum" in PARAMETERS[name].schema]
)
def test_a_number_has_the_limits_of_its_schema(name):
    parameter = PARAMETERS[name]
    least, most = parameter.schema["minimum"], parameter.schema["maximum"]
    assert [parameter.read(str(limit)) for limit in (least, most)] == [least, most]
    for beyond in (least - 1, most + 1):
        with pytest.raises(ValueError, match="expected"):
            parameter.read(str(beyond))


def test_every_example_of_the_document_is_answered(client, service, tmp_path):
    service.watch_cameras(Door())
    service.end_streams()
    for camera in STAYS:
        fill(SearchIndex(tmp_path / "people.index"), tmp_path, camera, faces=np.eye(6))
    anna = {
        name: PARAMETERS[name].example for name in ("identity", "camera", "track", "time", "where")
    }
    bodies = dict.fromkeys(("embed", "search", "identify", "add_images"), sent(BLUE))
    bodies["describe_images"] = {"json": {"camera": "1"}}
    needed = {"describe_images": {"camera": "1"}, "list_sightings": {"camera": "1"}}
    needed |= {"add_images": {"allow_forgotten": "true"}, "show_live": {"camera": "1"}}
    answered = set()
    for path, methods in openapi_document()["paths"].items():
        for method, described in methods.items():
            name = described["operationId"]
            shown = [each for each in described["parameters"] if "example" in each]
            assert all(fits(each["example"], each["schema"]) for each in shown), name
            for parameters, body in examples(described):
                image = add(client, RED, allow_forgotten="true", **anna)
                request = {
                    "params": needed.get(name, {}) | parameters,
                    **(body or bodies.get(name, {})),
                }
                answer = client.request(method, path.replace("{id}", image["id"]), **request)
                assert answer.status_code == 200, (name, request, answer.text)
                answered.add(name)
    assert answered == {each.name for each in ALL_OPERATIONS if each.takes or each.sends}


def test_an_unknown_address_and_a_fault_are_problems(client, service, monkeypatch, caplog):
    for method, path in (("GET", "/v2"), ("PUT", "/v1/people")):
        answer = client.request(method, path)
        assert answer.status_code in (404, 405)
        assert "/v1/openapi.json" in answer.json()["detail"]
    for path, methods in openapi_document()["paths"].items():
        allowed = client.options(path).headers["allow"].split(", ")
        assert {*allowed} - {"HEAD"} == {*map(str.upper, methods)}
    assert client.head("/v1/people").status_code == 200
    monkeypatch.setattr(service.galleries, "read", lambda _: 1 / 0)
    answer = client.get("/v1/people")
    assert answer.status_code == 500
    assert "division" not in answer.text
    assert "division" in caplog.text
    (record,) = [each for each in caplog.records if each.exc_info]
    assert "ZeroDivisionError" in json.loads(JsonLines().format(record))["traceback"]


def test_an_index_that_was_replaced_is_opened_again(client, tmp_path):
    add(client, RED)
    assert client.get("/v1/health/ready").json()["images"] == 1
    for path in tmp_path.glob("people.index*"):
        path.unlink()
    client.post("/v1/images", **sent(BLUE))
    add(client, BLUE)
    answers = [client.get("/v1/images").json() for _ in range(4)]
    assert [len(each["images"]) for each in answers[-2:]] == [1, 1]


def test_errors_name_files_without_their_folders():
    told = as_problem(
        UserError("/srv/a b/p.index: '/var/x/1.jpg' and C:\\x\\2.txt. Or: python tools/search.py"),
        "/srv/a b/p.index",
    ).detail
    assert told == "p.index: '1.jpg' and 2.txt. Or: python tools/search.py"
    said = "GET /v1/images: %s: damaged. %s", ("/srv/a b/p.index", "'/var/x/1.jpg'")
    record = logging.LogRecord("person_reid", logging.ERROR, "", 0, *said, None)
    line = json.loads(JsonLines().format(record))
    assert line["message"] == "GET /v1/images: p.index: damaged. '1.jpg'"


def test_a_message_about_a_damaged_image_names_no_folder(client, service):
    with closing(SearchIndex(service.galleries.address)) as index:
        index.add(["/home/anna smith/my photos/1.jpg"], np.eye(1, 6))
        index.store.db.rows("UPDATE images SET camera = x'ff'")
    answer = client.get("/v1/images")
    assert answer.status_code == 500
    assert "1.jpg" in answer.json()["detail"]
    assert not any(word in answer.text for word in ("home", "anna", "smith", "photos"))


def test_tokens_are_read_from_a_file(tmp_path):
    file = tmp_path / "tokens.txt"
    file.write_text(f"# cameras\nwrite {'a' * 16}\n\nread  {'b' * 20}\n")
    assert read_tokens(file) == {"a" * 16: "write", "b" * 20: "read"}
    for text, line in (("admin " + "a" * 16, 1), ("read short", 1), (f"read {'a' * 16}\nx", 2)):
        file.write_text(text)
        with pytest.raises(
            UserError, match=rf"tokens.txt, line {line}: expected one of read, write"
        ):
            read_tokens(file)
    file.write_text(f"read {'a' * 16}\nforget {'a' * 16}\n")
    with pytest.raises(UserError, match="line 2: the token of an earlier line"):
        read_tokens(file)
    file.write_text("# none\n")
    with pytest.raises(UserError, match=re.escape("no tokens in it")):
        read_tokens(file)
