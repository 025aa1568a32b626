"""The parser of the benchmarks: numbers are finite, and texts are not empty."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from person_reid.config.option import FRACTION, POSITIVE, Range, checked_number, checked_text
from person_reid.console import parser
from person_reid.console.parser import flag_type


def number(kind: type, range: Range | None = None) -> Callable[[str], float]:
    """Return an argparse type: a finite number, within a range if there is one."""
    return flag_type(lambda text: checked_number(kind, text, range), kind.__name__)


def positive(kind: type) -> Callable[[str], float]:
    """Return an argparse type: a number above 0."""
    return number(kind, POSITIVE)


fraction = number(float, FRACTION)


class Parser(parser.Parser):
    """Parse the command line of a benchmark."""

    def __init__(self, text: str | None = "", **settings: Any) -> None:
        super().__init__(text, **settings)
        some_text = flag_type(checked_text, "some_text")
        some_path = flag_type(lambda text: Path(checked_text(text)), "Path")
        types = {int: number(int), float: number(float), None: some_text, Path: some_path}
        for kind, parse in types.items():
            self.register("type", kind, parse)

    def add_folder(self) -> None:
        """Add --folder, for benchmarks that write gigabytes."""
        self.add_argument(
            "--folder",
            type=Path,
            metavar="DIR",
            help="folder for temporary files (default: the system's)",
        )
