"""The labels of the user's images (identity, camera, split), and the words that numbers replace.

Identities, cameras, tracks and clothes may be words. Names of images contain numbers instead, which
names.csv, beside the layout, maps to the words:

    kind,number,name
    identity,5,P103
    camera,2,entrance
"""

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from person_reid.data.images.image_files import SUFFIXES, is_readable
from person_reid.data.layout import some_of
from person_reid.data.own.csv_tables import read_table
from person_reid.data.readers import (
    TRAIN,
    UNKNOWN_WORD,
    VAL,
    Picture,
    PicturesBySplit,
    Source,
    group,
    is_nobody,
    meant,
    pictures_changed,
    pictures_of,
)
from person_reid.errors import UserError
from person_reid.files import write_csv
from person_reid.progress import progress
from person_reid.text import counted, near_names

log = logging.getLogger(__name__)
FILE = "names.csv"
HEADER = ("kind", "number", "name")
Table = Mapping[str, Mapping[int, str]]  # {kind: {number: word}}


@dataclass(frozen=True)
class Words:
    """The words of a layout.

    table: {"identity", "camera", "track" or "clothes": {number: word}}, without labels that are
        numbers.
    """

    table: Table = field(default_factory=dict)

    def identity(self, number: int) -> str:
        """Return the word for an identity, or else its number with four digits."""
        return self.table.get("identity", {}).get(number, f"{number:04d}")

    def camera(self, number: int) -> str:
        """Return the word for a camera, or else its number."""
        return self.table.get("camera", {}).get(number, str(number))

    def camera_mark(self, number: int) -> str:
        """Return the word for a camera, or else a mark such as `c3`."""
        return self.table.get("camera", {}).get(number, f"c{number}")


NUMBERS = Words()


def read_words(layout: str | Path) -> Words:
    """Return the words of a layout; a layout without prepare.py's table has none.

    Raises UserError for a damaged table.
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

    layout: where the layout is now, if it has moved.
    """
    parents = Path(image).parents
    if layout is None and len(parents) < 3:
        return NUMBERS
    return read_words(layout or parents[2])


def check_place(layout: str | Path) -> None:
    """Raise UserError if a layout has another file with the table's name."""
    file = Path(layout, FILE)
    if file.exists() and not _is_ours(file):
        raise UserError(
            f"{file}: prepare.py would write which word has which number there, and this is "
            "another file. Move it, or choose another save_dir."
        )


