"""load_image of data/images/bank.py: the pixels a viewer shows, and torchvision's resize."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from torchvision import transforms

from person_reid.data.images.bank import load_bank
from person_reid.data.images.image_files import load_image
from person_reid.errors import UserError
from tests.data.conftest import noise


def pixels(path):
    """Loaded without a change of size."""
    with Image.open(path) as image:
        width, height = image.size
    return load_image(path, height, width)


@pytest.mark.parametrize("size", [(128, 64), (48, 48), (301, 77), (20, 50), (1, 1), (256, 128)])
def test_resize_is_torchvisions_bicubic(tmp_path, size):
    Image.fromarray(noise(*size)).save(tmp_path / "a.png")
    resize = transforms.Resize((256, 128), interpolation=transforms.InterpolationMode.BICUBIC)
    expected = np.asarray(resize(Image.open(tmp_path / "a.png").convert("RGB")))
    assert np.array_equal(load_image(tmp_path / "a.png", 256, 128), expected)


def test_greyscale_and_one_bit_images_become_three_channels(tmp_path):
    grey = noise(9, 5, 1)[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey > 127).save(tmp_path / "bit.png")
    assert np.array_equal(pixels(tmp_path / "grey.png"), np.repeat(grey[..., None], 3, 2))
    assert np.array_equal(pixels(tmp_path / "bit.png")[..., 1], np.where(grey > 127, 255, 0))


def test_a_palette_becomes_its_colours(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png")
    assert pixels(tmp_path / "a.png").tolist() == [[[255, 0, 0], [0, 0, 255]]]
    image.save(tmp_path / "b.png", transparency=0)
    assert pixels(tmp_path / "b.png").tolist() == [[[255, 255, 255], [0, 0, 255]]]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_lies_over_white(tmp_path, mode):
    values = noise(9, 5, 4 if mode == "RGBA" else 2)
    values[0, 0, -1], values[0, 1, -1] = 0, 255
    Image.fromarray(values, mode).save(tmp_path / "a.png")
    alpha = values[..., -1:] / 255
    expected = values[..., :-1] * alpha + 255 * (1 - alpha)
    assert np.abs(pixels(tmp_path / "a.png") - expected).max() <= 1
    assert pixels(tmp_path / "a.png")[0, 0].tolist() == [255, 255, 255]


def test_cmyk_with_adobes_inverted_values_keeps_its_colours(tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("RGB", (16, 16), (200, 30, 40)).convert("CMYK").save(path, quality=95)
    assert b"Adobe" in path.read_bytes()
    assert np.abs(pixels(path).astype(int) - [200, 30, 40]).max() <= 3


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda image: image),
        (2, np.fliplr),
        (3, lambda image: np.rot90(image, 2)),
        (4, np.flipud),
        (5, lambda image: image.swapaxes(0, 1)),
        (6, lambda image: np.rot90(image, -1)),
        (7, lambda image: np.rot90(image, 2).swapaxes(0, 1)),
        (8, np.rot90),
    ],
)
def test_an_image_is_turned_as_exif_says(tmp_path, orientation, upright):
    values = noise(8, 4)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(values).save(tmp_path / "a.png", exif=exif)
    expected = upright(values)
    assert np.array_equal(load_image(tmp_path / "a.png", *expected.shape[:2]), expected)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize(
    "exif", [b"Exif\x00\x00garbage", b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03"]
)
def test_broken_exif_is_no_reason_to_refuse(tmp_path, exif):
    Image.new("RGB", (4, 8), (200, 30, 40)).save(tmp_path / "a.jpg", exif=exif)
    assert load_image(tmp_path / "a.jpg", 8, 4).shape == (8, 4, 3)


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_images_of_more_than_eight_bits_are_refused_with_the_line_that_converts_them(
    kind, tmp_path, monkeypatch
):
    grey = np.linspace(0, 255, 64 * 32).astype(np.uint8).reshape(64, 32)
    Image.fromarray((16 * grey.astype(np.uint16)).astype(kind)).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match=r"a\.tif: more than 8 bits\nThis converts") as error:
        load_bank([tmp_path / "a.tif"], 64, 32)
    if kind is np.uint16:
        monkeypatch.chdir(tmp_path.parent)
        line = str(error.value).partition('python -c "')[2].partition('"')[0]
        subprocess.run([sys.executable, "-c", line.replace("FOLDER", tmp_path.name)], check=True)
        assert np.array_equal(pixels(tmp_path / "a.tif")[..., 0], grey)
