"""Lay out a download as `<save_dir>/<split>/<identity>/<image>`, with hard links if possible.

The download is read and never changed. `<save_dir>/.prepared.json` lists the files; it is written before the first
image, so that a later run can tell its own files from other people's, even after an interruption.
"""

import errno
import json
import os
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np

from person_reid.basics import UserError, atomic_write, only_writer, progress, quoted
from person_reid.data.datasets import UNLABELLED, DataSet
from person_reid.data.layout import DISTRACTOR, JUNK, Split, read_split, read_unlabelled, some_of
from person_reid.data.naming import file_names
from person_reid.data.readers import GALLERY, MULTI_QUERY, OPTIONAL, QUERY, RECORD, TRAIN, Source

SPLITS = ("train", "val", TRAIN, QUERY, GALLERY, MULTI_QUERY)
OWN_FILE = re.compile(rf"({'|'.join(SPLITS)})/[^/\\\\:]+/[^/\\\\:]+")
TIME_STEP = 2_000_000_000  # nanoseconds; FAT file systems keep times to two seconds
Counts = tuple[int | None, int | None, int | None]  # identities, images, cameras


def lay_out(data_set: DataSet, data_dir: str | Path, save_dir: str | Path) -> Counter[str]:
    """Lay the data set out in `save_dir`, and remove what an earlier, different layout of it left there.

    Returns how many files were linked, copied, extracted, kept (already right) and removed (made by an earlier run
    and no longer part of the data set). Files that prepare.py did not make are never touched. Raises UserError for a
    download with wrong names or an empty folder, and if `save_dir` cannot be used, before anything is changed.
    """
    data_dir, save_dir = Path(data_dir), Path(save_dir)
    plan = plan_layout(data_set, data_dir)
    _check_apart(plan, data_dir, save_dir)
    with ExitStack() as stack:
        try:
            stack.enter_context(only_writer(save_dir / ".lock", f"--save_dir {save_dir}", wait=True))
        except OSError as error:
            problem = f"--save_dir {save_dir}: cannot be written ({error.strerror}). Choose another folder."
            raise UserError(problem) from error
        return _make(plan, data_set, data_dir, save_dir)


def _make(plan: dict[str, Source], data_set: DataSet, data_dir: Path, save_dir: Path) -> Counter[str]:
    """Carry out a plan; the result is that of lay_out."""
    earlier = _claim(save_dir, data_set, data_dir, plan)
    done: Counter[str] = Counter()
    for folder in sorted({save_dir / target.rpartition("/")[0] for target in plan}):
        folder.mkdir(parents=True, exist_ok=True)
    for target, source in progress(plan.items(), desc="laying out", unit=" images"):
        done[_place(source, save_dir / target)] += 1
    for target in sorted(earlier - plan.keys()):
        done["removed"] += _remove(save_dir / target)
    _write_record(save_dir, data_set, data_dir, plan)
    return done


def plan_layout(data_set: DataSet, data_dir: str | Path) -> dict[str, Source]:
    """Return {`<split>/<identity>/<image>`: source} for every image to lay out.

    val is the first image, by name, of each identity of train_all; train is the rest. An identity with a single image
    has it in both, so that all three have the same classes. A download without training images has none of the three.
    """
    assert data_set.read, "a data set without identities is not laid out"
    splits = file_names(data_set.read(Path(data_dir)), data_set.distractors)
    plan = {f"{split}/{target}": source for split, images in splits.items() for target, source in images.items()}
    by_identity = defaultdict(list)
    for target in sorted(splits.get(TRAIN, ())):
        by_identity[target.partition("/")[0]].append(target)
    for targets in by_identity.values():
        plan[f"val/{targets[0]}"] = splits[TRAIN][targets[0]]
        plan.update({f"train/{target}": splits[TRAIN][target] for target in targets[1:] or targets})
    return plan


