"""Nearest neighbours, exact and in chunks: the one place that re-ranking, expansion and search take them from."""

import numpy as np

from reid.retrieval.similarity import CHUNK_BYTES, CosineScores, chunks
from utils import progress

GROUPS = 32  # columns from which one maximum is taken, to bound the k-th largest score from below


def nearest(features, k, device=None, budget=CHUNK_BYTES):
    """The k nearest images of every image among all N, itself first.

    features: (N, D); device: a torch.device, or None for NumPy; budget: bytes of one chunk of scores.
    Returns (indices (N, k) int64, similarities (N, k) float32, lowest (N,) float32): `lowest` is the similarity of the
    image farthest away. Equal similarities are ordered by index.
    """
    scores = CosineScores(features, features, device)
    indices = np.empty((len(features), k), np.int64)
    similarities = np.empty((len(features), k), np.float32)
    lowest = np.empty(len(features), np.float32)
    for start, stop in progress(chunks(scores.shape, budget), desc="neighbours", unit="chunk"):
        chunk = scores(start, stop)
        rows = np.arange(stop - start)
        itself = np.asarray(chunk[rows, rows + start])
        chunk[rows, rows + start] = np.inf  # first, whatever rounding does to its twin
        indices[start:stop], similarities[start:stop] = top_k(chunk, k)
        similarities[start:stop, 0] = itself
        lowest[start:stop] = chunk.min(axis=1)
    return indices, similarities, lowest


def top_k(scores, k):
    """The k largest entries of every row, largest first, equal ones by column.

    scores: (B, N) NumPy array, N >= k. Returns (columns (B, k) int64, values (B, k)).
    """
    num_rows, num_columns = scores.shape
    # The k-th largest of the maxima of disjoint groups of columns is at most the k-th largest entry: few entries reach
    # it, and all of the first k do.
    width = num_columns // GROUPS
    if width >= 4 * k:
        maxima = scores[:, : GROUPS * width].reshape(num_rows, GROUPS, width).max(axis=1)
        bound = np.partition(maxima, width - k, axis=1)[:, width - k]
    else:
        bound = np.partition(scores, num_columns - k, axis=1)[:, num_columns - k]
    flat = np.flatnonzero(scores >= bound[:, None])
    rows, columns = np.divmod(flat, num_columns)
    values = scores[rows, columns]
    order = np.lexsort((-values, rows))  # stable: the columns of equal values stay ascending
    starts = np.searchsorted(rows, np.arange(num_rows))
    first = order[starts[:, None] + np.arange(k)]
    return columns[first], values[first]
