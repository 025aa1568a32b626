"""Read identities and cameras from folders and file names.

prepare.py lays data sets out as `<data_dir>/<split>/<identity>/<image>`, and every later step reads
this layout. An image's name begins with its identity and its camera: `0002_c1s1_000451_03.jpg`
(Market-1501) or `0001_c2_f0046182.jpg` (DukeMTMC-reID).
"""

import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from person_reid.arrays import Integers
from person_reid.data.images.image_files import NOT_READ, PREPARED_RECORD, is_image
from person_reid.errors import UserError
from person_reid.files import real
from person_reid.text import as_command, counted, quoted

JUNK = -1  # a poorly cropped box: neither right nor wrong, ignored in every ranking
JUNK_FOLDER = "-1"
DISTRACTOR = 0  # a person who is in no query, or the background

EXPECTED_NAME = "<identity>_c<camera>…, such as 0002_c1s1_000451_03.jpg or 0001_c2_f0046182.jpg"
DG_MARKET = "https://github.com/NVlabs/DG-Net#dg-market"
_NAME = re.compile(r"(-1|[0-9]{1,18})_c([0-9]{1,18})(?![0-9])", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]{1,18}")  # a folder's name
# Folders of deleted and of smaller images on disks of Synology, QNAP, Windows and Linux
SYSTEM_FOLDERS = (
    "@eadir", "#recycle", "@recycle", "@recently-snapshot", "#snapshot", "$recycle.bin",
    "system volume information", "lost+found",
)  # fmt: skip
log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """The N images of one split, in the order in which torchvision's ImageFolder lists them.

    paths: N paths.
    labels: (N,) int64, identities as written in the names, with JUNK and DISTRACTOR.
    cameras: (N,) int64, as written in the names; -1 if a name has none.
    classes: the C identity folders, sorted by name.
    targets: (N,) int64 in 0..C-1, each image's position in `classes`, the label a classifier
        learns.
    """

    paths: list[Path]
    labels: Integers
    cameras: Integers
    classes: list[str]
    targets: Integers

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        cameras = counted(len(np.unique(self.cameras)), "camera")
        people = counted(len(self.classes), "identity", "identities")
        return f"{type(self).__name__}({counted(len(self), 'image')} of {people} from {cameras})"


def parse_names(
    paths: Sequence[Path], identities: Sequence[int] | None = None
) -> tuple[Integers, Integers]:
    """Return the identities and cameras of N images, each int64 (N,).

    identities: used for images whose names contain none; their camera is -1. Without it, one
        UserError lists all such names.

    >>> parse_names([Path("0002_c1s1_000451_03.jpg"), Path("-1_c14_f0046182.jpg")])
    (array([ 2, -1]), array([ 1, 14]))
    """
    matches = [_NAME.match(path.name) for path in paths]
    wrong = [str(path) for path, match in zip(paths, matches, strict=True) if not match]
    if wrong and identities is None:
        raise UserError(f"{len(wrong)} name(s) not of the form {EXPECTED_NAME}:\n{some_of(wrong)}")
    owners = zip(matches, identities or [JUNK] * len(paths), strict=True)
    pairs = [(int(match[1]), int(match[2])) if match else (who, -1) for match, who in owners]
    labels, cameras = np.array(pairs, np.int64).reshape(-1, 2).T
    return labels, cameras


def read_split(
    data_dir: str | Path, split: str, cameras_required: bool = True, with_junk: bool = True
) -> Split:
    """List the images in a split of a layout, with their identities and cameras.

    They are in `<data_dir>/<split>/<identity>/`.
    split: a folder that prepare.py makes: train, val, train_all, query, gallery or multi-query.
    cameras_required: whether every name must contain a camera, as evaluation needs. If False, as in
        training, an image without one has camera -1 and the identity of its folder (the folder's
        position if its name is not a number).
    with_junk: whether images with identity -1 are listed. If not, the log counts them.

    Hidden files, Thumbs.db and everything else that is not an image are ignored. The log reports
    images outside the folders of identities, which are skipped, and names that contradict their
    folder. Raises UserError if the folder is missing, empty, not laid out or holds only junk that
    is to be skipped, and for malformed names.
    """
    folder = Path(data_dir) / split
    _check_layout(Path(data_dir), folder)
    entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    loose = [entry.name for entry in entries if is_image(entry.name) and entry.is_file()]
    if loose:
        log.warning(
            "%s: skipped %s directly in it, such as %s. Expected <identity>/<image>.",
            folder,
            counted(len(loose), "image"),
            loose[0],
        )
    images = {entry.name: list_images(entry) for entry in entries if _is_identity(entry)}
    images = {name: found for name, found in images.items() if found}
    junk = [] if with_junk else images.pop(JUNK_FOLDER, [])
    if junk and not images:
        raise UserError(f"{folder}: it holds only junk, in the folder {JUNK_FOLDER}.")
    if junk:
        count = counted(len(junk), "image")
        log.warning("%s: %s of identity -1, which means junk, is not trained on.", folder, count)
    if not images:
        raise UserError(
            f"{folder}: no images in it (found {found_in(folder)}). Expected "
            f"{folder}/<identity>/<image>, which {as_command('prepare.py')} lays out."
        )
    classes, paths = list(images), [path for found in images.values() for path in found]
    targets = np.repeat(np.arange(len(classes)), [len(found) for found in images.values()])
    numbers = [int(name) if _NUMBER.fullmatch(name) else i for i, name in enumerate(classes)]
    owners = None if cameras_required else [numbers[target] for target in targets]
    labels, cameras = parse_names(paths, owners)
    split_found = Split(paths, labels, cameras, classes, targets)
    _remark_contradictions(split_found, folder)
    return split_found


