"""From folders and file names to identities and cameras.

The layout that prepare.py makes, and that everything later reads, is `<data_dir>/<split>/<identity>/<image>`, where
the image's name begins with its identity and its camera: `0002_c1s1_000451_03.jpg` (Market-1501) or
`0001_c2_f0046182.jpg` (DukeMTMC-reID).
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from person_reid.basics import UserError

JUNK = -1  # a badly cut box: neither right nor wrong, left out of every ranking
DISTRACTOR = 0  # a person nobody asks for, or the background

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
EXPECTED_NAME = "<identity>_c<camera>…, such as 0002_c1s1_000451_03.jpg or 0001_c2_f0046182.jpg"
DG_MARKET = "https://github.com/NVlabs/DG-Net#dg-market"
_NAME = re.compile(r"(-1|[0-9]+)_c([0-9]+)", re.ASCII)


@dataclass(frozen=True, eq=False)
class Split:
    """The N images of one split, in the order in which torchvision's ImageFolder lists them.

    paths: N paths.
    labels: (N,) int64, identities as written in the names; JUNK and DISTRACTOR are not people to find.
    cameras: (N,) int64 as written in the names, -1 where a name does not say.
    classes: the C identity folders, sorted by name.
    targets: (N,) int64 in 0..C-1, each image's position in `classes`: what a classifier learns.
    """

    paths: list[Path]
    labels: np.ndarray
    cameras: np.ndarray
    classes: list[str]
    targets: np.ndarray

    def __len__(self):
        return len(self.paths)


def parse_name(name):
    """(identity, camera) of an image from its file name. Raises UserError for a name that does not say them.

    >>> parse_name("0002_c1s1_000451_03.jpg"), parse_name("-1_c14_f0046182.jpg")
    ((2, 1), (-1, 14))
    """
    match = _NAME.match(Path(name).name)
    if not match:
        raise UserError(f"{name}: expected a name of the form {EXPECTED_NAME}.")
    return int(match[1]), int(match[2])


def parse_names(paths):
    """The identities (N,) and cameras (N,), int64, of N images. One UserError lists all names that do not parse."""
    matches = [_NAME.match(path.name) for path in paths]
    wrong = [str(path) for path, match in zip(paths, matches, strict=True) if not match]
    if wrong:
        raise UserError(f"{len(wrong)} name(s) not of the form {EXPECTED_NAME}:\n{some_of(wrong)}")
    pairs = [(int(match[1]), int(match[2])) for match in matches if match]
    labels, cameras = np.array(pairs, np.int64).reshape(-1, 2).T
    return labels, cameras


def read_split(data_dir, split, cameras_required=True):
    """List the images of `<data_dir>/<split>/<identity>/` and read identities and cameras from their names.

    split: a folder that prepare.py makes: train, val, train_all, query, gallery or multi-query.
    cameras_required: evaluation needs every camera. Where it is False, as in training, an image whose name does not
        say belongs to the identity of its folder (the folder's position, if that is not a number), camera -1.

    Returns a Split. Hidden files, Thumbs.db and whatever else is no image are ignored. Raises UserError where the
    folder is missing, empty, or not laid out, and for names that do not parse.
    """
    folder = Path(data_dir) / split
    _check_layout(Path(data_dir), folder)
    images = {entry.name: list_images(entry) for entry in folder.iterdir() if entry.is_dir()}
    classes = sorted(name for name, found in images.items() if found and not name.startswith("."))
    paths = [path for name in classes for path in images[name]]
    if not paths:
        raise UserError(
            f"{folder}: no images in it (found {found_in(folder)}). Expected {folder}/<identity>/<image>, which "
            "python prepare.py lays out."
        )
    targets = np.repeat(np.arange(len(classes)), [len(images[name]) for name in classes])
    if cameras_required:
        labels, cameras = parse_names(paths)
    else:
        owners = zip(paths, targets.tolist(), strict=True)
        pairs = [_parse_or_folder(path, classes[target], target) for path, target in owners]
        labels, cameras = np.array(pairs, np.int64).T
    return Split(paths, labels, cameras, classes, targets)


def read_training_splits(roots, split):
    """Read the training images of several data sets: of the first root its `split`, of each further one its train_all,
    or train where it has no train_all.

    Returns as many pairs of a folder, such as Path("market/pytorch/train_all"), and its Split. Raises UserError where
    a root is given twice, and as read_split does.
    """
    roots = [Path(root) for root in roots]
    places = [root.resolve() for root in roots]
    twice = [str(root) for root, place in zip(roots, places, strict=True) if places.count(place) > 1]
    if twice:
        raise UserError(f"The same data set is given more than once: {', '.join(twice)}. Name each folder once.")
    names = [split, *("train" if _has_only_train(root) else "train_all" for root in roots[1:])]
    return [
        (root / name, read_split(root, name, cameras_required=False)) for root, name in zip(roots, names, strict=True)
    ]


def join_splits(splits):
    """One Split of several that share no identity and no camera: what read_training_splits returns, put together.

    The first keeps its labels, cameras, classes and targets. The numbers of each further one go on where those before
    it end (-1 stays -1: a camera that no name says, or junk), and its classes are called by their whole path, so that
    person 2 of one data set is not person 2 of another.
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


def next_command(data_dir):
    """The command to go on with in a layout: to train, or to test where there is nothing to train on."""
    if (Path(data_dir) / "train_all").is_dir():
        return f"python train.py --data_dir {data_dir}"
    return f"python test.py --name NAME --test_dir {data_dir}"


def list_images(folder):
    """The images below a folder at any depth, sorted as ImageFolder sorts them: folder by folder, then by name."""
    return [
        Path(root, name)
        for root, _, names in sorted(os.walk(folder, followlinks=True))
        for name in sorted(names)
        if is_image(name)
    ]


def read_unlabelled(folder):
    """The images of people whom nobody has named: the paths of all images below a folder, at any depth, sorted.

    Raises UserError, which says where to get DG-Market, for a folder that is missing or holds no image.
    """
    folder = Path(folder)
    paths = list_images(folder)
    if paths:
        return paths
    problem = f"no images in it (found {found_in(folder)})" if folder.is_dir() else "no such folder"
    raise UserError(
        f"{folder}: {problem}. Expected images at any depth, such as those of DG-Market. Nothing is downloaded "
        f"automatically: get its 128,307 images from {DG_MARKET}, unpack them, and pass their folder as --DG_dir."
    )


def is_image(name):
    """Whether a file name is one of a visible image."""
    return not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES


def found_in(folder, most=8):
    """What a folder holds, in a few words, for a message: `query, readme.txt and 3 more`, `nothing`."""
    names = sorted(entry.name for entry in Path(folder).iterdir())
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "nothing") + more


