"""The one place where similarities are computed: cosines, in chunks of queries, in float32."""

import numpy as np

CHUNK_BYTES = 2**26  # 64 MB of float32 scores at a time
MOST_ROWS = 512


def unit_rows(features):
    """(N, D) features with every row of norm 1: the same array if it is so already, as test.py writes it."""
    norms = np.sqrt(np.einsum("nd,nd->n", features, features))
    if np.all(np.abs(norms - 1) < 1e-3):
        return features
    return features / norms[:, None]


class CosineScores:
    """Cosines between queries (Q, D) and gallery (G, D), computed when asked for.

    scores(start, stop) is the (stop - start, G) float32 chunk for those queries, the caller's to overwrite: a NumPy
    array, or a torch tensor on `device` where one is given.
    """

    def __init__(self, query, gallery, device=None):
        query, gallery = unit_rows(query), unit_rows(gallery)
        if device is not None:
            import torch

            query, gallery = (torch.from_numpy(features).to(device) for features in (query, gallery))
        self.query, self.gallery = query, gallery
        self.shape = (len(query), len(gallery))

    def __call__(self, start, stop):
        return self.query[start:stop] @ self.gallery.T


def chunks(shape, budget=CHUNK_BYTES):
    """(start, stop) over the rows of a float32 matrix of `shape`, each chunk within `budget` bytes, or of one row."""
    rows = max(1, min(MOST_ROWS, budget // (4 * shape[1])))
    return [(start, min(start + rows, shape[0])) for start in range(0, shape[0], rows)]
