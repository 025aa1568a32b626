"""Lay out a download as `<save_dir>/<split>/<identity>/<image>`, with hard links if possible.

The download is read and never changed. `<save_dir>/.prepared.json` lists the files; it is written
before the first image, so that a later run can tell its own files from others, even after an
interruption.
"""

import errno
import filecmp
import json
import logging
import os
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from person_reid.data.datasets import KnownDataSet
from person_reid.data.images.image_files import PREPARED_RECORD
from person_reid.data.layout import JUNK_FOLDER
from person_reid.data.own.labels import Table, check_place, read_words, write_words
from person_reid.data.readers import (
    GALLERY,
    MULTI_QUERY,
    QUERY,
    TRAIN,
    UNKNOWN_WORD,
    VAL,
    Picture,
    PicturesBySplit,
    Source,
    described_nobody,
    group,
    identities_of,
    is_nobody,
    meant,
    pictures_changed,
    pictures_of,
)
from person_reid.errors import UserError
from person_reid.files import content_of, only_writer, write_text
from person_reid.progress import progress
from person_reid.text import did_you_mean, parse_json, quoted

log = logging.getLogger(__name__)
PREPARED_SPLITS = ("train", VAL, TRAIN, QUERY, GALLERY, MULTI_QUERY)
OWN_FILE = re.compile(rf"({'|'.join(PREPARED_SPLITS)})/[^/\\:]+/[^/\\:]+")
NUMBER = re.compile(r"[0-9]{1,9}")
# Labels that keep their number, whatever the others are.
FIXED: Mapping[str, Mapping[str, int]] = {
    "identity": {JUNK_FOLDER: -1, UNKNOWN_WORD: 0}, "camera": {"0": 0}, "track": {}, "clothes": {},
}  # fmt: skip
SPLITS = (TRAIN, VAL, QUERY, GALLERY, MULTI_QUERY)  # that a reader may return
Numbers = Mapping[str, Mapping[str, int]]
LONGEST_FILE_NAME = 180  # bytes kept of a name; file systems allow 255


def lay_out(data_set: KnownDataSet, data_dir: str | Path, save_dir: str | Path) -> Counter[str]:
    """Lay the data set out in `save_dir`, or complete a layout that was interrupted there.

    Returns how many files were linked, copied, extracted and kept (already correct). The words that
    numbers stand for are in names.csv, which data/own/labels.py describes. Raises UserError, before
    anything is changed, for a download with wrong names or an empty folder, and if `save_dir`
    cannot be used or holds another layout.
    """
    data_dir, save_dir = Path(data_dir), Path(save_dir)
    plan = plan_layout(read_splits(data_set, data_dir), data_dir)
    _check_apart(plan.files, data_dir, save_dir)
    check_place(save_dir)
    source, files = _relative(data_dir, save_dir), sorted(plan.files)
    record = {"source": source, "data_set": data_set.name, "files": files}
    words = {**read_words(data_dir).table, **plan.words}
    return place(plan.files, words, record, save_dir)


def place(
    files: Mapping[str, Source], words: Table, record: Mapping[str, Any], save_dir: Path
) -> Counter[str]:
    """Write a layout: its record, then its files. Returns how many were linked, copied or kept."""
    what, done = f"--save_dir {save_dir}", Counter[str]()
    with ExitStack() as stack:
        try:
            stack.enter_context(only_writer(save_dir / ".lock", what, wait=True))
        except OSError as error:
            raise UserError(
                f"{what}: cannot be written ({error.strerror}). Choose another folder."
            ) from error
        if not _continues(read_record(save_dir), record, save_dir):
            write_text(save_dir / PREPARED_RECORD, json.dumps(record, indent=0))
        write_words(save_dir, words)
        for folder in sorted({save_dir / target.rpartition("/")[0] for target in files}):
            folder.mkdir(parents=True, exist_ok=True)
        # Each frame of a video is decoded once.
        by_source = sorted(
            files.items(), key=lambda item: "" if isinstance(item[1], Path) else item[1].name
        )
        for target, source in progress(by_source, desc="laying out", unit=" images"):
            done[_place(source, save_dir / target)] += 1
    return done


