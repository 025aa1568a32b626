"""Map the files of a download to identities and cameras, with one reader for each naming scheme.

A reader takes the download's folder and returns {split: [Picture, …]}, without TRAIN if the
download holds only query and gallery. The table in datasets.py supplies its other arguments.
Readers never write.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from person_reid.data.images.image_files import PREPARED_RECORD, is_image
from person_reid.data.layout import JUNK_FOLDER, some_of, walk
from person_reid.errors import UserError
from person_reid.files import text_of
from person_reid.text import composed, counted

TRAIN = "train_all"
VAL = "val"
QUERY = "query"
GALLERY = "gallery"
MULTI_QUERY = "multi-query"
UNLABELLED = "unlabelled"  # the split of a data set without identities
OPTIONAL = (MULTI_QUERY,)  # splits that a download may lack
UNKNOWN_WORD = "unknown"  # the identity of distractors, who are wrong answers to every query
UNKNOWN_WORDS = ("", "unknown", "nan")  # unknown identities and cameras, in upper or lower case


class Archived(Protocol):
    """An image inside a larger file, which `save` extracts."""

    @property
    def name(self) -> str:
        """The file name under which to save the image."""

    def save(self, path: Path) -> None:
        """Write the image to a file."""


Source = Path | Archived


@dataclass(frozen=True)
class Picture:
    """An image in a download.

    source: its path, or an Archived image.
    identity, camera: as the data set writes them; camera is None if the data set does not give it.
    track: the tracklet to which the frame belongs, if any. clothes: what is worn, if known.
    """

    source: Source
    identity: str
    camera: str | None = None
    track: str | None = None
    clothes: str | None = None

    @property
    def view(self) -> str | Source:
        """The camera. An image without a camera gets its own camera."""
        return self.camera or self.source


PicturesBySplit = dict[str, list[Picture]]
Names = str | Sequence[str]  # one folder or several
DESCRIBED = ("camera", "track", "clothes")  # what a name may contain besides the identity
Item = TypeVar("Item")
Key = TypeVar("Key", bound=Hashable)


def pictures_of(splits: PicturesBySplit) -> list[Picture]:
    """Return the pictures in all splits."""
    return [picture for found in splits.values() for picture in found]


def identities_of(splits: PicturesBySplit) -> set[str]:
    """Return the identities in all splits."""
    return {picture.identity for picture in pictures_of(splits)}


def pictures_changed(
    splits: PicturesBySplit, change: Callable[[Picture], Picture]
) -> PicturesBySplit:
    """Return the splits with change(picture) in place of each picture."""
    return {split: [change(picture) for picture in found] for split, found in splits.items()}


def meant(picture: Picture, zero_is_nobody: bool = False) -> Picture:
    """Return a picture with its identity and camera in the suite's notation.

    The identity -1 is junk. An identity that is empty, `unknown` or `nan` is UNKNOWN_WORD; so is 0
    in data sets numbered like Market-1501 (zero_is_nobody); in others, 0 is a person. A camera that
    is empty, `unknown`, `nan` or -1 is None. Words are compared in Unicode's composed form (NFC),
    and without spaces around them.
    """
    who, camera = _word(picture.identity), _word(picture.camera or "")
    if who.casefold() in UNKNOWN_WORDS or (zero_is_nobody and re.fullmatch("0+", who)):
        who = UNKNOWN_WORD
    known = camera.casefold() not in (*UNKNOWN_WORDS, "-1")
    track, clothes = (label and _word(label) for label in (picture.track, picture.clothes))
    return replace(
        picture, identity=who, camera=camera if known else None, track=track, clothes=clothes
    )


def _word(text: str) -> str:
    return " ".join(composed(text).split())


def by_name(data_dir: Path, folders: Mapping[str, Names], pattern: str) -> PicturesBySplit:
    """Read pictures whose file names, or paths below data_dir, contain identity and camera.

    folders: split -> one folder or several; those that exist are read at any depth.
    pattern: a regular expression with the group `id` and perhaps `camera`, `track` and `clothes`.
        It is searched in the file name, then in the path; several groups `id`, `id_2`, … make up
        one identity.

    Raises a UserError that lists all names that do not match.
    """
    expression = compiled(pattern)
    groups = sorted(name for name in expression.groupindex if re.fullmatch(r"id(_\d)?", name))
    if not groups or set(expression.groupindex) - {*DESCRIBED, *groups}:
        raise UserError(
            f"pattern={pattern}: expected the named group id and, if the names give them, "
            r"camera, track and clothes, such as (?P<id>-?\d+)_c(?P<camera>\d+)"
        )
    splits: PicturesBySplit = defaultdict(list)
    wrong = []
    for split, names in folders.items():
        for path in _images_of(data_dir, split, names):
            match = search_path(expression, path.relative_to(data_dir))
            if match and any(match[name] for name in groups):
                identity = "-".join(match[name] or "" for name in groups)
                described = [match.groupdict().get(name) for name in DESCRIBED]
                splits[split].append(Picture(path, identity, *described))
            else:
                wrong.append(str(path))
    if wrong:
        raise UserError(
            f"{len(wrong)} name(s) without a match of the pattern {pattern}:\n{some_of(wrong)}"
        )
    return splits


def compiled(pattern: str) -> re.Pattern[str]:
    """Compile the regular expression of --pattern. Raises UserError if it is invalid."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UserError(f"pattern={pattern}: not a regular expression ({error}).") from error


