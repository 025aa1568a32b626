"""Sparse k-reciprocal re-ranking: memory grows with the number of images, not its square.

Zhong, Zheng, Cao, Li, Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017. A
row of the encoding has dozens of entries, so neighbours come from a chunked top-k, sets and
encodings are sparse matrices, and computing the Jaccard distance visits only the images that share
an entry with the query.
"""

from typing import Any

import numpy as np
from scipy import sparse

from person_reid.arrays import Integers
from person_reid.retrieval.graph import sparse_rows
from person_reid.retrieval.neighbours import Neighbours, NeighbourSearch
from person_reid.retrieval.similarity import (
    CosineScores,
    Features,
    Floats,
    Scores,
    positions,
    unit_rows,
)

QUERIES_AT_ONCE = 32  # queries for which shared entries are listed at a time


class KReciprocalScores(Scores):
    """The negated re-ranked distance between queries and gallery, as metrics.evaluate's `scores`.

    query, gallery: features (Q, D) and (G, D).
    k1: the size of the neighbourhoods.
    k2: the number of neighbours whose encodings are averaged.
    lambda_value: the share of the original distance, in [0, 1].
    neighbours: the search to use.
    """

    def __init__(
        self,
        query: Features,
        gallery: Features,
        k1: int,
        k2: int,
        lambda_value: float,
        neighbours: NeighbourSearch,
    ) -> None:
        self.lambda_value = lambda_value
        self.features = unit_rows(np.ascontiguousarray(np.concatenate([query, gallery])))
        self.cosines = CosineScores(self.features[: len(query)], self.features[len(query) :])
        encoding, self.farthest = k_reciprocal_encoding(self.features, k1, k2, neighbours)
        self.query_encoding = encoding[: len(query)]
        self.gallery_columns = encoding[len(query) :].tocsc()

    def __call__(self, start: int, stop: int) -> Floats:
        """Return negated distances (stop - start, G), in [-1, 0], of queries `start` to `stop`."""
        scores = self.cosines(start, stop)
        # The score is −lambda · (2 − 2 cos)² / farthest − (1 − lambda) · Jaccard distance, computed
        # in place, without a second matrix.
        scores -= 1
        scores *= scores
        scores *= -4 * self.lambda_value / self.farthest[start:stop, None]
        scores -= 1 - self.lambda_value
        for first in range(start, stop, QUERIES_AT_ONCE):
            last = min(first + QUERIES_AT_ONCE, stop)
            shared = shared_weight(self.query_encoding[first:last], self.gallery_columns)
            scores[first - start : last - start] += (1 - self.lambda_value) * (
                shared / (2 - shared)
            )
        return scores


def k_reciprocal_encoding(
    features: Features, k1: int, k2: int, neighbours: NeighbourSearch
) -> tuple[Any, Floats]:
    """Encode N images by their k-reciprocal neighbours (eq. 7).

    The encodings are averaged over the k2 nearest images (eq. 11).

    features: (N, D), rows of unit length. neighbours: the search to use.
    Returns a sparse (N, N) matrix whose rows sum to 1, and each image's distance to the farthest
    image, (N,).
    """
    found = neighbours.search(features, features, k1 + 1, itself=True, farthest=True)
    assert found.lowest is not None, "it was asked for"
    farthest = np.maximum(squared_distance(found.lowest), 1e-12)  # all images may be identical
    encoding = _weighted(reciprocal_expansion(found.indices, k1), found, features, farthest)
    return average_rows(encoding, found.indices[:, :k2]), farthest


def _weighted(pattern: Any, found: Neighbours, features: Features, farthest: Floats) -> Any:
    """Give each member j of i's set the weight exp(-d(i, j)), eq. 7.

    Each row is scaled to sum to 1.
    """
    rows = np.repeat(np.arange(pattern.shape[0]), np.diff(pattern.indptr))
    weights = np.exp(
        -squared_distance(pair_cosines(rows, pattern.indices, found, features)) / farthest[rows]
    )
    encoding = sparse.csr_array((weights, pattern.indices, pattern.indptr), pattern.shape)
    return sparse.diags_array(1 / encoding.sum(axis=1)) @ encoding