def read_splits(data_set: KnownDataSet, data_dir: str | Path) -> PicturesBySplit:
    """Return the pictures in a download, by split, filtered by people_only.

    Identities and cameras are as meant() returns them. Raises UserError for an unknown split, and
    as people_only does.
    """
    assert data_set.read, "a data set without identities is not laid out"
    read = data_set.read(Path(data_dir))
    if unknown := sorted(read.keys() - SPLITS):
        raise UserError(
            f"{data_set.name}: its reader returns a split {unknown[0]!r}; expected "
            f"{', '.join(SPLITS)}.{did_you_mean(unknown[0], SPLITS)}"
        )
    splits = pictures_changed(read, partial(meant, zero_is_nobody=data_set.distractors))
    if not data_set.published and any(re.fullmatch("0+", who) for who in identities_of(splits)):
        log.warning(
            "%s: identity 0 is a person, so people are numbered from 1 here. If 0 means "
            "distractors, call them %s.",
            data_dir,
            UNKNOWN_WORD,
        )
    return people_only(splits, data_dir)


@dataclass(frozen=True)
class Plan:
    """A layout before it is written.

    files: {`<split>/<identity>/<image>`: source}. words: {kind: {number: word}}, the words that its
        file names replace with numbers.
    """

    files: dict[str, Source]
    words: Table


def plan_layout(pictures: PicturesBySplit, data_dir: str | Path) -> Plan:
    """Return the layout for the pictures in a download.

    val is what the data set lists for it or else the first image, by name, of each identity in
    train_all; train is the rest. An identity with nothing left for train has its images in both
    train and val, so that these and train_all have the same classes. People who are only in val
    stay there. A download without training images has neither train nor train_all.
    """
    read = dict(pictures)
    trained = identities_of({TRAIN: read.get(TRAIN, [])})
    listed = {picture.source for picture in read.get(VAL, ())}
    if VAL in read:
        read[VAL] = [picture for picture in read[VAL] if picture.identity not in trained]
    numbers = numbers_of(read)
    splits = file_names(read, numbers)
    _check_test(splits, data_dir)
    files = {
        f"{split}/{target}": source
        for split, images in splits.items()
        for target, source in images.items()
    }
    by_identity = group(sorted(splits.get(TRAIN, ())), lambda target: target.partition("/")[0])
    for targets in by_identity.values():
        first = [] if listed else targets[:1]
        chosen = [target for target in targets if splits[TRAIN][target] in listed] or first
        rest = [target for target in targets if target not in chosen] or targets
        files.update({f"{VAL}/{target}": splits[TRAIN][target] for target in chosen})
        files.update({f"train/{target}": splits[TRAIN][target] for target in rest})
    return Plan(files, words_of(numbers))


def people_only(splits: PicturesBySplit, data_dir: str | Path) -> PicturesBySplit:
    """Return the splits, without the junk and distractors among training images and queries.

    The log counts them. Raises UserError if nothing is left.
    """
    kept = dict(splits)
    for split in (TRAIN, VAL, QUERY):
        nobody = [picture for picture in splits.get(split, ()) if is_nobody(picture.identity)]
        if nobody:
            log.warning("%s: skipped in %s: %s.", data_dir, split, described_nobody(nobody))
            kept[split] = [picture for picture in splits[split] if not is_nobody(picture.identity)]
    if not any(kept.values()):
        raise UserError(f"{data_dir}: it holds no people, only junk (-1) and distractors.")
    return {split: found for split, found in kept.items() if found or not splits[split]}


def _check_test(splits: Mapping[str, object], data_dir: str | Path) -> None:
    """Warn about half a test set: queries without a gallery, or vice versa.

    Raises UserError for queries alone, which are of no use.
    """
    there = [name for name in (QUERY, GALLERY) if splits.get(name)]
    if len(there) != 1:
        return
    lacking = GALLERY if there == [QUERY] else QUERY
    problem = f"{data_dir}: {there[0]} without {lacking}, so there is nothing to test on"
    if set(splits) == {QUERY}:
        raise UserError(f"{problem}, and nothing to train on either. Add the {lacking} images.")
    log.warning("%s. Add the %s images, and run this again.", problem, lacking)


