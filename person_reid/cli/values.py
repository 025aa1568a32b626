"""The values of flags: each function takes the text of a command line and returns the value that a command works with.

They raise ValueError or ArgumentTypeError, which argparse reports in one line, or UserError.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from person_reid.basics import UserError, printable, real
from person_reid.config import forms
from person_reid.config.option import (
    FRACTION,
    PART,
    POSITIVE,
    SEED,
    SHARE,
    SIDE,
    WEIGHT,
    WHOLE,
    Number,
    Range,
    checked_number,
    checked_text,
)
from person_reid.console.parser import flag_type

# The types of the flags that name what a command writes, see cli/outputs.py.
OUTPUTS = ("output_path", "output_file", "picture_file")
PICTURES = (  # that some matplotlib can write
    "png", "jpg", "jpeg", "pdf", "svg", "svgz", "webp", "tif", "tiff", "eps", "ps", "avif", "gif", "raw", "rgba",
)  # fmt: skip
THRESHOLD = "a number, a file from tools/threshold.py, or a folder from save_pretrained"  # in words


def number(kind: type[Number], range: Range | None = None) -> Callable[[str], Number]:
    """Return an argparse type: a number, of a range if there is one."""
    return flag_type(lambda text: checked_number(kind, text, range), kind.__name__)


def positive(kind: type[Number]) -> Callable[[str], Number]:
    """Return an argparse type: a number above 0."""
    return number(kind, POSITIVE)


seed, whole, side = (number(int, range) for range in (SEED, WHOLE, SIDE))
fraction, weight, share, part = (number(float, range) for range in (FRACTION, WEIGHT, SHARE, PART))
some_text = flag_type(checked_text, "some_text")
devices = flag_type(forms.devices, "devices")


def some_name(text: str) -> str:
    """Return the name that a flag was given, as it is stored and printed. Raises ArgumentTypeError if it is empty."""
    return printable(some_text(text))


def some_path(text: str) -> Path:
    """Return the path that a flag was given. Raises ArgumentTypeError for an empty one, which would be the folder."""
    return Path(some_text(text))


def three(text: str) -> str:
    """Return three numbers separated by commas, one for each channel. Raises ArgumentTypeError for anything else."""
    parts = text.split(",")
    try:
        count = len([float(part) for part in parts])
    except ValueError:
        count = 0
    if count != 3:
        raise argparse.ArgumentTypeError(f"{text}: expected three numbers, such as 0.485,0.456,0.406")
    return ",".join(f"{number(float)(part):g}" for part in parts)


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