def describe_layout(data_set: DataSet, save_dir: str | Path) -> list[str]:
    """Return lines of text: identities, images and cameras of every split on disk, beside the published numbers."""
    lines = [f"{'split':<12}{'identities':>12}{'images':>9}{'cameras':>9}    published"]
    notes = []
    there = [name for name in SPLITS if Path(save_dir, name).is_dir()]
    splits = {name: read_split(save_dir, name, cameras_required=False) for name in there}
    for name, split in splits.items():
        people = ~np.isin(split.labels, (JUNK, DISTRACTOR))
        found = (len(np.unique(split.labels[people])), len(split), len(np.unique(split.cameras)))
        lines.append(
            f"{name:<12}{found[0]:>12,}{found[1]:>9,}{found[2]:>9,}    {_compare(found, data_set, name)}".rstrip()
        )
        if not people.all():
            junk = (split.labels == JUNK).sum()
            notes.append(f"{name} includes {(~people).sum() - junk:,} distractors (0000) and {junk:,} junk boxes (-1).")
        notes += _warning(found, data_set, name)
    lacking = [name for name in OPTIONAL if name in data_set.published.keys() - splits]
    notes += [f"{name}: the download has none." for name in ([] if TRAIN in splits else [TRAIN]) + lacking]
    names = [{path.name for path in splits[split].paths} if split in splits else set() for split in ("train", "val")]
    both = names[0] & names[1]
    if both:
        notes.append(f"Identities with a single image, which is in train and in val: {len(both):,}.")
    if TRAIN in splits and len(splits[TRAIN].classes) == 1:
        notes.append(f"{TRAIN} holds a single identity; a network needs two to learn from.")
    notes += [data_set.note] if data_set.note else []
    return [*lines, *notes, *_strangers(save_dir, splits)]


def describe_unlabelled(data_set: DataSet, folder: str | Path) -> list[str]:
    """Return lines of text about a data set without identities, which stays where it is."""
    images = len(read_unlabelled(folder))
    return [
        f"{images:,} images without identities: there is nothing to lay out.",
        *_warning((None, images, None), data_set, UNLABELLED),
        f"Next: python train.py --DG --DG_dir {quoted(folder)}",
    ]


def _compare(found: Counts, data_set: DataSet, split: str) -> str:
    if split not in data_set.published:
        return ""
    return f"{_counts(data_set.published[split])}  {'DIFFERS' if _warning(found, data_set, split) else 'as here'}"


def _warning(found: Counts, data_set: DataSet, split: str) -> list[str]:
    """Return a line if the counts differ from those published, else nothing."""
    published = data_set.published.get(split, found)
    if all(theirs in (ours, None) for ours, theirs in zip(found, published, strict=True)):
        return []
    return [f"warning: {split} has {_counts(found)} identities / images / cameras; published are {_counts(published)}."]


def _counts(numbers: Counts) -> str:
    return " / ".join("-" if number is None else f"{number:,}" for number in numbers)


def _check_apart(plan: Mapping[str, Source], data_dir: Path, save_dir: Path) -> None:
    """Raise UserError if the layout would mix with the download: both may have a folder `query`, as in Market-1501."""
    download = data_dir.resolve()
    sources = {download} | {source.parent.resolve() for source in plan.values() if isinstance(source, Path)}
    for target in ((save_dir / split).resolve() for split in SPLITS):
        # A folder below the download is the default, even if the images are in the download's own folder.
        between = set(target.parents) & sources - ({download} if target.parent != download else set())
        if target in sources or between or any(target in source.parents for source in sources):
            raise UserError(
                f"--save_dir {save_dir}: {target.name} would mix with the download's images. Choose another folder."
            )


