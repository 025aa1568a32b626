"""One image file: which files are images, and the pixels that a network sees of one."""

import logging
import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from person_reid.config.times import stored
from person_reid.errors import first_line
from person_reid.files import content_of, regular_file
from person_reid.text import parse_json

# The formats that are read, by Pillow's name. It knows others, some of which start another program
# (EPS).
IMAGE_FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"), "PNG": (".png",), "WEBP": (".webp",),
    "AVIF": (".avif",), "BMP": (".bmp",), "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"), "GIF": (".gif",),
}  # fmt: skip
SUFFIXES = frozenset(suffix for suffixes in IMAGE_FORMATS.values() for suffix in suffixes)
HEIC = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")  # in its header
NOT_READ = frozenset((".heic", ".heif"))  # of phones; Pillow needs a package for them
# In pixels. Larger images are decoded one at a time, and such JPEGs at a fraction of their size.
LARGE = 4_000_000
MOST_DECODED_PIXELS = 8192 * 6144  # that are decoded at all: the "50 megapixels" of phones, 150 MB

Pixels = npt.NDArray[np.uint8]
Limits = tuple[float, float]  # the lowest and the highest value
DEEP = "IF"  # how Pillow's modes begin whose values are not 0 to 255
# Without it, a person would be dark in one frame and bright in the next.
RANGE_UNKNOWN = (
    "more than 8 bits, and no layout says the range of its values. Say it: --bits 12 "
    "(limits=(0, 4095) in Python), or lay the images out: prepare.py"
)
# The directory of the camera's entries in EXIF, and two of them.
EXIF, TAKEN, CHANGED = 0x8769, 0x9003, 0x0132
PREPARED_RECORD = ".prepared.json"  # in every folder that prepare.py has laid out
# The images that show the values of a layout, and about how many pixels of each.
SAMPLED_OF_LAYOUT, SAMPLED_PIXELS = 64, 65536
_large_one, _one_looks = threading.Lock(), threading.Lock()
log = logging.getLogger(__name__)


def is_image(name: str) -> bool:
    """Return whether a file name belongs to an image and is not hidden."""
    return not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES


def is_readable(path: Path) -> bool:
    """Return whether a file is an image by its name and by how its content begins."""
    try:
        with open_image(path):
            return is_image(path.name)
    except Exception:  # Pillow's readers fail in many ways
        return False


def load_image(
    path: str | Path,
    height: int,
    width: int,
    limits: Limits | None = None,
    resize: str = "bicubic",
    shown: bool = False,
) -> Pixels:
    """Decode one image file and fit it, see fit_image.

    limits: the range of values in an image of more than 8 bits; by default its layout's.
    shown: it is only looked at. Elsewhere than in a layout, the range may then be its own.

    Raises ValueError for an image too large to decode, or of more than 8 bits and an unknown range,
    and Pillow's error or OSError if the file cannot be read.
    """
    with open_image(path) as image:
        large = image.width * image.height > LARGE
        if large:
            # JPEG: decoded at a half, a quarter or an eighth
            image.draft(None, (4 * max(height, width),) * 2)
        _check_size(image)
        if not limits and image.mode[0] in DEEP:
            limits = layout_limits(Path(path)) or (_own_limits(image) if shown else None)
        with _large_one if large else nullcontext():
            return fit_image(image, height, width, limits, resize)


def read_image(path: str | Path) -> Image.Image:
    """Return an image file as a viewer shows it, in RGB.

    Raises Pillow's error or OSError if it cannot be read.
    """
    with open_image(path) as image:
        deep = image.mode[0] in DEEP
        limits = (layout_limits(Path(path)) or _own_limits(image)) if deep else None
        return _to_rgb(ImageOps.exif_transpose(image), limits)


