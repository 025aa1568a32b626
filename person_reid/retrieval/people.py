"""People who are several images each: recognise a known one, and group images of unknown ones.

names, scores = person_scores([track], [(["Anna", "Anna", "Ben"], features)])      # scores (1, 2)
names = group_people(features, cameras, ["Anna", "", "", ""])                      # Anna, person
0001, …, or ""
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import count

import numpy as np

from person_reid.basics import UserError
from person_reid.retrieval.clusters import OUTLIER, Labels, dbscan, jaccard_graph
from person_reid.retrieval.similarity import CosineScores, Features, Floats, unit_rows_or_zeros
from person_reid.retrieval.target import CameraNorm

Named = tuple[Sequence[str], Features]  # who each of n images shows, and their features (n, D)


def person_scores(tracks: Sequence[Features], images: Iterable[Named]) -> tuple[list[str], Floats]:
    """Return the names of P people, and the scores (T, P) of T tracks: the mean of what
    best_and_mean returns.

    It is a number from -1 to 1, but not a cosine: benchmarks/people.py measures it.

        s(Q, G) = (max q·g + q̄·ḡ) / 2    with q̄ = Σq / ‖Σq‖ and ḡ = Σg / ‖Σg‖

    Q: the images q of a track, G: those g of a person.
    """
    names, best, mean = best_and_mean(tracks, images)
    return names, (best + mean) * np.float32(0.5)


def best_and_mean(
    tracks: Sequence[Features], images: Iterable[Named]
) -> tuple[list[str], Floats, Floats]:
    """Return the names of P people in alphabetical order, and two cosines (T, P) of each track and
    person.

    The first is that of their most similar images, max q·g; the second that of their means, q̄·ḡ.

    tracks: the features (n, D) of the images of each of T unknown people. images: the known ones,
    in chunks.
    Raises UserError if there are none.
    """
    queries = np.concatenate(tracks)
    starts = np.cumsum([0, *map(len, tracks[:-1])])
    best: dict[str, Floats] = {}
    sums: dict[str, Features] = {}
    for identities, features in images:
        order = np.argsort(identities, kind="stable")
        features = features[order]
        names, begins = np.unique(np.asarray(identities)[order], return_index=True)
        cosines = CosineScores(queries, features)(0, len(queries))
        highest = np.maximum.reduceat(np.maximum.reduceat(cosines, starts, axis=0), begins, axis=1)
        totals = np.add.reduceat(features, begins, axis=0)
        for name, column, total in zip(names.tolist(), highest.T, totals, strict=True):
            best[name] = np.maximum(best.get(name, column), column)
            sums[name] = sums.get(name, 0) + total
    if not (people := sorted(best)):
        raise UserError(
            "nobody is known yet. Enroll people: python tools/search.py "
            "enroll NAME IMAGES --index FILE"
        )
    of_people = unit_rows_or_zeros(np.stack([sums[name] for name in people]))
    of_tracks = unit_rows_or_zeros(np.add.reduceat(queries, starts, axis=0))
    return people, np.stack([best[name] for name in people], axis=1), of_tracks @ of_people.T


def numbered(names: Sequence[str]) -> tuple[list[str], Labels]:
    """Return the distinct names in alphabetical order, and the position
    among them of each name, -1 for "".
    """
    distinct, positions = np.unique(["", *names], return_inverse=True)
    return distinct[1:].tolist(), positions[1:] - 1


def group_people(
    features: Features,
    cameras: Labels,
    known: Sequence[str],
    radius: float = 0.5,
    min_samples: int = 4,
    others: Collection[str] = (),
) -> list[str]:
    """Return who each of N images shows, by clusters of their features: "" for an image in none.

    An image with a known identity keeps it. The others get the name that most named images of their
    cluster have, or, if it has none, a new one: "person 0001" for the largest cluster, and so on.

    features: (N, D). cameras: (N,), -1 for unknown. known: N names, or "". radius, min_samples: see
        retrieval.clusters.
    others: names of people on further images, which no new group gets.
    """
    graph = jaccard_graph(CameraNorm(features, cameras)(features, cameras), radius)
    labels = dbscan(graph, radius, min_samples)
    taken = {*known, *others}
    new = (name for number in count(1) if (name := f"person {number:04}") not in taken)
    names = {OUTLIER: ""}
    for cluster in np.argsort(-np.bincount(labels[labels >= 0]), kind="stable").tolist():
        votes = Counter(known[i] for i in np.flatnonzero(labels == cluster).tolist() if known[i])
        names[cluster] = votes.most_common(1)[0][0] if votes else next(new)
    return [name or names[label] for name, label in zip(known, labels.tolist(), strict=True)]