def pair_cosines(
    rows: Integers, columns: Integers, found: Neighbours, features: Features
) -> Floats:
    """Return the cosines (P,) of pairs of images; most pairs are neighbours listed in `found`.

    rows, columns: (P,), row by row, ascending. found: the neighbours of all images. features: (N,
    D), of unit length.
    """
    num_images = len(features)
    order = np.argsort(found.indices, axis=1)
    known = (
        np.take_along_axis(found.indices, order, 1) + num_images * np.arange(num_images)[:, None]
    )
    pairs = rows * num_images + columns
    places = np.searchsorted(known.ravel(), pairs)
    places[places == known.size] = 0
    cosines = np.take_along_axis(found.similarities, order, 1).ravel()[places]
    missing = np.flatnonzero(known.ravel()[places] != pairs)
    for block in np.split(missing, range(1024, len(missing), 1024)):  # small enough for the cache
        cosines[block] = np.einsum("nd,nd->n", features[rows[block]], features[columns[block]])
    return cosines


def squared_distance(cosine: Floats) -> Floats:
    """Return the original distance as published, (2 - 2 cos)².

    It is the square of the squared Euclidean distance.
    """
    return np.square(2 - 2 * cosine)


def reciprocal_sets(indices: Integers) -> Any:
    """Return R(i), eq. 1, as a sparse (N, N) matrix.

    R(i) holds j if j is among i's neighbours `indices` (N, k + 1), and i among j's.
    """
    forward = sparse_rows(indices, np.ones(indices.shape, np.float32))
    return forward.multiply(forward.T).tocsr()


def reciprocal_expansion(indices: Integers, k1: int) -> Any:
    """Return R*(i) of eq. 2, which extends R(i), as the pattern of a sparse (N, N) matrix.

    For every j in R(i), the half-size R(j) is added if more than two thirds of it lie in R(i).
    indices: (N, k1 + 1), the neighbours, the image itself first.
    """
    sets, halves = reciprocal_sets(indices), reciprocal_sets(indices[:, : round(k1 / 2) + 1])
    # (i, j) with j in i's set: how many members of j's half are in that set
    shared = sets.multiply(sets @ halves.T).tocsr()
    sizes = np.diff(halves.indptr)[shared.indices]
    shared.data = (shared.data > 2 / 3 * sizes).astype(np.float32)
    expansion = (sets + shared @ halves).tocsr()
    expansion.eliminate_zeros()
    expansion.sort_indices()
    return expansion


def average_rows(encoding: Any, indices: Integers) -> Any:
    """Replace each row with the mean of the rows of its neighbours `indices` (N, k2).

    This is local query expansion.
    """
    return sparse_rows(indices, np.full(indices.shape, 1 / indices.shape[1], np.float32)) @ encoding


def shared_weight(rows: Any, columns: Any) -> Floats:
    """Return Σ min(row, column) over the entries (eq. 10), (B, G) float32.

    Only the images that have an entry are visited.

    rows: (B, N) CSR, the encodings of the queries; columns: (G, N) CSC, the encodings of the
    gallery.
    """
    starts, sizes = columns.indptr[rows.indices], np.diff(columns.indptr)[rows.indices]
    entries = np.repeat(starts, sizes) + positions(sizes)
    smaller = np.minimum(np.repeat(rows.data, sizes), columns.data[entries])
    owners = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    cells = np.repeat(owners * columns.shape[0], sizes) + columns.indices[entries]
    size = rows.shape[0] * columns.shape[0]
    return (
        np.bincount(cells, smaller, size)
        .astype(np.float32)
        .reshape(rows.shape[0], columns.shape[0])
    )
