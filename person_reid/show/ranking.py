"""A query beside its nearest gallery images, green and ✓ where the identity is right, red and ✗ where it is wrong.

query, gallery = load_result("pytorch_result.mat", paths=True)
matches, _ = nearest(query, gallery, 777)
draw_ranking(query.paths[777], located(matches, gallery), "show.png", "Query 777")
"""

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from person_reid.basics import UserError
from person_reid.data.layout import JUNK, read_split
from person_reid.retrieval.metrics import evaluate
from person_reid.retrieval.similarity import CosineScores
from person_reid.show.sheet import Row, Tile, draw_sheet
from person_reid.show.style import ASKED, RIGHT, WRONG

PUBLISHED_TEST_DIR = "../Market/pytorch"


@dataclass(frozen=True)
class Match:
    """One gallery image of a ranking. index: its position in the gallery; similarity: the cosine, -1 to 1.

    accepted: whether it is similar enough to be taken for the same person at all.
    """

    index: int
    label: int
    camera: int
    similarity: float
    right: bool
    path: Path | None = None
    accepted: bool = True


def nearest(query, gallery, index, top=10, threshold=-1.0):
    """The gallery images nearest to one query, junk left out as the metric leaves it out, equal ones by index.

    query, gallery: FeatureSets; index: which query, from 0; threshold: the least similarity accepted.
    Returns (at most `top` Matches, nearest first; how many right images the gallery holds). Raises UserError for an
    index out of range, and where all the gallery is junk.
    """
    if not 0 <= index < len(query):
        raise UserError(f"--query_index {index}: expected 0 to {len(query) - 1}, there are {len(query)} queries.")
    if top < 1:
        raise UserError(f"--top {top}: expected 1 or more.")
    label, camera = query.labels[index], query.cameras[index]
    same = (gallery.labels == label) & (label != JUNK)
    valid = np.flatnonzero((gallery.labels != JUNK) & ~(same & (gallery.cameras == camera)))
    if not len(valid):
        raise UserError(f"query {index}: the whole gallery is junk to it, there is nothing to rank.")
    scores = CosineScores(query.features[index : index + 1], gallery.features)(0, 1)[0]
    order = valid[np.argsort(-scores[valid], kind="stable")[:top]]
    matches = [
        Match(
            int(i),
            int(gallery.labels[i]),
            int(gallery.cameras[i]),
            float(s),
            bool(same[i]),
            accepted=bool(s >= threshold),
        )
        for i, s in zip(order, scores[order], strict=True)
    ]
    return matches, int(same[valid].sum())


def chosen(query, gallery, indices=None, worst=None, camera=None):
    """Which queries to show, with their average precision: {index: AP}, the AP None where it was not needed.

    indices: these, in this order; else camera: those of that camera (all where None); worst: of these so many of the
    lowest AP, lowest first. A query without a right answer in the gallery cannot be blamed on the features, and is none
    of the worst. Raises UserError where nothing is left.
    """
    if indices is not None:
        return dict.fromkeys(indices)
    if worst is not None and worst < 1:
        raise UserError(f"--worst {worst}: expected 1 or more.")
    found = np.arange(len(query)) if camera is None else np.flatnonzero(query.cameras == camera)
    if not len(found):
        there = ", ".join(map(str, np.unique(query.cameras)))
        raise UserError(f"--camera {camera}: no query is of it; there are queries of camera {there}.")
    if worst is None:
        return dict.fromkeys(found.tolist())
    metrics = evaluate(query.select(found), gallery)
    order = np.argsort(metrics.average_precision, kind="stable")
    order = order[metrics.num_matches[order] > 0][:worst]
    if not len(order):
        raise UserError(f"--worst {worst}: no query has a right answer in the gallery.")
    return {int(found[i]): float(metrics.average_precision[i]) for i in order}


def located(matches, gallery, test_dir=None):
    """The Matches with the paths of their images. gallery, test_dir: see paths_of and find_image."""
    paths = paths_of(gallery, "gallery", test_dir)
    return [replace(match, path=find_image(paths[match.index], test_dir)) for match in matches]


