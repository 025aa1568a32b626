"""Whose pictures the files of a download are: one reader for each way in which downloads say it.

A reader is a function of the download's folder that returns {split: [Picture, …]}, without TRAIN for a download that
holds query and gallery alone. The table in datasets.py fills in the rest of its arguments. Readers read and
never write.
"""

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from person_reid.basics import UserError
from person_reid.data.layout import is_image, some_of

TRAIN, QUERY, GALLERY, MULTI_QUERY = "train_all", "query", "gallery", "multi-query"
OPTIONAL = (MULTI_QUERY,)  # splits that a download may lack
RECORD = ".prepared.json"  # in every folder that prepare.py has laid out


@dataclass(frozen=True)
class Picture:
    """An image of a download. source: its path, or an object with `name` and `save(path)` for one that is no file.
    identity, camera: as the data set writes them; camera None where it does not say."""

    source: Path
    identity: str
    camera: str | None = None


def by_name(data_dir, folders, pattern):
    """Pictures whose names, or paths below data_dir, say everything.

    folders: split -> its folder, or several, of which those that exist are read at any depth.
    pattern: a regular expression with the group `id` and perhaps `camera`. It is searched in the file's name, then in
        the path; several groups `id`, `id_2`, … make up one identity. One UserError lists all names without a match.
    """
    found = {split: _images_of(data_dir, split, names) for split, names in folders.items()}
    parse = name_parser(pattern, data_dir)
    splits = {split: [parse(path) for path in paths] for split, paths in found.items() if paths}
    wrong = [str(path) for split in splits for path, who in zip(found[split], splits[split], strict=True) if not who]
    if wrong:
        raise UserError(f"{len(wrong)} name(s) without a match of the pattern {pattern}:\n{some_of(wrong)}")
    return splits


def name_parser(pattern, data_dir):
    """A function path -> Picture, or None where the pattern is neither in the name nor in the path below data_dir."""
    try:
        pattern = re.compile(pattern)
    except re.error as error:
        raise UserError(f"--pattern {pattern}: no regular expression ({error}).") from error
    groups = sorted(name for name in pattern.groupindex if re.fullmatch(r"id(_\d)?", name))
    if not groups or set(pattern.groupindex) - {"camera", *groups}:
        raise UserError(
            f"--pattern {pattern.pattern}: expected the named group id and, if names say it, camera, such as "
            r"(?P<id>-?\d+)_c(?P<camera>\d+)"
        )

    def parse(path):
        match = pattern.search(path.name) or pattern.search(path.relative_to(data_dir).as_posix())
        return match and Picture(path, "-".join(match[name] for name in groups), match.groupdict().get("camera"))

    return parse


def with_distractors(data_dir, read, folders):
    """Add the images of `folders` to the gallery of another reader, as distractors (identity 0)."""
    splits = read(data_dir)
    for path in _images_of(data_dir, GALLERY, folders):
        camera = re.search(r"_c(\d+)", path.name)
        splits[GALLERY].append(Picture(path, "0", camera and camera[1]))
    return splits


def by_lists(data_dir, lists, camera=None, suffix=""):
    """Pictures named by text files with one `path identity` a line.

    lists: split -> pairs (list file, folder that its paths begin in). camera: a regular expression for the names, with
    one group; None where they do not say. suffix: what the lists leave out of the paths.
    Raises UserError for lines of another form, for images that are missing, and for names without a camera.
    """
    camera_of = (lambda name: re.search(camera, Path(name).name)) if camera else (lambda name: (None, None))
    splits, wrong = defaultdict(list), []
    for split, pairs in lists.items():
        if split == TRAIN and not any(all((data_dir / part).exists() for part in pair) for pair in pairs):
            continue  # a download for testing alone
        for file, folder in pairs:
            for name, identity in read_columns(data_dir / file):
                found = camera_of(name)
                wrong += [] if found else [name]
                splits[split].append(Picture(data_dir / folder / (name + suffix), identity, found and found[1]))
    if wrong:
        raise UserError(f"{len(wrong)} name(s) that do not say the camera ({camera}):\n{some_of(wrong)}")
    return all_there(splits, data_dir)


