"""load_image of data/images/bank.py: the pixels a viewer shows, and torchvision's resize."""

import numpy as np
import pytest
from PIL import Image
from torchvision import transforms

import prepare
from person_reid.data.images.bank import fingerprint, load_bank
from person_reid.data.images.image_files import limits_of_bits, load_image, recorded_limits
from person_reid.data.torch_dataset import read_dataset
from person_reid.errors import UserError
from tests.data.conftest import noise


def pixels(path):
    """Loaded without a change of size."""
    with Image.open(path) as image:
        width, height = image.size
    return load_image(path, height, width, shown=True)


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


@pytest.mark.parametrize(
    ("suffix", "order"), [("png", "<u2"), ("tif", "<u2"), ("tif", ">u2"), ("pgm", ">u2")]
)
def test_sixteen_bits_keep_the_high_byte(tmp_path, suffix, order):
    values = (np.arange(60).reshape(10, 6) * 1110).astype(order)
    path = tmp_path / f"a.{suffix}"
    if suffix == "pgm":  # Pillow reads these as 32 bits
        path.write_bytes(b"P5\n6 10\n65535\n" + values.tobytes())
    else:
        Image.fromarray(values).save(path)
    assert np.array_equal(pixels(path), np.repeat((values >> 8)[..., None], 3, 2))


@pytest.mark.parametrize(
    ("bits", "scale", "offset"), [(12, 16, 0), (14, 64, 0), (16, 256, 0), (14, 3, 7400)]
)
def test_cameras_of_more_than_eight_bits_give_what_a_camera_of_eight_gives(
    bits, scale, offset, tmp_path
):
    grey = np.linspace(0, 255, 64 * 32).astype(np.uint8).reshape(64, 32)
    Image.fromarray(offset + grey.astype(np.uint16) * scale).save(tmp_path / "a.png")
    found = load_image(tmp_path / "a.png", 64, 32, shown=True)[..., 0].astype(int)
    assert np.abs(found - grey).max() <= 1
    assert len(np.unique(found)) > 250


