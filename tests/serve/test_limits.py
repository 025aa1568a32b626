"""What a request may cost: rows, pixels, parameters, threads; and what it costs others: nothing."""

import asyncio
import io
import logging
import sqlite3
import threading
import time
from contextlib import closing, contextmanager

import numpy as np
import pytest
from starlette.testclient import TestClient

from person_reid.config.serve import ServiceLimits
from person_reid.data.images import image_files
from person_reid.gallery.index import SearchIndex
from person_reid.serve import call, operations, requests, track_operations
from person_reid.serve import service as service_module
from person_reid.serve.app import create_app
from person_reid.serve.service import Service
from tests.serve.conftest import LIMITS, picture, sent
from tests.support.camera_tracks import STAYS, fill


def test_rows_of_features_are_as_many_as_images(client):
    client.post("/v1/images", **sent(picture("red")))
    row = [1, 2, 3, 4, 5, 6]
    for count, status in ((8, 200), (9, 413)):
        answer = client.post("/v1/search", json={"features": [row] * count})
        assert answer.status_code == status
    assert "at most 8 features" in answer.json()["detail"]
    assert client.post("/v1/embed", json={"features": [row]}).status_code == 415  # takes images
    assert client.post("/v1/embed", **sent(*[picture("red")] * 8)).status_code == 200
    answer = client.post("/v1/embed", **sent(*[picture("red")] * 9))
    assert (answer.status_code, "at most 8 images" in answer.json()["detail"]) == (413, True)


