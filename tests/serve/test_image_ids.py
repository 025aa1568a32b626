"""Ids of images tell nothing of their paths, last as long as the index, and name no other image."""

import base64
import os
from pathlib import Path

import numpy as np
from starlette.testclient import TestClient

from person_reid.errors import UserError
from person_reid.gallery.index import SearchIndex
from person_reid.serve.app import create_app
from person_reid.serve.image_ids import ImageIds, secret_of
from person_reid.serve.service import Service
from tests.serve.conftest import LIMITS, picture, sent

PATHS = [
    "/home/anna/crops/0001.jpg",
    "0001.jpg",
    "a b/é/\u4eba.png",
    os.fsdecode(b"/made/\xff\xfe.png"),
    "x/" * 400 + "1.jpg",
]
content_of = base64.urlsafe_b64decode


def test_an_id_stands_for_its_path_and_tells_nothing_of_it():
    ids, others = ImageIds("secret"), ImageIds("another")
    assert [ids.path(ids.of(path)) for path in PATHS] == [*map(Path, PATHS)]
    assert [others.path(ids.of(path)) for path in PATHS] == [None] * len(PATHS)
    near = [content_of(ids.of(path) + "==") for path in ("crops/0001.jpg", "crops/0002.jpg", "1")]
    assert len({len(each) for each in near}) == 1
    differing = sum((a ^ b).bit_count() for a, b in zip(*near[:2], strict=True))
    assert abs(differing / (8 * len(near[0])) - 0.5) < 0.15  # as of two random texts


def test_what_is_not_an_id_stands_for_nothing():
    ids = ImageIds("secret")
    made = bytearray(content_of(ids.of(PATHS[0]) + "="))
    for place in range(len(made)):
        made[place] ^= 1
        assert ids.path(base64.urlsafe_b64encode(made).decode()) is None
        made[place] ^= 1
    plain = base64.urlsafe_b64encode(PATHS[0].encode()).decode()  # what it once was
    for text in ("", "x", "é", "..", "/etc/passwd", "A" * 10_000, plain):
        assert ids.path(text) is None


def test_ids_last_as_long_as_the_index_and_name_nothing_in_another(
    client, service, tmp_path, monkeypatch
):
    (image,) = client.post("/v1/images", **sent(picture("red"))).json()["images"]
    ((path, _),) = [
        image for images in SearchIndex(tmp_path / "people.index").images() for image in images
    ]
    other = SearchIndex(tmp_path / "other.index")
    other.add([path], np.eye(1, 6, dtype=np.float32))

    def asked(index):
        again = Service(str(tmp_path / index), service.embedder, service.access, LIMITS)
        with TestClient(create_app(again), headers=client.headers) as following:
            return following.get(f"/v1/images/{image['id']}").status_code

    assert asked("people.index") == 200
    assert asked("other.index") == 404

    def full(_):
        raise UserError("the disk is full.")

    monkeypatch.setattr(other, "remember", full)
    assert len(secret_of(other)) == 64
    assert secret_of(other) != secret_of(other)
