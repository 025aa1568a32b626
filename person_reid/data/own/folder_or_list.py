"""Read your own data set: a folder of images named by identity, or a CSV file that lists them."""

import logging
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

from person_reid.data.images.image_files import NOT_READ, is_image
from person_reid.data.layout import some_of
from person_reid.data.own.csv_tables import read_table
from person_reid.data.own.labels import checked_pictures
from person_reid.data.readers import (
    GALLERY,
    MULTI_QUERY,
    QUERY,
    TRAIN,
    VAL,
    Picture,
    PicturesBySplit,
    all_there,
    by_name,
    described_nobody,
    draw_identities,
    files_below,
    group,
    is_nobody,
)
from person_reid.errors import UserError
from person_reid.text import counted

log = logging.getLogger(__name__)

# The folder names that your own data set may use.
SPLIT_NAMES = {
    "train": TRAIN, "bounding_box_train": TRAIN, "val": VAL, "query": QUERY, "gallery": GALLERY,
    "test": GALLERY, "multi-query": MULTI_QUERY, "valid": VAL, "validation": VAL, "dev": VAL,
    "bounding_box_test": GALLERY, "gt_bbox": MULTI_QUERY,
}  # fmt: skip


def split_named(name: str) -> str | None:
    """Return the split that a name stands for in any spelling, such as Train, or None."""
    return WRITTEN.get(_plain(name))


def _plain(name: str) -> str:
    return re.sub("[-_ ]", "", name.casefold())


WRITTEN = {_plain(name): split for name, split in SPLIT_NAMES.items()}


def own_folder(
    data_dir: Path,
    pattern: str | None = None,
    test_fraction: float | None = None,
    seed: int | None = None,
) -> PicturesBySplit:
    """Read any folder of images.

    Its folders train, query and gallery (or test) are the splits; without them, a split is drawn.

    pattern: see by_name.
    test_fraction, seed: see draw_split; a folder that is already split takes neither.
    """
    if pattern is None:
        raise UserError(
            "dataset=folder: pattern must say where identity and camera are in the names, "
            r'such as --pattern "(?P<id>-?\d+)_c(?P<camera>\d+)", or "(?P<id>[^/]+)/" for a folder '
            "of each identity."
        )
    files = list(files_below(data_dir))
    images = [path for path in files if is_image(path.name)]
    others = [path for path in files if not is_image(path.name) and not path.name.startswith(".")]
    phones = any(path.suffix.lower() in NOT_READ for path in others)
    reason = "they are not images or not of a kind that is read"
    _say_left_out(others, reason + "; convert HEIC to JPEG" * phones)
    folders = _split_folders(data_dir)
    is_split = {TRAIN, QUERY, GALLERY} & set(folders.values())
    if is_split:
        _refuse_drawing(f"{data_dir} has a folder {next(iter(folders)).name}", test_fraction, seed)
        outside = [path for path in images if not any(folder in path.parents for folder in folders)]
        known = ", ".join(folder.name for folder in folders)
        _say_left_out(outside, f"they are in none of {known}")
    else:
        _say_hidden_splits(data_dir, images)
        folders = {data_dir: TRAIN}
    splits: PicturesBySplit = defaultdict(list)
    for folder, split in folders.items():
        splits[split] += by_name(folder, {split: "."}, pattern).get(split, [])
    splits = checked_pictures(splits, data_dir)
    if not is_split:
        return draw_split(splits[TRAIN], test_fraction, seed)
    return with_queries(splits, "take the test images out of the folder")


def _split_folders(data_dir: Path) -> dict[Path, str]:
    """Return {folder: split} for the folders named after a split, in the order of SPLIT_NAMES."""
    entries = sorted(data_dir.iterdir())
    return {
        entry: split
        for name, split in WRITTEN.items()
        for entry in entries
        if _plain(entry.name) == name and entry.is_dir()
    }


def _say_left_out(paths: Sequence[Path], reason: str) -> None:
    """Log which files are skipped, and why."""
    if paths:
        names = some_of([str(path) for path in paths], most=5)
        log.warning("Left out, because %s: %d.\n%s", reason, len(paths), names)


def _say_hidden_splits(data_dir: Path, images: Sequence[Path]) -> None:
    """Warn if folders further down are named after splits, because their images will be mixed."""
    folders: dict[str | None, Path] = {}
    for parent in dict.fromkeys(path.relative_to(data_dir).parent for path in images):
        for folder in (parent, *parent.parents):
            folders.setdefault(split_named(folder.name), data_dir / folder)
    found = [str(folder) for split, folder in folders.items() if split]
    if len(found) > 1:
        log.warning(
            "%s are named like splits, and are mixed, because they are not directly in --data_dir "
            "%s. To keep the split, pass the folder that holds them.",
            " and ".join(found),
            data_dir,
        )