def some_of(lines, most=50):
    """Indented lines for a message, at most `most` of them, then how many more there are."""
    more = [f"… and {len(lines) - most} more"] if len(lines) > most else []
    return "\n".join(f"  {line}" for line in [*lines[:most], *more])


def _parse_or_folder(path, folder, position):
    match = _NAME.match(path.name)
    if match:
        return int(match[1]), int(match[2])
    return (int(folder) if re.fullmatch(r"-?[0-9]+", folder) else position), -1


def _has_only_train(root):
    return (root / "train").is_dir() and not (root / "train_all").is_dir()


def _append(numbers, more):
    """Two arrays after one another, those numbers of the second that are not -1 above all of the first."""
    return np.concatenate([numbers, np.where(more >= 0, more + numbers.max() + 1, more)])


def _check_layout(data_dir, folder):
    """Raise the UserError that tells a data set as downloaded, or a folder above, from a mistyped one."""
    if not data_dir.is_dir():
        raise UserError(f"{data_dir}: no such folder. python prepare.py lays out a data set and prints its folder.")
    if (data_dir / "bounding_box_train").is_dir() or (data_dir / "bounding_box_test").is_dir():
        raise UserError(
            f"{data_dir}: this is the data set as downloaded. Lay it out with: python prepare.py --data_dir {data_dir}"
            f" and then pass {data_dir / 'pytorch'}"
        )
    if not folder.is_dir() and (data_dir / "pytorch" / folder.name).is_dir():
        raise UserError(f"{folder}: no such folder, but {data_dir / 'pytorch'} has one: pass that folder instead.")
    parts = {name for name in ("train", "train_all", "query", "gallery") if (data_dir / name).is_dir()}
    if folder.name in ("train", "train_all") and parts == {"query", "gallery"}:
        raise UserError(
            f"{folder}: no such folder: {data_dir} has nothing to train on. Test on it with "
            f"{next_command(data_dir)} and train with another --data_dir."
        )
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder (found {found_in(data_dir)} in {data_dir}). python prepare.py lays it out."
        )