def _is_identity(entry: Path) -> bool:
    """Return whether an entry in a split is a folder, not hidden, and not a link to a parent."""
    if entry.name.startswith(".") or not entry.is_dir():
        return False
    return not (entry.is_symlink() and real(entry.parent).is_relative_to(real(entry)))


def _remark_contradictions(split: Split, folder: Path) -> None:
    """Log the images whose names and folders give different identities.

    A folder's identity is the number that is its name or, failing that, the first image's.
    """
    owners: dict[str, int] = {}
    wrong = []
    for i in np.flatnonzero(split.cameras >= 0).tolist():  # other names give no identity
        name, label = split.classes[split.targets[i]], int(split.labels[i])
        owner = owners.setdefault(name, int(name) if _NUMBER.fullmatch(name) else label)
        if label != owner:
            wrong.append(f"{split.paths[i]}: {label} in the name, {owner} by the folder")
    if wrong:
        log.warning(
            "%s: %s with a name that contradicts the folder. A test goes by the name, a training "
            "by the folder: rename or move what is wrong.\n%s",
            folder,
            counted(len(wrong), "image"),
            some_of(wrong, most=5),
        )


def check_test_sets(folders: Iterable[str | Path]) -> None:
    """Raise UserError if the query or gallery folder of any of these layouts cannot be read.

    Scripts call this before their work begins.
    """
    for folder in folders:
        for split in ("query", "gallery"):
            read_split(folder, split)


def read_training_splits(roots: Sequence[str | Path], split: str) -> list[tuple[Path, Split]]:
    """Read the training images of several data sets.

    `split` is read from the first root. Returns a pair for each root: the folder, such as
    Path("market/pytorch/train_all"), and its Split without junk. Raises UserError in the cases of
    read_further_splits.
    """
    return [_to_train_on(roots[0], split), *read_further_splits(roots)]


def read_further_splits(roots: Sequence[str | Path]) -> list[tuple[Path, Split]]:
    """Read train_all, or else train, from each root but the first, as read_training_splits does.

    Raises UserError if a root is given twice, and in the cases of read_split.
    """
    places = [real(root) for root in roots]
    twice = [
        str(root) for root, place in zip(roots, places, strict=True) if places.count(place) > 1
    ]
    if twice:
        raise UserError(
            f"The same data set is given more than once: {', '.join(twice)}. Name each folder once."
        )
    found = []
    for root in map(Path, roots[1:]):
        only_a_part = (root / "train").is_dir() and not (root / "train_all").is_dir()
        found.append(_to_train_on(root, "train" if only_a_part else "train_all"))
    return found


def _to_train_on(root: str | Path, split: str) -> tuple[Path, Split]:
    found = read_split(root, split, cameras_required=False, with_junk=False)
    return Path(root) / split, found


def join_splits(splits: Sequence[tuple[Path, Split]]) -> Split:
    """Join the results of read_training_splits into one Split.

    The data sets share no identities and no cameras. The first keeps its labels, cameras, classes
    and targets. The numbers of each further data set continue the previous numbers (-1, an unknown
    camera or junk, does not change). Its classes are full paths, so that person 2 of one data set
    differs from person 2 of another.
    """
    joined = splits[0][1]
    for folder, more in splits[1:]:
        joined = Split(
            joined.paths + more.paths,
            _append(joined.labels, more.labels),
            _append(joined.cameras, more.cameras),
            joined.classes + [str(folder / name) for name in more.classes],
            _append(joined.targets, more.targets),
        )
    return joined


def next_command(data_dir: str | Path, training: str = "") -> str:
    """Return the next command for a layout: to train or, without training images, to test.

    training: further flags for training. Returns an empty string if only part of the test set is
    there.
    """
    if (Path(data_dir) / "train_all").is_dir():
        return f"{as_command('train.py')} --data_dir {quoted(data_dir)}{training}"
    if len({"query", "gallery"} & {path.name for path in Path(data_dir).iterdir()}) == 1:
        return ""
    return f"{as_command('test.py')} --name NAME --test_dir {quoted(data_dir)}"