def file_names(splits: PicturesBySplit, numbers: Numbers) -> dict[str, dict[str, Source]]:
    """Return {split: {`<identity>/<image>`: source}} for the pictures {split: [Picture]}.

    A name that already begins with its identity (four digits or more) and camera is kept; others
    get both as a prefix. If known, t<track> and o<clothes> follow the camera: 0002_c1t7o3_….jpg.
    Labels that are not numbers are numbered in alphabetical order. Junk is -1, and an unknown
    person is 0; if a person is called 0, all people's numbers are raised by one. An image without a
    camera gets its own camera number, the same in every split.
    """
    pictures = pictures_of(splits)
    views: dict[str | Source, int] = dict(numbers["camera"].items())
    alone = {each.source for each in pictures if not each.camera and isinstance(each.source, Path)}
    views.update(zip(sorted(alone), count(max(views.values(), default=0) + 1)))
    return {split: _place_all(found, numbers, views) for split, found in splits.items()}


def words_of(numbers: Numbers) -> Table:
    """Return {kind: {number: word}} for the words that numbers replace."""
    return {
        kind: {number: word for word, number in found.items() if word not in FIXED[kind]}
        for kind, found in numbers.items()
        if not all(word in FIXED[kind] or NUMBER.fullmatch(word) for word in found)
    }


def numbers_of(splits: PicturesBySplit) -> Numbers:
    """Return {kind: {label: number}} for the labels that image names give as numbers."""
    pictures = pictures_of(splits)
    labels = {
        "identity": {picture.identity for picture in pictures},
        "camera": {picture.camera for picture in pictures if picture.camera},
        "track": {picture.track for picture in pictures if picture.track},
        "clothes": {picture.clothes for picture in pictures if picture.clothes},
    }
    return {kind: _numbers(found, FIXED[kind]) for kind, found in labels.items()}


def _numbers(labels: set[str], fixed: Mapping[str, int]) -> dict[str, int]:
    """Return {label: number}; labels in `fixed` always keep their numbers."""
    rest = sorted(labels - fixed.keys())
    known = {label: number for label, number in fixed.items() if label in labels}
    if not all(map(NUMBER.fullmatch, rest)):
        return known | {label: number for number, label in enumerate(rest, 1)}
    shift = 0 in map(int, rest)
    return known | {label: int(label) + shift for label in rest}


def _place_all(
    pictures: Sequence[Picture],
    numbers: Numbers,
    views: Mapping[str | Source, int],
) -> dict[str, Source]:
    places: dict[str, Source] = {}
    taken: dict[str, Source] = {}
    for picture in pictures:
        identity = numbers["identity"][picture.identity]
        marks = f"t{numbers['track'][picture.track]}" if picture.track else ""
        marks += f"o{numbers['clothes'][picture.clothes]}" if picture.clothes else ""
        folder = "-1" if identity == -1 else f"{identity:04d}"
        name = _name(picture.source.name, f"{folder}_c", views[picture.view], marks)
        target = f"{folder}/{name}"
        # Two folders may hold images with the same name, and some file systems do not distinguish
        # A.jpg from a.jpg.
        number = 1
        stem, suffix = target.rpartition(".")[0], Path(target).suffix
        while taken.setdefault(target.casefold(), picture.source) != picture.source:
            number += 1
            target = f"{stem}_{number}{suffix}"
        places[target] = picture.source
    return places


def _name(name: str, beginning: str, camera: int, marks: str) -> str:
    """Return `name`, prefixed with identity, camera and marks unless it has them.

    beginning: the identity, as the name gives it.
    """
    if name.startswith(beginning):
        said = NUMBER.match(name, len(beginning))
        rest = name[said.end() :] if said else ""
        marked = rest.startswith(marks) and not rest[len(marks) :][:1].isdigit()
        if said and int(said[0]) == camera and marked and not re.search(r"[\\:]", name):
            return name
    stem, suffix = Path(name).stem, Path(name).suffix
    stem = re.sub(r"[\\/:]", "_", stem)
    if len(encoded := os.fsencode(stem)) > LONGEST_FILE_NAME:
        stem = encoded[:LONGEST_FILE_NAME].decode(errors="ignore")
    return f"{beginning}{camera}{marks}_{stem}{suffix}"


