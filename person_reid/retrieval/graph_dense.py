"""Graph re-ranking with dense matrices on an accelerator, where they fit: the formula of graph.py as it is written."""

import numpy as np

from person_reid.retrieval.neighbours import ExactNeighbours, check_neighbours
from person_reid.retrieval.similarity import CosineScores, Scores, unit_rows

BLOCK = 1024  # rows whose k2 neighbours are gathered at a time


class DenseGraphScores(Scores):
    """GraphScores on `device`, with the same arguments; scores(start, stop) is a tensor there."""

    def __init__(self, query, gallery, k1=26, k2=7, lambda_value=0.3, neighbours=None, device="cpu"):
        import torch

        check_neighbours(k1, k2, len(gallery))
        self.num_queries, self.lambda_value = len(query), lambda_value
        features = unit_rows(np.concatenate([query, gallery]))
        neighbours = neighbours or ExactNeighbours()
        found = neighbours.search(features, features, k1, itself=True)
        self.cosines = CosineScores(features[: len(query)], features[len(query) :], torch.device(device))
        indices = torch.from_numpy(found.indices).to(device)
        self.neighbours = indices[:, :k2]
        self.weights = torch.from_numpy(found.similarities[:, :k2]).to(device).square()
        adjacency = torch.zeros(len(features), len(features), device=device).scatter_(1, indices, 1)
        self.graph = self._propagate(self._propagate(adjacency))

    def _propagate(self, graph):
        """Rows of unit norm of S (A + Aᵀ); `graph` (N, N) is overwritten."""
        from torch.nn.functional import normalize

        symmetric = graph + graph.T
        for start in range(0, len(graph), BLOCK):
            rows = slice(start, start + BLOCK)
            total = sum(
                weight[:, None] * symmetric[image]
                for weight, image in zip(self.weights[rows].T, self.neighbours[rows].T, strict=True)
            )
            graph[rows] = normalize(total, dim=1)
        return graph

    def __call__(self, start, stop):
        import torch

        walk = self.graph[start:stop] @ self.graph[self.num_queries :].T
        cosine = torch.as_tensor(self.cosines(start, stop), device=walk.device)
        return (1 - self.lambda_value) * walk + self.lambda_value * cosine


def fits(num_images, device):
    """Whether the two (N, N) float32 matrices of N images fit into the free memory of a CUDA `device`."""
    import torch

    return device.type == "cuda" and 2 * 4 * num_images**2 < 0.9 * torch.cuda.mem_get_info(device)[0]
