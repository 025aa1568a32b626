"""The one place where similarities are computed, in chunks of queries, in float32: cosines, and Euclidean distances."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from person_reid.basics import progress

CHUNK_BYTES = 2**28  # of float32 scores at a time, for each thread; smaller products are slower
MOST_ROWS = 512
MOST_THREADS = 4


def unit_rows(features):
    """(N, D) features with every row of norm 1: the same array if it is so already, as test.py writes it."""
    norms = np.sqrt(np.einsum("nd,nd->n", features, features))
    if np.all(np.abs(norms - 1) < 1e-3):
        return features
    return features / norms[:, None]


def twins(features):
    """(later, first): every row of features (N, D) that repeats an earlier row to the last bit, and that row."""
    odd = np.random.default_rng(0).integers(2**63, size=features.shape[1], dtype=np.uint64) * 2 + 1
    blocks = np.array_split(features.view(np.uint32), len(features) // 512 + 1)
    keys = np.concatenate([(block * odd).sum(axis=1) for block in blocks])  # modulo 2^64, in any order the same
    _, first, key = np.unique(keys, return_index=True, return_inverse=True)
    first = first[key]
    later = [
        i for i in np.flatnonzero(first < np.arange(len(first))) if np.array_equal(features[i], features[first[i]])
    ]
    return np.array(later, np.int64), first[later]


class Scores:
    """What a ranking is made from: scores(start, stop) is the (stop - start, G) float32 chunk of those queries.

    Higher is nearer. The chunk is the caller's to overwrite: a NumPy array, or a torch tensor on an accelerator.
    budget: bytes of a chunk that is not to be exceeded.
    """

    budget = CHUNK_BYTES

    def __call__(self, start, stop):
        raise NotImplementedError


class CosineScores(Scores):
    """Cosines between queries (Q, D) and gallery (G, D), computed when asked for; one and the same for twins.

    device: an accelerator's torch.device; NumPy computes where it is None or the CPU.
    """

    def __init__(self, query, gallery, device=None):
        self.query, self.gallery = self.factors(query, gallery)
        self.later, self.first = twins(self.gallery)
        self.on_accelerator = device is not None and device.type != "cpu"
        if self.on_accelerator:
            import torch

            self.query, self.gallery = (torch.from_numpy(each).to(device) for each in (self.query, self.gallery))
        self.shape = (len(query), len(gallery))

    @staticmethod
    def factors(query, gallery):
        """Two arrays whose product, the second transposed, is the scores."""
        return unit_rows(query), unit_rows(gallery)

    def __call__(self, start, stop):
        chunk = self.query[start:stop] @ self.gallery.T
        if len(self.later):  # BLAS rounds one column like this, another like that
            chunk[:, self.later] = chunk[:, self.first]
        return chunk


class EuclideanScores(CosineScores):
    """What ranks the gallery (G, D) by its Euclidean distance to a query q of (Q, D), for features of any length.

    q·g − |g|²/2 = (|q|² − |q − g|²)/2, in which |q|² is the same for the whole gallery.
    """

    @staticmethod
    def factors(query, gallery):
        halves = np.einsum("nd,nd->n", gallery, gallery) / 2
        return np.column_stack([query, np.ones_like(query[:, 0])]), np.column_stack([gallery, -halves])


DISTANCES = {"cosine": CosineScores, "euclidean": EuclideanScores}


def chunks(shape, budget=CHUNK_BYTES):
    """(start, stop) over the rows of a float32 matrix of `shape`, each chunk within `budget` bytes, or of one row."""
    rows = max(1, min(MOST_ROWS, budget // (4 * max(shape[1], 1))))
    return [(start, min(start + rows, shape[0])) for start in range(0, shape[0], rows)]


def thread_count():
    """How many chunks are worked on at once."""
    return min(MOST_THREADS, os.cpu_count() or 1)


def run_chunks(work, spans, description):
    """Call work(start, stop) for every span, a few at once: one chunk is counted while another is multiplied."""
    with ThreadPoolExecutor(thread_count()) as pool:
        for _ in progress(pool.map(lambda span: work(*span), spans), total=len(spans), desc=description, unit="chunk"):
            pass
