"""Image files: how to recognise them, and the pixels that a network gets."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from person_reid.config.times import stored
from person_reid.errors import UserError, first_line
from person_reid.files import regular_file

# The formats that are read, by Pillow's names. Pillow knows others, some of which start another
# program (EPS).
IMAGE_FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"), "PNG": (".png",), "WEBP": (".webp",),
    "AVIF": (".avif",), "BMP": (".bmp",), "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"), "GIF": (".gif",),
}  # fmt: skip
SUFFIXES = frozenset(suffix for suffixes in IMAGE_FORMATS.values() for suffix in suffixes)
HEIC = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")  # in its header
NOT_READ = frozenset((".heic", ".heif"))  # from phones; Pillow needs a package for them
# In pixels. Larger images are decoded one at a time, and such JPEGs at a fraction of their size.
LARGE = 4_000_000
# Larger images are rejected. These are the "50 megapixels" of phones, 150 MB when decoded.
MOST_DECODED_PIXELS = 8192 * 6144

Pixels = npt.NDArray[np.uint8]
DEEP = "IF"  # first letters of Pillow's modes with values beyond 0 to 255
# One range for all images: otherwise a person would be dark in one and bright in the next.
TOO_DEEP = "more than 8 bits"
CONVERSION = (
    'This converts a copy of a folder, here from 12 bits: python -c "import glob, numpy; '
    "from PIL import Image; [Image.fromarray((numpy.asarray(Image.open(f)) >> 4)"
    ".astype('uint8')).save(f) for f in glob.glob('FOLDER/**/*.tif', recursive=True)]\""
)
# EXIF's directory of camera entries, and two of these entries.
EXIF, TAKEN, CHANGED = 0x8769, 0x9003, 0x0132
ORIENTATION, UPRIGHT = 0x0112, 1
PREPARED_RECORD = ".prepared.json"  # in every folder that prepare.py has laid out
_large_one = threading.Lock()


def is_image(name: str) -> bool:
    """Return whether a file is an image and not hidden, judging by its name."""
    return not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES


def is_readable(path: Path) -> bool:
    """Return whether a file is an image, judging by its name and first bytes."""
    try:
        with open_image(path):
            return is_image(path.name)
    except Exception:  # Pillow's readers fail in many ways
        return False


def load_image(
    path: str | Path,
    height: int,
    width: int,
    resize: str = "bicubic",
) -> Pixels:
    """Decode an image file and resize it with fit_image.

    Raises ValueError for an image too large to decode or of more than 8 bits, and Pillow's error
    or OSError if the file cannot be read.
    """
    with open_image(path) as image, _one_large(image):
        draft_large(image, height, width)
        _check_size(image)
        return fit_image(image, height, width, resize)


def draft_large(image: Image.Image, height: int, width: int) -> None:
    """Have a large JPEG decoded at half, a quarter or an eighth of its size."""
    if image.width * image.height > LARGE:
        image.draft(None, (4 * max(height, width),) * 2)


def read_image(path: str | Path) -> Image.Image:
    """Return an image file as a viewer shows it, in RGB.

    Raises ValueError for an image of more than 8 bits, and Pillow's error or OSError if it cannot
    be read.
    """
    with open_image(path) as image:
        return in_rgb(image)


@contextmanager
def open_content(content: BinaryIO) -> Iterator[Image.Image]:
    """Open the content of an image file; only one large image is open at a time.

    Raises ValueError for an image that is too large, and Pillow's error if it cannot be read.
    """
    with Image.open(content, formats=_formats()) as image:
        _check_size(image)
        with _one_large(image):
            yield image


def _one_large(image: Image.Image) -> AbstractContextManager[object]:
    """Return the lock for decoding large images, or no lock for a small image."""
    return _large_one if image.width * image.height > LARGE else nullcontext()


def _check_size(image: Image.Image) -> None:
    """Raise ValueError for an image that would take too much memory."""
    if image.width * image.height > MOST_DECODED_PIXELS:
        raise ValueError(
            f"{image.width}×{image.height} pixels, "
            f"more than {MOST_DECODED_PIXELS // 10**6} million: reduce it"
        )


def attempted(load: Callable[[Any], Pixels], source: Any) -> Pixels | str:
    """Return load(source), or the reason for its failure. source: see why_unread."""
    try:
        return load(source)
    except UserError as error:  # which names it
        return str(error)
    except Exception as error:  # decoders fail in many ways, all of which mean the same here
        return f"{source}: {why_unread(error, source)}"


def why_unread(error: Exception, source: object) -> str:
    """Describe why an image cannot be decoded. source: its path or content."""
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
    """Open an image in one of the IMAGE_FORMATS, whatever the file's name.

    Raises UserError if it is not a regular file, and otherwise Pillow's error or OSError.
    """
    with Image.open(regular_file(path, expected="an image"), formats=_formats()) as image:
        yield image


def probe_image() -> Pixels:
    """Return a synthetic image (64, 32, 3), whose feature identifies a network."""
    return np.random.default_rng(0).integers(0, 256, (64, 32, 3), np.uint8)


def fit_image(image: Image.Image, height: int, width: int, resize: str = "bicubic") -> Pixels:
    """Return a PIL image as a viewer shows it, resized: uint8 (height, width, 3), RGB.

    The resize is Pillow's, bicubic or bilinear, so the pixels equal those of torchvision's
    `Resize((height, width), BICUBIC)` on a PIL image. Raises ValueError for an image of more than 8
    bits.
    """
    return np.asarray(in_rgb(image).resize((width, height), Image.Resampling[resize.upper()]))


def in_rgb(image: Image.Image) -> Image.Image:
    """Return a PIL image as a viewer shows it, or the same image if nothing has to change.

    EXIF rotation is applied and transparency is drawn over white. Greyscale, palette and CMYK
    images become RGB. Raises ValueError for an image of more than 8 bits.
    """
    if image.mode[0] in DEEP:  # which Pillow's conversion clips at 255
        raise ValueError(TOO_DEEP)
    image.load()  # without needless copies: a photograph can take 150 MB
    if image.getexif().get(ORIENTATION, UPRIGHT) != UPRIGHT:
        image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")


@cache
def _formats() -> list[str]:
    """Return the IMAGE_FORMATS that the installed Pillow reads; AVIF came with Pillow 11.3."""
    Image.init()
    return [name for name in IMAGE_FORMATS if name in Image.OPEN]


def exif_time(path: Path) -> str | None:
    """Return when a photograph was taken, according to EXIF, or None."""
    try:
        with open_image(path) as image:
            exif = image.getexif()
            text = str(exif.get_ifd(EXIF).get(TAKEN) or exif.get(CHANGED))
            return stored(datetime.strptime(text.strip("\0 "), "%Y:%m:%d %H:%M:%S"))
    except Exception:  # Pillow's readers fail in many ways; embedding the image names them
        return None


def file_time(path: Path) -> str | None:
    """Return when a file was last modified, or None if it is missing."""
    try:
        return stored(datetime.fromtimestamp(path.stat().st_mtime))
    except OSError:
        return None
