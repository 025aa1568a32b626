"""Graph re-ranking: two steps of feature propagation over the graph of nearest neighbours.

Zhang, Jiang, Wang, Li, Understanding Image Retrieval Re-Ranking: A Graph Neural Network Perspective, 2020. With A(i, j)
= 1 for j among i's k1 nearest, and S(i, j) = cos²(i, j) for j among i's k2 nearest, twice

    A ← A + Aᵀ,   A ← S A,   rows of A to unit norm

and the score of a query q and a gallery image g is (1 - λ) A_q · A_g + λ cos(q, g). S and A are sparse: no product is
ever dense, and A of the second step is never multiplied by its transpose. That would take a thousand times more
operations than its factors do. With G = A + Aᵀ of the first step, N and M the two diagonal matrices of row norms, and
B = N⁻¹ S G + G Sᵀ N⁻¹ the A + Aᵀ of the second,

    A_q · A_g = (A_q B) · S_g / M_g

and A_q is multiplied by the factors of B: they have far fewer entries than B where the graph is tangled.
"""

import numpy as np
from scipy import sparse

from person_reid.retrieval.neighbours import ExactNeighbours, check_neighbours
from person_reid.retrieval.similarity import CosineScores, Scores, chunks, run_chunks, unit_rows

BLOCK = 32  # queries at a time, next to one another and often of one person: they reach much the same images


class GraphScores(Scores):
    """The graph's scores between queries and gallery: a `scores` for metrics.evaluate.

    query: (Q, D), gallery: (G, D) features; k1, k2, lambda_value: as above; neighbours: who searches, exact by default.
    Raises UserError where k1 or k2 does not fit the data.
    """

    def __init__(self, query, gallery, k1=26, k2=7, lambda_value=0.3, neighbours=None):
        check_neighbours(k1, k2, len(gallery))
        self.lambda_value = lambda_value
        features = unit_rows(np.concatenate([query, gallery]))
        self.cosines = CosineScores(features[: len(query)], features[len(query) :])
        found = (neighbours or ExactNeighbours()).search(features, features, k1, itself=True)
        adjacency = sparse_rows(found.indices, np.ones(found.indices.shape, np.float32))
        self.adjacency = (adjacency + adjacency.T).tocsr()
        weights = sparse_rows(found.indices[:, :k2], np.square(found.similarities[:, :k2]))
        first = weights @ self.adjacency
        scale = sparse.diags_array(1 / row_norms(first))
        first, self.step = scale @ first, scale @ weights
        self.graph = (first + first.T).tocsr()
        norms = np.empty(len(features), np.float32)

        def measure(first, last):  # a block at a time: A of the second step would be the largest matrix of all
            norms[first:last] = row_norms(weights[first:last] @ self.graph)

        run_chunks(measure, chunks((len(features), 1)), "graph")
        weights = sparse.diags_array(1 / norms) @ weights
        self.query_weights = weights[: len(query)]
        self.gallery_weights = (1 - lambda_value) * weights[len(query) :]

    def __call__(self, start, stop):
        """(stop - start, G) float32 scores of these queries."""
        scores = self.cosines(start, stop)
        scores *= self.lambda_value
        for first in range(start, stop, BLOCK):
            last = min(first + BLOCK, stop)
            scores[first - start : last - start] += (self.gallery_weights @ self._reach(first, last)).T
        return scores

    def _reach(self, first, last):
        """A_q B of these queries, transposed: (N, last - first)."""
        queries = self.query_weights[first:last] @ self.graph
        rows = present(queries)
        values = np.ascontiguousarray(queries.toarray()[:, rows].T)
        reached = self.step @ (self.adjacency[rows].T @ values)
        step = self.step[rows]
        beyond = present(step)
        reached += self.adjacency[beyond].T @ (step.T @ values)[beyond]
        return reached


def present(matrix):
    """The columns of a CSR matrix that have an entry, ascending."""
    return np.flatnonzero(np.bincount(matrix.indices, minlength=matrix.shape[1]))


def sparse_rows(indices, values):
    """The (N, N) CSR matrix whose row i has `values` (N, k) at the columns `indices` (N, k)."""
    num_images, k = indices.shape
    # 32-bit indices, half the memory of what SciPy would choose, as long as they can count the entries
    kind = np.int32 if indices.size < 2**31 else np.int64
    starts = np.arange(0, indices.size + 1, k, dtype=kind)
    return sparse.csr_array((values.ravel(), indices.astype(kind).ravel(), starts), (num_images, num_images))


def row_norms(matrix):
    """(N,) Euclidean norms of the rows of a CSR matrix, none of them empty."""
    return np.sqrt(np.add.reduceat(np.square(matrix.data), matrix.indptr[:-1]))
