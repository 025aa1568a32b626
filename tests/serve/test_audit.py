"""What the audit file says has happened, and what has happened is there."""

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from person_reid.config.serve import ServiceLimits
from person_reid.gallery.forgetting import forgettings
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.metadata import Filter
from person_reid.serve import service as module
from person_reid.serve.app import create_app
from person_reid.serve.audit import Audit
from person_reid.serve.service import Service
from tests.serve.conftest import picture, sent


def lines(file):
    """What the audit file says."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_change_that_outlasts_the_timeout_is_recorded_when_it_is_made(service, client, tmp_path):
    for name, color in (("Anna", "red"), ("Bob", "blue")):
        client.post("/v1/images", params={"identity": name}, **sent(picture(color)))
    limits, audit = ServiceLimits(timeout=1, readers=1), tmp_path / "slow.jsonl"
    slow = Service(service.galleries.address, service.embedder, service.access, limits, 4, audit)
    with (
        TestClient(create_app(slow), headers=client.headers) as hurried,
        closing(sqlite3.connect(tmp_path / "people.index", isolation_level=None)) as other,
    ):
        renaming = {"json": {"identity": "Anna", "to": "Ann"}}
        for number, (method, path, body) in enumerate(
            (
                ("POST", "/v1/people/rename", renaming),
                ("DELETE", "/v1/images?identity=Bob", {}),
            ),
            1,
        ):
            other.execute("BEGIN IMMEDIATE")  # another program writes
            answer = hurried.request(method, path, **body)
            waiting = hurried.delete("/v1/images?identity=Anna")  # which has not begun
            other.execute("ROLLBACK")
            for refused in (answer, waiting):
                assert refused.status_code == 503
                assert "may still be done" in refused.json()["detail"]
            until = time.monotonic() + 20
            while sum("images" in each for each in lines(tmp_path / "slow.jsonl")) < number:
                assert time.monotonic() < until
                time.sleep(0.02)
    said = [(each["action"], each["images"]) for each in lines(tmp_path / "slow.jsonl")]
    assert said == [("rename", 1), ("forget", 1)]
    assert SearchIndex(tmp_path / "people.index").values("identity") == ["Ann"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is full")
def test_where_the_audit_cannot_be_written_nothing_is_changed(service, client):
    client.post("/v1/images", params={"identity": "Anna"}, **sent(picture("red")))
    service.audit = Audit("/dev/full")
    for method, path, body in (
        ("POST", "/v1/images?identity=Bob", sent(picture("blue"))),
        ("POST", "/v1/people/rename", {"json": {"identity": "Anna", "to": "Ann"}}),
        ("PATCH", "/v1/images?identity=Anna", {"json": {"identity": "Ann"}}),
        ("DELETE", "/v1/images?identity=Anna", {}),
    ):
        assert client.request(method, path, **body).status_code == 507
    assert client.get("/v1/people").json() == {"people": ["Anna"]}


def test_a_block_that_fails_leaves_no_line_and_a_kill_an_incomplete_one(tmp_path):
    audit = Audit(tmp_path / "audit.jsonl")
    with audit.line("me", "rename", to="Anna") as line:
        line["images"] = 2
    with pytest.raises(KeyError), audit.line("me", "rename", to="Bob"):
        raise KeyError
    assert [each["to"] for each in lines(tmp_path / "audit.jsonl")] == ["Anna"]
    begun = audit.line("me", "forget", by="camera")
    begun.__enter__()  # and the process is killed
    with audit.line("me", "add", identity="Anna"):
        pass
    assert [each["action"] for each in lines(tmp_path / "audit.jsonl")] == [
        "rename", "forget", "add",
    ]  # fmt: skip
    audit.forget_names({"Eve"})
    assert [each.get("identity") for each in lines(tmp_path / "audit.jsonl")] == [None] * 3
    assert "Anna" not in (tmp_path / "audit.jsonl").read_text()


def test_retention_is_recorded_if_it_forgets_something(service, client, tmp_path):
    client.post("/v1/images", params={"time": "2020-01-01"}, **sent(picture("red")))
    old = Filter(before="2021-01-01")
    for count in (1, 0):
        forgetting = service.forget("the service", old, "retain", older_than="30d")
        assert client.portal.call(lambda each=forgetting: _awaited(each)) == count
    assert len(forgettings(SearchIndex(tmp_path / "people.index").store)) == 1  # not written again
    (line,) = lines(tmp_path / "audit.jsonl")
    assert (line["older_than"], line["images"]) == ("30d", 1)


def test_a_renaming_keeps_its_names_until_the_person_is_forgotten(tmp_path):
    audit, file = Audit(tmp_path / "audit.jsonl"), tmp_path / "audit.jsonl"
    for old, new in (("Anna", "Ann"), ("Ann", "Annie"), ("Zoe", "Zora")):
        with audit.line("me", "rename", identity=old, to=new):
            pass
    audit.forget_names({"Annie"})
    renamings = [(line["identity"], line["to"]) for line in lines(file)]
    assert renamings == [("Anna", "Ann"), ("Ann", "Annie"), (None, None)]
    audit.forget_names(())
    assert "Ann" not in file.read_text()


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_file_that_is_cut_anywhere_is_read(tmp_path, cut):
    file = tmp_path / "audit.jsonl"
    audit = Audit(file)
    for name in ("Anna", "Zoé"):
        with audit.line("me", "name", identity=name):
            pass
    file.write_bytes(file.read_bytes()[:-cut])  # é is two bytes
    audit.forget_names(())
    assert "Anna" not in file.read_text(errors="replace")


def test_a_filter_leaves_no_name(client, tmp_path):
    more = {"where": "name=Anna Berg", "track": "Anna"}
    client.post("/v1/images", params=more, **sent(picture("red")))
    assert client.patch("/v1/images", params=more, json={"identity": "Ann"}).status_code == 200
    (line,) = lines(tmp_path / "audit.jsonl")
    assert (line["by"], line["identity"], line["images"]) == ("where, track", "Ann", 1)
    assert "Anna" not in (tmp_path / "audit.jsonl").read_text()


def test_the_hourly_clean_up_survives_any_error(service, client, monkeypatch, caplog):
    attempts = []

    def fail(gallery):
        attempts.append(gallery)
        raise RuntimeError("a bug")

    monkeypatch.setattr(module, "remove_unlisted", fail)
    monkeypatch.setattr(module, "HOUR", 0.01)
    task = client.portal.start_task_soon(service.tidy)
    until = time.monotonic() + 20
    while len(attempts) < 3:
        assert time.monotonic() < until
        time.sleep(0.01)
    task.cancel()
    assert "The hourly clean-up failed" in caplog.text


def test_a_clock_that_runs_ahead_empties_no_gallery(service, client, tmp_path, caplog):
    """If it does not run ahead, the images are forgotten an hour later."""
    client.post("/v1/images", params={"time": "2020-01-01"}, **sent(picture("red")))
    index = SearchIndex(tmp_path / "people.index")
    client.portal.call(service._forget_old, "30d")
    assert len(index) == 1
    assert "The clock of this machine may be wrong: no image is recent" in caplog.text
    client.portal.call(service._forget_old, "30d")
    assert len(index) == 0

    for date in ("2020-01-01", "2999-01-01"):
        client.post("/v1/images", params={"time": date}, **sent(picture("blue")))
    client.portal.call(service._forget_old, "30d")  # at once, as one is recent
    assert len(index) == 1


async def _awaited(coroutine):
    return await coroutine
