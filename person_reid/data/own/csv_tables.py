"""Read tables written by users: lists of images, corrections, and details of images.

The first line names the columns. Commas, semicolons and tabs may separate them. The text is UTF-8
or, as a spreadsheet saves Unicode, UTF-16 with a byte order mark. Other encodings cannot be
recognised with certainty and are rejected.
"""

import codecs
import csv
import difflib
import logging
import re
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path

from person_reid.errors import UserError
from person_reid.files import content_of, plain_cell

log = logging.getLogger(__name__)
TableRow = tuple[int, list[str]]  # the number of a line, and its cells
DELIMITERS = ",;\t"
# Columns of whole numbers or words.
NUMBERED_COLUMNS = ("identity", "new_identity", "camera", "track", "clothes", "accept")
# What pandas, R and spreadsheets write for an empty cell.
GAPS = ("nan", "NaN", "NaT", "None", "<NA>", "NULL", "null", "NA", "N/A", "n/a", "#N/A")
# Words that people add to the name of a column, as in cam_id. The rest may be an abbreviation.
ADDED = re.compile(r"_?(id|no|nr|number)$")
WITH_POINT = re.compile(r"([-+]?[0-9]+)[.,]0{0,2}")  # 1,000 is a thousand, not 1
ROUNDED = re.compile(r"[0-9]+([.,][0-9]+)?[eE]\+[0-9]+")


def read_table(
    file: Path,
    needed: Sequence[str],
    optional: Sequence[str] = (),
    may_be_empty: bool = False,
    others: bool = False,
    gaps: bool = True,
) -> list[tuple[int, dict[str, str]]]:
    """Return (line number, {column: value}) for each line below the header.

    needed, optional: columns to return; optional columns that the file lacks are omitted.
    may_be_empty: whether a file may have no lines below the header. others: whether to also return
    all other named columns. gaps: whether words such as NA are empty cells; in our own tables, they
    are names.

    Empty lines are skipped. Case and blanks in names of columns make no difference. A whole number
    that pandas wrote with a point, because its column has gaps, loses the point: 3.0 is 3. The log
    lists columns that are not read. Raises UserError for a file that is damaged, has another
    encoding, or lacks a needed column, and for a column that occurs twice, has no name, or has
    nearly the name of a missing column.
    """
    known = tuple(dict.fromkeys([*needed, *optional]))
    lines = list(_lines(file, known))
    names = [_plain(name) for name in lines[0][1]] if lines else []
    if not set(needed) <= set(names):
        found = ", ".join(lines[0][1]) if lines else "no lines"
        raise UserError(
            f"{file}: expected the columns {','.join(known)} in the first line; found {found}."
        )
    rows = lines[1:]
    if not rows and not may_be_empty:
        raise UserError(f"{file}: nothing is listed below the first line.")
    _check_names(file, names, known)
    wanted = dict.fromkeys([*known, *filter(None, names)]) if others else known
    if not others and (unread := [name for name in names if name and name not in known]):
        log.warning("%s: columns that are not read: %s.", file, ", ".join(unread))
    _check_cells(file, names, rows)
    places = {name: names.index(name) for name in wanted if name in names}
    # Cells may be missing at the end of a line.
    full = ((line, cells + [""] * (len(names) - len(cells))) for line, cells in rows)
    return [
        (line, {name: _value(file, line, name, cells[at], gaps) for name, at in places.items()})
        for line, cells in full
    ]


def _lines(file: Path, known: Sequence[str]) -> Iterator[TableRow]:
    """Yield the number and the cells of each non-empty line, without spaces around the cells."""
    text = _text(file)
    first = next((line for line in text.splitlines() if line.strip()), "")

    def recognised(delimiter: str) -> tuple[int, int]:
        cells = next(csv.reader([first], delimiter=delimiter, skipinitialspace=True), [])
        return len(set(map(_plain, cells)) & set(known)), len(cells)

    try:
        delimiter = max(DELIMITERS, key=recognised)
        lines = StringIO(text, newline="")
        table = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
        for cells in table:
            if any(cell.strip() for cell in cells):
                yield table.line_num, [plain_cell(cell.strip()) for cell in cells]
    except csv.Error as error:
        raise UserError(f"{file}: not readable as CSV: {error}.") from error


def _plain(name: str) -> str:
    """Return a column name in lower case and without spaces."""
    return "".join(name.split()).casefold()


def _text(file: Path) -> str:
    content = content_of(file)
    utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if utf_16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file}: not UTF-8 ({error}). Save it as UTF-8: in a spreadsheet, as CSV UTF-8."
        ) from error
    if "\0" in text:
        raise UserError(f"{file}: damaged: it holds a zero byte. Save it again, as CSV in UTF-8.")
    return re.sub(r"\Asep=.\r?\n", "\n", text)  # a line that is only for Excel, but counts


def _check_names(file: Path, names: Sequence[str], known: Sequence[str]) -> None:
    """Raise UserError for a column that occurs twice or whose name is close to a missing one."""
    if twice := [name for name in known if names.count(name) > 1]:
        raise UserError(f"{file}: the column {twice[0]} is there twice. Remove or rename one.")
    lacking = [name for name in known if name not in names]
    others = [name for name in names if name and name not in known]
    for name in others:
        if meant := _meant(name, lacking):
            raise UserError(
                f"{file}: there is a column {name} and no column {meant}. If it is that one, "
                f"call it {meant}; if not, remove it or give it another name."
            )


def _meant(name: str, lacking: Sequence[str]) -> str | None:
    """Return the missing column that a name misspells, such as camera for cam_id, or None."""
    short = ADDED.sub("", name)
    abbreviated = [each for each in lacking if len(short) > 2 and each.startswith(short)]
    near = difflib.get_close_matches(name, lacking, n=1, cutoff=0.8)
    return next(iter([*near, *abbreviated]), None)


def _check_cells(file: Path, names: Sequence[str], rows: Sequence[TableRow]) -> None:
    """Raise UserError for values without a column, or in a column without a name.

    A first column without a name may hold row numbers, as pandas writes them.
    """
    indexes = [cells[0] for _, cells in rows]
    numbers = all(re.fullmatch("[0-9]+", each) for each in indexes)
    indexed = numbers and len(set(indexes)) == len(rows)
    for line, cells in rows:
        for place, cell in enumerate(cells):
            nameless = place >= len(names) or not names[place]
            if nameless and cell and not (place == 0 and indexed):
                raise UserError(
                    f"{file}, line {line}: {cell[:40]!r} is in column {place + 1}, which has no "
                    "name in the first line. Name or empty it; put quotes around a value that "
                    "contains the separator."
                )


def _value(file: Path, line: int, name: str, text: str, gaps: bool) -> str:
    """Return the value of a cell: "" for a gap, and whole numbers without a decimal point."""
    if name == "path":
        return text
    if gaps and text in GAPS:
        return ""
    if name not in NUMBERED_COLUMNS:
        return text
    if ROUNDED.fullmatch(text):
        raise UserError(
            f"{file}, line {line}: {name} {text}: a spreadsheet or pandas has rounded this number. "
            "Format the column as text, enter the numbers again, and save."
        )
    whole = WITH_POINT.fullmatch(text)
    return str(int(whole[1])) if whole else text
