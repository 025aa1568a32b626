"""The values of flags: each function takes the text of a command line and returns the value that a command works with.

They raise ValueError or ArgumentTypeError, which argparse reports in one line, or UserError.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from person_reid.basics import LARGEST, SMALLEST, UserError, computable, printable, real

Number = TypeVar("Number", int, float)
SIDES = 16, 2048  # pixels of an image, at least and at most
LONGEST = 4096  # characters of a text, as of a path on Linux
# The types of the flags that name what a command writes, see cli/outputs.py.
OUTPUTS = ("output_path", "output_file", "picture_file")
PICTURES = (  # that some matplotlib can write
    "png", "jpg", "jpeg", "pdf", "svg", "svgz", "webp", "tif", "tiff", "eps", "ps", "avif", "gif", "raw", "rgba",
)  # fmt: skip
THRESHOLD = "a number, a file from tools/threshold.py, or a folder from save_pretrained"  # in words


def whole_number(text: str) -> int:
    """Return the number that a flag of type int was given. Raises ArgumentTypeError if it is absurdly large."""
    return _not_absurd(_of_64_bits(text), text)


def finite_number(text: str) -> float:
    """Return the number that a flag of type float was given. Raises ArgumentTypeError for NaN and what is absurd."""
    return _not_absurd(_finite(text), text)


def seed(text: str) -> int:
    """Return the value of `--seed`, which may be any of 0 or above that 64 bits hold."""
    if (number := _of_64_bits(text)) < 0:
        raise argparse.ArgumentTypeError(f"{text}: expected a number of 0 or above")
    return number


def _of_64_bits(text: str) -> int:
    if not -(2**63) <= (number := int(text)) < 2**63:
        raise argparse.ArgumentTypeError(f"{text[:20]}…: expected a number of at most 18 digits")
    return number


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise argparse.ArgumentTypeError(f"{text}: expected a finite number")
    return number


def _not_absurd(number: Number, text: str) -> Number:
    if not computable(number):
        raise argparse.ArgumentTypeError(f"{text}: expected 0, or a number between {SMALLEST:g} and {LARGEST:g}")
    return number


def listed(text: str, number: Callable[[str], Number]) -> list[Number]:
    """Return the numbers in a text, separated by commas; an empty list if one of them is not a number."""
    try:
        return [number(part) for part in text.split(",")]
    except ValueError:
        return []


def some_text(text: str) -> str:
    """Return the text that a flag was given. Raises ArgumentTypeError if there is none, or too much of it."""
    if not text.strip() or "\0" in text:
        raise argparse.ArgumentTypeError("expected a value, found an empty one")
    if len(text) > LONGEST:
        raise argparse.ArgumentTypeError(f"{text[:20]}…: expected at most {LONGEST:,} characters")
    return text


def some_texts(text: str) -> str:
    """Return texts separated by commas, without spaces around them. Raises ArgumentTypeError if one is empty."""
    parts = [part.strip() for part in some_text(text).split(",")]
    if not all(parts):
        raise argparse.ArgumentTypeError(f"{text}: expected values separated by commas, found an empty one")
    return ",".join(parts)


def some_name(text: str) -> str:
    """Return the name that a flag was given, as it is stored and printed. Raises ArgumentTypeError if it is empty."""
    return printable(some_text(text))


def devices(text: str) -> str:
    """Return the value of `--gpu_ids`. Raises ArgumentTypeError unless it names different GPUs, or -1 for the CPU."""
    numbers = listed(text, whole_number)
    if not numbers or len(numbers) > len(set(numbers)) or (numbers != [-1] and min(numbers) < 0):
        raise argparse.ArgumentTypeError(f"{text}: expected numbers of GPUs, such as 0 or 0,1, or -1 for the CPU")
    return ",".join(map(str, numbers))


def some_path(text: str) -> Path:
    """Return the path that a flag was given. Raises ArgumentTypeError for an empty one, which would be the folder."""
    return Path(some_text(text))


def three(text: str) -> str:
    """Return three numbers separated by commas, one for each channel. Raises ArgumentTypeError for anything else."""
    numbers = listed(text, finite_number)
    if len(numbers) != 3:
        raise argparse.ArgumentTypeError(f"{text}: expected three numbers, such as 0.485,0.456,0.406")
    return ",".join(f"{number:g}" for number in numbers)


whole_number.__name__ = seed.__name__ = "int"  # as argparse names them: "invalid int value: 'x'"
finite_number.__name__ = "float"
NUMBERS: dict[type, Callable[[str], Any]] = {int: _of_64_bits, float: _finite}


def output_path(text: str) -> Path:
    """Return the file or folder to write that a flag was given, without `..`, see basics.real."""
    path = some_path(text)
    return real(path) if ".." in path.parts else path


def file_ending_in(*endings: str) -> Callable[[str], Path]:
    """Return an argparse type: a file to write whose name ends so, lest a slip replace a file of another kind."""

    def output_file(text: str) -> Path:
        path = output_path(text)
        expected = f"expected the name of a file that ends in {' or '.join(endings)}"
        if path.is_dir():
            raise UserError(f"{text}: a folder; {expected}.")
        if path.suffix.lower() not in endings:
            raise argparse.ArgumentTypeError(f"{text}: {expected}")
        return path

    return output_file


def picture_file(text: str) -> Path:
    """Return the picture to write that a flag was given. Raises UserError, before the work, for an unknown ending."""
    path = output_path(text)
    if path.suffix.lower().lstrip(".") not in PICTURES:
        raise UserError(
            f"{text}: expected the name of a picture, which ends in .{', .'.join(PICTURES[:5])} or the like."
        )
    return path


def bounded(kind: type[Number], fits: Callable[[Number], bool], expected: str) -> Callable[[str], Number]:
    """Return an argparse type: a number for which fits(number) is true. expected: the range, for the error message."""

    def parse(text: str) -> Number:
        value: Number = NUMBERS[kind](text)
        if not fits(value):
            raise argparse.ArgumentTypeError(f"{text}: expected a number {expected}")
        return _not_absurd(value, text)

    parse.__name__ = kind.__name__
    return parse


def positive(kind: type[Number]) -> Callable[[str], Number]:
    """Return an argparse type: a number above 0."""
    return bounded(kind, lambda value: value > 0, "above 0")


fraction = bounded(float, lambda value: 0 <= value <= 1, "from 0 to 1")
whole = bounded(int, lambda value: value >= 0, "of 0 or above")
weight = bounded(float, lambda value: value >= 0, "of 0 or above")
share = bounded(float, lambda value: 0 < value < 1, "between 0 and 1")
side = bounded(int, lambda value: SIDES[0] <= value <= SIDES[1], f"from {SIDES[0]} to {SIDES[1]} pixels")
part = bounded(float, lambda value: 0 <= value < 1, "from 0 to below 1")
