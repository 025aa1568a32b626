"""Read your own data set: a folder of images whose names give the identity, or a CSV file that lists them."""

import logging
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from csv import DictReader
from csv import Error as CSVError
from dataclasses import replace
from pathlib import Path

from person_reid.basics import UserError, counted
from person_reid.data.images import SUFFIXES, is_image, is_readable
from person_reid.data.layout import some_of
from person_reid.data.readers import (
    GALLERY,
    MULTI_QUERY,
    QUERY,
    TRAIN,
    Picture,
    Splits,
    all_there,
    by_name,
    draw_identities,
    files_below,
    group,
)
from person_reid.progress import progress

log = logging.getLogger(__name__)
PATIENCE = 20  # seconds

# The folder names that your own data set may use.
SPLIT_NAMES = {
    "train": TRAIN, "val": TRAIN, "bounding_box_train": TRAIN, "query": QUERY, "gallery": GALLERY, "test": GALLERY,
    "bounding_box_test": GALLERY, "multi-query": MULTI_QUERY, "gt_bbox": MULTI_QUERY,
}  # fmt: skip


def own_folder(
    data_dir: Path, pattern: str | None = None, test_fraction: float | None = None, seed: int | None = None
) -> Splits:
    """Read any folder of images: its folders train, query and gallery (or test) if it has them, or else a drawn split.

    pattern: see by_name.
    test_fraction, seed: see draw_split; a folder that is already split takes neither.
    """
    if pattern is None:
        raise UserError(
            "--dataset folder: --pattern must say where identity and camera are in the names, such as "
            r'--pattern "(?P<id>-?\d+)_c(?P<camera>\d+)", or "(?P<id>[^/]+)/" for a folder of each identity.'
        )
    files = list(files_below(data_dir))
    if other := [str(path) for path in files if not is_image(path.name) and not path.name.startswith(".")]:
        log.warning(
            "Left out, because they are not images or not of a kind that is read: %d.\n%s",
            len(other),
            some_of(other, 5),
        )
    check_patience(pattern, [path.relative_to(data_dir) for path in files if is_image(path.name)])
    folders = {data_dir / name: split for name, split in SPLIT_NAMES.items() if (data_dir / name).is_dir()}
    is_split = {TRAIN, QUERY, GALLERY} & set(folders.values())
    if is_split:
        _refuse_drawing(f"{data_dir} has a folder {next(iter(folders)).name}", test_fraction, seed)
    splits: Splits = defaultdict(list)
    for folder, split in (folders if is_split else {data_dir: TRAIN}).items():
        splits[split] += by_name(folder, {split: "."}, pattern).get(split, [])
    splits = spelled_alike(splits)
    _check_readable(splits, data_dir)
    return with_queries(splits) if is_split else draw_split(splits[TRAIN], test_fraction, seed)


def own_csv(
    data_dir: Path, csv: str | Path | None = None, test_fraction: float | None = None, seed: int | None = None
) -> Splits:
    """Read the images that a CSV file lists.

    Its columns are path (relative to data_dir), identity and, if known, camera and split: train, val, query, gallery
    or test. Without a split column, draw_split splits them.

    csv: the file. test_fraction, seed: see draw_split.
    """
    if csv is None:
        raise UserError("--dataset csv: name the file with --csv FILE; its columns are path,identity,camera,split.")
    rows = read_csv(Path(csv), ("path", "identity"), ("camera", "split"))
    splits: Splits = defaultdict(list)
    for line, row in rows:
        path, identity = (row["path"] or "").strip(), (row["identity"] or "").strip()
        split = SPLIT_NAMES.get((row.get("split") or "train").strip().lower())
        if not path or not identity or split is None:
            raise UserError(f"{csv}, line {line}: expected path, identity and a split of {', '.join(SPLIT_NAMES)}.")
        splits[split].append(Picture(data_dir / path, identity, (row.get("camera") or "").strip() or None))
    splits = spelled_alike(all_there(splits, data_dir))
    _check_readable(splits, csv)
    _check_owners(splits, csv)
    if "split" in rows[0][1]:
        _refuse_drawing(f"{csv} has a column split", test_fraction, seed)
        return with_queries(splits)
    return draw_split(splits[TRAIN], test_fraction, seed)


def spelled_alike(splits: Splits) -> Splits:
    """Write every number among the identities and cameras in one way: 7, 07 and 0007 become 7, the shortest of them.

    The layout compares numbers, and what is drawn compares texts. A number that is always written alike stays as it is,
    so that the same seed draws the same people.
    """
    pictures = [picture for found in splits.values() for picture in found]
    identities = _shortest({picture.identity for picture in pictures})
    cameras = _shortest({picture.camera for picture in pictures if picture.camera is not None})

    def alike(picture: Picture) -> Picture:
        camera = None if picture.camera is None else cameras[picture.camera]
        return replace(picture, identity=identities[picture.identity], camera=camera)

    return {split: list(map(alike, found)) for split, found in splits.items()}


def _shortest(labels: set[str]) -> dict[str, str]:
    """Return {label: the shortest that is the same number}, and itself if it is not one."""
    spellings = group(labels, lambda label: (label.lstrip("0") or "0") if re.fullmatch("[0-9]+", label) else label)
    return {label: min(same, key=len) for same in spellings.values() for label in same}