def decode_image(content: BinaryIO, limits: Limits | None = None) -> Image.Image:
    """Return the picture in the content of an image file as a viewer shows it, in RGB.

    limits: see fit_image. Raises ValueError for an image that is too large, or of an unknown range,
    and Pillow's error or OSError if it cannot be read.
    """
    with Image.open(content, formats=_formats()) as image:
        _check_size(image)
        large = image.width * image.height > LARGE
        with _large_one if large else nullcontext():
            return _to_rgb(ImageOps.exif_transpose(image), limits)


def _check_size(image: Image.Image) -> None:
    """Raise ValueError for an image that would fill the memory."""
    if image.width * image.height > MOST_DECODED_PIXELS:
        raise ValueError(
            f"{image.width}×{image.height} pixels, "
            f"more than {MOST_DECODED_PIXELS // 10**6} million: reduce it"
        )


def why_unread(error: Exception, source: object) -> str:
    """Return in words why an image cannot be decoded. source: its path or content."""
    if isinstance(error, Image.DecompressionBombError):
        most = MOST_DECODED_PIXELS // 10**6
        return f"more than {most} million pixels, as in a decompression bomb: reduce it"
    if not isinstance(error, UnidentifiedImageError):
        return getattr(error, "strerror", None) or first_line(error)
    if isinstance(source, str | Path):
        with Path(source).open("rb") as file:
            source = file.read(12)
    heic = isinstance(source, bytes) and source[4:8] == b"ftyp" and source[8:12] in HEIC
    return "HEIC is not read. Convert it to JPEG" if heic else "not an image of a known format"


@contextmanager
def open_image(path: str | Path) -> Iterator[Image.Image]:
    """Open an image file of one of the IMAGE_FORMATS, whatever its name.

    Raises Pillow's error, OSError, or UserError for what is not a regular file.
    """
    with Image.open(regular_file(path, expected="an image"), formats=_formats()) as image:
        yield image


def probe_image() -> Pixels:
    """Return a synthetic image (64, 32, 3), by whose feature a file recognises its network."""
    return np.random.default_rng(0).integers(0, 256, (64, 32, 3), np.uint8)


def fit_image(
    image: Image.Image,
    height: int,
    width: int,
    limits: Limits | None = None,
    resize: str = "bicubic",
) -> Pixels:
    """Return a PIL image as a viewer shows it, resized: uint8 (height, width, 3), RGB.

    EXIF rotation is applied and transparency is drawn over white. Greyscale, palette and CMYK
    images become RGB; for images of more than 8 bits or of floating-point numbers, see
    _grey_levels. limits: the range of their values, which no single image shows. The resize is
    Pillow's, bicubic or bilinear, so the pixels equal those of torchvision's `Resize((height,
    width), BICUBIC)` on a PIL image. Raises ValueError for floating-point values that are not
    finite, and if the limits are not known.
    """
    image = _to_rgb(ImageOps.exif_transpose(image), limits)
    return np.asarray(image.resize((width, height), Image.Resampling[resize.upper()]))


def _to_rgb(image: Image.Image, limits: Limits | None) -> Image.Image:
    if image.mode[0] in DEEP:  # which Pillow's conversion clips at 255
        values = np.asarray(image, np.float32)
        if not np.isfinite(values).all():
            raise ValueError("some of its pixels are not numbers")
        if not limits:
            raise ValueError(RANGE_UNKNOWN)
        return Image.fromarray(_grey_levels(values, image.mode == "F", limits)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _own_limits(image: Image.Image) -> Limits:
    """Return the limits of an image's own values."""
    return _limits(np.asarray(image, np.float32))


def _limits(values: npt.NDArray[np.float32]) -> Limits:
    """Return the lowest and highest value but for a thousandth on each side.

    One bright pixel then decides nothing.
    """
    low, high = np.quantile(values, (0.001, 0.999), method="closest_observation")
    return float(low), float(high)


def limits_of_bits(bits: int | None) -> Limits | None:
    """Return the limits of values of so many bits: (0, 4095) of 12; None of None."""
    return (0.0, 2.0**bits - 1) if bits else None


def layout_limits(path: Path) -> Limits | None:
    """Return the limits of the values in the layout that an image is in.

    prepare.py notes them there; otherwise they are measured. So all its images become grey levels
    in the same way. None if the image is not in a layout: images of any kind may lie side by side
    elsewhere.
    """
    layout = next(
        (parent for parent in path.parents[:3] if (parent / PREPARED_RECORD).is_file()), None
    )
    with _one_looks:
        return _limits_of(layout.absolute()) if layout else None


def recorded_limits(layout: Path) -> Limits | None:
    """Return the limits that prepare.py noted for a layout's images; None without a note."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        low, high = map(float, parse_json(content_of(layout / PREPARED_RECORD))["limits"])
        return low, high
    return None


@cache
def _limits_of(layout: Path) -> Limits | None:
    return recorded_limits(layout) or seen_limits(layout)


def seen_limits(folder: Path) -> Limits | None:
    """Return the limits of the values below a folder.

    They come from SAMPLED_OF_LAYOUT of its images of more than 8 bits.

    A line of the log says them. None if none of these images has more than 8 bits.
    """
    names = sorted(
        Path(root, name) for root, _, names in os.walk(folder) for name in names if is_image(name)
    )
    found = []
    for path in names[:: max(1, len(names) // SAMPLED_OF_LAYOUT)]:
        with suppress(Exception), open_image(path) as image:  # decoding will report it
            if image.mode[0] in DEEP:
                values = np.asarray(image, np.float32).ravel()
                found.append(values[:: 1 + len(values) // SAMPLED_PIXELS])
    values = np.concatenate(found or [np.empty(0, np.float32)])
    if not np.isfinite(values).any():
        return None
    low, high = _limits(values[np.isfinite(values)])
    log.info(
        "%s: its images have more than 8 bits. Their values are taken to be from %g to %g.",
        folder,
        low,
        high,
    )
    return low, high


def _grey_levels(values: npt.NDArray[np.float32], floating: bool, limits: Limits) -> Pixels:
    """Return the grey levels (H, W) of an image of any numbers, by its lowest and highest.

    Whole numbers from 0 to 255 are levels, and floating-point values from 0 to 1 are shares of 255.
    A camera of 10, 12, 14 or 16 bits keeps its 8 high bits. Numbers that fill less than a quarter
    of such a range, or begin below 0, are a thermal camera's counts, kelvins or degrees: the lowest
    becomes 0, and the highest 255.
    """
    low, high = limits
    bits = max(8, 2 * math.ceil(int(high).bit_length() / 2))
    scale, span = 2.0 ** (8 - bits), high - low
    if floating and low >= 0 and high <= 1:
        scale = 255
    elif bits == 8 and low >= 0 and not (values % 1).any():  # levels
        scale = 1
    elif low < 0 < span or 0 < span < 2 ** (bits - 2):
        scale = 255 / span
        values = values - low
    return (values * scale).clip(0, 255).astype(np.uint8)


@cache
def _formats() -> list[str]:
    """Return the IMAGE_FORMATS that this Pillow reads; AVIF came with 11.3."""
    Image.init()
    return [name for name in IMAGE_FORMATS if name in Image.OPEN]


def exif_time(path: Path) -> str | None:
    """Return when a photograph was taken by EXIF, or None."""
    try:
        with open_image(path) as image:
            exif = image.getexif()
            text = str(exif.get_ifd(EXIF).get(TAKEN) or exif.get(CHANGED))
            return stored(datetime.strptime(text.strip("\0 "), "%Y:%m:%d %H:%M:%S"))
    except Exception:  # Pillow's readers fail in many ways; embedding the image names them
        return None


def file_time(path: Path) -> str | None:
    """Return when a file changed, or None for a missing one."""
    try:
        return stored(datetime.fromtimestamp(path.stat().st_mtime))
    except OSError:
        return None
