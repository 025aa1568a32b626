"""person_reid/data/images/image_decoding.py: images in order, and one message for all that fail."""

import re
import warnings
from functools import partial

import numpy as np
import pytest
from PIL import Image

from person_reid.data.images import image_decoding as decoding
from person_reid.data.images.image_decoding import decodable, decode
from person_reid.data.images.image_files import load_image
from person_reid.errors import UserError
from tests.data.conftest import noise

LOAD = partial(load_image, height=32, width=16)


@pytest.fixture
def photographs(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(40)]
    for i, path in enumerate(paths):
        Image.fromarray(noise(40 + i, 20, seed=i)).save(path)
    return paths


def test_images_come_in_order(photographs):
    found = list(decode(photographs, LOAD))
    assert np.array_equal(found, [LOAD(path) for path in photographs])
    assert list(decode([], LOAD)) == []


def test_all_that_fail_are_named_once(photographs):
    photographs[3].write_bytes(b"nothing")
    photographs[30].unlink()
    found = decode(photographs, LOAD)
    assert np.array_equal([next(found) for _ in range(3)], [LOAD(path) for path in photographs[:3]])
    with pytest.raises(
        UserError, match=r"(?s)2 of 40 images.*3\.png: not an image.*30\.png: No such file"
    ):
        next(found)


def test_what_cannot_be_read_is_listed_and_left_out(photographs, caplog):
    photographs[3].write_bytes(b"nothing")
    photographs[30].write_bytes(photographs[30].read_bytes()[:200])  # whose beginning is right
    assert decodable(photographs) == [
        path for i, path in enumerate(photographs) if i not in (3, 30)
    ]
    assert "cannot be read: 2." in caplog.text
    assert "3.png: not an image" in caplog.text
    assert decodable(photographs[3:4]) == []


def test_a_phones_file_is_named_by_any_kind_of_path(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"\0\0\0\x20ftypheic\0\0\0\0mif1heicmiaf")
    for source in (path, str(path)):
        with pytest.raises(UserError, match="HEIC is not read. Convert it to JPEG"):
            [*decode([source], partial(load_image, height=8, width=4))]


def test_only_so_many_images_are_decoded_ahead(monkeypatch):
    monkeypatch.setattr(decoding, "AHEAD", 3)
    begun = []

    def load(number):
        begun.append(number)
        return number

    images = decode(range(20), load)
    assert [next(images) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert len(begun) <= 5 + 3
    images.close()


def test_an_image_gives_one_warning(photographs, capfd):
    for path in photographs:
        cut_exif(path)
    with pytest.warns(UserWarning) as shown:
        assert len(list(decode(photographs, LOAD))) == 40
    assert [str(warning.message) for warning in shown] == [complaint(path) for path in photographs]
    assert not capfd.readouterr().err


def test_a_warning_that_is_an_error_is_one(photographs):
    cut_exif(photographs[3])
    said = complaint(photographs[3])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError, match=rf"(?s)1 of 40 images.*3\.png: {re.escape(said)}"):
            list(decode(photographs, LOAD))


def complaint(path):
    """Return the one warning that Pillow gives for an image; its words depend on the version."""
    with pytest.warns(UserWarning, match="Tag data larger than file|Truncated File Read") as shown:
        LOAD(path)
    assert len(shown) == 1
    return str(shown[0].message)


def cut_exif(path):
    """Write an image whose EXIF data announces 255 characters that are not there."""
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x0f\x01\x02\0\xff\0\0\0\xff\0\0\0\0\0\0\0"
    Image.new("RGB", (20, 40)).save(path, "JPEG", exif=exif)
