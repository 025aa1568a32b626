"""tools/serve.py serves the client of its page, and ends what has begun."""

import json
import os
import re
import signal
import socket
import time
from hashlib import sha256
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.support.walks import write_frames
from person_reid.gallery.index import SearchIndex
from person_reid.serve.operations import ALL_OPERATIONS
from tests.support import ROOT
from tests.support.flags import SMALLEST
from tests.support.service import serving
from tools.docs.operations import OPERATION_MARKS, operation_table

httpx = pytest.importorskip("httpx")

PAGE = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")


def test_the_page_lists_the_operations():
    expected = "\n\n".join([OPERATION_MARKS[0], operation_table()]) + f"\n{OPERATION_MARKS[1]}\n"
    assert expected in PAGE, "python tools/docs/operations.py writes it again"
    rows = re.findall(r"^\| `(\w+) (/v1/\S+)` \| (\w+) \| (.*?) \| \w.+\. \|$", PAGE, re.MULTILINE)
    assert [row[:3] for row in rows] == [
        (each.method, each.path, each.role or "none") for each in ALL_OPERATIONS
    ]
    assert "images or features, `k`, `threshold`, filters" in [taken for *_, taken in rows]


@pytest.mark.skipif(os.name == "nt", reason="SIGTERM")
def test_the_client_of_the_page_enrolls_identifies_and_forgets(tmp_path):
    for name, color in (("anna", "red"), ("bob", "blue")):
        Image.new("RGB", (16, 32), color).save(tmp_path / f"{name}.jpg")
    token = "a" * 20
    (tmp_path / "tokens").write_text(f"forget {token}\n")
    words = [*SMALLEST, "--gpu_ids", "-1", "--tokens", "tokens", "--log_json"]
    with (
        (tmp_path / "log").open("w") as errors,
        serving(tmp_path, *words, errors=errors) as (service, address),
    ):
        known: dict[str, type] = {}
        exec(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0], known)
        people = known["People"](address, token)
        (image,) = people.enroll("Anna", [tmp_path / "anna.jpg"])
        people.enroll("Bob", [tmp_path / "bob.jpg"])
        assert people.identify(tmp_path / "bob.jpg", 0.999) == "Bob"
        assert people.search(tmp_path / "anna.jpg", k=1)[0]["id"] == image["id"]
        assert people.forget("Bob") == 1
        with pytest.raises(RuntimeError, match="No parameter 'idenity'"):
            people.search(tmp_path / "anna.jpg", idenity="Bob")
        people.client.close()
    assert service.returncode in (0, -signal.SIGTERM)
    assert [each.name for each in tmp_path.glob("people.index*")] == ["people.index"]  # is whole
    log = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    told = [(line["message"], line["status"]) for line in log if "status" in line]
    assert told == [
        ("add_images", 200), ("add_images", 200), ("identify", 200), ("search", 200),
        ("forget", 200), ("search", 400),
    ]  # fmt: skip
    assert {line["token"] for line in log if "token" in line} == {
        sha256(token.encode()).hexdigest()[:8]
    }
    assert "anna" not in (tmp_path / "log").read_text().lower()
    ((path, about),) = [
        image for some in SearchIndex(tmp_path / "people.index").images() for image in some
    ]
    assert about.identity == "Anna"
    assert Path(path).is_file()


def test_other_machines_are_let_in_over_tls_or_a_proxy_alone(tmp_path):
    from person_reid.errors import UserError
    from tools.serve import main

    with pytest.raises(UserError, match="Give certificate and key"):
        main(["--index", str(tmp_path / "a.index"), "--host", "0.0.0.0"])
    with pytest.raises(OSError, match="tokens.txt"):
        main(["--index", str(tmp_path / "a.index"), "--tokens", str(tmp_path / "tokens.txt")])
    assert not [*tmp_path.iterdir()]


PLUGIN = """
from person_reid import register_detector

register_detector("middle", lambda device: lambda frame: ([[8, 8, 24, 56]], [0.9]))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="SIGTERM")
def test_a_camera_is_told_of_until_the_service_ends(tmp_path):
    write_frames(tmp_path / "hall")
    (tmp_path / "hall" / "seqinfo.ini").write_text("[Sequence]\nframeRate=10\n")
    (tmp_path / "plugin.py").write_text(PLUGIN)
    (tmp_path / "tokens").write_text(f"read {'a' * 20}\n")
    words = ["--camera", "door=hall", "--detector", "middle", "--plugin", "plugin.py"]
    words += ["--gpu_ids", "-1", "--tokens", "tokens", *SMALLEST]
    headers = {"Authorization": f"Bearer {'a' * 20}", "Last-Event-ID": "0"}
    with (
        serving(tmp_path, *words) as (service, address),
        httpx.stream("GET", f"{address}/v1/events", headers=headers, timeout=60) as answer,
    ):
        lines = answer.iter_lines()
        data = next(line for line in lines if line.startswith("data: "))
        assert json.loads(data[6:])["person"] == "person 0001"
        service.send_signal(signal.SIGTERM)
        assert service.wait(60) in (0, -signal.SIGTERM)
        assert not [line for line in lines if line.startswith("data: ")]
    images = [image for some in SearchIndex(tmp_path / "people.index").images() for image in some]
    assert {about.identity for _, about in images} == {"person 0001"}


@pytest.mark.skipif(os.name == "nt", reason="SIGTERM")
def test_half_an_upload_ends_a_service_no_later_than_docker_would(tmp_path):
    (tmp_path / "tokens").write_text(f"read {'a' * 20}\n")
    with serving(tmp_path, *SMALLEST, "--gpu_ids", "-1", "--tokens", "tokens") as (
        service,
        address,
    ):
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            head = "POST /v1/embed HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
            head += f"Authorization: Bearer {'a' * 20}\r\nContent-Length: 10000\r\n\r\n"
            client.sendall(head.encode() + b"half")
            time.sleep(0.5)
            service.send_signal(signal.SIGTERM)
            assert service.wait(10) in (0, -signal.SIGTERM)


def test_the_detector_of_cameras_is_opened_before_the_service_begins(here, monkeypatch):
    from person_reid.errors import UserError
    from tools import serve

    monkeypatch.setattr("uvicorn.Server.run", lambda *_, **settings: None)
    words = ["--camera", "door=0", "--detector", "nowhere.onnx", "--gpu_ids", "-1", *SMALLEST]
    with pytest.raises(UserError, match=r"nowhere\.onnx"):
        serve.main(["--index", "a.index", "--port", "0", *words])


def test_a_port_that_is_taken_is_named():
    from person_reid.errors import UserError
    from tools.serve import open_port

    with open_port("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"127\.0\.0\.1:{port}: .*Another --port\?"):
            open_port("127.0.0.1", port)


def test_small_answers_are_sent_at_once():
    """Otherwise the head of an answer is acknowledged after 40 milliseconds, and its body waits."""
    from tools.serve import open_port

    with (
        open_port("127.0.0.1", 0) as listening,
        socket.create_connection(listening.getsockname()),
        listening.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
