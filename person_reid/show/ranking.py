"""Rank the gallery for a query, and draw the result: right images green (✓), wrong ones red (✗).

query, gallery = load_result("pytorch_result.mat", paths=True)
path, matches, _ = look_up(query, gallery, 777)
draw_sheet([ranking_row(path, matches, "Query 777")], "show.png")
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from person_reid.data.layout import JUNK, read_split
from person_reid.data.own.labels import NUMBERS, Words, words_beside
from person_reid.errors import UserError
from person_reid.retrieval.metrics import evaluate
from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.similarity import CosineScores
from person_reid.retrieval.thresholds import accepts
from person_reid.show.sheet import SheetRow, Tile
from person_reid.show.style import ASKED, RIGHT, WRONG, shortened
from person_reid.text import counted

LONGEST = 10  # the most letters of a word below a photograph
PUBLISHED_TEST_DIR = "../Market/pytorch"
Folder = str | Path | None  # the folder of query and gallery; None if images have not moved


@dataclass(frozen=True)
class Match:
    """One gallery image in a ranking.

    index: its position in the gallery; similarity: the cosine, -1 to 1; rank: from 1.
    accepted: whether it is similar enough to count as the same person. words: the names for the
    numbers of identity and camera.
    """

    index: int
    label: int
    camera: int
    similarity: float
    right: bool
    path: str | Path = ""  # filled in by look_up
    accepted: bool = True
    rank: int = 0
    words: Words = NUMBERS  # filled in by look_up


class Ranking(NamedTuple):
    """The gallery images without junk, in order of their similarity to a query.

    order: positions in the gallery. similarities: their cosines. right: which images show the same
    person.
    """

    gallery: FeatureSet
    order: npt.NDArray[np.intp]
    similarities: npt.NDArray[np.floating]
    right: npt.NDArray[np.bool_]

    def matches(self, places: Iterable[int], threshold: float = -1.0) -> list[Match]:
        """Return the matches at `places`, which count from 0."""
        found = []
        for place in places:
            index, similarity = int(self.order[place]), float(self.similarities[place])
            label, camera = int(self.gallery.labels[index]), int(self.gallery.cameras[index])
            right, accepted = bool(self.right[place]), accepts(threshold, similarity)
            found.append(
                Match(
                    index=index,
                    label=label,
                    camera=camera,
                    similarity=similarity,
                    right=right,
                    path="",
                    accepted=accepted,
                    rank=place + 1,
                )
            )
        return found


def ranked_gallery(query: FeatureSet, gallery: FeatureSet, index: int) -> Ranking:
    """Rank the gallery for the query at `index`, from 0. Junk is skipped, as in the metrics.

    Ties are ordered by index. Raises UserError if the index is out of range, or if the whole
    gallery is junk.
    """
    if not 0 <= index < len(query):
        raise UserError(
            f"query_index={index}: expected 0 to {len(query) - 1}; there are {len(query)} queries."
        )
    same = (gallery.labels == query.labels[index]) & (gallery.labels != JUNK)
    own_camera = gallery.cameras == query.cameras[index]
    valid = np.flatnonzero((gallery.labels != JUNK) & ~(same & own_camera))
    if not len(valid):
        raise UserError(
            f"query {index}: the whole gallery is junk for it, so there is nothing to rank."
        )
    scores = CosineScores(query.features[index : index + 1], gallery.features)(0, 1)[0]
    order = valid[np.argsort(-scores[valid], kind="stable")]
    return Ranking(gallery, order, scores[order], same[order])


def nearest_matches(
    query: FeatureSet, gallery: FeatureSet, index: int, top: int = 10, threshold: float = -1.0
) -> tuple[list[Match], int]:
    """Return the matches nearest to one query, and the number of right images in the gallery.

    index: the query, from 0. top: the maximum number of matches, which come nearest first.
    threshold: the lowest accepted similarity. Raises as ranked_gallery does.
    """
    ranking = ranked_gallery(query, gallery, index)
    matches = ranking.matches(range(min(top, len(ranking.order))), threshold)
    return matches, int(ranking.right.sum())


def missed(
    query: FeatureSet, gallery: FeatureSet, index: int, top: int = 10, threshold: float = -1.0
) -> list[Match]:
    """Return the right images that are not among the `top` nearest to a query, nearest first.

    Takes the arguments of nearest_matches, and raises as it does.
    """
    ranking = ranked_gallery(query, gallery, index)
    return ranking.matches((np.flatnonzero(ranking.right[top:]) + top).tolist(), threshold)


def chosen_queries(
    query: FeatureSet,
    gallery: FeatureSet,
    indices: Sequence[int] | None = None,
    worst: int | None = None,
    camera: int | None = None,
    best: int | None = None,
) -> dict[int, float | None]:
    """Return the queries to show, {index: average precision, or None if not computed}.

    indices: the queries, in this order; the other arguments are then ignored.
    best, worst: how many queries to take with the highest AP, highest first, and with the lowest
    AP, lowest first. Queries without a match in the gallery do not count.
    camera: take only queries from this camera.

    Raises UserError if no query is left.
    """
    if indices is not None:
        return dict.fromkeys(indices)
    asked = {name: count for name, count in (("best", best), ("worst", worst)) if count is not None}
    found = np.arange(len(query)) if camera is None else np.flatnonzero(query.cameras == camera)
    if not len(found):
        there = ", ".join(map(str, np.unique(query.cameras)))
        raise UserError(
            f"camera={camera}: no query is from it; there are queries of camera {there}."
        )
    if not asked:
        return dict.fromkeys(found.tolist())
    metrics = evaluate(query.select(found), gallery)
    order = np.argsort(metrics.average_precision, kind="stable")
    order = order[metrics.num_matches[order] > 0]
    if not len(order):
        name, count = next(iter(asked.items()))
        raise UserError(f"{name}={count}: no query has a right answer in the gallery.")
    shown = [*order[::-1][: best or 0], *order[: worst or 0]]
    return {int(found[i]): float(metrics.average_precision[i]) for i in shown}


def look_up(
    query: FeatureSet,
    gallery: FeatureSet,
    index: int,
    top: int = 10,
    threshold: float = -1.0,
    test_dir: Folder = None,
) -> tuple[Path, list[Match], int]:
    """Return a query's path, its nearest matches with paths, and the number of right images.

    For arguments and errors, see nearest_matches and find_image.
    """
    matches, total = nearest_matches(query, gallery, index, top, threshold)
    path = find_image(paths_of(query, "query", test_dir)[index], test_dir)
    return path, with_paths(matches, gallery, test_dir), total


def with_paths(
    matches: Sequence[Match], gallery: FeatureSet, test_dir: Folder = None
) -> list[Match]:
    """Return the matches with the paths of their images and the words for their labels.

    Raises as find_image does.
    """
    paths = paths_of(gallery, "gallery", test_dir)
    found = [(match, find_image(paths[match.index], test_dir)) for match in matches]
    return [replace(match, path=path, words=words_beside(path)) for match, path in found]


def paths_of(images: FeatureSet, split: str, test_dir: Folder = None) -> list[str]:
    """Return the paths of a FeatureSet's images, and store them in the FeatureSet.

    Result files of the published code lack them; their images are in the order in which
    torchvision's ImageFolder lists <test_dir>/<split>. Raises UserError if that folder holds other
    images.
    """
    if images.paths is None:
        folder = Path(test_dir or PUBLISHED_TEST_DIR)
        if not test_dir and not folder.is_dir():
            raise UserError(
                "The result does not name its images. "
                "Pass the folder of query and gallery as test_dir."
            )
        found = read_split(folder, split)
        if not (
            np.array_equal(found.labels, images.labels)
            and np.array_equal(found.cameras, images.cameras)
        ):
            raise UserError(
                f"{folder / split}: holds {len(found)} images, not the {len(images)} "
                "of the result file, which does not name them. "
                "Pass the folder above them as test_dir, "
                "or extract the features again with test.py."
            )
        images.paths = [path.as_posix() for path in found.paths]
    return images.paths


def paths_of_images(
    query: FeatureSet, gallery: FeatureSet, test_dir: Folder = None
) -> Iterator[Path]:
    """Yield the current paths of all images in a result, whether they exist or not.

    Raises as paths_of does.
    """
    for images, split in ((query, "query"), (gallery, "gallery")):
        yield from (_place(path, test_dir) for path in paths_of(images, split, test_dir))


def _place(path: str | Path, test_dir: Folder) -> Path:
    return Path(test_dir, *PurePosixPath(path).parts[-3:]) if test_dir else Path(path)


def find_image(path: str | Path, test_dir: Folder = None) -> Path:
    """Return the current path of an image that a result file names: below `test_dir`, or unchanged.

    path: as in the file, ending in <split>/<identity>/<name>. Raises UserError if the image is
    missing.
    """
    place = _place(path, test_dir)
    if not place.is_file():
        raise UserError(  # quoted in lists of several images
            f"{place}: no such image. If they moved, "
            "pass the folder of query and gallery as test_dir."
        )
    return place


def words_behind(images: FeatureSet, layout: str | Path | None = None) -> Words:
    """Return the names in the layout of a result's images, or none if the result has no paths.

    layout: see words_beside.
    """
    return words_beside(images.paths[0], layout) if images.paths else NUMBERS


def match_lines(matches: Iterable[Match]) -> Iterator[str]:
    """Yield a line of text for each match."""
    for match in matches:
        verdict = ("right" if match.right else "wrong") + ("" if match.accepted else ", rejected")
        yield (
            f"{match.rank:4d}  {verdict}  {match.words.identity(match.label)}  "
            f"camera {match.words.camera(match.camera)}  {match.similarity:.4f}  {match.path}"
        )


def headline(query: FeatureSet, index: int, test_dir: Folder = None) -> str:
    """Return `identity 0855, camera 3`, or the names for these numbers."""
    words = words_behind(query, test_dir)
    who, where = int(query.labels[index]), int(query.cameras[index])
    return f"identity {words.identity(who)}, camera {words.camera(where)}"


def summary_of_matches(matches: Sequence[Match], total: int, missed: Sequence[Match] = ()) -> str:
    """Return `7 of the first 10 are right, the first at rank 1; the gallery holds 12 right ones`.

    total: the number of right images in the gallery. missed: right images that are not among the
    matches.
    """
    right, rejected = sum(m.right for m in matches), sum(not m.accepted for m in matches)
    first = next((match.rank for match in (*matches, *missed) if match.right), 0)
    text = f"{right} of the first {len(matches)} {_be(right)} right"
    text += f", the first at rank {first}" if first else ""
    text += f"; the gallery holds {counted(total, 'right one')}"
    return f"{text}; {rejected} {_be(rejected)} below the threshold" if rejected else text


def _be(count: int) -> str:
    return "is" if count == 1 else "are"


def ranking_row(
    query_path: str | Path, matches: Sequence[Match], title: str, subtitle: str = ""
) -> SheetRow:
    """Return a row of a sheet: the query, then its matches, which must have paths."""
    return SheetRow(_tiles(matches), title, subtitle, Tile(query_path, ASKED, "query"))


def missed_row(missed: Sequence[Match], total: int) -> SheetRow:
    """Return the row below a ranking: the nearest of the right images that the ranking misses."""
    nearest = f", the nearest {len(missed)}" if len(missed) < total else ""
    return SheetRow(_tiles(missed), "", f"Missed: {counted(total, 'right image')}{nearest}")


def _tiles(matches: Sequence[Match]) -> list[Tile]:
    """Return the tiles of matches, which must have paths."""
    return [
        Tile(
            match.path,
            RIGHT if match.right else WRONG,
            str(match.rank or place),
            caption(match),
            faint=not match.accepted,
        )
        for place, match in enumerate(matches, 1)
    ]


def caption(match: Match) -> str:
    """Return identity, camera and similarity: `✓ 0855`, and below it `c3 · 0.713`.

    If the image was rejected, the next line is `rejected`. A long word loses its middle.
    """
    mark = "✓" if match.right else "✗"
    who = shortened(match.words.identity(match.label), LONGEST)
    where = shortened(match.words.camera_mark(match.camera), LONGEST)
    text = f"{mark} {who}\n{where} · {match.similarity:.3f}"
    return text if match.accepted else f"{text}\nrejected"