def search_path(expression: re.Pattern[str], path: Path) -> re.Match[str] | None:
    """Search a file's name, and then its path, for a match."""
    return expression.search(path.name) or expression.search(path.as_posix())


def with_distractors(
    data_dir: Path, read: Callable[[Path], PicturesBySplit], folders: Names
) -> PicturesBySplit:
    """Add the images of `folders` as distractors to the gallery of another reader."""
    splits = read(data_dir)
    for path in _images_of(data_dir, GALLERY, folders):
        camera = re.search(r"_c(\d+)", path.name)
        splits[GALLERY].append(Picture(path, UNKNOWN_WORD, camera[1] if camera else None))
    return splits


def by_lists(
    data_dir: Path,
    lists: Mapping[str, Sequence[tuple[str, str]]],
    camera: str | None = None,
    suffix: str = "",
) -> PicturesBySplit:
    """Read pictures listed in text files with one `path identity` per line.

    lists: split -> pairs (list file, folder that its paths start from). VAL repeats some of the
        images of TRAIN.
    camera: a regular expression for the file names, with one group, or None if they do not give
        the camera.
    suffix: the extension that the paths in the lists lack.

    Raises UserError for malformed lines, for missing images, and for names without a camera.
    """
    splits: PicturesBySplit = defaultdict(list)
    wrong: list[str] = []
    for split, pairs in lists.items():
        if split in (TRAIN, VAL) and not any(
            all((data_dir / part).exists() for part in pair) for pair in pairs
        ):
            continue  # a download with only test images
        for file, folder in pairs:
            for name, identity in read_columns(data_dir / file):
                found = re.search(camera, Path(name).name) if camera else None
                if camera and not found:
                    wrong.append(name)
                path = data_dir / folder / (name + suffix)
                splits[split].append(Picture(path, identity, found[1] if found else None))
    if wrong:
        wrong = list(dict.fromkeys(wrong))
        raise UserError(
            f"{len(wrong)} name(s) that do not say the camera ({camera}):\n{some_of(wrong)}"
        )
    return all_there(splits, data_dir)


def one_in_gallery(
    data_dir: Path, read: Callable[[Path], PicturesBySplit], seed: int = 0
) -> PicturesBySplit:
    """Split a download by VehicleID's protocol.

    One random image of each test identity goes into the gallery; the others are queries.
    """
    splits = read(data_dir)
    random = np.random.default_rng(seed)
    by_identity = group(splits.pop(GALLERY), lambda picture: picture.identity)
    drawn = {pictures[random.integers(len(pictures))].source for pictures in by_identity.values()}
    tested = [picture for pictures in by_identity.values() for picture in pictures]
    splits[QUERY] = [picture for picture in tested if picture.source not in drawn]
    splits[GALLERY] = [picture for picture in tested if picture.source in drawn]
    return splits


def clothes_by_camera(
    data_dir: Path, read: Callable[[Path], PicturesBySplit], clothes: Mapping[str, str]
) -> PicturesBySplit:
    """Read PRCC, where everyone in front of a camera wears `clothes[camera]`."""
    return pictures_changed(
        read(data_dir), lambda each: replace(each, clothes=clothes[each.camera or ""])
    )


def random_halves(data_dir: Path, folders: Names, pattern: str, seed: int = 0) -> PicturesBySplit:
    """Split a download by VIPeR's protocol: a random half of the identities is for training.

    The first camera's images are the queries, the second's the gallery.
    """
    pictures = by_name(data_dir, {TRAIN: folders}, pattern)[TRAIN]
    test = draw_identities({picture.identity for picture in pictures}, 0.5, seed)
    cameras = sorted({picture.camera for picture in pictures if picture.camera is not None})
    tested = [picture for picture in pictures if picture.identity in test]
    return {
        TRAIN: [picture for picture in pictures if picture.identity not in test],
        QUERY: [picture for picture in tested if picture.camera == cameras[0]],
        GALLERY: [picture for picture in tested if picture.camera != cameras[0]],
    }


