"""Group images of unknown people: DBSCAN over a sparse graph of k-reciprocal Jaccard distances.

graph = jaccard_graph(features, radius=0.5)      # sparse (N, N): only the pairs within the radius
labels = dbscan(graph, radius=0.5)               # (N,): 0, 1, … for the clusters, -1 for outliers
names = group_people(features, cameras, ["Anna", "", "", ""])        # "Anna", "person 0001", or ""

No N×N matrix is ever built. Training without labels also uses these clusters and their agreement
with labels.
"""

import re
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from person_reid.arrays import Labels
from person_reid.config.adapt import AdaptConfig
from person_reid.data.video.crops import CropTracks
from person_reid.errors import UserError, optional_module
from person_reid.retrieval.k_reciprocal import QUERIES_AT_ONCE, k_reciprocal_encoding, shared_weight
from person_reid.retrieval.metrics import evaluate
from person_reid.retrieval.neighbours import ExactNeighbours
from person_reid.retrieval.normalization import CameraNorm
from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.similarity import Features, run_chunks, unit_rows, unit_rows_or_zeros
from person_reid.retrieval.track_features import track_halves

Resembles = Callable[[str, Labels], npt.NDArray[np.bool_]]
OUTLIER = -1
NUMBERED_PERSON = re.compile(r"person (\d{4,15})")
MOST_BYTES = 2**27  # the largest block of distances, of which each thread holds one
REPORTED_QUERIES = 2000
FEWEST_JUDGED = 10  # the fewest halved tracks and pairs of strangers


