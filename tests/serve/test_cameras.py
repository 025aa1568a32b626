"""Live cameras of a service: who appears is told, stored, found, named and forgotten."""

import json
import threading
import time
from contextlib import closing
from typing import Any

import pytest

pytest.importorskip("starlette")

from starlette.testclient import TestClient

from benchmarks.support.walks import FRAMES, draw_frame, find_by_colour
from person_reid.config.serve import CameraOptions
from person_reid.data.video.streams import Streams
from person_reid.errors import UserError
from person_reid.gallery.gallery import open_gallery
from person_reid.serve.app import create_app
from person_reid.serve.cameras import LiveCameras
from tests.serve.conftest import EACH_ENGINE, picture, sent

CAMERAS = {"door": "a.mp4", "till": "b.mp4"}


def walk(address, every):
    """The walk of two people, at ten frames a second."""
    return ((draw_frame(number), number / 10) for number in range(1, FRAMES + 1))


@pytest.fixture
def open_client(service):
    """Return a client of the service with cameras that a function reads."""

    def opened(read, addresses=CAMERAS, find=find_by_colour):
        words = [f"{name}={place}" for name, place in addresses.items()]
        options = CameraOptions(camera=tuple(words))
        streams = Streams(options.addresses, most_waiting=FRAMES, read=read, wait=lambda _: None)
        with closing(open_gallery(service.galleries.address)) as index:
            cameras = LiveCameras(service, index, streams, find, options)
        token = {"Authorization": f"Bearer {'forget' * 4}"}
        return TestClient(create_app(service, cameras), headers=token)

    return opened


def told(service, count):
    """The kinds and data of the events, once there are so many."""
    until = time.monotonic() + 20
    while len(service.events._kept) < count and time.monotonic() < until:
        time.sleep(0.02)
    texts = [text.decode().strip().split("\n") for _, text in service.events._kept]
    found = [(kind.removeprefix("event: "), json.loads(data[6:])) for _, kind, data in texts]
    assert len(found) >= count
    return found


@EACH_ENGINE
def test_who_appears_is_told_stored_and_known_again(service, open_client, tmp_path):
    with open_client(walk) as client:
        found = told(service, 4)
        service.events.close()
        answer = client.get("/v1/events", headers={"Last-Event-ID": "0"})
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.text.count("event: appeared\n") == 4
        assert {kind for kind, _ in found} == {"appeared"}
        who = {(each["camera"], each["track"]): each["person"] for _, each in found}
        assert who["door", "1"] == who["till", "1"] != who["door", "2"] == who["till", "2"]
        assert {*who.values()} == {"person 0001", "person 0002"}
        for _, each in found:
            assert each["name"] is None
            assert each["corrected_from"] is None
            assert client.get(f"/v1/images/{each['image']}/picture").status_code == 200
            about = client.get(f"/v1/images/{each['image']}").json()
            assert about["identity"] == each["person"]
            assert about["camera"] == each["camera"]
        asked = {"identity": "person 0001", "to": "Anna"}
        assert client.post("/v1/people/rename", json=asked).json()["images"] > 4
        assert client.delete("/v1/images", params={"identity": "person 0002"}).json()["images"] > 4


@EACH_ENGINE
def test_names_and_numbers_outlive_the_service(service, open_client):
    with open_client(walk) as client:
        told(service, 4)
        client.post("/v1/people/rename", json={"identity": "person 0002", "to": "Anna"})
    service.events._kept.clear()
    again = type(service)(
        service.galleries.address, service.embedder, service.access, service.limits, 4
    )
    service.__dict__.update(again.__dict__)
    with open_client(walk, {"yard": "c.mp4"}):
        found = told(service, 2)
    assert {(each["person"], each["name"]) for _, each in found} == {
        ("person 0001", None),
        ("Anna", "Anna"),
    }


def test_who_is_forgotten_has_no_name_from_then_on(service, open_client):
    """Also within the seconds for which cameras use the names that they have read."""
    with open_client(walk, {"door": "a.mp4"}) as client:
        told(service, 2)
        client.post("/v1/people/rename", json={"identity": "person 0001", "to": "Anna"})
    again = type(service)(
        service.galleries.address, service.embedder, service.access, service.limits, 4
    )
    service.__dict__.update(again.__dict__)
    forgotten = threading.Event()

    def walk_twice(address, every):
        yield from walk(address, every)
        assert forgotten.wait(20)
        yield from ((image, 3 + seconds) for image, seconds in walk(address, every))

    with open_client(walk_twice, {"yard": "b.mp4"}) as client:
        assert "Anna" in [event["name"] for _, event in told(service, 2)]
        assert client.delete("/v1/images", params={"identity": "Anna"}).json()["images"]
        forgotten.set()
        assert {event["name"] for _, event in told(service, 2)} == {None}
        assert "Anna" not in client.get("/v1/people").json()["people"]


def test_a_camera_that_fails_is_said_once_and_leaves_the_others_alone(
    service, open_client, caplog, monkeypatch
):
    def read(address, every):
        size = 1 if address == "a.mp4" else 0
        for _, (image, seconds) in zip(range(FRAMES), walk(address, every), strict=False):
            yield (image[:-1] if size else image), seconds

    def find(image):
        if image.shape[0] % 2:  # a frame of the camera at the door
            raise ZeroDivisionError("a lens cap")
        return find_by_colour(image)

    with open_client(read, find=find) as client:
        found = told(service, 2)
        assert {each["camera"] for _, each in found} == {"till"}
        assert client.post("/v1/images", **sent(picture("red"))).status_code == 200
        ready = client.get("/v1/health/ready")
        assert ready.status_code == 200
        assert (ready.json()["cameras"], ready.json()["cameras_in_trouble"]) == (2, 1)
        states = {"camera": "door", "trouble": "a lens cap"}, {"camera": "till", "trouble": ""}
        assert client.get("/v1/live").json()["cameras"] == [*states]
        figures = client.get("/v1/metrics").text
        assert 'person_reid_camera{camera="door"} 0.0' in figures
        assert 'person_reid_camera{camera="till"} 1.0' in figures
        assert client.post("/v1/live", json={"camera": "roof"}).status_code == 404
        asked: list[str] = []
        monkeypatch.setattr(service.cameras, "try_again", asked.append)
        assert client.post("/v1/live", json={"camera": "door"}).status_code == 200
        assert asked == ["door"]
    assert caplog.text.count("its frames cannot be looked at: a lens cap") == 1
    assert "Traceback" in caplog.text


def test_options_of_cameras_need_a_camera():
    options: list[dict[str, Any]] = [{"detector": "x.onnx"}, {"patience": 3.0}]
    for ignored in options:
        with pytest.raises(UserError, match=next(iter(ignored))):
            CameraOptions(**ignored)
    with pytest.raises(UserError, match="Two cameras have one name"):
        CameraOptions(camera=("a=0", "a=1"))
