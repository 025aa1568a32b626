"""The parser of the commands that have no configuration yet:
argparse's own, with stricter types.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from person_reid import console
from person_reid.cli.values import number, some_path, some_text
from person_reid.console.parser import example_lines as example_lines


class Parser(console.parser.Parser):
    """Parse the command line of a script. Numbers are finite, and texts are not empty."""

    def __init__(
        self, text: str | None = "", examples: Sequence[str] | None = None, **settings: Any
    ) -> None:
        super().__init__(text, examples, **settings)
        for kind, parse in (
            (int, number(int)),
            (float, number(float)),
            (None, some_text),
            (Path, some_path),
        ):
            self.register("type", kind, parse)
