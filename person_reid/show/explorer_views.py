"""Views in the explorer: rankings of the gallery, doubtful labels, and people across cameras.

A ranking has the metrics of evaluate.py, the first images of every query, and all matches. Each
proposal for a label is shown beside the images for and against it. Tracks of people are shown on a
timeline, where they can be cut and joined.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from person_reid.arrays import Integers
from person_reid.data.layout import DISTRACTOR, JUNK
from person_reid.data.own.corrections import CORRECTION_COLUMNS, Correction, read_list
from person_reid.data.readers import group
from person_reid.retrieval.association import DOUBTFUL, Stay
from person_reid.retrieval.matches import find_pairs
from person_reid.retrieval.metrics import CAMERAS_IGNORED, Metrics, rank_matches, summarize, unusual
from person_reid.retrieval.neighbours import top_k
from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.similarity import CHUNK_BYTES, CosineScores, Features, on_cpu, unit_rows
from person_reid.show.explorer_images import ExplorerImages, content_key, person_name
from person_reid.text import printable

LISTED = 60  # gallery images per query, including junk
PAIRS_AT_ONCE = 4096  # pairs multiplied at a time
IMAGES_OF_STRIP = 5  # images per strip
# Proposals about all images of a person, or about all of a person's images by one camera.
TOGETHER = ("merge", "split")


class RankedGallery(NamedTuple):
    """A ranking of the gallery for every query.

    Similarities are cosines of the features, regardless of the ranking.

    name: how the gallery was ranked.
    metrics: the quality of the ranking.
    listed, similarities: (Q, L), the positions in the gallery of the first images, including junk,
        and their similarities.
    matches, ranks, match_similarities: (M,), all matches, sorted by query and rank: positions in
        the gallery, 0-based ranks among the valid gallery, and similarities. Query q has
        metrics.num_matches[q] matches.
    """

    name: str
    metrics: Metrics
    listed: npt.NDArray[np.int64]
    similarities: npt.NDArray[np.float32]
    matches: npt.NDArray[np.int64]
    ranks: npt.NDArray[np.int64]
    match_similarities: npt.NDArray[np.float32]


def rank(
    name: str,
    query: FeatureSet,
    gallery: FeatureSet,
    scores: Callable[[int, int], Any] | None = None,
    ignore_cameras: bool = False,
) -> RankedGallery:
    """Return the RankedGallery for `scores`, by default the cosines of the features.

    scores, ignore_cameras: see metrics.evaluate. Raises UserError as metrics.evaluate does.
    """
    scores = scores or CosineScores(query.features, gallery.features)
    shape, width = (len(query), len(gallery)), min(LISTED, len(gallery))
    listed = np.empty((len(query), width), np.int64)

    def watched(start: int, stop: int) -> Any:
        chunk = scores(start, stop)
        listed[start:stop] = top_k(on_cpu(chunk), width)
        return chunk

    watched.budget = getattr(scores, "budget", CHUNK_BYTES)  # type: ignore[attr-defined]
    (queries, images), junk = find_pairs(query, gallery, ignore_cameras)
    ranks = rank_matches(watched, shape, (queries, images), junk, gallery.labels == JUNK)
    words = unusual({CAMERAS_IGNORED: ignore_cameras})
    metrics = summarize(ranks, queries, query.labels, len(gallery), protocol=words)
    order = np.lexsort((ranks, queries))
    rows = np.repeat(np.arange(len(query)), width)
    return RankedGallery(
        name=name,
        metrics=metrics,
        listed=listed,
        similarities=cosines(query.features, gallery.features, rows, listed.ravel()).reshape(
            shape[0], width
        ),
        matches=images[order],
        ranks=ranks[order],
        match_similarities=cosines(query.features, gallery.features, queries, images[order]),
    )


def cosines(
    query: Features, gallery: Features, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Return the cosines (P,) of pairs of rows of `query` (Q, D) and `gallery` (G, D)."""
    query, gallery = unit_rows(query), unit_rows(gallery)
    found = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        found[part] = np.einsum("pd,pd->p", query[rows[part]], gallery[columns[part]])
    return found


