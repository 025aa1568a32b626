"""Changes of an index that kills.py interrupts, and what must hold after each of them.

A change either is complete or did not happen; when repeated, it completes, and nothing forgotten is
left.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from person_reid.gallery.image_table import next_file
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.metadata import About, Filter
from person_reid.gallery.upkeep import back_up, faults_of, gone

CUT, WIDTH_OF_CUT = 40, 64  # images that were cut from two tracks, and their features


@dataclass(frozen=True)
class IndexChange:
    """A change of the index in a folder.

    make: writes the index. change: changes it. check: whether the index is as it was or as it
    should be; with True, as it should be. acts: roughly how many times the change writes.
    """

    make: Callable[[Path], object]
    change: Callable[[Path], object]
    check: Callable[[Path, bool], bool]
    acts: int


def make_cut(folder):
    """Write an index of images that were cut from two tracks."""
    crops = folder / "a.crops" / "film"
    crops.mkdir(parents=True)
    paths = [crops / f"{i % 2 + 1:06d}_{i:06d}.jpg" for i in range(CUT)]
    for path in paths:
        path.write_bytes(path.name.encode())
    with closing(SearchIndex(folder / "a.index")) as index:
        abouts = {path: About(source="film", track=str(i % 2 + 1)) for i, path in enumerate(paths)}
        index.add(paths, cut_features(), abouts)


def cut_features():
    """Return the features (CUT, WIDTH_OF_CUT) of the images."""
    features = np.random.default_rng(0).standard_normal((CUT, WIDTH_OF_CUT), np.float32)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def forget_track(folder):
    """Forget a track, with its crops."""
    with closing(SearchIndex(folder / "a.index")) as index:
        index.forget(Filter(track="1"), "track")


def is_forgotten(folder, ended):
    """Return whether a track is there or not, and, at the end, in no byte of any file."""
    with closing(SearchIndex(folder / "a.index")) as index:
        counts = Counter(about.track for images in index.images() for _, about in images)
    if not ended:
        return counts["2"] == CUT // 2 and counts["1"] in (0, CUT // 2)
    files = [path for path in folder.rglob("*") if path.is_file()]
    content = b"".join(path.name.encode() + path.read_bytes() for path in files)
    forgotten = [row.tobytes() for row in cut_features().astype("<f2")[::2]]
    left = b"000001_" in content or any(feature in content for feature in forgotten)
    return counts == {"2": CUT // 2} and not left and len(files) == CUT // 2 + 1


def copy_index(folder):
    """Copy an index."""
    with closing(SearchIndex(folder / "a.index")) as index:
        back_up(index, folder / "copy.index")


def is_copied(folder, ended):
    """Return whether there is a complete copy, or none."""
    if not (folder / "copy.index").exists():
        return not ended
    with closing(SearchIndex(folder / "copy.index")) as index:
        return len(index) == CUT and not [*faults_of(index)]


def make_next(folder):
    """Write an index, and beside it the features of another network, of half the width."""
    make_cut(folder)
    with closing(SearchIndex(folder / "a.index")) as index:
        paths = [path for images in index.images() for path, _ in images]
    with closing(SearchIndex(next_file(folder / "a.index"))) as following:
        following.add(paths, cut_features()[:, ::2])
        following.remember({"network": {"name": "next"}})


def take_next(folder):
    """Replace all features of an index with another network's."""
    with (
        closing(SearchIndex(folder / "a.index")) as index,
        closing(SearchIndex(next_file(folder / "a.index"))) as following,
    ):
        index.take_features(following, ["network"])


def has_next(folder, ended):
    """Return whether all features are from one network, and the index names that network."""
    with closing(SearchIndex(folder / "a.index")) as index:
        features = np.concatenate([some for _, some in index.entries()])
        named = index.recall("network") is not None
        whole = len(features) == CUT and not [*faults_of(index)]
    return whole and named == (features.shape[1] < WIDTH_OF_CUT) and (named or not ended)


def make_moved(folder):
    """Write an index, and move its folder."""
    (folder / "before").mkdir()
    make_cut(folder / "before")
    (folder / "before").rename(folder / "now")


def change_moved(folder):
    """Change something in an index that was moved, which writes all paths anew."""
    with closing(SearchIndex(folder / "now" / "a.index")) as index:
        first = next(index.images())[0][0]
        index.describe({first: About("Anna")})


def is_moved(folder, ended):
    """Return whether an index finds all its images, and returns the recorded facts."""
    with closing(SearchIndex(folder / "now" / "a.index")) as index:
        found = dict(each for images in index.images() for each in images)
        whole = len(found) == CUT and not gone(index) and not [*faults_of(index)]
    names = [about.identity for about in found.values() if about.identity]
    return whole and (names == ["Anna"] or (not names and not ended))


CHANGES = {
    "copies": IndexChange(make_cut, copy_index, is_copied, 40),
    "moves": IndexChange(make_moved, change_moved, is_moved, 150),
    "reindexing": IndexChange(make_next, take_next, has_next, 60),
    "forgetting": IndexChange(make_cut, forget_track, is_forgotten, 120),
}
