"""Graph re-ranking: two steps of feature propagation over the graph of nearest neighbours.

Zhang, Jiang, Wang, Li, Understanding Image Retrieval Re-Ranking: A Graph Neural Network
Perspective, 2020. Let A(i, j) = 1 for j among i's k1 nearest, and S(i, j) = cos²(i, j) for j among
i's k2 nearest. Two steps of

    A ← A + Aᵀ,   A ← S A,   rows of A to unit norm

give the score of a query q and a gallery image g: (1 - λ) A_q · A_g + λ cos(q, g). S and A are
sparse: no product is ever dense. A of the second step is never multiplied by its transpose, which
would take a thousand times as many operations as multiplying by its factors. Let G be A + Aᵀ of the
first step, N and M the diagonal matrices of the row norms in the two steps, and B = N⁻¹ S G + G Sᵀ
N⁻¹ the matrix A + Aᵀ of the second step. Then

    A_q · A_g = (A_q B) · S_g / M_g

and A_q is multiplied by B, or by B's factors where the graph is so dense that they have far fewer
entries.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse

from person_reid.arrays import Integers
from person_reid.retrieval.neighbours import NeighbourSearch
from person_reid.retrieval.similarity import (
    CosineScores,
    Features,
    Floats,
    Scores,
    chunks,
    run_chunks,
    unit_rows,
)

# Queries at a time: a cache line of float32. Queries that are adjacent in the file often reach the
# same images.
IMAGES_OF_BLOCK = 16
InChunks = Callable[[Callable[[int, int], Any]], list[Any]]


class Propagation:
    """B = N⁻¹ S G + G Sᵀ N⁻¹, symmetric (N, N), as a matrix and as its factors.

    weights: S, (N, N) CSR. adjacency: G, symmetric (N, N) CSR.
    in_chunks: in_chunks(work) → [work(start, stop), ...] for chunks of the N images, in threads.
    """

    def __init__(self, weights: Any, adjacency: Any, in_chunks: InChunks) -> None:
        norms = in_chunks(lambda start, stop: row_norms(weights[start:stop] @ adjacency))
        self.step = sparse.diags_array(1 / np.concatenate(norms)) @ weights
        self.adjacency = adjacency
        # both terms in a single product
        left = sparse.hstack([self.step, adjacency], format="csr")
        right = sparse.vstack([adjacency, self.step.T], format="csr")
        parts = in_chunks(lambda start, stop: left[start:stop] @ right)
        self.product = sparse.vstack(parts, format="csr")

    def apply(self, rows: Any) -> Floats:
        """Return B rowsᵀ, dense (N, q), for CSR rows (q, N)."""
        some = present(rows)
        values = np.ascontiguousarray(rows.toarray()[:, some].T)
        # B has fewer entries here than one of its factors
        if np.diff(self.product.indptr)[some].sum() < self.step.nnz:
            return self.product[some].T @ values
        step = self.step[some]
        beyond = present(step)
        reached = self.step @ (self.adjacency[some].T @ values)
        reached += self.adjacency[beyond].T @ (step.T @ values)[beyond]
        return reached


class GraphScores(Scores):
    """The graph's scores between queries and gallery, as `scores` for metrics.evaluate.

    query, gallery: features (Q, D) and (G, D).
    k1, k2, lambda_value: see the module.
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
        features = unit_rows(np.concatenate([query, gallery]))
        self.cosines = CosineScores(features[: len(query)], features[len(query) :])
        found = neighbours.search(features, features, k1, itself=True)
        adjacency = sparse_rows(found.indices, np.ones(found.indices.shape, np.float32))
        adjacency = (adjacency + adjacency.T).tocsr()
        weights = sparse_rows(found.indices[:, :k2], np.square(found.similarities[:, :k2]))
        spans = chunks((len(features), 1))

        # A product in chunks uses all threads.
        def in_chunks(work: Callable[[int, int], Any]) -> list[Any]:
            return run_chunks(work, spans, "graph")

        self.graph = graph = Propagation(weights, adjacency, in_chunks)
        # Working in chunks avoids A itself, which would be the largest matrix.
        norms = in_chunks(lambda start, stop: row_norms(weights[start:stop] @ graph.product))
        weights = sparse.diags_array(1 / np.concatenate(norms)) @ weights
        self.query_weights = weights[: len(query)]
        self.gallery_weights = (1 - lambda_value) * weights[len(query) :]

    def __call__(self, start: int, stop: int) -> Floats:
        """Return the scores of queries `start` to `stop`, float32 (stop - start, G)."""
        scores = self.cosines(start, stop)
        scores *= self.lambda_value
        for first in range(start, stop, IMAGES_OF_BLOCK):
            last = min(first + IMAGES_OF_BLOCK, stop)
            queries = self.query_weights[first:last] @ self.graph.product  # A_q
            reached = self.gallery_weights @ self.graph.apply(queries)
            scores[first - start : last - start] += reached.T
        return scores


def present(matrix: Any) -> Integers:
    """Return, in ascending order, the columns of a CSR matrix that have an entry."""
    return np.flatnonzero(np.bincount(matrix.indices, minlength=matrix.shape[1]))


def sparse_rows(indices: Integers, values: Floats) -> Any:
    """Return the (N, N) CSR matrix that has `values` (N, k) at the columns `indices` (N, k)."""
    num_images, k = indices.shape
    # 32-bit indices, if they can count the entries, take half the memory that SciPy would use
    kind = np.int32 if indices.size < 2**31 else np.int64
    starts = np.arange(0, indices.size + 1, k, dtype=kind)
    return sparse.csr_array(
        (values.ravel(), indices.astype(kind).ravel(), starts), (num_images, num_images)
    )


def row_norms(matrix: Any) -> Floats:
    """Return the Euclidean norms (N,) of the rows of a CSR matrix that has no empty row."""
    return np.sqrt(np.add.reduceat(np.square(matrix.data), matrix.indptr[:-1]))
