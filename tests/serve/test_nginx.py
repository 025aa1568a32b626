"""The service behind nginx, by the lines of docs/service.md."""

import re
import shutil
import socket
import subprocess
import threading
import time

import pytest

from tests.serve.conftest import listening, picture, sent
from tests.support import ROOT

httpx = pytest.importorskip("httpx")
PROGRAM = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
HEADERS = {"Authorization": f"Bearer {'forget' * 4}"}


@pytest.fixture
def proxied(service, tmp_path):
    """The address of a service behind nginx, below /reid."""
    if PROGRAM is None:
        pytest.skip("no nginx here")
    page = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
    (server,) = re.findall(r"```nginx\n(.*?)```", page, re.DOTALL)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = re.sub(r" +ssl_.*\n", "", server).replace("443 ssl", f"127.0.0.1:{port}")
    with listening(service, root_path="/reid") as address:
        places = "".join(
            f"{each}_temp_path {tmp_path}/{each};"
            for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (tmp_path / "nginx.conf").write_text(
            f"daemon off; user root; pid {tmp_path}/pid; error_log {tmp_path}/error; events {{}}\n"
            f"http {{ access_log off; {places}\n"
            f"{server.replace('http://127.0.0.1:8000', address)} }}\n"
        )
        command = [PROGRAM, "-p", tmp_path, "-c", tmp_path / "nginx.conf", "-e", tmp_path / "error"]
        with subprocess.Popen(command) as nginx:
            until = time.monotonic() + 30
            while nginx.poll() is None and time.monotonic() < until:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield f"http://127.0.0.1:{port}/reid"
            nginx.terminate()


def test_events_pass_nginx_at_once_and_so_do_pages_and_uploads(proxied, service):
    page = httpx.get(f"{proxied}/")
    assert page.status_code == 200
    for file in re.findall(r'(?:src|href)="(page/[^"]+)"', page.text):
        assert httpx.get(f"{proxied}/{file}").status_code == 200
    document = httpx.get(f"{proxied}/v1/openapi.json").json()
    assert document["servers"] == [{"url": "/reid"}]
    large = picture("red", "BMP", (500, 600))  # 0.9 MB, nearly the most of this service
    assert httpx.post(f"{proxied}/v1/embed", headers=HEADERS, **sent(large)).status_code == 200
    began = time.monotonic()
    with httpx.stream("GET", f"{proxied}/v1/events", headers=HEADERS, timeout=30) as answer:
        lines = answer.iter_lines()
        assert next(lines) == ": events follow"
        threading.Timer(0.1, service.events.tell, ["appeared", {"camera": "door"}]).start()
        assert next(each for each in lines if each.startswith("event")) == "event: appeared"
    assert time.monotonic() - began < 12  # before a heartbeat, of a few bytes