def test_json_is_bounded_on_its_own(service, tmp_path):
    limits = ServiceLimits(most_megabytes=16, readers=1)
    roomy = Service(service.galleries.address, service.embedder, service.access, limits)
    body = b'{"features": [[' + b"1," * (requests.MOST_JSON // 2) + b"1]]}"
    headers = {"Authorization": f"Bearer {'read' * 4}", "Content-Type": "application/json"}
    with TestClient(create_app(roomy), headers=headers) as client:
        answer = client.post("/v1/search", content=body)
        assert answer.status_code == 413
        assert "4 MB" in answer.json()["detail"]


def test_images_of_a_request_are_decoded_one_by_one_up_to_so_many_pixels(service, monkeypatch):
    limits = ServiceLimits(most_megapixels=1, readers=1)
    small = Service(service.galleries.address, service.embedder, service.access, limits)
    there, most, decoded = 0, 0, []

    @contextmanager
    def opened(content):
        nonlocal there, most
        with image_files.open_content(content) as image:
            there += 1
            most = max(most, there)
            yield image
            there -= 1

    def fit(image):
        decoded.append(image.size)
        return np.zeros((16, 8, 3), np.uint8)

    monkeypatch.setattr(requests, "open_content", opened)
    monkeypatch.setattr(small, "_fit", fit)
    image = picture("red", "PNG", (500, 500))
    with TestClient(create_app(small), headers={"Authorization": f"Bearer {'read' * 4}"}) as client:
        assert client.post("/v1/embed", **sent(*[image] * 4)).status_code == 200
        assert (most, len(decoded)) == (1, 4)
        answer = client.post("/v1/embed", **sent(*[image] * 5))
    assert answer.status_code == 413
    assert answer.json()["detail"] == "Send at most 1 megapixels in a request."
    assert (most, len(decoded)) == (1, 8)  # the fifth was not decoded


def test_a_large_image_is_held_once(service, monkeypatch):
    """A JPEG is decoded at a fraction of its size, and no other photograph is copied."""
    monkeypatch.setattr(image_files, "LARGE", 1000)
    loaded, fit = [], image_files.in_rgb

    def in_rgb(image):
        loaded.append(fit(image))
        assert loaded[-1] is image
        return loaded[-1]

    monkeypatch.setattr(image_files, "in_rgb", in_rgb)
    contents = [picture("red", form, (800, 640)) for form in ("PNG", "JPEG")]
    images = requests.decoded(contents, service._fit, 2)
    assert [image.size for image in loaded] == [(800, 640), (100, 80)]
    assert np.abs(images[0].pixels.astype(int) - images[1].pixels).max() <= 1


def test_large_images_are_decoded_one_at_a_time(monkeypatch):
    monkeypatch.setattr(image_files, "LARGE", 100)
    content = picture("red")

    def decode():
        with image_files.open_content(io.BytesIO(content)):
            pass

    assert image_files._large_one.acquire(timeout=1)
    decoding = threading.Thread(target=decode)
    decoding.start()
    decoding.join(0.2)
    assert decoding.is_alive()
    image_files._large_one.release()
    decoding.join(10)
    assert not decoding.is_alive()


def test_a_filter_names_each_column_once_and_few_of_them(client):
    for store in ("3", "4"):
        color = (60 * int(store), 0, 0)
        client.post("/v1/images", params={"where": f"store={store}"}, **sent(picture(color)))
    twice = [("where", "store=3"), ("where", "store=4")]
    for method, path in (("DELETE", "/v1/images"), ("GET", "/v1/images")):
        answer = client.request(method, path, params=twice)
        assert answer.status_code == 400
        assert answer.json()["detail"] == "where: store is given twice."
    many = [("where", f"a{number}=1") for number in range(500)]
    assert client.get("/v1/images", params=many).status_code == 400
    assert len(client.get("/v1/images").json()["images"]) == 2
    for late in ("9999-12-31T23:00Z", "9999-12-31T23:59:59.5Z"):
        assert client.get("/v1/images", params={"after": late}).status_code in (200, 400)


def test_answers_are_built_and_features_read_outside_the_event_loop(client, monkeypatch):
    client.post("/v1/images", **sent(picture("red")))
    loops = []

    def noting(function):
        def noted(*arguments, **more):
            try:
                asyncio.get_running_loop()
                loops.append(function)
            except RuntimeError:
                pass
            return function(*arguments, **more)

        return noted

    monkeypatch.setattr(operations, "_answer", noting(operations._answer))
    monkeypatch.setattr(call, "sent_features", noting(call.sent_features))
    monkeypatch.setattr(call, "json_object", noting(call.json_object))
    monkeypatch.setattr(call, "JSONResponse", noting(call.JSONResponse))
    for question in ("search", "identify"):
        client.post(f"/v1/{question}", json={"features": [[1, 2, 3, 4, 5, 6]]})
    image = client.get("/v1/images").json()["images"][0]["id"]
    assert client.get(f"/v1/images/{image}/similar").status_code == 200
    assert client.patch(f"/v1/images/{image}", json={"camera": "1"}).status_code == 200
    assert loops == []


def test_a_bad_request_costs_its_own_answer_only(client, service, monkeypatch):
    client.post("/v1/images", **sent(picture("red")))
    assert client.post("/v1/search", json={"features": [[1, 2, 3, 4, 5, 6]]}).status_code == 200
    monkeypatch.setattr(service.galleries, "_open", lambda: pytest.fail("opened again"))
    for bad in ({"features": [[1, 2]]}, {"features": [[0] * 6]}):
        assert client.post("/v1/search", json=bad).status_code == 422
    assert client.post("/v1/search", json={"features": [[1, 2, 3, 4, 5, 6]]}).status_code == 200


def test_tracks_are_linked_up_to_a_number_and_one_question_at_a_time(client, tmp_path, monkeypatch):
    for camera in STAYS:
        fill(SearchIndex(tmp_path / "people.index"), tmp_path, camera, faces=np.eye(6))
    inside: list[None] = []
    most = []
    linked = track_operations._linked

    def counted(*arguments, **more):
        inside.append(None)
        most.append(len(inside))
        answer = linked(*arguments, **more)
        inside.pop()
        return answer

    monkeypatch.setattr(track_operations, "_linked", counted)
    asking = [threading.Thread(target=client.post, args=["/v1/across"]) for _ in range(4)]
    for each in asking:
        each.start()
    for each in asking:
        each.join()
    assert most == [1] * 4
    monkeypatch.setattr(track_operations, "MOST_TRACKS", 2)
    for method in ("POST", "PUT"):
        answer = client.request(method, "/v1/across")
        assert answer.status_code == 413
        assert "at most 2 are linked at once" in answer.json()["detail"]


def test_a_damaged_index_is_the_fault_of_the_server_and_not_ready(service, tmp_path, caplog):
    for path in tmp_path.glob("people.index*"):
        path.unlink()
    (tmp_path / "people.index").write_bytes(b"no index, but something else" * 200)
    headers = {"Authorization": f"Bearer {'read' * 4}"}
    with TestClient(create_app(service), headers=headers) as client:
        for path in ("health/ready", "people"):
            answer = client.get(f"/v1/{path}")
            assert answer.status_code == 500
            assert str(tmp_path) not in answer.text
    assert str(tmp_path / "people.index") in caplog.text  # whoever runs it learns which
    assert any(record.levelno == logging.ERROR for record in caplog.records)


def test_an_index_that_gets_a_trigger_is_the_fault_of_the_server(client, service):
    with closing(SearchIndex(service.galleries.address)) as index:
        index.store.db.rows("CREATE TRIGGER keep AFTER DELETE ON images BEGIN SELECT 1; END")
    answer = client.post("/v1/images", **sent(picture("red")))
    assert answer.status_code == 500
    assert "has triggers" in answer.json()["detail"]


def test_a_service_that_ends_closes_the_gallery_in_every_thread(service, tmp_path):
    headers = {"Authorization": f"Bearer {'write' * 4}"}
    with TestClient(create_app(service), headers=headers) as client:
        assert client.post("/v1/images", **sent(picture("red"))).status_code == 200
        assert (tmp_path / "people.index-wal").exists()
    assert [path.name for path in tmp_path.glob("people.index*")] == ["people.index"]


def test_a_forgetting_that_waits_for_a_reader_lets_others_write(client, tmp_path, monkeypatch):
    monkeypatch.setattr(service_module, "SETTLED_AGAIN", 0.05)
    for color, name in (("red", "Anna"), ("blue", "Bob")):
        client.post("/v1/images", params={"identity": name}, **sent(picture(color)))
    answers = []

    def forget():
        answers.append(client.delete("/v1/images", params={"identity": "Anna"}))

    log_file = tmp_path / "people.index-wal"
    with closing(sqlite3.connect(tmp_path / "people.index", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT path FROM images").fetchall()
        forgetting = threading.Thread(target=forget)
        forgetting.start()
        while client.get("/v1/people").json()["people"] != ["Bob"]:
            time.sleep(0.01)
        for number in range(3):
            began = time.monotonic()
            answer = client.post("/v1/images", **sent(picture((0, 50 * number, 0))))
            assert answer.status_code == 200
            assert time.monotonic() - began < 5
        assert answers == []
        assert log_file.stat().st_size
        reader.execute("COMMIT")
        forgetting.join()
    assert answers[0].json() == {"images": 1}
    assert not log_file.stat().st_size


def test_few_requests_with_images_are_read_at_once(service, monkeypatch):
    tiny = Service(service.galleries.address, service.embedder, service.access, LIMITS)
    tiny.bodies = asyncio.Semaphore(1)
    inside: list[None] = []
    most = []
    embed = tiny.embed

    async def counted(images):
        inside.append(None)
        most.append(len(inside))
        found = await embed(images)
        inside.pop()
        return found

    monkeypatch.setattr(tiny, "embed", counted)
    with TestClient(create_app(tiny), headers={"Authorization": f"Bearer {'read' * 4}"}) as client:
        asking = [
            threading.Thread(target=client.post, args=["/v1/embed"], kwargs=sent(picture("red")))
            for _ in range(4)
        ]
        for each in asking:
            each.start()
        for each in asking:
            each.join()
    assert most == [1] * 4