def jaccard_graph(features: Features, radius: float = 0.5, k1: int = 20, k2: int = 6) -> Any:
    """Return the Jaccard distances up to `radius` between the k-reciprocal encodings of N images.

        d(i, j) = 1 − Σ min(e_i, e_j) / Σ max(e_i, e_j)

    features: (N, D). radius: in (0, 1). k1, k2: numbers of neighbours, at most N − 1; see
    k_reciprocal_encoding.
    Returns a sparse symmetric CSR matrix (N, N), float32. A distance of 0 is stored; pairs that are
    not stored are farther apart than the radius. Zhong et al., Re-ranking Person Re-identification
    with k-reciprocal Encoding, CVPR 2017, eq. 10.
    """
    k1 = max(1, min(k1, len(features) - 1))
    encoding, _ = k_reciprocal_encoding(unit_rows(features), k1, min(k2, k1), ExactNeighbours())
    columns = encoding.tocsc()
    block = max(1, min(QUERIES_AT_ONCE, MOST_BYTES // (16 * len(features))))
    spans = [(start, min(start + block, len(features))) for start in range(0, len(features), block)]
    rows: dict[int, Any] = {}

    def find_near(start: int, stop: int) -> None:
        shared = shared_weight(encoding[start:stop], columns)
        # This tests d ≤ radius without a division.
        row, column = np.nonzero(shared * (2 - radius) >= 2 * (1 - radius))
        within = shared[row, column]
        distance = np.maximum(1 - within / (2 - within), 0)
        rows[start] = row + start, column, distance

    run_chunks(find_near, spans, "distances")
    row, column, distance = (
        np.concatenate([rows[start][part] for start, _ in spans]) for part in range(3)
    )
    starts = np.searchsorted(row, np.arange(len(features) + 1))
    return sparse.csr_array((distance, column, starts), (len(features), len(features)))


def dbscan(graph: Any, radius: float = 0.5, min_samples: int = 4) -> Labels:
    """Return each image's cluster (N,), 0, 1, … or OUTLIER, by DBSCAN on a graph of distances.

    graph: sparse (N, N), as from jaccard_graph with the same radius. min_samples: an image with at
    least this many images within the radius, including itself, is the core of a cluster. Raises
    UserError if scikit-learn is not installed. Ester et al., A Density-Based Algorithm for
    Discovering Clusters, KDD 1996.
    """
    cluster = optional_module(
        "sklearn.cluster",
        UserError('Clustering needs scikit-learn: python -m pip install ".[adapt]"'),
    )
    method = cluster.DBSCAN(eps=radius, min_samples=min_samples, metric="precomputed")
    with warnings.catch_warnings():  # before 1.9, scikit-learn changes the order and warns of it
        warnings.filterwarnings("ignore", "Precomputed sparse input was not sorted")
        return np.asarray(method.fit(sparse.csr_matrix(graph)).labels_, np.int64)


def clusters_of_tracks(labels: Labels, tracks: Labels, apart: npt.NDArray[np.bool_]) -> Labels:
    """Assign all images of a track to the cluster that most of them are in, ignoring outliers.

    Of two tracks that are `apart`, (T, T), only the track with more images in a cluster stays in
    it. Returns new labels.
    """
    pairs, votes = np.unique(np.stack([tracks, labels])[:, labels >= 0], axis=1, return_counts=True)
    chosen, sizes = np.full((2, len(apart)), OUTLIER)
    order = np.argsort(votes, kind="stable")  # of several values for a place, the last is kept
    chosen[pairs[0, order]], sizes[pairs[0, order]] = pairs[1, order], votes[order]
    rivals = np.argwhere(np.triu(apart & (chosen[:, None] == chosen)))
    for first, second in rivals[np.argsort(-sizes[rivals].max(axis=1), kind="stable")].tolist():
        if chosen[first] == chosen[second] >= 0:
            chosen[first if sizes[first] < sizes[second] else second] = OUTLIER
    found = np.full_like(labels, OUTLIER)
    inside = chosen[tracks] >= 0
    found[inside] = np.unique(chosen[tracks][inside], return_inverse=True)[1]
    return found


def camera_proxies(labels: Labels, cameras: Labels) -> tuple[Labels, Labels, Labels]:
    """Split clusters by camera.

    Returns each image's part (N,), -1 for outliers, and each part's cluster and camera.
    """
    inside = np.flatnonzero(labels >= 0)
    parts, of_image = np.unique(
        np.stack([labels[inside], cameras[inside]]), axis=1, return_inverse=True
    )
    found = np.full_like(labels, OUTLIER)
    found[inside] = of_image.ravel()
    return found, parts[0], parts[1]


def cluster_means(features: Features, labels: Labels) -> Features:
    """Return the clusters' mean features (C, D), at unit length; outliers are in no cluster."""
    members = np.flatnonzero(labels >= 0)
    ones = np.ones(len(members), np.float32)
    sums = (
        sparse.csr_array(
            (ones, (labels[members], members)), (labels.max(initial=-1) + 1, len(features))
        )
        @ features
    )
    return unit_rows_or_zeros(sums)


def margins(features: Features, labels: Labels) -> npt.NDArray[np.float32]:
    """Return how much nearer each image is to its cluster's mean than to any other mean, (N,).

    The margin is a difference of cosines. It is 0 for outliers, and with fewer than two clusters.
    """
    found = np.zeros(len(labels), np.float32)
    means, inside = cluster_means(features, labels), np.flatnonzero(labels >= 0)
    for block in np.array_split(inside, len(inside) // 4096 + 1) if len(means) > 1 else ():
        similarity = features[block] @ means.T
        rows = np.arange(len(block))
        own = similarity[rows, labels[block]]
        similarity[rows, labels[block]] = -np.inf
        found[block] = own - similarity.max(axis=1)
    return found


def agreement(labels: Labels, others: Labels) -> float:
    """Return the adjusted Rand index of two clusterings (N,) of the same images.

    It is 1 if they are equal and about 0 by chance. Only images that both clusterings put into a
    cluster count; without such images, the index is 0. Hubert and Arabie, Comparing Partitions,
    Journal of Classification 1985.
    """
    from sklearn.metrics import adjusted_rand_score

    both = (labels >= 0) & (others >= 0)
    return float(adjusted_rand_score(labels[both], others[both])) if both.any() else 0.0


def nearest_others(features: Features, count: int = 5, most: int = 2000) -> Labels:
    """Return the other images nearest to each of the first `most` images, (most, count).

    With fewer images, the array is smaller. features: (N, D), in random order, so that the first
    images are representative.
    """
    units, count = unit_rows(features), min(count, len(features) - 1)
    indices = ExactNeighbours().search(units[:most], units, count + 1).indices
    others_first = np.argsort(indices == np.arange(len(indices))[:, None], axis=1, kind="stable")[
        :, :count
    ]
    return np.take_along_axis(indices, others_first, axis=1)


def numbered_names(names: Sequence[str]) -> tuple[list[str], Labels]:
    """Return the distinct names in alphabetical order, and the position of each name among them.

    The position of "" is -1.
    """
    distinct, positions = np.unique(["", *names], return_inverse=True)
    return distinct[1:].tolist(), positions[1:] - 1


def numbered_person(number: int) -> str:
    """Return the name that stands for an unnamed person: "person 0003" for 3."""
    return f"person {number:04}"


def number_in(identity: str | None) -> int:
    """Return the number in the name of an unnamed person: 3 for "person 0003", else 0."""
    match = NUMBERED_PERSON.fullmatch(identity or "")
    return int(match[1]) if match else 0


def group_people(
    features: Features,
    cameras: npt.ArrayLike,
    known: Sequence[str],
    radius: float = 0.5,
    min_samples: int = 4,
    others: Collection[str] = (),
    resembles: Resembles | None = None,
) -> list[str]:
    """Return the person in each of N images, found by clustering features; "" for outliers.

    An image with a known identity keeps it. The other images get the name that most named images in
    their cluster have if they resemble that person, and otherwise a new name: "person 0001" for the
    largest cluster, and so on. If fewer than min_samples images do not resemble the person, they
    get no name.

    features: (N, D). cameras: (N,), numbers or names. known: N names, or "".
    radius, min_samples: see dbscan.
    others: names in use elsewhere, which are not given to new groups.
    resembles: resembles(name, rows) → (n,) bool, whether images resemble a person; by default, all
    do.
    """
    graph = jaccard_graph(centred(features, cameras), radius)
    labels = dbscan(graph, radius, min_samples)
    taken = {*known, *others}
    new = (name for number in count(1) if (name := numbered_person(number)) not in taken)
    found = list(known)
    for cluster in np.argsort(-np.bincount(labels[labels >= 0]), kind="stable").tolist():
        members = np.flatnonzero(labels == cluster)
        votes = Counter(known[i] for i in members.tolist() if known[i])
        unnamed = members[[not known[i] for i in members.tolist()]]
        if votes and len(unnamed):
            name = votes.most_common(1)[0][0]
            alike = resembles(name, unnamed) if resembles else np.ones(len(unnamed), np.bool_)
            for i in unnamed[alike].tolist():
                found[i] = name
            unnamed = unnamed[~alike]
        if len(unnamed) >= (min_samples if votes else 1):
            name = next(new)
            for i in unnamed.tolist():
                found[i] = name
    return found


def clusters_of_epoch(features: Features, cameras: Labels, options: AdaptConfig) -> Labels:
    """Return the clusters (N,) of images with features (N, D) and cameras (N,), -1 for outliers."""
    graph = jaccard_graph(centred(features, cameras), options.radius, options.k1, options.k2)
    return dbscan(graph, options.radius, options.min_samples)


def centred(features: Features, cameras: npt.ArrayLike) -> Features:
    """Return the features (N, D) to compare, with the same mean in all cameras (N,)."""
    return CameraNorm(features, cameras)(features, cameras)


def separation(features: Features, tracks: CropTracks) -> float | None:
    """Return d′, how far cosines between halves of a track are from cosines between strangers.

        d′ = (mean of halves − mean of strangers) / √((variance of halves + of strangers) / 2)

    Strangers are two tracks that are apart. Returns None with fewer than FEWEST_JUDGED cosines of
    either kind.

    features: (N, D). Green and Swets, Signal Detection Theory and Psychophysics, 1966.
    """
    order = np.lexsort((tracks.frames, tracks.labels))
    images = np.split(features[order], np.flatnonzero(np.diff(tracks.labels[order])) + 1)
    means = unit_rows_or_zeros(np.stack([unit_rows(some).mean(axis=0) for some in images]))
    halves = track_halves([some for some in images if len(some) > 1]).transpose(1, 0, 2)
    alike = np.einsum("nd,nd->n", *map(unit_rows_or_zeros, halves))
    first, second = np.nonzero(np.triu(tracks.apart))
    strange = np.einsum("nd,nd->n", means[first], means[second])
    if min(len(alike), len(strange)) < FEWEST_JUDGED:
        return None
    return float((alike.mean() - strange.mean()) / np.sqrt((alike.var() + strange.var()) / 2))


def report_clusters(
    features: Features, people: Labels, cameras: Labels, clusters: Labels
) -> dict[str, float]:
    """Measure the current clusters with labels, which the training never uses.

    features (N, D); people, cameras, clusters (N,). purity: the share of clustered images whose
    cluster belongs mostly to their person. own_mAP: the mAP with some of these images as queries
    and all as gallery; it is not the mAP of a test set.
    """
    inside = clusters >= 0
    pairs, sizes = np.unique(
        np.stack([clusters[inside], people[inside]]), axis=1, return_counts=True
    )
    largest = np.zeros(clusters.max(initial=-1) + 1, np.int64)
    np.maximum.at(largest, pairs[0], sizes)
    if not (cameras >= 0).all():
        cameras = np.arange(len(cameras))  # each image gets its own camera
    everyone = FeatureSet(features, people, cameras)
    count = min(len(people), REPORTED_QUERIES)
    asked = everyone.select(np.linspace(0, len(people) - 1, count).astype(np.int64))
    return {
        "purity": float(largest.sum() / max(int(inside.sum()), 1)),
        "own_mAP": evaluate(asked, everyone).mAP,
    }