def first_classes(data_dir: Path, training_classes: int) -> PicturesBySplit:
    """Read CUB-200-2011 from its lists `images.txt` and `image_class_labels.txt`.

    The first `training_classes` classes are for training; every image of the others is both query
    and gallery.
    """
    labels = dict(read_columns(data_dir / "image_class_labels.txt"))
    names = read_columns(data_dir / "images.txt", first=True)
    if without := [name for number, name in names if number not in labels]:
        raise UserError(
            f"{data_dir / 'image_class_labels.txt'}: no class of {len(without)} images:\n"
            f"{some_of(without)}"
        )
    pictures = [Picture(data_dir / "images" / name, labels[number]) for number, name in names]
    tested = [picture for picture in pictures if int(picture.identity) > training_classes]
    trained = [picture for picture in pictures if int(picture.identity) <= training_classes]
    return all_there({TRAIN: trained, QUERY: tested, GALLERY: tested}, data_dir)


def draw_identities(identities: Iterable[str], fraction: float, seed: int) -> set[str]:
    """Return a random `fraction` of the identities; the same seed draws the same set."""
    shuffled = np.random.default_rng(seed).permutation(sorted(identities)).tolist()
    return set(shuffled[: round(fraction * len(shuffled))])


def read_lines(file: Path) -> list[str]:
    """Return the non-empty lines of a text file."""
    if not file.exists():
        raise UserError(f"{file}: no such file. Was the download unpacked completely?")
    return [line for line in text_of(file).splitlines() if line.strip()]


def read_columns(file: Path, first: bool = False) -> list[list[str]]:
    """Return pairs of words from a text file, each line split at its last space.

    first: split at the first space instead.
    """
    lines = read_lines(file)
    pairs = [line.split(maxsplit=1) if first else line.rsplit(maxsplit=1) for line in lines]
    wrong = [line for line, pair in zip(lines, pairs, strict=True) if len(pair) != 2]
    if wrong:
        raise UserError(f"{file}: expected two words per line, found {wrong[0]!r}.")
    return pairs


def images_below(folder: Path) -> list[Path]:
    """Return the images below a folder at any depth, sorted.

    Hidden folders and those that prepare.py laid out are skipped.
    """
    return [path for path in files_below(folder) if is_image(path.name)]


def files_below(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder, in the order of images_below."""
    for root, folders, names in walk(folder):
        folders[:] = (
            []
            if PREPARED_RECORD in names
            else [name for name in folders if not name.startswith(".")]
        )
        if PREPARED_RECORD not in names:
            yield from (Path(root, name) for name in sorted(names))


def _images_of(data_dir: Path, split: str, names: Names) -> list[Path]:
    folders = [data_dir / name for name in ([names] if isinstance(names, str) else names)]
    images = [path for folder in folders for path in images_below(folder)]
    # Some data sets have only test images.
    lacking = split in (TRAIN, VAL) and not any(folder.exists() for folder in folders)
    if not images and split not in OPTIONAL and not lacking:
        raise UserError(
            f"{folders[0]}: no images in it, so there is no {split}. "
            "Was the download unpacked completely?"
        )
    return images


def all_there(splits: PicturesBySplit, data_dir: Path) -> PicturesBySplit:
    """Return the splits unchanged. Raises UserError if one of their files is missing."""
    listed = {picture.source for picture in pictures_of(splits)}
    missing = sorted(str(path) for path in listed if isinstance(path, Path) and not path.is_file())
    if missing:
        names = some_of(missing, most=5)
        raise UserError(
            f"{len(missing)} image(s) listed but not in {data_dir}:\n{names}\n"
            "If they have moved, name the folder that holds them by data_dir."
        )
    return splits


def is_nobody(identity: str) -> bool:
    """Return whether an identity, as meant() returns it, is junk or a distractor."""
    return identity in (JUNK_FOLDER, UNKNOWN_WORD)


def described_nobody(pictures: Iterable[Picture]) -> str:
    """Describe how many pictures are junk, and how many are distractors."""
    counts = Counter(picture.identity for picture in pictures)
    meanings = {JUNK_FOLDER: "junk (-1)", UNKNOWN_WORD: "nobody who is known (distractors)"}
    return " and ".join(
        f"{counted(counts[who], 'image')} of {meaning}"
        for who, meaning in meanings.items()
        if counts[who]
    )


def group(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    """Return {key(item): [items with that key]}, in order of first appearance."""
    groups: dict[Key, list[Item]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups
