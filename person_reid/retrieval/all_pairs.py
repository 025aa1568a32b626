"""Find the nearest neighbours of images within one set.

Each pair of images is compared only once.
"""

import itertools
import math
from threading import Lock
from typing import Any

import numpy as np

from person_reid.arrays import Integers
from person_reid.retrieval.similarity import Features, Floats, positions, run_chunks

IMAGES_OF_PRODUCT = 1024  # images per product; in a larger one, the bounds rise too late
ITSELF = np.float32(2)  # above any cosine, so that the image itself comes first


class Shortlist:
    """The k nearest neighbours of each image, among the images offered so far.

    Any thread can offer images.

    bound: (B,) float32, the similarity below which an image is not among the k nearest.
    lowest: (B,) float32, the lowest similarity so far.
    """

    def __init__(self, size: int, k: int) -> None:
        # The limit of candidates: a higher one costs memory, a lower one means sorting more often.
        self.k, self.most = k, 2 * k * size
        self.bound = np.full(size, -np.inf, np.float32)
        self.lowest = np.full(size, np.inf, np.float32)
        self.found: list[tuple[Any, Any, Any]] = []  # rows, columns and similarities of candidates
        self.lock = Lock()

    def offer(self, block: Floats, first: int, farthest: bool) -> None:
        """Add candidates: similarities (B, C) to the images from number `first` on.

        farthest: also track the lowest similarities.
        """
        rows, columns = np.divmod(np.flatnonzero(block >= self.bound[:, None]), block.shape[1])
        candidates = (
            rows.astype(np.int32),
            columns.astype(np.int32) + np.int32(first),
            block[rows, columns],
        )
        lowest = block.min(axis=1) if farthest else np.inf
        with self.lock:
            np.minimum(self.lowest, lowest, out=self.lowest)
            self.found.append(candidates)
            if sum(len(rows) for rows, *_ in self.found) > self.most:
                self.trim()

    def trim(self) -> tuple[Any, Any]:
        """Drop all candidates but the k nearest in each row.

        Return their columns and similarities, row by row, nearest first.
        """
        rows, columns, similarities = (
            np.concatenate(parts) for parts in zip(*self.found, strict=True)
        )
        order = pairs_by_similarity(rows, columns, similarities)
        kept = order[positions(np.bincount(rows)) < self.k]
        rows = rows[kept]
        columns = columns[kept]
        similarities = similarities[kept]
        ends = np.searchsorted(rows, np.arange(len(self.bound)), side="right")
        full = np.diff(ends, prepend=0) == self.k
        self.bound[full] = similarities[ends[full] - 1]
        self.found = [(rows, columns, similarities)]
        return columns, similarities


def pairs_by_similarity(rows: Any, columns: Any, cosines: Floats) -> Integers:
    """Return np.lexsort((columns, -cosines, rows)).

    It takes a tenth of the time where NumPy's argsort uses vector instructions.
    """
    key = 4.0 * rows - cosines  # all keys of a row are above the keys of the row before
    order = np.argsort(key)
    key = key[order]
    equal = np.flatnonzero(key[1:] == key[:-1])
    if len(equal):  # rare, so a slow sort of these alone takes little time
        equal = np.union1d(equal, equal + 1)
        these = order[equal]
        order[equal] = these[np.lexsort((columns[these], -cosines[these], rows[these]))]
    return order


def search_all_pairs(
    features: Features, k: int, budget: int, farthest: bool = False
) -> tuple[Integers, Floats, Floats | None]:
    """Return every image's k nearest neighbours and, on request, its lowest similarity.

    features: (N, D) float32, rows of norm 1, all different.
    k: the number of neighbours, 1 to N. The image itself comes first; equal similarities are
        ordered by index.
    budget: the most bytes of a block of similarities; a block has at least one row.
    farthest: also find the lowest similarities, which takes a tenth more time.

    Returns indices (N, k), similarities (N, k) and the lowest similarities (N,) or None.
    """
    size = min(IMAGES_OF_PRODUCT, math.isqrt(max(budget // 4, len(features))), len(features))
    count = math.ceil(len(features) / max(size, 1))
    ends = np.linspace(0, len(features), count + 1).astype(int)
    spans = [slice(*span) for span in itertools.pairwise(ends)]
    lists = [Shortlist(span.stop - span.start, k) for span in spans]
    own = np.empty(len(features), np.float32)

    def compare(i: int, j: int) -> None:
        block = features[spans[i]] @ features[spans[j]].T
        if i == j:
            own[spans[i]] = block.diagonal()
            np.fill_diagonal(block, ITSELF)
            if k <= len(block):
                lists[i].bound[:] = np.partition(block, -k, axis=1)[:, -k]
        else:
            lists[j].offer(block.T, spans[i].start, farthest)
        lists[i].offer(block, spans[j].start, farthest)

    # Compare every block with itself, then with the next block, and so on in a circle, so that the
    # bounds rise early.
    circle = [(i, (i + step) % count) for step in range(count // 2 + 1) for i in range(count)]
    run_chunks(compare, circle[: count * (count + 1) // 2], "neighbours")
    columns, similarities = (
        np.concatenate(parts).reshape(-1, k)
        for parts in zip(*[each.trim() for each in lists], strict=True)
    )
    similarities[:, 0] = own
    lowest = np.minimum(np.concatenate([each.lowest for each in lists]), own) if farthest else None
    return columns.astype(np.int64), similarities, lowest
