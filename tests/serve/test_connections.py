"""Connections that say nothing are closed, make room for others, and are trusted no further."""

import asyncio
import socket
import time
from contextlib import ExitStack, closing

import pytest

pytest.importorskip("starlette")

from urllib.request import urlopen

from person_reid.serve import requests, server
from tests.serve.conftest import listening, picture

ALIVE = b"GET /v1/health/live HTTP/1.1\r\nHost: x\r\n"


def connected(address):
    host, port = address.removeprefix("http://").split(":")
    return closing(socket.create_connection((host, int(port)), timeout=10))


def until_closed(connection):
    """What is received until the other side closes the connection."""
    parts = []
    while part := connection.recv(4096):
        parts.append(part)
    return b"".join(parts)


def test_a_head_that_does_not_come_closes_the_connection(service, monkeypatch):
    monkeypatch.setattr(server, "LONGEST_HEAD", 0.3)
    with listening(service) as address:
        with connected(address) as silent:
            assert until_closed(silent) == b""
        with connected(address) as slow:  # each part alone is in time
            began = time.monotonic()
            with pytest.raises(OSError):
                for letter in ALIVE * 9:
                    slow.sendall(bytes([letter]))
                    time.sleep(0.02)
                until_closed(slow)
                raise OSError
            assert time.monotonic() - began < 5
        with connected(address) as second:  # half a head after a whole request
            second.sendall(ALIVE + b"\r\n")
            assert second.recv(4096).startswith(b"HTTP/1.1 200")
            second.sendall(ALIVE)
            assert until_closed(second).count(b"HTTP/1.1 200") == 0


def test_silent_connections_keep_nobody_out(service):
    with listening(service, limit_concurrency=9) as address, ExitStack() as opened:
        silent = [opened.enter_context(connected(address)) for _ in range(40)]
        for _ in range(3):
            with urlopen(f"{address}/v1/health/live", timeout=10) as answer:
                assert answer.status == 200
        assert until_closed(silent[0]) == b""  # the oldest made room


def test_two_lengths_of_a_body_end_the_connection(service):
    body = b"0\r\n\r\n" + ALIVE + b"\r\n"
    with listening(service) as address, connected(address) as both:
        head = ALIVE + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % len(body)
        both.sendall(head + body)
        assert until_closed(both).count(b"HTTP/1.1 200") == 1


@pytest.mark.parametrize("root", ["", "/reid"])
def test_a_target_may_be_a_whole_address(service, root):
    with listening(service, root_path=root) as address:
        for target, status in (
            ("http://any.example/v1/health/live", b"200"),
            ("HTTPS://any.example:8443/v1/health/live?x=1", b"400"),
            ("http://any.example", b"200"),
            ("http://any.example/v1/nowhere", b"404"),
            ("/v1/health/live", b"200"),
        ):
            with connected(address) as connection:
                request = f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                connection.sendall(request.encode())
                assert until_closed(connection).split(b" ")[1] == status, target


def test_a_body_that_hardly_arrives_is_not_waited_for(service, monkeypatch):
    """Each byte is in time, but there are hardly any; others send theirs meanwhile."""
    monkeypatch.setattr(requests, "LONGEST_PAUSE", 0.5)
    service.bodies = asyncio.Semaphore(2)
    head = "POST /v1/embed HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
    head += f"Authorization: Bearer {'read' * 4}\r\nContent-Length: %d\r\n\r\n"
    image = picture("red")
    with listening(service) as address, ExitStack() as opened:
        slow = [opened.enter_context(connected(address)) for _ in range(2)]
        for connection in slow:
            connection.sendall((head % 10**5).encode())
        with connected(address) as quick:
            quick.sendall((head % len(image)).encode() + image)
            for _ in range(10):
                for connection in slow:
                    connection.sendall(b"x")
                time.sleep(0.04)
            assert quick.recv(65536).startswith(b"HTTP/1.1 200")
        for connection in slow:
            answer = until_closed(connection)
            assert answer.startswith(b"HTTP/1.1 408")
            assert b"10 bytes of the body arrived" in answer


def test_a_websocket_is_not_offered_and_not_remarked_on(service, caplog):
    with listening(service) as address, connected(address) as socket_:
        upgrade = b"Connection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n"
        socket_.sendall(ALIVE + upgrade)
        assert until_closed(socket_).startswith(b"HTTP/1.1 200")
    assert caplog.text == ""


def test_a_slash_more_is_another_address(client):
    answer = client.get("/v1/people/", headers={"Host": "evil.example"}, follow_redirects=False)
    assert answer.status_code == 404
    assert "location" not in answer.headers
