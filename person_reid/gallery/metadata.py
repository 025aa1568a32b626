"""Facts about an indexed image, such as identity, camera and time, and filters on them."""

import logging
import numbers
import operator
import os
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

from person_reid.config.times import moment, parsed, stored, written
from person_reid.data.images.image_files import exif_time, file_time
from person_reid.data.own.csv_tables import read_table
from person_reid.data.readers import compiled, search_path
from person_reid.errors import UserError
from person_reid.files import real
from person_reid.text import composed, printable

log = logging.getLogger(__name__)
URI = "file://"
OF_MORE = "more IS NOT NULL AND EXISTS (SELECT 1 FROM json_each(more) WHERE key = ? AND value = ?)"
SIGNS = {"=": operator.eq, "!=": operator.ne, ">": operator.gt, ">=": operator.ge, "<": operator.lt}
NOT_A_PERSON = "-1"  # the identity of junk, the data sets' word for a box that shows nobody


class About(NamedTuple):
    """The facts about an image.

    Each field is a column of an index and of the CSV files, and a key in JSON files.

    time: UTC, such as "2026-11-01 08:30:00Z", so that text sorts by time. track: consecutive images
    of one person, from a tracker. source: the video or collection from which the image was cut.
    more: further columns, {name: value}, such as {"store": "3"}.
    """

    identity: str | None = None
    camera: str | None = None
    time: str | None = None
    track: str | None = None
    source: str | None = None
    more: Any = None

    def facts(self) -> dict[str, str]:
        """Return {name: value} for all known facts, including further columns."""
        *known, more = self
        facts = zip(self._fields, known, strict=False)
        return {**{name: value for name, value in facts if value}, **(more or {})}


FACT_NAMES = About._fields[:5]  # facts that every image can have; `more` holds the others


def fact_name(name: str) -> str:
    """Return a name after checking that it is a column of About. Raises UserError if it is not."""
    if name in FACT_NAMES:
        return name
    raise UserError(f"no column {name!r}; there are {', '.join(FACT_NAMES)}.")


def merged_about(old: About, new: About) -> About:
    """Return the new facts, with the old value where a new value is None."""
    both = zip(old, new, strict=True)
    merged = About(*(before if now is None else now for before, now in both))
    return merged._replace(more={**old.more, **new.more}) if old.more and new.more else merged


def stored_facts(about: About) -> About:
    """Return facts in the form in which a gallery stores them: text, with times in UTC.

    Raises UserError for anything but text, whole numbers, or a time.
    """
    if not isinstance(about, About):
        raise UserError(f"facts about an image: expected an About, found {about!r}.")
    forms: dict[str, Any] = {"time": _stored, "more": _own}
    given = {name: value for name, value in about._asdict().items() if value is not None}
    return About(**{name: forms.get(name, _text)(value, name) for name, value in given.items()})


def _text(value: Any, name: str) -> str:
    """Return a value as composed text. Raises UserError unless it is text or a whole number."""
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return str(int(value))
    if isinstance(value, str):
        return composed(value)
    raise UserError(f"{name}: expected a text, found {value!r}.")


