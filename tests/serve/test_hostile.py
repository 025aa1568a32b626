"""Uploads and headers that nobody should send: each is refused in one line, and leaves no file."""

import errno
import io
import os
import random
import re
import struct
import zlib
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from person_reid.gallery.index import SearchIndex
from person_reid.serve import operations
from person_reid.serve.app import create_app
from person_reid.serve.service import Service
from tests.serve.conftest import LIMITS, Colors, picture, sent

FORMS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")
OTHERS = [
    b"",
    b"\0",
    b"GIF89a",
    b"%PDF-1.7\n%%EOF",
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    b"PK\x03\x04" + bytes(40),
    b"\x1f\x8b" + bytes(40),
    b"\x80\x04\x95cos\nsystem\n",
    b"RIFF\0\0\0\0WEBP",
    b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    b"<!DOCTYPE html><script>alert(1)</script>",
    b"<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>",
    b"#EXTM3U\nfile:///etc/passwd",
    b"P6\n50000 50000\n255\n",
    b"\xff\xd8\xff\xe0" + b"\xff" * 200,
    b"MZ" + bytes(60),
    b"id=ImageMagick\nmsl:/etc/passwd",
    b"push graphic-context\nfill 'url(https://127.0.0.1/\"|ls\")'\n",
]
TYPES = [
    "",
    "image",
    "image/",
    "text/html",
    "application/json",
    "multipart/form-data",
    "multipart/mixed; boundary=x",
    "multipart/form-data; boundary=" + "b" * 5000,
    'multipart/form-data; boundary="',
    "image/png; boundary=x" * 40,
    "application/x-www-form-urlencoded",
    "application/octet-stream\t",
    "IMAGE/SVG+XML",
]
HEADERS = ["Range", "Expect", "Origin", "Content-Encoding", "X-Forwarded-For", "Cookie"]
NAMES = [
    "../../x.png",
    "/etc/passwd",
    "a\0b.png",
    "x" * 3000,
    "<b>.png",
    "con",
    "é\u202e.png",
    "|ls",
    "",
]


def bomb(form):
    """Return a small file that says it has two gigapixels."""
    width, height = 50_000, 40_000
    if form == "PNG":
        head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n\0\0\0\r" + head + struct.pack(">I", zlib.crc32(head))
    if form == "GIF":
        return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(60) + b";"
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + head


def damaged(choose):
    """Return an image file that was cut, or whose bytes were changed."""
    content = bytearray(picture((choose.randrange(256), 9, 9), choose.choice(FORMS), (20, 40)))
    if choose.random() < 0.5:
        return bytes(content[: choose.randrange(len(content))])
    for _ in range(choose.randrange(1, 30)):
        content[choose.randrange(len(content))] = choose.randrange(256)
    return bytes(content)


def hostile(choose):
    """Return a request: what client.request takes beside method and path."""
    kind = choose.randrange(6)
    if kind == 0:
        return sent(damaged(choose))
    if kind == 1:
        return sent(choose.choice([*OTHERS, *map(bomb, ("PNG", "GIF", "BMP"))]))
    if kind == 2:
        headers = {"content-type": choose.choice(TYPES)}
        return {"content": choose.choice([picture("red"), *OTHERS]), "headers": headers}
    if kind == 3:
        return {"files": [("image", (choose.choice(NAMES), choose.choice(OTHERS), "image/png"))]}
    if kind == 4:
        value = choose.choice(["x" * 600, "\x1b[2J", "a\nb", "\0", "\u202e", "nan", "-1", " "])
        name = choose.choice(["identity", "camera", "time", "where", "allow_forgotten", "k"])
        return {"params": {name: value}, **sent(choose.choice(OTHERS))}
    headers = {choose.choice(HEADERS): "gzip, x" * 50}
    return {**sent(choose.choice(OTHERS)), "headers": headers}


@pytest.mark.slow
def test_hostile_requests_are_refused_in_one_line_and_leave_no_file(client, tmp_path):
    choose, refused = random.Random(7), 0
    for _ in range(600):
        before = sorted(tmp_path.glob("people.crops/**/*"))
        request = hostile(choose)
        answer = client.post("/v1/images", **request)
        if answer.status_code == 200:  # damage that leaves an image
            names = [path.name for path in tmp_path.glob("people.crops/uploads/*")]
            assert all(re.fullmatch(r"[0-9a-f]{64}\.png", name) for name in names), request
            continue
        refused += 1
        assert 400 <= answer.status_code < 500, request
        assert answer.headers["content-type"] == "application/problem+json", request
        assert answer.json()["detail"], request
        assert "\n" not in answer.json()["detail"], request
        assert sorted(tmp_path.glob("people.crops/**/*")) == before, request
    assert refused > 300
    assert not [*tmp_path.glob("*.png")]
    for path in tmp_path.glob("people.crops/uploads/*"):
        Image.open(io.BytesIO(path.read_bytes())).load()


def test_a_full_disk_and_a_folder_that_cannot_be_written_are_said_and_leave_no_row(
    client, tmp_path, monkeypatch
):
    for number, words in ((errno.ENOSPC, "No space left"), (errno.EROFS, "Read-only")):

        def fail(*_, number=number):
            raise OSError(number, os.strerror(number), "people.crops/uploads/x.png")

        monkeypatch.setattr(operations, "store", fail)
        answer = client.post("/v1/images", **sent(picture("red")))
        assert answer.status_code == 507
        assert words in answer.json()["detail"]
        assert "people" not in answer.json()["detail"]
    assert len(SearchIndex(tmp_path / "people.index")) == 0
    monkeypatch.undo()
    assert client.post("/v1/images", **sent(picture("red"))).status_code == 200


def test_an_index_that_cannot_grow_says_so_and_keeps_what_it_acknowledged(
    client, service, tmp_path
):
    def fill_disk(gallery):
        gallery.store.db.rows("PRAGMA max_page_count = 1")  # SQLite takes the size that it has

    assert client.post("/v1/images", **sent(picture("red"))).status_code == 200
    client.portal.call(service.galleries.write, fill_disk)
    facts = {"where": [f"note{number}={'x' * 480}" for number in range(40)]}
    added = [
        client.post("/v1/images", params=facts, **sent(picture((9 * i, 0, 0)))) for i in range(9)
    ]
    failed = [answer for answer in added if answer.status_code != 200]
    assert {answer.status_code for answer in failed} == {507}
    assert {answer.json()["detail"].partition(".")[0] for answer in failed} == {"people"}
    assert all("the disk is full. Make room" in answer.json()["detail"] for answer in failed)
    files = {path.name for path in tmp_path.glob("people.crops/uploads/*")}
    paths = [
        path for images in SearchIndex(tmp_path / "people.index").images() for path, _ in images
    ]
    assert files == {path.name for path in paths}
    assert len(files) == 10 - len(failed)


def test_two_services_of_one_file_see_what_the_other_adds(client, service, tmp_path):
    colors: Any = Colors()
    other = Service(str(tmp_path / "people.index"), colors, service.access, LIMITS)
    with TestClient(create_app(other), headers=client.headers) as second:
        for each, color in ((client, "red"), (second, "blue"), (client, "green")):
            assert each.post("/v1/images", **sent(picture(color))).status_code == 200
        for each in (client, second):
            assert each.get("/v1/health/ready").json()["images"] == 3