@pytest.mark.parametrize("scale", [1, 16])
def test_one_bright_pixel_does_not_darken_an_image(scale, tmp_path):
    grey = np.linspace(0, 255, 64 * 32).astype(np.uint16).reshape(64, 32) * scale
    grey[10, 10] = 65535
    Image.fromarray(grey).save(tmp_path / "a.png")
    found = load_image(tmp_path / "a.png", 64, 32, shown=True)[..., 0].astype(int)
    assert np.abs(found - (grey // scale).clip(0, 255)).max() <= 1


def test_a_layout_has_one_range_which_is_said_once(tmp_path, caplog):
    """A dark image stays darker than a bright one; outside of a layout it is not known."""
    caplog.set_level("INFO", "person_reid")
    folder = tmp_path / "query" / "0001"
    folder.mkdir(parents=True)
    for name, level in (("dark", 300), ("bright", 3900)):
        values = np.full((64, 32), level, np.uint16) + np.arange(32, dtype=np.uint16)
        Image.fromarray(values).save(folder / f"{name}.png")
        path = folder / f"{name}.png"
        assert load_image(path, 64, 32, shown=True).max() == 255  # stretched
        with pytest.raises(UserError, match=rf"{name}\.png: more than 8 bits, and no layout says"):
            load_bank([path], 64, 32)
    (tmp_path / ".prepared.json").write_text("{}")
    dark, bright = (
        load_image(folder / f"{name}.png", 64, 32).mean() for name in ("dark", "bright")
    )
    assert 15 < dark < 25
    assert 240 < bright < 250
    assert (
        caplog.text.count("more than 8 bits. Their values are taken to be from 300 to 3931.") == 1
    )


def test_a_bank_of_deep_images_outside_a_layout_takes_the_range_that_is_given(tmp_path):
    """Another range is another cache."""
    path = tmp_path / "deep.png"
    Image.fromarray(np.full((64, 32), 2048, np.uint16)).save(path)
    cache = tmp_path / ".cache"
    means = [
        load_bank([path], 64, 32, cache, limits=limits_of_bits(bits)).float().mean().item()
        for bits in (12, 16, 12)
    ]
    assert means == [128, 8, 128]


def write_deep_images(folder, step=200):
    """Images of four people by two cameras, of one value each; the words for prepare.py."""
    for who in (1, 2, 3, 4):
        for camera in (1, 2):
            image = Image.fromarray(np.full((64, 32), step * who + camera, np.uint16))
            image.save(folder / f"{who}_c{camera}.png")
    return ["--data_dir", str(folder), "--pattern", r"(?P<id>\d+)_c(?P<camera>\d+)"]


def test_prepare_says_and_notes_the_range_of_a_layout(tmp_path, caplog):
    """It goes along with corrections, and features in a cache are of this range."""
    caplog.set_level("INFO", "person_reid")
    words, layout = write_deep_images(tmp_path), tmp_path / "pytorch"
    prepare.main(words)
    said = "Their values are taken to be from 201 to 802."
    assert caplog.text.count(said) == 1
    assert recorded_limits(layout) == (201, 802)
    path = next(layout.glob("gallery/*/*.png"))
    before = fingerprint([path])
    caplog.clear()
    load_image(path, 64, 32)
    read_dataset(layout).train[0]
    assert not caplog.text
    prepare.main([*words, "--bits", "12"])
    assert recorded_limits(layout) == (0, 4095)
    assert fingerprint([path]) != before
    row = f"{path.relative_to(layout).as_posix()},{int(path.parent.name)},junk,-1,0.9,yes"
    (tmp_path / "list.csv").write_text(
        f"path,identity,proposal,new_identity,probability,accept\n{row}\n"
    )
    prepare.main(["--data_dir", str(layout), "--corrections", str(tmp_path / "list.csv")])
    assert recorded_limits(tmp_path / "pytorch_corrected") == (0, 4095)


def test_a_data_set_gives_images_of_more_than_eight_bits_as_they_are_tested(tmp_path):
    prepare.main([*write_deep_images(tmp_path), "--bits", "10"])
    split = read_dataset(tmp_path / "pytorch").gallery
    for i, path in enumerate(split.paths):
        assert np.array_equal(np.asarray(split[i][0]), load_image(path, 64, 32))
    assert len({split[i][0].getpixel((0, 0)) for i in range(len(split))}) > 1


def test_a_damaged_number_in_one_image_spoils_no_other(tmp_path, caplog):
    folder = tmp_path / "query" / "0001"
    folder.mkdir(parents=True)
    (tmp_path / ".prepared.json").write_text("{}")
    values = np.linspace(20, 40, 64 * 32, dtype=np.float32).reshape(64, 32)
    Image.fromarray(values).save(folder / "whole.tif")
    values[3, 3] = np.nan
    Image.fromarray(values).save(folder / "damaged.tif")
    assert load_image(folder / "whole.tif", 64, 32).max() == 255
    with pytest.raises(ValueError, match="some of its pixels are not numbers"):
        load_image(folder / "damaged.tif", 64, 32)


def test_the_bits_of_a_layout_can_be_said(tmp_path):
    words = write_deep_images(tmp_path)
    prepare.main([*words, "--save_dir", str(tmp_path / "seen")])
    prepare.main([*words, "--save_dir", str(tmp_path / "said"), "--bits", "12"])
    path = next((tmp_path / "said").glob("*/*/0004_c1*"))
    assert load_image(path, 64, 32).max() == 801 // 16
    seen = next((tmp_path / "seen").glob("*/*/0004_c1*"))
    assert load_image(seen, 64, 32).max() > 801 // 16
    before = fingerprint([path])
    prepare.main([*words, "--save_dir", str(tmp_path / "said"), "--bits", "14"])
    assert fingerprint([path]) != before
    for wrong in ("8", "17"):
        with pytest.raises(SystemExit):
            prepare.main([*words, "--bits", wrong])


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
