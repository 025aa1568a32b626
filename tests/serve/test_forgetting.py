"""What was forgotten is in no file and no feed of a service, whatever readers and clients do."""

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from person_reid.config.serve import ServiceLimits
from person_reid.gallery import index as index_module
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.metadata import About
from person_reid.serve import service as module
from person_reid.serve.app import create_app
from person_reid.serve.feeds import Events
from person_reid.serve.service import Service
from tests.serve.conftest import picture, sent

NAME = "Wilhelmina"


def wait_until(check):
    end = time.monotonic() + 20
    while not check():
        assert time.monotonic() < end
        time.sleep(0.02)


def files_with(name, folder):
    return [
        path.name for path in folder.glob("people.index*") if name.encode() in path.read_bytes()
    ]


def test_a_deletion_completes_itself_after_the_client_was_told_to_wait(service, tmp_path):
    limits = ServiceLimits(timeout=1, readers=1)
    hurried = Service(service.galleries.address, service.embedder, service.access, limits, 4)
    token = {"Authorization": f"Bearer {'forget' * 4}"}
    with TestClient(create_app(hurried), headers=token) as client:
        client.post("/v1/images", params={"identity": NAME}, **sent(picture("red")))
        client.post("/v1/images", **sent(picture("blue")))
        with closing(sqlite3.connect(tmp_path / "people.index", isolation_level=None)) as reader:
            reader.execute("BEGIN")
            assert reader.execute("SELECT count(*) FROM images").fetchone() == (2,)
            answer = client.delete("/v1/images", params={"identity": NAME})
            assert answer.status_code == 503
            assert files_with(NAME, tmp_path)
            reader.execute("COMMIT")
        wait_until(lambda: not files_with(NAME, tmp_path))


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux says what is mapped")
def test_no_thread_keeps_a_deleted_file_of_lists(service, client, tmp_path, monkeypatch):
    pytest.importorskip("faiss")
    monkeypatch.setattr(index_module, "MOST_COMPARED", 500)
    features = np.random.default_rng(0).normal(size=(1000, 6)).astype(np.float32)
    names = [f"{number}.jpg" for number in range(len(features))]
    with closing(SearchIndex(tmp_path / "people.index")) as index:
        index.add(names, features, dict.fromkeys(names[:700], About(NAME)))
        index.prepare()
    for _ in range(4):
        client.post("/v1/search", params={"k": 3}, json={"features": features[:1].tolist()})

    def mapped():
        lines = Path("/proc/self/maps").read_text().splitlines()
        return [line for line in lines if ".lists" in line and str(tmp_path) in line]

    assert mapped()
    assert client.delete("/v1/images", params={"identity": NAME}).json() == {"images": 700}
    wait_until(lambda: not mapped())


def test_a_listener_who_is_behind_gets_no_event_from_before_a_deletion():
    async def listen():
        events = Events(2)
        listener = await events.listen("0")
        for name in ("Anna", NAME):
            events.tell("appeared", {"name": name})
        texts = [await anext(listener) for _ in range(2)]
        events.forget()
        events.close()
        return b"".join(texts + [text async for text in listener]).decode()

    text = asyncio.run(listen())
    assert "Anna" in text
    assert NAME not in text


def test_a_clock_that_jumps_ahead_forgets_nothing_for_an_hour(service, client, monkeypatch, caplog):
    client.post("/v1/images", params={"camera": "door"}, **sent(picture("red")))
    client.portal.call(service._forget_old, "30d")
    assert not caplog.text
    monkeypatch.setattr(module, "ago", lambda age: "2999-01-01 00:00:00Z")
    now = time.time() + 1e9
    monkeypatch.setattr(module.time, "time", lambda: now)
    client.post("/v1/images", params={"time": "2999-02-01"}, **sent(picture("blue")))
    for count, remark in ((2, "it has jumped"), (1, "1 images forgotten")):
        with caplog.at_level("INFO"):
            client.portal.call(service._forget_old, "30d")
        assert client.get("/v1/health/ready").json()["images"] == count
        assert remark in caplog.text
