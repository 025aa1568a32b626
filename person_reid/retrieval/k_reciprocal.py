"""k-reciprocal re-ranking, sparse: memory grows with the number of images, not with its square.

Zhong, Zheng, Cao, Li, Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017. A row of the encoding
has dozens of entries, so neighbours come from a chunked top-k, sets and encodings are sparse matrices, and the Jaccard
distance visits only the images that share an entry with the query.
"""

import numpy as np
from scipy import sparse

from person_reid.retrieval.neighbours import ExactNeighbours, check_neighbours
from person_reid.retrieval.similarity import CosineScores, Scores, unit_rows

BLOCK = 32  # queries whose shared entries are listed at a time


class KReciprocalScores(Scores):
    """Minus the re-ranked distance between queries and gallery: a `scores` for metrics.evaluate.

    query: (Q, D), gallery: (G, D) features; k1: size of the neighbourhoods; k2: neighbours whose encodings are
    averaged; lambda_value: share of the original distance, in [0, 1]; neighbours: who searches, exact by default.
    Raises UserError where k1 or k2 does not fit the data.
    """

    def __init__(self, query, gallery, k1=20, k2=6, lambda_value=0.3, neighbours=None):
        check_neighbours(k1, k2, len(gallery))
        self.lambda_value = lambda_value
        self.features = unit_rows(np.ascontiguousarray(np.concatenate([query, gallery])))
        self.cosines = CosineScores(self.features[: len(query)], self.features[len(query) :])
        neighbours = neighbours or ExactNeighbours()
        found = neighbours.search(self.features, self.features, k1 + 1, itself=True, farthest=True)
        self.farthest = np.maximum(squared_distance(found.lowest), 1e-12)  # all images may be one and the same
        encoding = average_rows(self._encode(reciprocal_expansion(found.indices, k1)), found.indices[:, :k2])
        self.query_encoding = encoding[: len(query)]
        self.gallery_columns = encoding[len(query) :].tocsc()

    def __call__(self, start, stop):
        """(stop - start, G) float32 scores of these queries; the distance is their opposite, in [0, 1]."""
        scores = self.cosines(start, stop)
        # minus lambda · (2 - 2 cos)² / farthest, minus (1 - lambda) · Jaccard distance, without a second matrix
        scores -= 1
        np.square(scores, out=scores)
        scores *= -4 * self.lambda_value / self.farthest[start:stop, None]
        scores -= 1 - self.lambda_value
        for first in range(start, stop, BLOCK):
            last = min(first + BLOCK, stop)
            shared = shared_weight(self.query_encoding[first:last], self.gallery_columns)
            scores[first - start : last - start] += (1 - self.lambda_value) * (shared / (2 - shared))
        return scores

    def _encode(self, pattern):
        """Give every member j of i's set the weight exp(-d(i, j)), eq. 7, and every row the sum 1."""
        weights = np.empty(pattern.nnz, np.float32)
        rows = np.repeat(np.arange(pattern.shape[0]), np.diff(pattern.indptr))
        for start in range(0, pattern.nnz, 1024):  # small enough for the cache
            block = slice(start, start + 1024)
            i, j = rows[block], pattern.indices[block]
            cosine = np.einsum("nd,nd->n", self.features[i], self.features[j])
            weights[block] = np.exp(-squared_distance(cosine) / self.farthest[i])
        encoding = sparse.csr_array((weights, pattern.indices, pattern.indptr), pattern.shape)
        return sparse.diags_array(1 / encoding.sum(axis=1)) @ encoding


def squared_distance(cosine):
    """The published original distance, the square of the squared Euclidean one: (2 - 2 cos)²."""
    return np.square(2 - 2 * cosine)


def reciprocal_sets(indices):
    """R(i) of eq. 1 as a boolean (N, N) matrix: j is among i's neighbours `indices` (N, k + 1), and i among j's."""
    num_images, k = indices.shape
    starts = np.arange(0, indices.size + 1, k)
    forward = sparse.csr_array((np.ones(indices.size, np.float32), indices.ravel(), starts), (num_images, num_images))
    return forward.multiply(forward.T).tocsr()


def reciprocal_expansion(indices, k1):
    """R*(i) of eq. 2: R(i), and R(j) of half the size for every j in R(i) whose half lies in R(i) by two thirds.

    indices: (N, k1 + 1) neighbours, itself first. Returns a sparse (N, N) matrix whose pattern is the sets.
    """
    sets, halves = reciprocal_sets(indices), reciprocal_sets(indices[:, : round(k1 / 2) + 1])
    shared = sets.multiply(sets @ halves.T).tocsr()  # (i, j): how much of j's half lies in i's set, j in that set
    sizes = np.diff(halves.indptr)[shared.indices]
    shared.data = (shared.data > 2 / 3 * sizes).astype(np.float32)
    expansion = (sets + shared @ halves).tocsr()
    expansion.eliminate_zeros()
    expansion.sort_indices()
    return expansion


def average_rows(encoding, indices):
    """Local query expansion: every row becomes the mean of the rows of its neighbours `indices` (N, k2)."""
    k = indices.shape[1]
    weights = np.full(indices.size, 1 / k, np.float32)
    starts = np.arange(0, indices.size + 1, k)
    return sparse.csr_array((weights, indices.ravel(), starts), encoding.shape) @ encoding


def shared_weight(rows, columns):
    """Σ over entries of min(row, column), eq. 10, through the images that have the entry.

    rows: (B, N) CSR, some queries' encodings; columns: (G, N) CSC, the gallery's. Returns (B, G) float32.
    """
    starts, sizes = columns.indptr[rows.indices], np.diff(columns.indptr)[rows.indices]
    within = np.arange(sizes.sum()) - np.repeat(sizes.cumsum() - sizes, sizes)
    entries = np.repeat(starts, sizes) + within
    smaller = np.minimum(np.repeat(rows.data, sizes), columns.data[entries])
    owners = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    cells = np.repeat(owners * columns.shape[0], sizes) + columns.indices[entries]
    size = rows.shape[0] * columns.shape[0]
    return np.bincount(cells, smaller, size).astype(np.float32).reshape(rows.shape[0], columns.shape[0])