def own_csv(
    data_dir: Path,
    csv: str | Path | None = None,
    test_fraction: float | None = None,
    seed: int | None = None,
) -> PicturesBySplit:
    """Read the images that a CSV file lists.

    Its columns are path (relative to data_dir), identity and, if known, camera, clothes and split:
    train, val, query, gallery or test. Without a split, draw_split splits them.

    csv: the file. test_fraction, seed: see draw_split.
    """
    if csv is None:
        raise UserError(
            "dataset=csv: name the file with csv=FILE; its columns are path,identity,camera,split."
        )
    rows = read_table(Path(csv), ("path", "identity"), ("camera", "split", "clothes"))
    is_split = any(row.get("split") for _, row in rows)
    if "split" in rows[0][1] and not is_split:
        log.warning("%s: the column split is empty, so a split is drawn.", csv)
    splits: PicturesBySplit = defaultdict(list)
    for line, row in rows:
        split = split_named(row["split"]) if is_split else TRAIN
        if not row["path"] or split is None:
            raise UserError(
                f"{csv}, line {line}: expected a path and a split of {', '.join(SPLIT_NAMES)}; "
                f"found {', '.join(f'{name} {value!r}' for name, value in row.items())}."
            )
        path = _listed(data_dir, row["path"])
        camera, clothes = (row.get(name) or None for name in ("camera", "clothes"))
        splits[split].append(Picture(path, row["identity"], camera, clothes=clothes))
    splits = checked_pictures(all_there(splits, data_dir), csv)
    if is_split:
        _refuse_drawing(f"{csv} has a column split", test_fraction, seed)
        return with_queries(splits, "take the lines of test images out of the list")
    return draw_split(splits[TRAIN], test_fraction, seed)


def _listed(data_dir: Path, path: str) -> Path:
    """Return where a listed image is.

    The list may be from another system, with backslashes, or with accents as one character (NFC) or
    two (NFD). An absolute path may be outdated: its end, the name with at least one folder, is then
    searched for below data_dir, because crops of two videos have the same names.
    """
    if (data_dir / path).is_file():
        return data_dir / path
    written = PureWindowsPath(path)  # which accepts both slashes
    parts = written.relative_to(written.anchor).parts
    ends = ["/".join(parts[first:]) for first in range(len(parts) - 1 if written.anchor else 1)]
    forms = [unicodedata.normalize(form, end) for form in ("NFC", "NFD") for end in ends]
    places = (data_dir / each for each in (*ends, *forms))
    return next((place for place in places if place.is_file()), data_dir / path)


def draw_split(
    pictures: list[Picture], test_fraction: float | None = None, seed: int | None = None
) -> PicturesBySplit:
    """Draw a random fraction of the identities, by default half, for testing.

    The rest is for training. Junk and distractors belong to the test set. If no person is drawn, as
    with a fraction of 0, there is no test set.
    """
    fraction = 0.5 if test_fraction is None else test_fraction
    people = {picture.identity for picture in pictures if not is_nobody(picture.identity)}
    tested = draw_identities(people, fraction, seed or 0)
    train = people - tested
    if people and 0 < fraction < 1 and not (train and tested):
        log.warning(
            "--test_fraction %g of %s is %s, so there is nothing to %s.",
            fraction,
            counted(len(people), "person", "people"),
            *(("everybody", "train on") if tested else ("nobody", "test on")),
        )
    if nobody := [] if tested else [each for each in pictures if is_nobody(each.identity)]:
        log.warning("Skipped, because no person is tested: %s.", described_nobody(nobody))
    splits = {
        TRAIN: [picture for picture in pictures if picture.identity in train],
        GALLERY: [picture for picture in pictures if tested and picture.identity not in train],
    }
    return with_queries({split: found for split, found in splits.items() if found})


def with_queries(
    splits: PicturesBySplit, training_alone: str = "--test_fraction 0"
) -> PicturesBySplit:
    """Add queries to splits that have a gallery but no queries.

    The queries are the first image from each camera of every identity that at least two cameras
    see. The images also stay in the gallery, where each query ignores its own image as junk. An
    image without a camera has its own camera, so all such images become queries. Raises UserError
    if no person is seen twice.
    training_alone: advice on training without a test set.
    """
    if QUERY in splits or GALLERY not in splits:
        return splits
    views = group(splits[GALLERY], lambda picture: (picture.identity, picture.view))
    seen = group(views, lambda view: view[0])
    queries = [
        images[0] for (who, _), images in views.items() if len(seen[who]) > 1 and not is_nobody(who)
    ]
    if not queries:
        raise UserError(
            "nobody to test on is seen by two cameras, so no query would have a match. "
            "Leave the cameras out if they are not known: each image then gets its "
            f"own camera. To train without a test: {training_alone}"
        )
    return {**splits, QUERY: queries}


def _refuse_drawing(reason: str, test_fraction: float | None, seed: int | None) -> None:
    """Raise UserError if a flag of draw_split was given for a data set that is already split."""
    given = [
        name
        for name, value in (("test_fraction", test_fraction), ("seed", seed))
        if value is not None
    ]
    if given:
        raise UserError(f"{', '.join(given)} would be ignored: {reason}, so nothing is drawn.")