def describe_proposals(images: ExplorerImages, file: Path) -> dict[str, Any]:
    """Return the proposals in a list from tools/label_errors.py, each with strips of images.

    Strips show the proposal's images and the IMAGES_OF_STRIP nearest of all other images, of the
    images with the same label, of the images with the proposed identity, and of the images that the
    list also proposes for it. Raises UserError as read_list does.
    """
    places = {path: place for place, path in enumerate(images.short_paths)}
    identities = {path: number for path in places if (number := _folder(path)) is not None}
    lines = read_list(file, identities)
    people = np.array(images.people)
    name_of = partial(person_name, words=images.words)
    wanted = np.full(len(people), None, object)
    wanted[[places[line.path] for line in lines]] = [name_of(line.new_identity) for line in lines]
    proposals = []
    for number, each in enumerate(group(lines, _decided_as_one).values()):
        first, found = each[0], [places[line.path] for line in each]
        own, new = name_of(first.identity), name_of(first.new_identity)
        labelled = (people == own) & (first.identity != DISTRACTOR)
        similarities = images.features[found].mean(axis=0) @ images.features.T
        order = np.argsort(-similarities, kind="stable")
        order = order[~np.isin(order, found)]
        shown = {
            "nearest": np.full(len(people), True),
            "own": labelled,
            "new": people == new,
            "coming": (people != new) & (wanted == new),
        }
        strips = {name: _strip(order[which[order]], similarities) for name, which in shown.items()}
        proposals.append(
            {
                "number": number,
                "proposal": first.proposal,
                "own": own,
                "new": new,
                "images": found,
                "probability": first.probability,
                "accepted": first.accepted,
                "strips": strips,
                "lines": [line[:-1] for line in each],
            }
        )
    return {
        "key": content_key([each["lines"] for each in proposals]),
        "file": f"{printable(file.stem)}_accepted.csv",
        "columns": CORRECTION_COLUMNS,
        "proposals": proposals,
    }


def _strip(order: Integers, similarities: Features) -> list[list[float]]:
    """Return [image, similarity] for the first images in an order (K,)."""
    return [[int(i), round(float(similarities[i]), 4)] for i in order[:IMAGES_OF_STRIP]]


def _decided_as_one(line: Correction) -> tuple[object, ...]:
    """Return the key that lines share if they are accepted or rejected together."""
    if line.proposal in TOGETHER:
        return line.proposal, line.identity, line.new_identity, line.accepted
    return (line.path,)


def _folder(path: str) -> int | None:
    """Return the identity in an image's path, split/identity/name, or None."""
    try:
        return int(path.split("/")[-2])
    except (ValueError, IndexError):
        return None


def describe_stays(
    stays: Sequence[Stay],
    file: str,
    columns: Sequence[str],
    highest: int = 0,
    command: str = "",
    names: Mapping[int, str] | None = None,
) -> dict[str, Any]:
    """Return the tracks for the page, which saves a list of the images of people who were checked.

    file: the name of the list. columns: the names of the cells in the rows of stays; the page fills
    in `identity`. highest: the highest number of a person; new people get higher numbers.
    command: the command that reads the list. names: {person: name}.
    """
    tracks = [
        {
            "person": stay.person,
            "camera": printable(stay.camera),
            "name": printable(stay.name),
            "first": round(stay.first, 3),
            "last": round(stay.last, 3),
            "times": stay.times,
            "boxes": stay.boxes,
            "margin": None if stay.margin is None else round(stay.margin, 4),
            "nearest": stay.nearest,
            "images": stay.images,
            "rows": stay.rows,
            "given": stay.given,
            "twice": stay.twice,
            "apart": stay.apart,
        }
        for stay in stays
    ]
    return {
        "key": content_key(tracks),
        "file": file,
        "columns": list(columns),
        "identity": list(columns).index("identity"),
        "doubtful": DOUBTFUL,
        "highest": highest,
        "command": command,
        "names": dict(names or {}),
        "tracks": tracks,
    }