def _claim(save_dir: Path, data_set: DataSet, data_dir: Path, plan: Mapping[str, Source]) -> set[str]:
    """Record the files that are about to be made. Returns those that earlier runs made."""
    record = _read_record(save_dir)
    other = os.path.normpath(save_dir / record["source"]) if record else ""
    same_folder = not record or record["source"] == _relative(data_dir, save_dir)
    if not same_folder or record.get("data_set", data_set.name) != data_set.name:
        what = f"{other}, read as {record['data_set']}" if same_folder else other
        raise UserError(
            f"--save_dir {save_dir}: holds the layout of {what}. Delete it first, or choose another folder."
        )
    earlier = set(record.get("files", []))
    _write_record(save_dir, data_set, data_dir, earlier | plan.keys())
    return earlier


def _read_record(save_dir: Path) -> dict[str, Any]:
    """Return what earlier runs recorded, {} if there is no record or it is damaged; foreign paths are dropped."""
    try:
        record = json.loads((save_dir / RECORD).read_text(encoding="utf-8"))
        files = [target for target in record["files"] if OWN_FILE.fullmatch(target) and ".." not in target.split("/")]
        known = {"data_set": str(record["data_set"])} if "data_set" in record else {}  # missing in earlier versions
        return {"source": str(record["source"]), **known, "files": files}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _write_record(save_dir: Path, data_set: DataSet, data_dir: Path, files: Iterable[str]) -> None:
    record = {"source": _relative(data_dir, save_dir), "data_set": data_set.name, "files": sorted(files)}
    if record != _read_record(save_dir):
        with atomic_write(save_dir / RECORD) as temporary:
            temporary.write_text(json.dumps(record, indent=0), encoding="utf-8")


def _relative(data_dir: Path, save_dir: Path) -> str:
    """Return the download's path relative to the layout, so that both may be moved together."""
    try:
        return Path(os.path.relpath(data_dir.resolve(), save_dir.resolve())).as_posix()
    except ValueError:  # on another drive of Windows
        return data_dir.resolve().as_posix()


def _place(source: Source, target: Path) -> str:
    """Make `target` a hard link or copy of `source`, whole or not at all. Returns what was done."""
    if target.exists():
        if not isinstance(source, Path):
            return "kept"
        there, wanted = target.stat(), source.stat()
        same_time = abs(there.st_mtime_ns - wanted.st_mtime_ns) < TIME_STEP
        if os.path.samestat(there, wanted) or (there.st_size == wanted.st_size and same_time):
            return "kept"
    temporary = target.with_name(f".{target.name}.partial")
    try:
        done = _link_or_copy(source, temporary)
        temporary.replace(target)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)  # said of the source, too
        blamed = source if error.filename == str(source) and not full else target
        raise OSError(error.errno, error.strerror or str(error), str(blamed)) from error
    finally:
        temporary.unlink(missing_ok=True)
    return done


def _link_or_copy(source: Source, target: Path) -> str:
    target.unlink(missing_ok=True)
    if not isinstance(source, Path):
        source.save(target)
        return "extracted"
    try:
        os.link(source.resolve(), target)  # resolved: a hard link to a relative symbolic link would lead nowhere
        return "linked"
    except OSError:  # another disk, or a file system without hard links
        shutil.copyfile(source, target)
        status = source.stat()
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
        return "copied"


def _remove(path: Path) -> int:
    """Remove a file that an earlier run made, and folders it leaves empty. Returns 1 if it existed, else 0."""
    there = path.exists()
    path.unlink(missing_ok=True)
    with suppress(OSError):  # they hold other images
        path.parent.rmdir()
        path.parent.parent.rmdir()
    return int(there)


def _strangers(save_dir: str | Path, splits: Mapping[str, Split]) -> list[str]:
    """Return lines about the images in `save_dir` that prepare.py did not make and leaves alone."""
    own = set(_read_record(Path(save_dir))["files"])
    found = ["/".join(path.parts[-3:]) for split in splits.values() for path in split.paths]
    strangers = [target for target in found if target not in own]
    if not strangers:
        return []
    return [f"Images that prepare.py did not make, left alone: {len(strangers):,}.", some_of(strangers, most=5)]
