"""Lay out a data set as it was downloaded: `<save_dir>/<split>/<identity>/<image>`, by hard links where possible.

The download is read and never changed. A list of what was made is kept in `<save_dir>/.prepared.json`, written before
the first image, so that a later run can tell its own files from anybody else's, also after an interruption.
"""

import json
import os
import re
import shutil
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path

import numpy as np

from reid.data.datasets import GALLERY, MULTI_QUERY, OPTIONAL, QUERY, TRAIN
from reid.data.layout import DISTRACTOR, JUNK, is_image, parse_names, read_split, some_of
from utils import UserError, atomic_write, progress

SPLITS = ("train", "val", TRAIN, QUERY, GALLERY, MULTI_QUERY)
RECORD = ".prepared.json"
OWN_FILE = re.compile(rf"({'|'.join(SPLITS)})/[^/\\\\:]+/[^/\\\\:]+")
TIME_STEP = 2_000_000_000  # nanoseconds: FAT file systems keep times to two seconds


def lay_out(data_set, data_dir, save_dir):
    """Make `save_dir` hold the data set and nothing of an earlier, different layout of it.

    Returns a Counter of the files linked, copied, kept (they were right already) and removed (made by an earlier run
    and no longer part of the data set). Files that prepare.py did not make are never touched. Raises UserError for a
    download with wrong names or an empty folder, and where `save_dir` cannot be used, before anything is changed.
    """
    data_dir, save_dir = Path(data_dir), Path(save_dir)
    _check_apart(data_set, data_dir, save_dir)
    plan = plan_layout(data_set, data_dir)
    earlier = _claim(save_dir, data_dir, plan)
    done: Counter[str] = Counter()
    for folder in sorted({save_dir / target.rpartition("/")[0] for target in plan}):
        folder.mkdir(parents=True, exist_ok=True)
    for target, source in progress(plan.items(), desc="laying out", unit=" images"):
        done[_place(source, save_dir / target)] += 1
    for target in sorted(earlier - plan.keys()):
        done["removed"] += _remove(save_dir / target)
    _write_record(save_dir, data_dir, plan)
    return done


def plan_layout(data_set, data_dir):
    """{`<split>/<identity>/<image>`: path of the source} for every image to lay out.

    val is the first image, by name, of each identity of train_all; train is the rest. An identity with a single image
    has it in both, so that all three have the same classes.
    """
    sources = {split: _images_in(Path(data_dir) / folder, split) for split, folder in data_set.folders.items()}
    parse_names([path for paths in sources.values() for path in paths])
    plan = {}
    by_identity = defaultdict(list)
    for split, paths in sources.items():
        for path in paths:
            identity = path.name.split("_")[0]
            plan[f"{split}/{identity}/{path.name}"] = path
            if split == TRAIN:
                by_identity[identity].append(path)
    for identity, paths in by_identity.items():
        plan[f"val/{identity}/{paths[0].name}"] = paths[0]
        for path in paths[1:] or paths:
            plan[f"train/{identity}/{path.name}"] = path
    return plan


def describe_layout(data_set, save_dir):
    """Lines of text: identities, images and cameras of every split as they lie on the disk, beside those published."""
    lines = [f"{'split':<12}{'identities':>12}{'images':>9}{'cameras':>9}    published"]
    notes = []
    splits = {
        split: read_split(save_dir, split, cameras_required=False)
        for split in SPLITS
        if (Path(save_dir) / split).is_dir()
    }
    for name, split in splits.items():
        people = ~np.isin(split.labels, (JUNK, DISTRACTOR))
        found = (len(np.unique(split.labels[people])), len(split), len(np.unique(split.cameras)))
        lines.append(
            f"{name:<12}{found[0]:>12,}{found[1]:>9,}{found[2]:>9,}    {_compare(found, data_set, name)}".rstrip()
        )
        if not people.all():
            junk = (split.labels == JUNK).sum()
            notes.append(f"{name} includes {(~people).sum() - junk:,} distractors (0000) and {junk:,} junk boxes (-1).")
    notes += [f"{name}: the download has none." for name in OPTIONAL if name not in splits]
    both = {path.name for path in splits["train"].paths} & {path.name for path in splits["val"].paths}
    if both:
        notes.append(f"Identities with a single image, which is in train and in val: {len(both):,}.")
    return [*lines, *notes, *_strangers(save_dir, splits)]


