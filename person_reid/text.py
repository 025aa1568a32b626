"""Text for terminals, pages and command lines."""

import difflib
import html
import json
import os
import re
import shlex
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unicodedata import combining

# Characters that a terminal would obey instead of showing: controls, changes of the writing
# direction, and surrogates, which stand for bytes of a file name that are not UTF-8.
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: object) -> str:
    """Return text, such as a file's name, in a form that any terminal, picture or page can show.

    U+FFFD stands for what cannot be shown.
    """
    return UNSEEN.sub("\ufffd", str(text))


def in_markdown(text: str) -> str:
    """Return text on one line, with HTML and the bars that end a table cell escaped."""
    line = printable(" ".join(text.split()))
    return html.escape(line, quote=False).replace("|", "&#124;")


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(in_markdown, cells))} |\n" for cells in lines)


def counted(number: int, noun: str, several: str = "") -> str:
    """Return `1 epoch` or `20 epochs`; `1 person` or `20 people` if `several` is "people"."""
    return f"{number:,} {noun if number == 1 else several or noun + 's'}"


def quoted(path: str | Path) -> str:
    """Return a path as typed on a command line, in quotation marks if it needs them."""
    if os.name != "nt":
        return shlex.quote(str(path))
    from subprocess import list2cmdline

    return list2cmdline([str(path)])


def as_command(script: str) -> str:
    """Return the command for a script: `python tools/search.py`, or `person-reid search`.

    Returns the latter if the installed program is running.
    """
    if sys.argv[0].startswith("person-reid "):
        return f"person-reid {Path(script).stem}"
    return f"python {script}"


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return ` Did you mean 'resnet50'?` with the name in `known` closest to `name`.

    Returns an empty string if none is close.
    """
    near = difflib.get_close_matches(str(name), known, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def near_names(new: Iterable[str], known: Iterable[str] = ()) -> list[tuple[str, str]]:
    """Return pairs of a new name and another that differs only in case, spaces, accents or width.

    The second name is in `known`, or is also new.
    """
    new, alike = {*new} - {*known}, defaultdict(set)
    for name in {*new, *known}:
        alike[_bare(name)].add(name)
    return [(name, other) for name in sorted(new) for other in sorted(alike[_bare(name)] - {name})]


def composed(name: str) -> str:
    """Return a name in Unicode's composed form (NFC), in which all names are stored and compared.

    File names from a Mac store a letter and its accent separately; a keyboard types them as one.
    """
    return unicodedata.normalize("NFC", name)


def _bare(name: str) -> str:
    """Return a name without case, spaces or accents."""
    letters = unicodedata.normalize("NFKD", name).casefold()
    return "".join(each for each in letters if not each.isspace() and not combining(each)) or name


def parse_json(text: str | bytes) -> Any:
    """Return the value in a JSON text.

    Raises ValueError if it is not JSON, or nested too deeply to be read.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