def look_up(query, gallery, index, top=10, threshold=-1.0, test_dir=None):
    """The path of a query's image, its nearest Matches with the paths of theirs, and how many right ones there are.

    The arguments are those of nearest and of find_image. Raises UserError as they do.
    """
    matches, total = nearest(query, gallery, index, top, threshold)
    matches = located(matches, gallery, test_dir)
    return find_image(paths_of(query, "query", test_dir)[index], test_dir), matches, total


def paths_of(images, split, test_dir=None):
    """The names of a FeatureSet's images, which it keeps. Result files of the published code do not hold them.

    Those are in the order in which torchvision's ImageFolder lists <test_dir>/<split>. Raises UserError where that
    folder holds other images.
    """
    if images.paths is None:
        images.paths = _listed(images, split, test_dir)
    return images.paths


def _listed(images, split, test_dir):
    folder = Path(test_dir or PUBLISHED_TEST_DIR)
    found = read_split(folder, split)
    if not (np.array_equal(found.labels, images.labels) and np.array_equal(found.cameras, images.cameras)):
        raise UserError(
            f"{folder / split}: holds {len(found)} images, not the {len(images)} of the result file, which does not "
            "name them. Pass the folder above them as --test_dir, or extract the features again with test.py."
        )
    return [path.as_posix() for path in found.paths]


def find_image(path, test_dir=None):
    """Where an image of a result file is now: below `test_dir` if that is given and has it, else at its old place.

    path: as in the file, ending in <split>/<identity>/<name>. Raises UserError where it is in neither.
    """
    places = [Path(path)]
    if test_dir:
        places.insert(0, Path(test_dir, *PurePosixPath(path).parts[-3:]))
    for place in places:
        if place.is_file():
            return place
    looked = " nor ".join(str(place) for place in places)
    raise UserError(f"{looked}: no such image. If they moved: --test_dir FOLDER, the one with query and gallery in it.")


def describe_ranking(query, index, query_path, matches, total):
    """The lines that say in text what the picture shows. total: how many right images the gallery holds."""
    yield f"query {index}: {headline(query, index)}  {query_path}"
    for rank, match in enumerate(matches, 1):
        verdict = ("right" if match.right else "wrong") + ("" if match.accepted else ", rejected")
        yield f"{rank:4d}  {verdict}  {match.label:04d}  camera {match.camera}  {match.similarity:.4f}  {match.path}"
    yield summary(matches, total)


def headline(query, index):
    """`identity 0855, camera 3`."""
    return f"identity {query.labels[index]:04d}, camera {query.cameras[index]}"


def summary(matches, total):
    """`7 of the first 10 are right; the gallery holds 12 right ones`."""
    right, rejected = sum(match.right for match in matches), sum(not match.accepted for match in matches)
    text = f"{right} of the first {len(matches)} are right; the gallery holds {total} right ones"
    return f"{text}; {rejected} are below the threshold" if rejected else text


def draw_ranking(query_path, matches, save, title, subtitle=""):
    """Draw a query and its Matches, which have paths, ten a line, to an image file.

    Raises UserError for an image that cannot be read and for a file type that matplotlib cannot write.
    """
    draw_sheet([ranking_row(query_path, matches, title, subtitle)], save)


def ranking_row(query_path, matches, title, subtitle=""):
    """The row of a sheet: the query, then its Matches, which have paths. Frame and mark tell right from wrong."""
    tiles = [
        Tile(
            match.path,
            RIGHT if match.right else WRONG,
            str(rank),
            caption(match) + ("" if match.accepted else "\nrejected"),
            faint=not match.accepted,
        )
        for rank, match in enumerate(matches, 1)
    ]
    return Row(tiles, title, subtitle, Tile(query_path, ASKED, "query"))


def caption(match):
    """`✓ 0855`, and below it `c3 · 0.713`: right or wrong, identity, camera, similarity."""
    return f"{'✓' if match.right else '✗'} {match.label:04d}\nc{match.camera} · {match.similarity:.3f}"