def _compare(found, data_set, split):
    if split not in data_set.published:
        return ""
    published = data_set.published[split]
    text = "{:,} / {:,} / {:,}".format(*published)
    return f"{text}  as here" if found == published else f"{text}  DIFFERS"


def _images_in(folder, split):
    if not folder.is_dir() and split in OPTIONAL:
        return []
    images = sorted((path for path in folder.iterdir() if is_image(path.name)), key=lambda path: path.name)
    if not images:
        raise UserError(f"{folder}: no images in it, so there is no {split}. Was the download unpacked completely?")
    return images


def _check_apart(data_set, data_dir, save_dir):
    """The layout must not mix with the download: Market-1501 has a folder `query`, as the layout has."""
    for source in {(data_dir / folder).resolve() for folder in data_set.folders.values()}:
        for split in SPLITS:
            target = (save_dir / split).resolve()
            if target == source or target in source.parents or source in target.parents:
                raise UserError(
                    f"--save_dir {save_dir}: {split} would mix with the download's {source}. Choose another."
                )


def _claim(save_dir, data_dir, plan):
    """Record, before it happens, what is about to be made. Returns the set of what earlier runs made."""
    record = _read_record(save_dir)
    if record and record["source"] != _relative(data_dir, save_dir):
        other = os.path.normpath(save_dir / record["source"])
        raise UserError(
            f"--save_dir {save_dir}: holds the layout of {other}. Delete it first, or choose another folder."
        )
    earlier = set(record.get("files", []))
    try:
        _write_record(save_dir, data_dir, earlier | plan.keys())
    except OSError as error:
        raise UserError(
            f"--save_dir {save_dir}: cannot be written ({error.strerror}). Choose another folder."
        ) from error
    return earlier


def _read_record(save_dir):
    """What earlier runs noted; nothing where there is no note or a damaged one. Only paths of a layout are believed."""
    try:
        record = json.loads((save_dir / RECORD).read_text(encoding="utf-8"))
        files = [target for target in record["files"] if OWN_FILE.fullmatch(target) and ".." not in target.split("/")]
        return {"source": str(record["source"]), "files": files}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _write_record(save_dir, data_dir, files):
    record = {"source": _relative(data_dir, save_dir), "files": sorted(files)}
    if record != _read_record(save_dir):
        with atomic_write(save_dir / RECORD) as temporary:
            temporary.write_text(json.dumps(record, indent=0), encoding="utf-8")


def _relative(data_dir, save_dir):
    """The download as seen from the layout, so that both may be moved together."""
    try:
        return Path(os.path.relpath(data_dir.resolve(), save_dir.resolve())).as_posix()
    except ValueError:  # another drive of Windows
        return data_dir.resolve().as_posix()


def _place(source, target):
    """Make `target` be `source`, by a hard link or else a copy: whole or not at all. Returns what was done."""
    if target.exists():
        there, wanted = target.stat(), source.stat()
        same_time = abs(there.st_mtime_ns - wanted.st_mtime_ns) < TIME_STEP
        if os.path.samestat(there, wanted) or (there.st_size == wanted.st_size and same_time):
            return "kept"
    temporary = target.with_name(f".{target.name}.partial")
    try:
        done = _link_or_copy(source, temporary)
        temporary.replace(target)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from error
    finally:
        temporary.unlink(missing_ok=True)
    return done


def _link_or_copy(source, target):
    target.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), target)  # resolved: a hard link to a relative symbolic link would lead nowhere
        return "linked"
    except OSError:  # another disk, or a file system without hard links
        shutil.copyfile(source, target)
        status = source.stat()
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
        return "copied"


def _remove(path):
    """Remove a file that an earlier run made, and the folders it leaves empty. Returns how many there were, 0 or 1."""
    there = path.exists()
    path.unlink(missing_ok=True)
    with suppress(OSError):  # other images are in them
        path.parent.rmdir()
        path.parent.parent.rmdir()
    return int(there)


def _strangers(save_dir, splits):
    """Lines about the images in `save_dir` that prepare.py did not make, and leaves alone."""
    own = set(_read_record(Path(save_dir))["files"])
    found = ["/".join(path.parts[-3:]) for split in splits.values() for path in split.paths]
    strangers = [target for target in found if target not in own]
    if not strangers:
        return []
    return [f"Images that prepare.py did not make, left alone: {len(strangers):,}.", some_of(strangers, most=5)]
