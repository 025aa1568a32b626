"""One image file: which files are images, and the pixels that a network sees of one."""

import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

# The formats that are read, by Pillow's name. It knows others, some of which start another program (EPS).
FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"), "PNG": (".png",), "WEBP": (".webp",), "AVIF": (".avif",),
    "BMP": (".bmp",), "TIFF": (".tif", ".tiff"), "PPM": (".ppm", ".pgm", ".pbm", ".pnm"), "GIF": (".gif",),
}  # fmt: skip
SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
LARGE = 4_000_000  # pixels; larger images are decoded one at a time, and JPEGs of this size at a fraction of theirs
MOST = 50_000_000  # pixels that are decoded at all: 150 MB

Pixels = npt.NDArray[np.uint8]
_large_one = threading.Lock()
_large_ones_here = True


def is_image(name: str) -> bool:
    """Return whether a file name is that of an image and not hidden."""
    return not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES


def is_readable(path: Path) -> bool:
    """Return whether a file is an image by its name and by how its content begins."""
    try:
        with open_image(path):
            return is_image(path.name)
    except Exception:  # Pillow's readers fail in many ways
        return False


def load_image(path: str | Path, height: int, width: int) -> Pixels:
    """Decode one image file and fit it, see fit_image.

    Raises ValueError for an image too large to decode, and Pillow's error or OSError if the file cannot be read.
    """
    with open_image(path) as image:
        large = image.width * image.height > LARGE
        if large and not _large_ones_here:
            raise ValueError("a large image")
        if large:
            image.draft(None, (4 * max(height, width),) * 2)  # JPEG: decoded at a half, a quarter or an eighth
        if image.width * image.height > MOST:
            raise ValueError(f"{image.width}×{image.height} pixels, more than {MOST // 10**6} million: reduce it")
        with _large_one if large else nullcontext():
            return fit_image(image, height, width)


def refuse_large_images() -> None:
    """Let load_image fail in this process for images of more than LARGE pixels; another one decodes them."""
    global _large_ones_here
    _large_ones_here = False


@contextmanager
def open_image(path: str | Path) -> Iterator[Image.Image]:
    """Open an image file of one of the FORMATS, whatever its name. Raises Pillow's error or OSError."""
    if not stat.S_ISREG(Path(path).stat().st_mode):  # a pipe would be waited for
        raise OSError("not a file")
    with Image.open(path, formats=_formats()) as image:
        yield image


def fit_image(image: Image.Image, height: int, width: int) -> Pixels:
    """Return a PIL image as a viewer shows it, resized: uint8 (height, width, 3), RGB.

    EXIF rotation is applied, transparency is drawn over white, 16-bit values keep their high byte unless none exceeds
    255, and floating-point values up to 1 are taken for shares of 255; greyscale, palette and CMYK images become RGB.
    The resize is Pillow's bicubic one, so the pixels equal those of torchvision's `Resize((height, width), BICUBIC)` on
    a PIL image. Raises ValueError for floating-point values that are not finite.
    """
    image = _to_rgb(ImageOps.exif_transpose(image))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16- or 8-bit pixels, perhaps held in 32 bits; Pillow's conversion clips at 255
        values = np.asarray(image).clip(0, 65535)
        return Image.fromarray((values >> (8 if values.max() > 255 else 0)).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        values = np.asarray(image)
        if not np.isfinite(values).all():
            raise ValueError("some of its pixels are not numbers")
        values = values * (255 if values.max() <= 1 else 1)
        return Image.fromarray(values.clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


@cache
def _formats() -> list[str]:
    """Return those of the FORMATS that this Pillow reads; AVIF came with 11.3."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]
