"""The words behind the numbers of a layout, in a table beside it.

Identities, cameras, tracks and clothes of one's own data set may be words. Names of images hold
numbers in their place, and names.csv says which:

    kind,number,name
    identity,5,P103
    camera,2,entrance
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from person_reid.config.option import OptionError
from person_reid.data.own.csv_tables import read_table
from person_reid.errors import UserError
from person_reid.files import write_csv

FILE = "names.csv"
HEADER = ("kind", "number", "name")
Table = Mapping[str, Mapping[int, str]]  # {kind: {number: word}}


@dataclass(frozen=True)
class Words:
    """The words of a layout.

    table: {"identity", "camera", "track" or "clothes": {number: word}}, without those that are
        numbers.
    """

    table: Table = field(default_factory=dict)

    def identity(self, number: int) -> str:
        """Return the word of an identity, or its number in four digits."""
        return self.table.get("identity", {}).get(number, f"{number:04d}")

    def camera(self, number: int) -> str:
        """Return the word of a camera, or its number."""
        return self.table.get("camera", {}).get(number, str(number))

    def camera_mark(self, number: int) -> str:
        """Return the word of a camera, or `c3`."""
        return self.table.get("camera", {}).get(number, f"c{number}")


NUMBERS = Words()


def read_words(layout: str | Path) -> Words:
    """Return the words of a layout; none if it has no table of prepare.py.

    Raises UserError for a table that is damaged.
    """
    file = Path(layout, FILE)
    if not _is_ours(file):
        return NUMBERS
    status = file.stat()
    return _read(file, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _read(file: Path, *_state: int) -> Words:
    table: dict[str, dict[int, str]] = defaultdict(dict)
    for line, row in read_table(file, HEADER, may_be_empty=True, gaps=False):
        if not re.fullmatch("-?[0-9]{1,18}", row["number"], re.ASCII):
            raise UserError(
                f"{file}, line {line}: number {row['number']!r}: expected a whole number. "
                "Remove the file and run prepare.py again, which writes it."
            )
        if row["name"]:
            table[row["kind"]][int(row["number"])] = row["name"]
    return Words(dict(table))


def words_beside(image: str | Path, layout: str | Path | None = None) -> Words:
    """Return the words of the layout that holds an image, `<layout>/<split>/<identity>/<image>`.

    layout: where it is now, if it has moved.
    """
    parents = Path(image).parents
    if layout is None and len(parents) < 3:
        return NUMBERS
    return read_words(layout or parents[2])


def check_place(layout: str | Path) -> None:
    """Raise UserError if a layout has a file of the table's name that is something else."""
    file = Path(layout, FILE)
    if file.exists() and not _is_ours(file):
        raise OptionError(
            f"{file}: prepare.py would write which word has which number there, and this is "
            "another file. Move it, or choose another {save_dir}."
        )


def write_words(layout: str | Path, table: Table) -> None:
    """Write the table of a layout, or remove an earlier layout's if words are lacking."""
    file = Path(layout, FILE)
    if not table:
        file.unlink(missing_ok=True)
    elif read_words(layout).table != table:
        write_csv(
            file,
            HEADER,
            (
                (kind, number, word)
                for kind, words in table.items()
                for number, word in sorted(words.items())
            ),
        )


def _is_ours(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        return opened.readline(100).strip() == ",".join(HEADER).encode()