def _check_apart(plan: Mapping[str, Source], data_dir: Path, save_dir: Path) -> None:
    """Raise UserError if the layout would mix with the download.

    Both may have a folder `query`, as in Market-1501.
    """
    download = data_dir.resolve()
    sources = {download} | {
        source.parent.resolve() for source in plan.values() if isinstance(source, Path)
    }
    for target in ((save_dir / split).resolve() for split in PREPARED_SPLITS):
        # A folder below the download is the default, even if the images are in the download's own
        # folder.
        between = set(target.parents) & sources - (
            {download} if target.parent != download else set()
        )
        if target in sources or between or any(target in source.parents for source in sources):
            raise UserError(
                f"{save_dir}: {target.name} would mix with the download's images. "
                "Choose another folder."
            )


def _continues(before: Mapping[str, Any], now: Mapping[str, Any], save_dir: Path) -> bool:
    """Return whether a folder holds the layout being made, or part of it.

    Raises UserError if it holds another layout.
    """
    if not before or before == now:
        return bool(before)
    what = os.path.normpath(save_dir / before["source"])
    if before["data_set"] != now["data_set"]:
        what += f", read as {before['data_set']}"
    elif before["source"] == now["source"]:
        what += " with other images or options"
    raise UserError(
        f"{save_dir}: holds the layout of {what}. Delete it first (rm -r {quoted(save_dir)}), "
        "or choose another folder."
    )


def read_record(save_dir: Path) -> dict[str, Any]:
    """Return an earlier run's record without paths outside the layout; {} if missing or damaged."""
    try:
        record = parse_json(content_of(save_dir / PREPARED_RECORD))
        files = [
            target
            for target in record["files"]
            if OWN_FILE.fullmatch(target) and ".." not in target.split("/")
        ]
        source, data_set = str(record["source"]), str(record["data_set"])
        return {"source": source, "data_set": data_set, "files": files}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _relative(data_dir: Path, save_dir: Path) -> str:
    """Return the download's path relative to the layout, so that both may be moved together."""
    try:
        return Path(os.path.relpath(data_dir.resolve(), save_dir.resolve())).as_posix()
    except ValueError:  # on another drive of Windows
        return data_dir.resolve().as_posix()


def _place(source: Source, target: Path) -> str:
    """Make `target` a hard link to `source` or a complete copy. Returns what was done."""
    there = target.exists()
    if there and isinstance(source, Path) and (target.samefile(source) or _equal(target, source)):
        return "kept"
    temporary = target.with_name(".partial")
    try:
        done = _link_or_copy(source, temporary)
        if there and not isinstance(source, Path) and _equal(target, temporary):
            return "kept"  # otherwise a box was corrected
        temporary.replace(target)
    except OSError as error:
        full = error.errno in (
            errno.ENOSPC,
            errno.EDQUOT,
        )  # copying also blames the source
        blamed = source if error.filename == str(source) and not full else target
        raise OSError(error.errno, error.strerror or str(error), str(blamed)) from error
    finally:
        temporary.unlink(missing_ok=True)
    return done


def _equal(one: Path, other: Path) -> bool:
    """Return whether two files have the same content.

    Names and times prove nothing once people are renumbered.
    """
    return filecmp.cmp(one, other, shallow=False)


def _link_or_copy(source: Source, target: Path) -> str:
    target.unlink(missing_ok=True)
    if not isinstance(source, Path):
        source.save(target)
        return "extracted"
    try:
        # The path is resolved: a hard link to a relative symbolic link would lead nowhere.
        os.link(source.resolve(), target)
        return "linked"
    except OSError:  # another disk, or a file system without hard links
        shutil.copyfile(source, target)
        status = source.stat()
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
        return "copied"
