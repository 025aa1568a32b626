"""The values of flags: each function takes the text of a command line and returns the value that a
command works with.

They raise ValueError or ArgumentTypeError, which argparse reports in one line, or UserError.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from person_reid.basics import printable
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

# The types of the flags that name what a command writes, see console/outputs.py.
OUTPUTS = ("output_path", "output_file", "picture_file")


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


indices = flag_type(forms.numbers_in, "indices")


def some_name(text: str) -> str:
    """Return the name that a flag was given, as it is stored and printed.

    Raises ArgumentTypeError if it is empty.
    """
    return printable(some_text(text))


def some_path(text: str) -> Path:
    """Return the path that a flag was given.

    Raises ArgumentTypeError for an empty one, which would be the folder.
    """
    return Path(some_text(text))


def three(text: str) -> str:
    """Return three numbers separated by commas, one for each channel.

    Raises ArgumentTypeError for anything else.
    """
    parts = text.split(",")
    try:
        count = len([float(part) for part in parts])
    except ValueError:
        count = 0
    if count != 3:
        raise argparse.ArgumentTypeError(
            f"{text}: expected three numbers, such as 0.485,0.456,0.406"
        )
    return ",".join(f"{number(float)(part):g}" for part in parts)


def output_path(text: str) -> Path:
    """Return the file or folder to write that a flag was given, without `..`, see basics.real."""
    return Path(forms.output_path(some_text(text)))


def file_ending_in(*endings: str) -> Callable[[str], Path]:
    """Return an argparse type: a file to write whose name ends so, lest a slip
    replace a file of another kind.
    """
    form = forms.file_ending_in(*endings)
    return flag_type(lambda text: Path(form(checked_text(text))), form.__name__)


picture_file = flag_type(lambda text: Path(forms.picture_file(checked_text(text))), "picture_file")