def walk(folder: str | Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk through a folder as os.walk does, following links.

    Each real folder is visited once, however many links point to it. Hidden folders below it are
    skipped and counted in the log, and so are the bins, thumbnails and snapshots of systems, which
    hold deleted and smaller images. A path that is not a folder yields nothing. Raises OSError for
    a folder that cannot be listed.
    """

    def fail(error: OSError) -> None:
        raise error

    if not Path(folder).is_dir():
        return
    above = [parent.stat() for parent in Path(folder).resolve().parents]
    visited = {(status.st_dev, status.st_ino) for status in above}  # a link may lead up
    skipped: list[Path] = []
    for root, folders, names in os.walk(folder, onerror=fail, followlinks=True):
        status = Path(root).stat()
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        skipped += [Path(root, name) for name in folders if _is_hidden(name)]
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        yield root, folders, names
    if skipped:
        log.warning(
            "%s: skipped %s, such as %s.",
            folder,
            counted(len(skipped), "hidden or system folder", "hidden or system folders"),
            skipped[0],
        )


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.casefold() in SYSTEM_FOLDERS


def list_images(folder: str | Path) -> list[Path]:
    """List the images below a folder at any depth, sorted by folder and name as in ImageFolder.

    HEIC files are skipped and counted in the log. A layout of prepare.py among the images is also
    skipped, because it contains the same images again.
    """
    files = [Path(root, name) for root, _, names in sorted(walk(folder)) for name in sorted(names)]
    if layouts := {path.parent for path in files if path.name == PREPARED_RECORD}:
        others = [path for path in files if layouts.isdisjoint(path.parents)]
        if any(is_image(path.name) for path in others):
            named = ", ".join(map(str, sorted(layouts)))
            log.warning(
                "%s: laid out by prepare.py, so skipped. Pass its path to include it.", named
            )
            files = others
    if passed := [path for path in files if path.suffix.lower() in NOT_READ]:
        log.warning(
            "%s: HEIC is not read, so %s skipped, such as %s. Convert them to JPEG.",
            folder,
            counted(len(passed), "image is", "images are"),
            passed[0].name,
        )
    return [path for path in files if is_image(path.name)]


def read_unlabelled(folder: str | Path) -> list[Path]:
    """List the images of unlabelled people: all images below a folder, at any depth, sorted.

    If the folder is missing or has no images, the UserError tells where to get DG-Market.
    """
    folder = Path(folder)
    paths = list_images(folder)
    if paths:
        return paths
    found = folder.is_dir() and f"no images in it (found {found_in(folder)})"
    problem = found or not_a_folder(folder)
    raise UserError(
        f"{folder}: {problem}. Expected images at any depth, such as those of DG-Market. "
        f"Nothing is downloaded automatically: get its 128,307 images from {DG_MARKET}, "
        "unpack them, and pass their folder as DG_dir."
    )


def not_a_folder(path: Path) -> str:
    """Return why a path is not a folder: it is missing, or is a file, possibly an archive."""
    return "a file; unpack an archive and name its folder" if path.is_file() else "no such folder"


def found_in(folder: str | Path, most: int = 8) -> str:
    """Describe a folder's contents for a message, such as `query, readme.txt and 3 more`."""
    names = sorted(entry.name for entry in Path(folder).iterdir())
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "nothing") + more


def some_of(lines: Sequence[str], most: int = 50) -> str:
    """Indent at most `most` of the lines for a message, and add how many more there are."""
    more = [f"… and {len(lines) - most} more"] if len(lines) > most else []
    return "\n".join(f"  {line}" for line in [*lines[:most], *more])


def _append(numbers: Integers, more: Integers) -> Integers:
    """Concatenate two arrays, with the numbers of the second shifted above those of the first.

    -1 stays -1.
    """
    return np.concatenate([numbers, np.where(more >= 0, more + numbers.max() + 1, more)])


def _check_layout(data_dir: Path, folder: Path) -> None:
    """Raise a UserError if `folder` is missing.

    The message distinguishes a download or a parent folder from a mistyped path.
    """
    if not data_dir.is_dir():
        raise UserError(
            f"{data_dir}: {not_a_folder(data_dir)}. "
            f"{as_command('prepare.py')} lays out a data set and prints its folder."
        )
    if (data_dir / "bounding_box_train").is_dir() or (data_dir / "bounding_box_test").is_dir():
        raise UserError(
            f"{data_dir}: this is the data set as downloaded. "
            f"Lay it out with: {as_command('prepare.py')} --data_dir {quoted(data_dir)} "
            f"and then pass {data_dir / 'pytorch'}"
        )
    if not folder.is_dir() and (data_dir / "pytorch" / folder.name).is_dir():
        raise UserError(
            f"{folder}: no such folder, but {data_dir / 'pytorch'} has one: "
            "pass that folder instead."
        )
    parts = {
        name for name in ("train", "train_all", "query", "gallery") if (data_dir / name).is_dir()
    }
    if folder.name in ("train", "train_all") and parts == {"query", "gallery"}:
        raise UserError(
            f"{folder}: no such folder: {data_dir} has nothing to train on. Test on it with "
            f"{next_command(data_dir)} and train with another data_dir."
        )
    if not folder.is_dir() and folder.name == "multi-query":
        raise UserError(
            f"{folder}: no such folder. Multiple queries are further images of the people "
            "in query, from the same cameras: a split multi-query of the data "
            f"that {as_command('prepare.py')} lays out. "
            "Leave multi out, or lay such images out."
        )
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder (found {found_in(data_dir)} in {data_dir}). "
            f"{as_command('prepare.py')} lays it out."
        )
