"""Describe a layout on disk: each split's contents beside the published counts."""

import logging
from collections.abc import Mapping, Sequence
from itertools import chain, combinations
from pathlib import Path

import numpy as np

from person_reid.data.datasets import DATA_SETS, KnownDataSet
from person_reid.data.file_names import MARKS
from person_reid.data.layout import DISTRACTOR, JUNK, Split, read_split, read_unlabelled, some_of
from person_reid.data.own.labels import FILE, read_words
from person_reid.data.prepare import PREPARED_SPLITS, read_record
from person_reid.data.readers import GALLERY, OPTIONAL, QUERY, TRAIN, UNLABELLED
from person_reid.text import as_command, counted, quoted

log = logging.getLogger(__name__)

SplitCounts = tuple[int | None, int | None, int | None]  # identities, images, cameras


def describe_layout(data_set: KnownDataSet, save_dir: str | Path) -> list[str]:
    """Describe each split on disk: identities, images and cameras, beside the published numbers."""
    lines = [f"{'split':<12}{'identities':>12}{'images':>9}{'cameras':>9}    published"]
    notes = []
    there = [name for name in PREPARED_SPLITS if Path(save_dir, name).is_dir()]
    splits = {name: read_split(save_dir, name, cameras_required=False) for name in there}
    for name, split in splits.items():
        people = ~np.isin(split.labels, (JUNK, DISTRACTOR))
        found = (len(np.unique(split.labels[people])), len(split), len(np.unique(split.cameras)))
        lines.append(
            f"{name:<12}{found[0]:>12,}{found[1]:>9,}{found[2]:>9,}    "
            f"{_compare(found, data_set, name)}".rstrip()
        )
        if not people.all():
            junk = (split.labels == JUNK).sum()
            distractors = (~people).sum() - junk
            notes.append(
                f"{name} includes {distractors:,} distractors (0000) and {junk:,} junk boxes (-1)."
            )
        notes += _warning(found, data_set, name)
    lacking = [name for name in OPTIONAL if name in data_set.published.keys() - splits]
    notes += [
        f"{name}: the download has none." for name in ([] if TRAIN in splits else [TRAIN]) + lacking
    ]
    notes += _tracklets(splits)
    names = [
        {path.name for path in splits[split].paths} if split in splits else set()
        for split in ("train", "val")
    ]
    both = names[0] & names[1]
    if both:
        notes.append(
            f"Identities with a single image, which is in train and in val: {len(both):,}."
        )
    notes += _in_both(splits) if not data_set.published else []
    if TRAIN in splits and len(splits[TRAIN].classes) == 1:
        notes.append(f"{TRAIN} holds a single identity; a network needs two to learn from.")
    if table := read_words(save_dir).table:
        notes.append(f"{FILE} says which number stands for which word: {', '.join(table)}.")
    notes += [data_set.note] if data_set.note else []
    return [*lines, *notes, *_strangers(save_dir, splits)]


def _in_both(splits: Mapping[str, Split]) -> list[str]:
    """Return a warning if people in the test set are also in the training set."""
    tested = [splits[name].labels.tolist() for name in (QUERY, GALLERY) if name in splits]
    people = {*chain(*tested)} - {JUNK, DISTRACTOR}
    both = people & {*splits[TRAIN].labels.tolist()} if TRAIN in splits else ()
    if not both:
        return []
    return [
        f"Of {counted(len(people), 'identity', 'identities')} to test on, {len(both):,} are also "
        f"in {TRAIN}. If they are the same people, the test is too easy."
    ]


def remark_twins(splits: Sequence[tuple[Path, Split]]) -> None:
    """Log which people two training data sets probably share.

    These people have the same word in names.csv, or the data sets are two versions of one data set.

    splits: see read_training_splits.
    """
    published = {_version(known.name) for known in DATA_SETS.values() if known.published}
    for one, other in combinations([folder.parent for folder, _ in splits], 2):
        kinds = [_version(read_record(root).get("data_set", "")) for root in (one, other)]
        words = [set(read_words(root).table.get("identity", {}).values()) for root in (one, other)]
        said = ", ".join(sorted(words[0] & words[1])[:5])
        if kinds[0] == kinds[1] in published:
            said = f"all of {kinds[0]}"
        if said:
            log.warning(
                "%s and %s: the same people, by their names, count as different ones: %s.",
                one,
                other,
                said,
            )


def _version(name: str) -> str:
    """Return the name of a data set without its version or protocol, such as CUHK03."""
    return name.partition(" (")[0]


def _tracklets(splits: Mapping[str, Split]) -> list[str]:
    """Return a line with the number of tracklets in each split, or nothing if there are none."""
    tracklets = {
        split: {
            match[0] for path in found.paths if (match := MARKS.match(path.name)) and match["track"]
        }
        for split, found in splits.items()
    }
    counts = [f"{split} {len(found):,}" for split, found in tracklets.items() if found]
    return [f"tracklets: {', '.join(counts)}"] if counts else []


def describe_unlabelled(data_set: KnownDataSet, folder: str | Path) -> list[str]:
    """Return lines of text about a data set without identities, which is not laid out."""
    images = len(read_unlabelled(folder))
    return [
        f"{images:,} images without identities: there is nothing to lay out.",
        *_warning((None, images, None), data_set, UNLABELLED),
        f"Next: {as_command('train.py')} --DG --DG_dir {quoted(folder)}",
    ]


def _compare(found: SplitCounts, data_set: KnownDataSet, split: str) -> str:
    if split not in data_set.published:
        return ""
    return (
        f"{_counts(data_set.published[split])}  "
        f"{'DIFFERS' if _warning(found, data_set, split) else 'as here'}"
    )


def _warning(found: SplitCounts, data_set: KnownDataSet, split: str) -> list[str]:
    """Return a list, which holds a warning if the counts differ from the published ones."""
    published = data_set.published.get(split, found)
    if all(theirs in (ours, None) for ours, theirs in zip(found, published, strict=True)):
        return []
    return [
        f"warning: {split} has {_counts(found)} identities / images / cameras; "
        f"published are {_counts(published)}."
    ]


def _counts(numbers: SplitCounts) -> str:
    return " / ".join("-" if number is None else f"{number:,}" for number in numbers)


def _strangers(save_dir: str | Path, splits: Mapping[str, Split]) -> list[str]:
    """Return lines about the images in `save_dir` that prepare.py did not make and leaves alone."""
    own = set(read_record(Path(save_dir))["files"])
    found = ["/".join(path.parts[-3:]) for split in splits.values() for path in split.paths]
    strangers = [target for target in found if target not in own]
    if not strangers:
        return []
    return [
        f"Images that prepare.py did not make, left alone: {len(strangers):,}.",
        some_of(strangers, most=5),
    ]
