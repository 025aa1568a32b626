"""Find leakage in a layout: identities and images in both the training and the test set.

Images are the same if their files are, and nearly the same if their hashes are. For every cell of a
small copy, a hash encodes whether the next cell, to the right and below, is brighter, redder and
bluer. Compression, size and brightness hardly change it.
"""

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from person_reid.data.images.image_decoding import decode
from person_reid.data.images.image_files import Pixels, load_image
from person_reid.data.layout import DISTRACTOR, JUNK, read_split, some_of
from person_reid.data.readers import GALLERY, QUERY, TRAIN
from person_reid.errors import UserError
from person_reid.files import content_of
from person_reid.progress import progress

GRID = (16, 8)  # cells of the small copy; colours are compared between cells of twice the size
LIGHT = 15 * 8 + 16 * 7  # the first bits of a hash, which encode brightness
DIFFERENT = 0.2  # the largest share of bits in which nearly equal images differ
LEAST_RISE = 1  # of 255; less is noise in a grey image
AT_ONCE = 512  # images compared with all others
SHOWN_LINES = 20  # lines of each list


class Leakage(NamedTuple):
    """The overlap between the training and test sets.

    identities: those in both sets. same: pairs of a training and a test image. near: (training
    image, the most similar test image, share of equal bits), in descending order of the share.
    """

    identities: list[int]
    same: list[tuple[Path, Path]]
    near: list[tuple[Path, Path, float]]


def find_leakage(layout: str | Path) -> Leakage:
    """Compare a layout's train_all with its query and gallery.

    Raises UserError if one of these folders is missing, and for images that cannot be read.
    """
    layout, names = Path(layout), (TRAIN, QUERY, GALLERY)
    there = [name for name in names if (layout / name).is_dir()]
    if TRAIN not in there or len(there) == 1:
        raise UserError(
            f"{layout}: check compares {TRAIN} with {QUERY} and {GALLERY}; expected "
            "a layout of prepare.py that has them."
        )
    known, *others = (read_split(layout, name, cameras_required=False) for name in there)
    identities = np.intersect1d(known.labels, np.concatenate([split.labels for split in others]))
    people = np.setdiff1d(identities, (JUNK, DISTRACTOR)).tolist()
    paths = [path for split in others for path in split.paths]
    same = same_files(known.paths, paths)
    twins = {mine for mine, _ in same}
    near = [found for found in nearly_the_same(known.paths, paths) if found[0] not in twins]
    return Leakage(people, same, near)


def same_files(training: Sequence[Path], test: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Return pairs of a training image and the first test image whose file is identical."""
    contents: dict[bytes, Path] = {}
    for path in test:
        contents.setdefault(blake2b(content_of(path)).digest(), path)
    found = ((path, contents.get(blake2b(content_of(path)).digest())) for path in training)
    return [(path, twin) for path, twin in found if twin]


def nearly_the_same(
    training: Sequence[Path], test: Sequence[Path]
) -> list[tuple[Path, Path, float]]:
    """Return training images that look like a test image, the most similar first.

    Each comes with its most similar test image and the share of equal bits.
    """
    mine, theirs = (
        np.where(_hashes(paths), np.float32(1), np.float32(-1)) for paths in (training, test)
    )
    bits = mine.shape[1]
    found = []
    for start in range(0, len(mine), AT_ONCE):
        rows = mine[start : start + AT_ONCE]
        agreement = rows @ theirs.T
        best = agreement.argmax(axis=1)
        shares = (1 + agreement.max(axis=1) / bits) / 2
        light = (1 + np.einsum("nb,nb->n", rows[:, :LIGHT], theirs[best, :LIGHT]) / LIGHT) / 2
        # A grey image has no colours to differ in.
        for i in np.flatnonzero(np.minimum(shares, light) >= 1 - DIFFERENT):
            found.append((training[start + int(i)], test[int(best[i])], float(shares[i])))
    return sorted(found, key=lambda pair: pair[2], reverse=True)


def perceptual_hash(pixels: Pixels) -> npt.NDArray[np.uint8]:
    """Return the hash (336,) of an image (32, 16, 3), its bits as 0 and 1."""
    small = pixels.reshape(GRID[0], 2, GRID[1], 2, 3).mean(axis=(1, 3), dtype=np.float32)
    red, green, blue = (
        small.reshape(GRID[0] // 2, 2, GRID[1] // 2, 2, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
    )
    parts = [small.mean(axis=2), red - green, blue - (red + green) / 2]
    steps = [np.diff(part, axis=axis).ravel() for part in parts for axis in (1, 0)]
    return (np.concatenate(steps) > LEAST_RISE).astype(np.uint8)


def describe_leakage(layout: str | Path, found: Leakage) -> list[str]:
    """Return lines of text that describe the overlap."""

    def both(mine: Path, other: Path) -> str:
        return f"{mine.relative_to(layout).as_posix()} and {other.relative_to(layout).as_posix()}"

    same = [both(*pair) for pair in found.same]
    near = [f"{both(mine, other)} ({share:.0%} alike)" for mine, other, share in found.near]
    numbers = ", ".join(map(str, found.identities[:SHOWN_LINES])) + (
        ", …" if len(found.identities) > SHOWN_LINES else ""
    )
    return [
        "Identities in training and in test: "
        f"{len(found.identities):,}{f' ({numbers})' if numbers else ''}",
        f"Images in training and in test: {len(same):,}",
        *([some_of(same, SHOWN_LINES)] if same else []),
        f"Training images that nearly equal one in test: {len(near):,}",
        *([some_of(near, SHOWN_LINES)] if near else []),
    ]


def _hashes(paths: Sequence[Path]) -> npt.NDArray[np.uint8]:
    def load(path: Path) -> Pixels:
        return perceptual_hash(load_image(path, 2 * GRID[0], 2 * GRID[1]))

    return np.stack(list(progress(decode(paths, load), total=len(paths), desc="images")))