def _own(value: Any, name: str) -> dict[str, str]:
    """Return further columns as {name: text}."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) and key for key in value):
        raise UserError(f"{name}: expected {{column: text}}, found {value!r:.60}.")
    if wrong := {*value} & {"path", *About._fields}:
        raise UserError(
            f"{name}: {sorted(wrong)[0]} is a column of every index, not a further one."
        )
    return {key: _text(each, f"{name} {key}") for key, each in value.items() if each is not None}


def _pairs(value: Any, name: str) -> tuple[tuple[str, str], ...]:
    """Return further columns as sorted pairs, so that a Filter is hashable."""
    return tuple(sorted(_own(dict(value) if isinstance(value, tuple) else value, name).items()))


def _stored(value: Any, name: str) -> str:
    """Return a time in stored form; empty text, which clears a time, stays empty."""
    return "" if value == "" else stored(_instant(value, name))


def _bound(value: Any, name: str) -> str:
    """Return a time rounded up to a whole second, because indexes store whole seconds."""
    time = _instant(value, name)
    return stored(time + timedelta(microseconds=-time.microsecond % 10**6))


def _instant(value: Any, name: str) -> datetime:
    """Return the instant denoted by a date, a datetime or text."""
    if isinstance(value, str | date):
        return parsed(value if isinstance(value, str) else value.isoformat())
    raise UserError(f"{name}: expected a datetime, or a text such as 2026-11-01, found {value!r}.")


def _path(value: Any, name: str) -> bytes:
    """Return a path as bytes, as an index stores it."""
    if isinstance(value, str | bytes | os.PathLike):
        return os.fsencode(Path(os.fsdecode(value)))
    raise UserError(f"{name}: expected a path, found {value!r}.")


@dataclass(frozen=True)
class Filter:
    """The images to search: their identity, camera, track, source, period and path.

    None matches every image. after, before: a datetime, a date, or text such as
    2026-11-01T09:30+01:00; without an offset, it is local time. image: the path as it was added.
    has_identity: only images with an identity. where: values of further columns, such as {"store":
    "3"}. images: paths as they were added. Raises UserError for other values, or if `after` is not
    before `before`.
    """

    identity: str | None = None
    camera: str | None = None
    track: str | None = None
    source: str | None = None
    after: str | date | None = None
    before: str | date | None = None
    image: str | os.PathLike[str] | bytes | None = None
    where: Any = None
    images: tuple[str | os.PathLike[str] | bytes, ...] | None = None
    has_identity: bool = False

    def __post_init__(self) -> None:
        forms: dict[str, Any]
        forms = {
            "after": _bound,
            "before": _bound,
            "image": _path,
            "where": _pairs,
            "images": lambda paths, name: tuple(_path(each, name) for each in paths),
        }
        for name, value in [*vars(self).items()]:
            if value is not None and name != "has_identity":
                object.__setattr__(self, name, forms.get(name, _text)(value, name))
        ends = str(self.after), str(self.before)
        if None not in (self.after, self.before) and ends[0] >= ends[1]:
            first, last = map(written, ends)
            raise UserError(f"from {first} on and before {last}: no time is both; exchange them.")

    def comparisons(self) -> list[tuple[str, str, Any]]:
        """Return the filter's comparisons as (column, SQL operator, value).

        An image whose value is unknown matches no comparison.
        """
        others = {
            "after": ("time", ">="),
            "before": ("time", "<"),
            "image": ("path", "="),
        }
        given = {name: value for name, value in vars(self).items() if value is not None}
        for name in ("where", "images", "has_identity"):
            given.pop(name, None)
        found = [(*others.get(name, (name, "=")), value) for name, value in given.items()]
        somebody = [("identity", ">", ""), ("identity", "!=", NOT_A_PERSON)]
        dated = [("time", ">", "")]  # empty where a user has cleared it
        return [*found, *somebody * self.has_identity, *dated * bool(self.before)]

    def admits(self, path: str | os.PathLike[str], about: About) -> bool:
        """Return whether an image passes the filter; for galleries without a query language."""
        known = about._asdict() | {"path": os.fsencode(path)}
        if not {*(self.where or ())} <= {*(about.more or {}).items()}:
            return False
        if self.images is not None and os.fsencode(path) not in self.images:
            return False
        for column, sign, value in self.comparisons():
            found = known[column]
            if found is None or not SIGNS[sign](found, value):
                return False
        return True

    def condition(self, mark: str = "?", of_more: str = OF_MORE) -> tuple[str, list[Any]]:
        """Return the filter as an SQL condition and its values.

        mark: the placeholder of a value. of_more: the condition that a further column has a value.
        """
        clauses, values = [], []
        for column, sign, value in self.comparisons():
            clauses.append(f"{column} {sign} {mark}")
            values.append(value)
        for pair in self.where or ():
            clauses.append(of_more)
            values += pair
        if self.images is not None:
            clauses.append(f"path IN ({', '.join([mark] * len(self.images))})")
            values += self.images
        return " AND ".join(clauses) or "true", values


def filters_of(paths: Sequence[str | os.PathLike[str]], at_once: int) -> Iterator[Filter]:
    """Yield filters that together admit these images, each at most `at_once` of them."""
    for start in range(0, len(paths), at_once):
        yield Filter(images=tuple(paths[start : start + at_once]))


UNKNOWN_ABOUT, EVERYTHING = About(), Filter()


@dataclass(frozen=True)
class Found:
    """One image found for a query, its cosine similarity, and the facts about it."""

    path: Path
    similarity: float
    about: About = UNKNOWN_ABOUT


def about_images(
    paths: Iterable[Path],
    csv: Path | None = None,
    pattern: str | None = None,
    dated: Container[Path] | None = None,
    folders: Sequence[Path] = (),
) -> dict[Path, About]:
    """Find the facts about images: in a CSV file, in file names, in EXIF or in file times.

    csv: has the column path (relative to the file), columns of About, and further columns. pattern:
    a regular expression with some of the groups id, camera, track and source. It is searched in a
    file's name, then in its path below one of `folders`, then in its whole path. dated: images that
    get the time from EXIF or the file if the list gives none; by default, all. Raises UserError for
    an invalid time or pattern, or a list of other images. The log warns if a pattern matches no
    image.
    """
    paths = list(paths)
    listed, expression = read_abouts(csv) if csv else {}, _compiled(pattern or "")
    found, matched = {}, False
    if listed and not listed.keys() & set(paths):
        raise UserError(
            f"{csv}: lists none of the {len(paths)} images; "
            "its paths are relative to the folder that it is in."
        )
    for path in paths:
        below = next((path.relative_to(each) for each in folders if each in path.parents), path)
        match = search_path(expression, Path(printable(below)))
        match = match or search_path(expression, Path(printable(path)))
        matched = matched or match is not None
        named, known = match.groupdict() if match else {}, listed.get(path, UNKNOWN_ABOUT)._asdict()
        named["identity"] = named.pop("id", None) or named.get("identity")
        about = About(**{name: value or named.get(name) or None for name, value in known.items()})
        found[path] = (
            about
            if about.time or not (dated is None or path in dated)
            else about._replace(time=exif_time(path) or file_time(path))
        )
    if pattern and paths and not matched:
        log.warning(
            f"--pattern {pattern}: matches none of the {len(paths)} images, such as {paths[0]}."
        )
    return found


def _compiled(pattern: str) -> re.Pattern[str]:
    """Compile a pattern, possibly "", with groups named id, camera, track or source."""
    expression = compiled(pattern)
    groups = expression.groupindex.keys()
    if pattern and not (groups and groups <= {"id", "identity", "camera", "track", "source"}):
        raise UserError(
            f"pattern={pattern}: expected groups of id, camera, track, "
            r"source, as in _c(?P<camera>\d+)"
        )
    return expression


def listed_path(path: Path) -> str:
    """Return an absolute path in the form in which lists store it.

    It is a file: URI if a terminal or a spreadsheet would alter the path. read_abouts reads both.
    """
    return str(path) if printable(path) == str(path) else URI + quote_from_bytes(os.fsencode(path))


def read_abouts(csv: Path, needed: Sequence[str] = ("path",)) -> dict[Path, About]:
    """Read the facts about images from a CSV file.

    Columns with other names are further facts. Raises UserError if the file lacks a needed column,
    and for lines that have no path, have an invalid time or contradict one another.
    """
    listed: dict[Path, About] = {}
    for line, row in read_table(csv, needed, FACT_NAMES, others=True):
        values = {name: row.pop(name, "") or None for name in FACT_NAMES}
        own = {name: value for name, value in row.items() if value and name != "path"}
        time = values["time"]
        try:
            known = About(**values | {"time": time and moment(time)}, more=own or None)
        except UserError as error:
            raise UserError(f"{csv}, line {line}: {error}") from None
        if not (path := row["path"]):
            raise UserError(f"{csv}, line {line}: expected a path, found an empty one.")
        if path.startswith(URI):
            name = unquote_to_bytes(path.removeprefix(URI))
            # no name contains a zero byte, and resolve() rejects one
            path = os.fsdecode(name.replace(b"\0", b"%00"))
        if listed.setdefault(real(csv.parent / path), known) != known:
            raise UserError(
                f"{csv}, line {line}: another line says something else of {path}. Keep one of them."
            )
    return listed