def write_words(layout: str | Path, table: Table) -> None:
    """Write the table of a layout, unless all labels are numbers."""
    if table and read_words(layout).table != table:
        write_csv(
            Path(layout, FILE),
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


def checked_pictures(splits: PicturesBySplit, source: str | Path) -> PicturesBySplit:
    """Return pictures whose files are readable, each with one identity, camera and split.

    Labels are as meant() and spelled_alike() return them; the log counts unknown identities and
    cameras, and lists names that look alike. See validated() for val. Raises UserError as once()
    does, and for files that are not images.

    source: the folder or list, for messages.
    """
    splits = pictures_changed(splits, meant)
    pictures = pictures_of(splits)
    if count := sum(picture.identity == UNKNOWN_WORD for picture in pictures):
        unknown = counted(count, "image")
        log.warning("%s: %s without a known identity, taken for distractors.", source, unknown)
    if without := sum(picture.camera is None for picture in pictures):
        log.log(
            logging.WARNING if without < len(pictures) else logging.INFO,
            "%s: no camera for %d of %d images. Each of these gets its own "
            "camera, so a query may find an image that the same camera took.",
            source,
            without,
            len(pictures),
        )
    _check_readable(pictures, source)
    people = {picture.identity for picture in pictures if not is_nobody(picture.identity)}
    cameras = {picture.camera for picture in pictures if picture.camera}
    if pairs := [*near_names(people), *near_names(cameras)]:
        log.warning(
            "%s: kept apart, although they look alike: %s. Write them alike if they are the same.",
            source,
            ", ".join(sorted({" and ".join(sorted(pair)) for pair in pairs})[:5]),
        )
    return once(validated(spelled_alike(splits), source), source)


def validated(splits: PicturesBySplit, source: str | Path) -> PicturesBySplit:
    """Return the splits with val's images added to TRAIN, which is train and val together.

    People who are only in val are not trained on; the log lists them.
    """
    trained = {picture.identity for picture in splits.get(TRAIN, ())}
    val = splits.get(VAL, [])
    known = [picture for picture in val if picture.identity in trained]
    people = {picture.identity for picture in val if not is_nobody(picture.identity)}
    if alone := sorted(people - trained):
        log.warning(
            "%s: %s in val and not in train, such as %s. They are not trained on, and validate "
            "nothing.",
            source,
            counted(len(alone), "person is", "people are"),
            alone[0],
        )
    return {**splits, TRAIN: [*splits[TRAIN], *known]} if known else splits


def once(splits: PicturesBySplit, source: str | Path) -> PicturesBySplit:
    """Return the splits, with each file once per split, under its first path.

    Links, and different spellings of a path, lead to the same file. A file may be in both query and
    gallery, where its own query ignores it as junk. Raises a UserError that lists the files with
    several identities or cameras, and those used both for training and for testing.
    """
    pairs = [(split, picture) for split, found in splits.items() for picture in found]
    files = group(pairs, lambda pair: _file_number(pair[1].source))
    wrong = sorted(line for same in files.values() for line in _contradictions(same))
    if wrong:
        raise UserError(
            f"{source}: expected one identity, one camera, and either training or test for each "
            f"file; found more in {len(wrong)} case(s):\n{some_of(wrong)}"
        )
    first = {each.source: same[0][1].source for same in files.values() for _, each in same}
    splits = pictures_changed(
        splits, lambda picture: replace(picture, source=first[picture.source])
    )
    kept = {split: list(dict.fromkeys(found)) for split, found in splits.items()}
    if repeated := len(pairs) - sum(map(len, kept.values())):
        images = counted(repeated, "image")
        log.warning(
            "%s: %s listed again, under the same path or another, and taken once.", source, images
        )
    return kept


def _contradictions(same: Sequence[tuple[str, Picture]]) -> Iterator[str]:
    """Yield a line for each kind of label on which the entries for a file contradict one another.

    same: the file's entries, as pairs of split and picture.
    """
    paths = " = ".join(dict.fromkeys(str(picture.source) for _, picture in same))
    splits = {TRAIN if split == VAL else split for split, _ in same}
    for values in (
        {picture.identity for _, picture in same},
        {f"camera {picture.camera or 'not known'}" for _, picture in same},
        {f"clothes {picture.clothes or 'not known'}" for _, picture in same},
        splits if TRAIN in splits else set(),
    ):
        if len(values) > 1:
            yield f"{paths}: {', '.join(sorted(values))}"


def _file_number(source: Source) -> tuple[int, int]:
    """Return the numbers that identify a file on this machine, regardless of paths and links."""
    assert isinstance(source, Path)
    status = source.stat()
    return status.st_dev, status.st_ino


def spelled_alike(splits: PicturesBySplit) -> PicturesBySplit:
    """Give each number its shortest spelling in the data: 007 becomes 7 if 7 also occurs.

    The layout compares numbers, but random draws compare texts. A number that is always written the
    same way does not change, so that the same seed draws the same people.
    """
    pictures = pictures_of(splits)
    identities = _shortest(picture.identity for picture in pictures)
    cameras = _shortest(picture.camera for picture in pictures if picture.camera)

    def alike(picture: Picture) -> Picture:
        camera = picture.camera and cameras[picture.camera]
        return replace(picture, identity=identities[picture.identity], camera=camera)

    return pictures_changed(splits, alike)


def _shortest(labels: Iterable[str]) -> dict[str, str]:
    """Return {label: its shortest form}; a label that is not a number does not change."""

    def number(label: str) -> str:
        return (label.lstrip("0") or "0") if re.fullmatch("[0-9]+", label) else label

    spellings = group(set(labels), number)
    return {label: min(same, key=len) for same in spellings.values() for label in same}


def _check_readable(pictures: Iterable[Picture], source: str | Path) -> None:
    """Raise a UserError that lists the files of a data set that are not images."""
    paths = sorted({each.source for each in pictures if isinstance(each.source, Path)})
    looked_at = progress(paths, desc="looking at images", unit=" images")
    if wrong := [str(path) for path in looked_at if not is_readable(path)]:
        raise UserError(
            f"{source}: {len(wrong)} of {len(paths)} files are not images, or not of a kind that "
            f"is read ({', '.join(sorted(SUFFIXES))}). Convert or leave them out, then run again:\n"
            f"{some_of(wrong)}"
        )
