"""Rank the gallery for a query and draw it: green and ✓ if the identity is right, red and ✗ if it
is wrong.

query, gallery = load_result("pytorch_result.mat", paths=True)
path, matches, _ = look_up(query, gallery, 777)
draw_sheet([ranking_row(path, matches, "Query 777")], "show.png")
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from person_reid.basics import UserError
from person_reid.data.layout import JUNK, read_split
from person_reid.retrieval.metrics import evaluate
from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.similarity import CosineScores
from person_reid.retrieval.thresholds import accepts
from person_reid.show.sheet import Row, Tile
from person_reid.show.style import ASKED, RIGHT, WRONG

PUBLISHED_TEST_DIR = "../Market/pytorch"
Folder = str | Path | None  # that holds query and gallery; None if the images have not moved


@dataclass(frozen=True)
class Match:
    """One gallery image of a ranking. index: its position in the gallery; similarity: the cosine,
    -1 to 1.

    accepted: whether it is similar enough to count as the same person.
    """

    index: int
    label: int
    camera: int
    similarity: float
    right: bool
    path: str | Path = ""  # filled in by look_up
    accepted: bool = True


def nearest(
    query: FeatureSet, gallery: FeatureSet, index: int, top: int = 10, threshold: float = -1.0
) -> tuple[list[Match], int]:
    """Return the matches nearest to one query, nearest first, and the number of right images in the
    gallery.

    index: which query, from 0; top: number of matches at most; threshold: the lowest similarity
    accepted. Junk is left out as in the metric; ties are ordered by index. Raises UserError for an
    index out of range, and if the whole gallery is junk.
    """
    if not 0 <= index < len(query):
        raise UserError(
            f"--query_index {index}: expected 0 to {len(query) - 1}; "
            f"there are {len(query)} queries."
        )
    if top < 1:
        raise UserError(f"--top {top}: expected 1 or more.")
    label, camera = query.labels[index], query.cameras[index]
    labels, cameras = gallery.labels, gallery.cameras
    same = (labels == label) & (label != JUNK)
    valid = np.flatnonzero((labels != JUNK) & ~(same & (cameras == camera)))
    if not len(valid):
        raise UserError(
            f"query {index}: the whole gallery is junk for it, so there is nothing to rank."
        )
    scores = CosineScores(query.features[index : index + 1], gallery.features)(0, 1)[0]
    order = valid[np.argsort(-scores[valid], kind="stable")[:top]]
    matches = [
        Match(
            int(i),
            int(labels[i]),
            int(cameras[i]),
            float(s),
            bool(same[i]),
            accepted=accepts(threshold, s),
        )
        for i, s in zip(order, scores[order], strict=True)
    ]
    return matches, int(same[valid].sum())


def chosen(
    query: FeatureSet,
    gallery: FeatureSet,
    indices: Sequence[int] | None = None,
    worst: int | None = None,
    camera: int | None = None,
) -> dict[int, float | None]:
    """Return the queries to show with their average precision, {index: AP}; the AP is None if it
    was not needed.

    indices: these, in this order; the other arguments are then ignored.
    worst: this number of queries with the lowest AP, lowest first; those without a match in the
        gallery do not count.
    camera: only queries of this camera.

    Raises UserError if nothing is left.
    """
    if indices is not None:
        return dict.fromkeys(indices)
    if worst is not None and worst < 1:
        raise UserError(f"--worst {worst}: expected 1 or more.")
    found = np.arange(len(query)) if camera is None else np.flatnonzero(query.cameras == camera)
    if not len(found):
        there = ", ".join(map(str, np.unique(query.cameras)))
        raise UserError(
            f"--camera {camera}: no query is from it; there are queries of camera {there}."
        )
    if worst is None:
        return dict.fromkeys(found.tolist())
    metrics = evaluate(query.select(found), gallery)
    order = np.argsort(metrics.average_precision, kind="stable")
    order = order[metrics.num_matches[order] > 0][:worst]
    if not len(order):
        raise UserError(f"--worst {worst}: no query has a right answer in the gallery.")
    return {int(found[i]): float(metrics.average_precision[i]) for i in order}


def look_up(
    query: FeatureSet,
    gallery: FeatureSet,
    index: int,
    top: int = 10,
    threshold: float = -1.0,
    test_dir: Folder = None,
) -> tuple[Path, list[Match], int]:
    """Return the path of a query's image, its nearest matches with their paths, and the number of
    right images.

    Arguments and errors are as for nearest and find_image.
    """
    matches, total = nearest(query, gallery, index, top, threshold)
    path, paths = paths_of(query, "query", test_dir)[index], paths_of(gallery, "gallery", test_dir)
    matches = [replace(match, path=find_image(paths[match.index], test_dir)) for match in matches]
    return find_image(path, test_dir), matches, total


def paths_of(images: FeatureSet, split: str, test_dir: Folder = None) -> list[str]:
    """Return the names of a FeatureSet's images, and keep them there.

    Result files of the published code lack them; their images are in the order in which
    torchvision's ImageFolder lists <test_dir>/<split>. Raises UserError if that folder holds other
    images.
    """
    if images.paths is None:
        folder = Path(test_dir or PUBLISHED_TEST_DIR)
        if not test_dir and not folder.is_dir():
            raise UserError(
                "The result does not name its images. Pass the folder of "
                "query and gallery as --test_dir."
            )
        found = read_split(folder, split)
        if not (
            np.array_equal(found.labels, images.labels)
            and np.array_equal(found.cameras, images.cameras)
        ):
            raise UserError(
                f"{folder / split}: holds {len(found)} images, not the {len(images)} "
                "of the result file, which does "
                "not name them. Pass the folder above them as --test_dir, or extract "
                "the features again with test.py."
            )
        images.paths = [path.as_posix() for path in found.paths]
    return images.paths


def images_of(query: FeatureSet, gallery: FeatureSet, test_dir: Folder = None) -> Iterator[Path]:
    """Yield where all images of a result are now, whether they are there or not.

    Raises as paths_of does.
    """
    for images, split in ((query, "query"), (gallery, "gallery")):
        yield from (_place(path, test_dir) for path in paths_of(images, split, test_dir))


def _place(path: str | Path, test_dir: Folder) -> Path:
    return Path(test_dir, *PurePosixPath(path).parts[-3:]) if test_dir else Path(path)


def find_image(path: str | Path, test_dir: Folder = None) -> Path:
    """Return where an image of a result file is now: below `test_dir` if that is given, else in its
    old place.

    path: as in the file, ending in <split>/<identity>/<name>. Raises UserError if it is not there.
    """
    place = _place(path, test_dir)
    if not place.is_file():
        raise UserError(
            f"{place}: no such image. If they moved, pass the folder of "
            "query and gallery as --test_dir."
        )
    return place


def describe_ranking(
    query: FeatureSet, index: int, query_path: str | Path, matches: Sequence[Match], total: int
) -> Iterator[str]:
    """Describe the picture in lines of text. total: number of right images in the gallery."""
    yield f"query {index}: {headline(query, index)}  {query_path}"
    for rank, match in enumerate(matches, 1):
        verdict = ("right" if match.right else "wrong") + ("" if match.accepted else ", rejected")
        yield (
            f"{rank:4d}  {verdict}  {match.label:04d}  camera {match.camera}  "
            f"{match.similarity:.4f}  {match.path}"
        )
    yield summary(matches, total)


def headline(query: FeatureSet, index: int) -> str:
    """Return `identity 0855, camera 3`."""
    return f"identity {query.labels[index]:04d}, camera {query.cameras[index]}"


def summary(matches: Sequence[Match], total: int) -> str:
    """Return `7 of the first 10 are right; the gallery holds 12 right ones`."""
    right, rejected = (
        sum(match.right for match in matches),
        sum(not match.accepted for match in matches),
    )
    right_ones = "1 right one" if total == 1 else f"{total} right ones"
    text = f"{right} of the first {len(matches)} {_be(right)} right; the gallery holds {right_ones}"
    return f"{text}; {rejected} {_be(rejected)} below the threshold" if rejected else text


def _be(count: int) -> str:
    return "is" if count == 1 else "are"


def ranking_row(
    query_path: str | Path, matches: Sequence[Match], title: str, subtitle: str = ""
) -> Row:
    """Return the row of a sheet: the query, then its matches, which need paths."""
    tiles = [
        Tile(
            match.path,
            RIGHT if match.right else WRONG,
            str(rank),
            caption(match),
            faint=not match.accepted,
        )
        for rank, match in enumerate(matches, 1)
    ]
    return Row(tiles, title, subtitle, Tile(query_path, ASKED, "query"))


def caption(match: Match) -> str:
    """Return `✓ 0855`, below it `c3 · 0.713`, and below that `rejected` if it
    was: identity, camera, similarity.
    """
    text = (
        f"{'✓' if match.right else '✗'} {match.label:04d}\nc{match.camera} · {match.similarity:.3f}"
    )
    return text if match.accepted else f"{text}\nrejected"
