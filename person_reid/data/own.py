"""Data sets of one's own: a folder of images whose names say who it is, or a CSV file that lists them."""

import re
from collections import defaultdict
from csv import DictReader
from pathlib import Path

from person_reid.basics import UserError
from person_reid.data.readers import (
    GALLERY,
    MULTI_QUERY,
    QUERY,
    TRAIN,
    Picture,
    all_there,
    by_name,
    draw_identities,
    group,
)

# What the folders of a data set of one's own may be called.
SPLIT_NAMES = {
    "train": TRAIN, "val": TRAIN, "bounding_box_train": TRAIN, "query": QUERY, "gallery": GALLERY, "test": GALLERY,
    "bounding_box_test": GALLERY, "multi-query": MULTI_QUERY, "gt_bbox": MULTI_QUERY,
}  # fmt: skip


def own_folder(data_dir, pattern=None, test_fraction=None, seed=None):
    """Any folder of images: those below train, query and gallery (or test) if it has them, or else a drawn split.

    pattern: see by_name. test_fraction, seed: see draw_split; a folder that is split already takes neither.
    """
    if pattern is None:
        raise UserError(
            "--dataset folder: --pattern must say where identity and camera are in the names, such as "
            r'--pattern "(?P<id>-?\d+)_c(?P<camera>\d+)", or "(?P<id>[^/]+)/" for a folder of each identity.'
        )
    folders = {data_dir / name: split for name, split in SPLIT_NAMES.items() if (data_dir / name).is_dir()}
    if not {TRAIN, GALLERY} & set(folders.values()):
        pictures = by_name(data_dir, {TRAIN: "."}, pattern)[TRAIN]
        return draw_split(pictures, 0.5 if test_fraction is None else test_fraction, seed or 0)
    _refuse_drawing(f"{data_dir} has a folder {next(iter(folders)).name}", test_fraction, seed)
    splits: dict[str, list[Picture]] = defaultdict(list)
    for folder, split in folders.items():
        splits[split] += by_name(folder, {split: "."}, pattern).get(split, [])
    return with_queries(splits)


def own_csv(data_dir, csv=None, test_fraction=None, seed=None):
    """The images that a CSV file lists, with the columns path (from data_dir on), identity and, as far as known, camera
    and split: train, val, query, gallery or test. Without the column split, draw_split splits them."""
    if csv is None:
        raise UserError("--dataset csv: name the file with --csv FILE; its columns are path,identity,camera,split.")
    rows = _read_csv(Path(csv))
    splits = defaultdict(list)
    for line, row in enumerate(rows, 2):
        path, identity = ((row[column] or "").strip() for column in ("path", "identity"))
        split = SPLIT_NAMES.get((row.get("split") or "train").strip().lower())
        if not path or not identity or split is None:
            raise UserError(f"{csv}, line {line}: expected path, identity and a split of {', '.join(SPLIT_NAMES)}.")
        splits[split].append(Picture(data_dir / path, identity, (row.get("camera") or "").strip() or None))
    all_there(splits, data_dir)
    if rows and "split" in rows[0]:
        _refuse_drawing(f"{csv} has a column split", test_fraction, seed)
        return with_queries(splits)
    return draw_split(splits[TRAIN], 0.5 if test_fraction is None else test_fraction, seed or 0)


def draw_split(pictures, test_fraction=0.5, seed=0):
    """A random part of the identities to test on, with junk and distractors; the rest to train on."""
    if not 0 <= test_fraction <= 1:
        raise UserError(f"--test_fraction {test_fraction}: expected a number from 0 to 1.")
    people = {picture.identity for picture in pictures if not is_nobody(picture.identity)}
    train = people - draw_identities(people, test_fraction, seed)
    splits = {
        TRAIN: [picture for picture in pictures if picture.identity in train],
        GALLERY: [picture for picture in pictures if picture.identity not in train],
    }
    return with_queries({split: found for split, found in splits.items() if found})


def is_nobody(identity):
    """Whether an identity is that of junk (-1) or of distractors (0), as Market-1501 writes them."""
    return re.fullmatch(r"-1|0+", identity) is not None


def with_queries(splits):
    """Where there is a gallery and no query: of each identity that two cameras see, ask the first image of each camera.

    The images stay in the gallery, where they are junk to themselves. An image without a camera is one of its own, so
    that all are asked. Raises UserError where nobody is seen twice.
    """
    if QUERY in splits or GALLERY not in splits:
        return splits
    views = group(splits[GALLERY], lambda picture: (picture.identity, picture.camera or picture.source))
    seen = group(views, lambda view: view[0])
    queries = [images[0] for (who, _), images in views.items() if len(seen[who]) > 1 and not is_nobody(who)]
    if not queries:
        raise UserError(
            "nobody to test on is seen by two cameras, so no query would have a match. Leave the cameras out if they "
            "are not known: each image then counts as one of a camera of its own."
        )
    return {**splits, QUERY: queries}


def _read_csv(file):
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:  # a spreadsheet's file begins with a mark
            rows = list(DictReader(lines))
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8; save it as such ({error}).") from error
    if not rows or not {"path", "identity"} <= set(rows[0]):
        found = ", ".join(map(str, rows[0])) if rows else "no lines"
        raise UserError(f"{file}: expected the columns path,identity,camera,split in the first line; found {found}.")
    return rows


def _refuse_drawing(reason, test_fraction, seed):
    given = [name for name, value in (("--test_fraction", test_fraction), ("--seed", seed)) if value is not None]
    if given:
        raise UserError(f"{', '.join(given)} would be ignored: {reason}, so nothing is drawn.")
