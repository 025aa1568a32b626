"""Nearest neighbours: the one place that re-ranking and expansion take them from.

found = ExactNeighbours().search(features, features, k=20, itself=True)
found.indices, found.similarities            # (N, 20) each, nearest first
"""

from dataclasses import dataclass

import numpy as np

from person_reid.basics import UserError
from person_reid.retrieval.similarity import CHUNK_BYTES, CosineScores, chunks, run_chunks

GROUPS = 32  # columns under one maximum, to bound the k-th largest score from below


@dataclass
class Neighbours:
    """What a search found.

    indices (Q, k) int64 and similarities (Q, k) float32, nearest first; lowest (Q,) float32, the similarity of the
    gallery image farthest away, or None where nobody asked for it.
    """

    indices: np.ndarray
    similarities: np.ndarray
    lowest: np.ndarray | None = None


class ExactNeighbours:
    """Every query is compared with every gallery image, a chunk of queries at a time.

    device: an accelerator's torch.device, or None for NumPy; budget: bytes of one chunk of similarities.
    """

    def __init__(self, device=None, budget=CHUNK_BYTES):
        self.device, self.budget = device, budget

    def search(self, queries, gallery, k, itself=False, farthest=False):
        """The k nearest of gallery (G, D) for every query (Q, D), equal similarities by index.

        itself: the queries are the gallery, and every image comes first in its own list. farthest: find `lowest` too.
        Returns Neighbours.
        """
        scores = CosineScores(queries, gallery, self.device)
        indices = np.empty((len(queries), k), np.int64)
        similarities = np.empty((len(queries), k), np.float32)
        lowest = np.empty(len(queries), np.float32)

        def search_chunk(start, stop):
            chunk = scores(start, stop)
            rows = np.arange(stop - start)
            if farthest:
                lowest[start:stop] = _on_cpu(chunk.min(1) if isinstance(chunk, np.ndarray) else chunk.amin(1))
            if itself:
                own = _on_cpu(chunk[rows, rows + start])
                chunk[rows, rows + start] = np.inf  # whatever rounding does to a twin, the image itself is first
            columns = top_k(chunk, k) if isinstance(chunk, np.ndarray) else top_k_torch(chunk, k)
            indices[start:stop] = columns
            similarities[start:stop] = _on_cpu(chunk[rows[:, None], columns])
            if itself:
                similarities[start:stop, 0] = own

        run_chunks(search_chunk, chunks(scores.shape, self.budget), "neighbours")
        return Neighbours(indices, similarities, lowest if farthest else None)


def top_k(scores, k):
    """Columns (B, k) of the k largest entries of every row of `scores` (B, N), largest first, equal ones by column."""
    num_rows, num_columns = scores.shape
    # The k-th largest of the maxima of disjoint groups of columns is at most the k-th largest entry: few entries reach
    # it, and the first k are among them.
    width = num_columns // GROUPS
    if width >= 4 * k:
        maxima = scores[:, : GROUPS * width].reshape(num_rows, GROUPS, width).max(axis=1)
        bound = np.partition(maxima, width - k, axis=1)[:, width - k]
    else:
        bound = np.partition(scores, num_columns - k, axis=1)[:, num_columns - k]
    rows, columns = np.divmod(np.flatnonzero(scores >= bound[:, None]), num_columns)
    order = np.lexsort((-scores[rows, columns], rows))  # stable: the columns of equal entries stay ascending
    starts = np.searchsorted(rows, np.arange(num_rows))
    return columns[order[starts[:, None] + np.arange(k)]]


def top_k_torch(scores, k):
    """top_k of a float32 tensor on any device, as a NumPy array. torch.topk leaves the order of equal entries open."""
    import torch

    bits = (scores + 0.0).view(torch.int32)  # adding 0 makes -0 equal to 0
    ordered = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long()  # integers in the order of the floats
    key = (ordered << 32) - torch.arange(scores.shape[1], device=scores.device)
    return key.topk(k, dim=1).indices.cpu().numpy()


def check_neighbours(k1, k2, gallery_size):
    """Raise a UserError where there are not k1 neighbours to be had, or where k2 is more than k1."""
    if not 1 <= k1 <= gallery_size:
        raise UserError(f"--k1 {k1}: expected 1 to {gallery_size}, the number of gallery images.")
    if not 1 <= k2 <= k1:
        raise UserError(f"--k2 {k2}: expected 1 to {k1}, the neighbours that --k1 takes.")


def _on_cpu(values):
    return values if isinstance(values, np.ndarray) else values.cpu().numpy()
