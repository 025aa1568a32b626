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


async def _awaited(coroutine):
    return await coroutine
