"""Graph re-ranking with dense matrices on an accelerator, if they fit.

This computes the formula in graph.py literally.
"""

import numpy as np
import torch
from torch.nn.functional import embedding_bag, normalize

from person_reid.retrieval.neighbours import NeighbourSearch
from person_reid.retrieval.similarity import CosineScores, Features, Scores, unit_rows

ROWS_AT_ONCE = 1024  # rows for which k2 neighbours are gathered at a time


class DenseGraphScores(Scores):
    """GraphScores on `device`, with the same arguments."""

    def __init__(
        self,
        query: Features,
        gallery: Features,
        k1: int,
        k2: int,
        lambda_value: float,
        neighbours: NeighbourSearch,
        device: torch.device | str = "cpu",
    ) -> None:
        self.num_queries, self.lambda_value = len(query), lambda_value
        features = unit_rows(np.concatenate([query, gallery]))
        found = neighbours.search(features, features, k1, itself=True)
        self.cosines = CosineScores(
            features[: len(query)], features[len(query) :], torch.device(device)
        )
        indices = torch.from_numpy(found.indices).to(device)
        self.neighbours = indices[:, :k2]
        self.weights = torch.from_numpy(found.similarities[:, :k2]).to(device).square()
        adjacency = torch.zeros(len(features), len(features), device=device).scatter_(1, indices, 1)
        self.graph = self._propagate(self._propagate(adjacency))

    def _propagate(self, graph: torch.Tensor) -> torch.Tensor:
        """Return S (A + Aᵀ) with rows of unit norm, overwriting A, `graph` (N, N)."""
        symmetric = graph + graph.T
        for start in range(0, len(graph), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            weights = self.weights[rows]
            graph[rows] = normalize(
                embedding_bag(
                    self.neighbours[rows], symmetric, per_sample_weights=weights, mode="sum"
                )
            )
        return graph

    def __call__(self, start: int, stop: int) -> torch.Tensor:
        """Return the scores of queries `start` to `stop`, a float32 tensor (stop - start, G)."""
        walk = self.graph[start:stop] @ self.graph[self.num_queries :].T
        cosine = torch.as_tensor(self.cosines(start, stop), device=walk.device)
        return (1 - self.lambda_value) * walk + self.lambda_value * cosine


def matrix_fits(num_images: int, device: torch.device) -> bool:
    """Return whether the two (N, N) float32 matrices for N images fit into the free memory."""
    return 2 * 4 * num_images**2 < 0.9 * torch.cuda.mem_get_info(device)[0]