def one_in_gallery(data_dir, read, seed=0):
    """VehicleID's protocol: of each test identity one image, drawn at random, is the gallery; the others are asked."""
    splits = read(data_dir)
    random = np.random.default_rng(seed)
    by_identity = group(splits.pop(GALLERY), lambda picture: picture.identity)
    drawn = {pictures[random.integers(len(pictures))].source for pictures in by_identity.values()}
    tested = [picture for pictures in by_identity.values() for picture in pictures]
    splits[QUERY] = [picture for picture in tested if picture.source not in drawn]
    splits[GALLERY] = [picture for picture in tested if picture.source in drawn]
    return splits


def random_halves(data_dir, folders, pattern, seed=0):
    """VIPeR's protocol: train on a random half of the identities; of the others, the first camera asks the second."""
    pictures = by_name(data_dir, {TRAIN: folders}, pattern)[TRAIN]
    test = draw_identities({picture.identity for picture in pictures}, 0.5, seed)
    cameras = sorted({picture.camera for picture in pictures})
    tested = [picture for picture in pictures if picture.identity in test]
    return {
        TRAIN: [picture for picture in pictures if picture.identity not in test],
        QUERY: [picture for picture in tested if picture.camera == cameras[0]],
        GALLERY: [picture for picture in tested if picture.camera != cameras[0]],
    }


def first_classes(data_dir, training_classes):
    """CUB-200-2011: `images.txt` names the images, `image_class_labels.txt` their classes. Those up to a number are for
    training; of the others, every image is asked among all."""
    labels = dict(read_columns(data_dir / "image_class_labels.txt"))
    pictures = [
        Picture(data_dir / "images" / name, labels[number])
        for number, name in read_columns(data_dir / "images.txt", first=True)
    ]
    tested = [picture for picture in pictures if int(picture.identity) > training_classes]
    trained = [picture for picture in pictures if int(picture.identity) <= training_classes]
    return all_there({TRAIN: trained, QUERY: tested, GALLERY: tested}, data_dir)


def draw_identities(identities, fraction, seed):
    """The set of a random `fraction` of the identities; the same seed draws the same."""
    shuffled = np.random.default_rng(seed).permutation(sorted(identities)).tolist()
    return set(shuffled[: round(fraction * len(shuffled))])


def read_columns(file, first=False):
    """The pairs of words in a text file, split at the last space of each line, or at the first."""
    if not file.is_file():
        raise UserError(f"{file}: no such file. Was the download unpacked completely?")
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    pairs = [line.split(maxsplit=1) if first else line.rsplit(maxsplit=1) for line in lines]
    wrong = [line for line, pair in zip(lines, pairs, strict=True) if len(pair) != 2]
    if wrong:
        raise UserError(f"{file}: expected two words a line, found {wrong[0]!r}.")
    return pairs


def images_below(folder):
    """The images below a folder at any depth, sorted, without hidden folders and those that prepare.py laid out."""
    found = []
    for root, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [] if RECORD in names else sorted(name for name in folders if not name.startswith("."))
        found += [Path(root, name) for name in sorted(names) if is_image(name) and RECORD not in names]
    return found


def _images_of(data_dir, split, names):
    folders = [data_dir / name for name in ([names] if isinstance(names, str) else names)]
    images = [path for folder in folders for path in images_below(folder)]
    lacking = split == TRAIN and not any(folder.exists() for folder in folders)  # a download for testing alone
    if not images and split not in OPTIONAL and not lacking:
        raise UserError(f"{folders[0]}: no images in it, so there is no {split}. Was the download unpacked completely?")
    return images


def all_there(splits, data_dir):
    """The splits, or a UserError where images are missing that they name."""
    listed = {picture.source for pictures in splits.values() for picture in pictures}
    missing = sorted(str(path) for path in listed if not path.is_file())
    if missing:
        raise UserError(f"{len(missing)} image(s) that are listed and not in {data_dir}:\n{some_of(missing, most=5)}")
    return splits


def group(items, key):
    """{key(item): [items with that key]}, in the order of their first appearance."""
    groups = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups
