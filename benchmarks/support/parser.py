"""The benchmarks' parser, and the types of their flags."""

from collections.abc import Callable
from pathlib import Path

from person_reid.config.option import FRACTION, POSITIVE, checked_number
from person_reid.console import parser
from person_reid.console.parser import flag_type

fraction = flag_type(lambda text: checked_number(float, text, FRACTION), "float")


def positive(kind: type) -> Callable[[str], float]:
    """Return an argparse type for finite numbers above 0."""
    return flag_type(lambda text: checked_number(kind, text, POSITIVE), kind.__name__)


class Parser(parser.Parser):
    """Parse the command line of a benchmark."""

    def add_folder(self) -> None:
        """Add --folder, for benchmarks that write gigabytes."""
        self.add_argument(
            "--folder", type=Path, help="folder for temporary files (default: the system's)"
        )
