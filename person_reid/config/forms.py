"""Check the text of option values, and put it into canonical form.

Each function returns the canonical text or raises ValueError.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from person_reid.config.option import LARGEST_SETTING, SIDE, checked_number
from person_reid.errors import UserError
from person_reid.files import real
from person_reid.text import composed, printable

PICTURE_SUFFIXES = (  # that some version of matplotlib can write
    "png", "jpg", "jpeg", "pdf", "svg", "svgz", "webp", "tif", "tiff", "eps", "ps", "avif",
    "gif", "raw", "rgba",
)  # fmt: skip
MOST_INDICES = 100_000  # in one range
Number = TypeVar("Number", int, float)
Sizes = tuple[tuple[int, tuple[int, int]], ...]
"""(first epoch, (height, width)) of the image sizes of a run, in order."""


def listed_numbers(text: str, kind: type[Number], separator: str | None = ",") -> list[Number]:
    """Return the numbers in a text, split at `separator` as str.split does.

    Returns an empty list if any part is not a number of this kind.
    """
    try:
        return [kind(part.strip()) for part in text.split(separator)]
    except ValueError:
        return []


def devices(text: str) -> str:
    """Check a list of GPUs for gpu_ids: distinct numbers, or -1 for the CPU."""
    found = listed_numbers(text, int)
    if any(abs(number) >= 2**63 for number in found):
        raise ValueError(f"{text[:20]}…: expected a number of at most 18 digits")
    if not found or len(found) > len(set(found)) or (found != [-1] and min(found) < 0):
        raise ValueError(f"{text}: expected numbers of GPUs, such as 0 or 0,1, or -1 for the CPU")
    return ",".join(map(str, found))


def ranks(text: str) -> str:
    """Check and sort a list of ranks, such as 1,5,10,20."""
    found = listed_numbers(text, int)
    if not found or min(found) < 1 or max(found) > LARGEST_SETTING:
        raise ValueError(f"{text}: expected ranks from 1 on, such as 1,5,10,20")
    return ",".join(map(str, sorted(set(found))))


def rates(text: str) -> str:
    """Check a list of rates between 0 and 1, such as 1e-3,1e-4."""
    listed = texts(text)
    found = listed_numbers(listed, float)
    if not found or not all(0 < rate < 1 for rate in found):
        raise ValueError(f"{text}: expected rates between 0 and 1, such as 1e-3,1e-4")
    return listed


def texts(text: str) -> str:
    """Check comma-separated values, and remove the spaces around each."""
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise ValueError(f"{text}: expected values separated by commas, found an empty one")
    return ",".join(parts)


def numbers_in(text: str) -> list[int]:
    """Return the numbers in a list of numbers and ranges: [3, 7, 8, 9] for "3,7-9"."""
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(-?\d{1,9})(?:-(\d{1,9}))?\s*", part, re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not 0 <= last - first < MOST_INDICES:
            raise ValueError(f"{text}: expected numbers and ranges, such as 3,7,12 or 0-5")
        found.extend(range(first, last + 1))
    return list(dict.fromkeys(found))


def indices(text: str) -> str:
    """Check a list of numbers and ranges, such as 3,7,12 or 0-5."""
    numbers_in(text)
    return text


def output_path(text: str) -> str:
    """Return the path of a file or folder to write, without `..`; see files.real."""
    return str(real(text)) if ".." in Path(text).parts else text


def file_ending_in(*endings: str) -> Callable[[str], str]:
    """Return a function that checks the extension of an output path.

    It keeps a mistake from replacing a file of another kind.
    """

    def output_file(text: str) -> str:
        path, expected = Path(output_path(text)), f"ends in {' or '.join(endings)}"
        if path.is_dir():
            raise UserError(f"{text}: a folder; expected the name of a file that {expected}.")
        if path.suffix.lower() not in endings:
            raise ValueError(f"{text}: expected the name of a file that {expected}")
        return str(path)

    return output_file


def picture_file(text: str) -> str:
    """Return the path of a picture to write.

    Raises UserError, before any work, for an unknown extension.
    """
    path = Path(output_path(text))
    if path.suffix.lower().lstrip(".") not in PICTURE_SUFFIXES:
        endings = ", .".join(PICTURE_SUFFIXES[:5])
        raise UserError(
            f"{text}: expected the name of a picture, which ends in .{endings} or the like."
        )
    return str(path)


def milestones(text: str) -> str:
    """Check the epochs of a multistep schedule, such as 40,70."""
    found = listed_numbers(text, int)
    if (
        not found
        or not 1 <= found[0] <= found[-1] <= LARGEST_SETTING
        or found != sorted(set(found))
    ):
        raise ValueError(f"{text}: expected epochs in ascending order, such as 40,70")
    return text


EXPECTED_SIZES = (
    "expected sizes such as 128x64,192x96,256x128, "
    "or with epochs for all but the last, such as 128x64:20,256x128"
)


def sizes(text: str) -> str:
    """Check a schedule of image sizes, such as 128x64:20,256x128."""
    image_sizes(texts(text), epochs=None)
    return text


def image_sizes(text: str | None, epochs: int | None) -> Sizes:
    """Return the image sizes in resize_schedule and their first epochs, or () for None.

    text: "128x64,192x96,256x128" shares the epochs equally; "128x64:20,256x128" gives the first
        size 20 of them.
    epochs: the total number of epochs; None checks only the form.

    Raises ValueError for an invalid size, for an unused one, and if only some of the sizes before
    the last have a number of epochs.
    """
    if text is None:
        return ()
    found: list[tuple[int, int]] = []
    lengths: list[int] = []
    for part in text.split(","):
        size, _, length = part.strip().partition(":")
        if not re.fullmatch(r"\d{2,4}x\d{2,4}", size) or not re.fullmatch(r"\d{0,6}", length):
            raise ValueError(f"{text}: {EXPECTED_SIZES}")
        height, width = map(int, size.split("x"))
        if not (SIDE.fits(height) and SIDE.fits(width)):
            raise ValueError(f"{text}: expected sides {SIDE.words}")
        found.append((height, width))
        lengths.append(int(length or 0))

    *before, last = lengths
    if last or (any(before) and not all(before)):
        raise ValueError(f"{text}: {EXPECTED_SIZES}")
    if epochs is None:
        return ()
    if any(before):
        firsts = [sum(before[:index]) for index in range(len(found))]
    else:
        firsts = [epochs * index // len(found) for index in range(len(found))]
    if sorted({*firsts, epochs}) != [*firsts, epochs]:
        raise ValueError("not every size has an epoch")
    return tuple(zip(firsts, found, strict=True))


def printable_text(text: str) -> str:
    """Return a name in the form in which it is stored and printed."""
    return printable(composed(text))


def three_numbers(text: str) -> str:
    """Return three numbers separated by commas, one for each channel."""
    parts = text.split(",")
    if len(parts) != 3:
        raise ValueError(f"{text}: expected three numbers, such as 0.485,0.456,0.406")
    return ",".join(f"{checked_number(float, part):g}" for part in parts)