def draw_split(pictures: list[Picture], test_fraction: float | None = None, seed: int | None = None) -> Splits:
    """Draw a random fraction of the identities, by default half, to test on; the rest is for training.

    Junk and distractors are part of the test. If nobody is drawn, as with a fraction of 0, there is no test.
    """
    fraction = 0.5 if test_fraction is None else test_fraction
    if not 0 <= fraction <= 1:
        raise UserError(f"--test_fraction {test_fraction}: expected a number from 0 to 1.")
    people = {picture.identity for picture in pictures if not is_nobody(picture.identity)}
    tested = draw_identities(people, fraction, seed or 0)
    train = people - tested
    if people and 0 < fraction < 1 and not (train and tested):
        log.warning(
            "--test_fraction %g of %s is %s, so there is nothing to %s.",
            fraction, counted(len(people), "person", "people"),
            *(("everybody", "train on") if tested else ("nobody", "test on")),
        )  # fmt: skip
    splits = {
        TRAIN: [picture for picture in pictures if picture.identity in train],
        GALLERY: [picture for picture in pictures if tested and picture.identity not in train],
    }
    return with_queries({split: found for split, found in splits.items() if found})


def is_nobody(identity: str) -> bool:
    """Return whether an identity means junk (-1) or distractors (0), as Market-1501 writes them."""
    return re.fullmatch(r"-1|0+", identity) is not None


def with_queries(splits: Splits) -> Splits:
    """Add queries to splits that have a gallery and no query.

    They are the first image from each camera of every identity that at least two cameras see. The images also stay in
    the gallery, where each is junk for itself. An image without a camera counts as one from its own camera, so all
    such images become queries. Raises UserError if nobody is seen twice.
    """
    if QUERY in splits or GALLERY not in splits:
        return splits
    views = group(splits[GALLERY], lambda picture: (picture.identity, picture.camera or picture.source))
    seen = group(views, lambda view: view[0])
    queries = [images[0] for (who, _), images in views.items() if len(seen[who]) > 1 and not is_nobody(who)]
    if not queries:
        raise UserError(
            "nobody to test on is seen by two cameras, so no query would have a match. Leave the cameras out if they "
            "are not known: each image then gets a camera of its own."
        )
    return {**splits, QUERY: queries}


def check_patience(pattern: str, paths: Sequence[Path]) -> None:
    """Raise UserError if a regular expression needs more than PATIENCE seconds for names and paths, as `(a+)+b` may.

    Python cannot interrupt a search, so another process tries first.
    """
    search = (
        "import os, re, sys; e = re.compile(sys.argv[1]); [e.search(os.fsdecode(line)) for line in sys.stdin.buffer]"
    )
    lines = b"\n".join(os.fsencode(text) for path in paths for text in (path.name, path.as_posix()))
    try:
        subprocess.run([sys.executable, "-c", search, pattern], input=lines, timeout=PATIENCE, capture_output=True)
    except subprocess.TimeoutExpired:
        raise UserError(
            f"--pattern {pattern}: still searching {len(paths)} names after {PATIENCE} seconds. Repetitions inside "
            r"repetitions, such as (\d+)+, take forever: write it without them."
        ) from None


def _check_readable(splits: Splits, source: str | Path) -> None:
    """Raise a UserError that lists the files of a data set that are not images."""
    paths = sorted(
        {picture.source for found in splits.values() for picture in found if isinstance(picture.source, Path)}
    )
    wrong = [str(path) for path in progress(paths, desc="looking at images", unit=" images") if not is_readable(path)]
    if wrong:
        raise UserError(
            f"{source}: {len(wrong)} of {len(paths)} files are not images, or not of a kind that is read "
            f"({', '.join(sorted(SUFFIXES))}). Convert or leave them out, then run again:\n{some_of(wrong)}"
        )


def _check_owners(splits: Splits, csv: str | Path) -> None:
    """Raise a UserError that lists the images that a CSV file gives to several identities."""
    owners = defaultdict(set)
    for picture in (picture for found in splits.values() for picture in found):
        owners[picture.source].add(picture.identity)
    wrong = sorted(f"{image}: {', '.join(sorted(who))}" for image, who in owners.items() if len(who) > 1)
    if wrong:
        raise UserError(f"{csv}: {len(wrong)} image(s) of more than one identity:\n{some_of(wrong)}")


def read_csv(file: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> list[tuple[int, dict[str, str]]]:
    """Return (number, {column: value}) of each line of a CSV file below its first, which names the columns.

    Empty lines are left out. Raises UserError if a column is missing, or if the file is damaged.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:  # spreadsheets write a byte order mark
            reader = DictReader(lines)
            rows = [(reader.line_num, row) for row in reader]
            names = reader.fieldnames or ()
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 ({error}). Save it as UTF-8.") from error
    except CSVError as error:
        raise UserError(f"{file}: not readable as CSV: {error}.") from error
    if not set(columns) <= set(names):
        expected, found = ",".join(dict.fromkeys([*columns, *optional])), ", ".join(names) or "no lines"
        raise UserError(f"{file}: expected the columns {expected} in the first line; found {found}.")
    if not rows:
        raise UserError(f"{file}: nothing is listed below the first line.")
    if any("\0" in str(value) for _, row in rows for value in row.values()):
        raise UserError(f"{file}: damaged: it holds a zero byte. Save it again.")
    return rows


def _refuse_drawing(reason: str, test_fraction: float | None, seed: int | None) -> None:
    """Raise a UserError if a flag of draw_split was given although the data set is already split."""
    given = [name for name, value in (("--test_fraction", test_fraction), ("--seed", seed)) if value is not None]
    if given:
        raise UserError(f"{', '.join(given)} would be ignored: {reason}, so nothing is drawn.")
