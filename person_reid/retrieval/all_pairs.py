"""The nearest neighbours of images among themselves. Each pair of images is compared once, for both of them."""

import itertools
import math
from threading import Lock
from typing import Any

import numpy as np

from person_reid.retrieval.similarity import Features, Floats, Integers, positions, run_chunks, twins

BLOCK = 1024  # images; a larger product is no faster, and its bounds rise later


class Shortlist:
    """The k nearest images of some images, among those offered so far. Any thread may offer more.

    bound: (B,) float32, the similarity below which an image is not among the k nearest.
    lowest: (B,) float32, the lowest similarity so far; None unless it was asked for (`farthest`).
    """

    def __init__(self, size: int, k: int, farthest: bool) -> None:
        self.k, self.most = k, 2 * k * size  # candidates; more would cost memory, fewer would be sorted more often
        self.bound = np.full(size, -np.inf, np.float32)
        self.lowest = np.full(size, np.inf, np.float32) if farthest else None
        self.found: list[tuple[Any, Any, Any]] = []  # rows, columns and similarities of candidates
        self.lock = Lock()

    def offer(self, block: Floats, first: int, transposed: bool = False) -> None:
        """Take the similarities (B, C) to the images from number `first` on; (C, B) if transposed."""
        bound, axis = (self.bound, 0) if transposed else (self.bound[:, None], 1)
        candidates = np.divmod(np.flatnonzero(block >= bound), block.shape[1])
        similarities = block[candidates]
        lowest = np.inf if self.lowest is None else block.min(axis=axis)
        rows, columns = (each.astype(np.int32) for each in candidates[:: -1 if transposed else 1])
        with self.lock:
            if self.lowest is not None:
                np.minimum(self.lowest, lowest, out=self.lowest)
            self.found.append((rows, columns + np.int32(first), similarities))
            if sum(len(rows) for rows, *_ in self.found) > self.most:
                self.trim()

    def trim(self) -> tuple[Any, Any]:
        """Drop all but the k nearest of each row. Return their columns and similarities, row by row, nearest first."""
        rows, columns, similarities = (np.concatenate(parts) for parts in zip(*self.found, strict=True))
        kept = nearest(rows, columns, similarities, self.k)
        rows, columns, similarities = rows[kept], columns[kept], similarities[kept]
        ends = np.searchsorted(rows, np.arange(len(self.bound)), side="right")
        full = np.diff(ends, prepend=0) == self.k
        self.bound[full] = similarities[ends[full] - 1]
        self.found = [(rows, columns, similarities)]
        return columns, similarities


def nearest(rows: Any, columns: Any, similarities: Any, k: int) -> Integers:
    """Return the candidates (P,) that are the k most similar of their row: by row, nearest first, then by column."""
    order = nearest_first(rows, columns, similarities)
    return order[positions(np.bincount(rows)) < k]


def nearest_first(rows: Any, columns: Any, similarities: Floats) -> Integers:
    """Return np.lexsort((columns, -similarities, rows)), in a tenth of the time where NumPy has vectors for argsort.

    rows: below 2³¹, as are columns.
    """
    bits = (0 - similarities).view(np.int32)  # 0 - 0 is 0, never -0
    # integers in the order of the floats; a row's are above those of the row before
    key = (rows.astype(np.int64) << 32) + (bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF)))
    order = np.argsort(key)
    key = key[order]
    equal = np.flatnonzero(key[1:] == key[:-1])
    if len(equal):  # rare, so that a slow sort of these alone takes no time
        equal = np.union1d(equal, equal + 1)
        order[equal] = order[equal][np.lexsort((columns[order[equal]], key[equal]))]
    return order


def search_all_pairs(
    features: Features, k: int, budget: int, farthest: bool = False
) -> tuple[Integers, Floats, Floats | None]:
    """Return the k nearest images of every image and its similarities to them, on request also to the farthest image.

    features: (N, D) float32, rows of norm 1.
    k: the number of neighbours, 1 to N. The image itself comes first; equal similarities are ordered by index.
    budget: the most bytes of a block of similarities, but not less than a row of them takes.
    farthest: find the lowest similarities too, which takes a tenth more time.
    Returns indices (N, k), similarities (N, k) and the lowest similarities (N,) or None. Identical images have
    identical similarities, however a BLAS rounds.
    """
    later, first = twins(features)
    single = np.delete(np.arange(len(features)), later)
    distinct = features[single] if len(later) else features
    member = np.empty(len(features), np.int64)  # which of the distinct images each image is
    member[single] = np.arange(len(single))
    member[later] = member[first]
    columns, similarities, lowest = _search_distinct(distinct, min(k, len(single)), budget, farthest)
    if not len(later):
        return columns, similarities, lowest
    # List all copies of every neighbour, and choose the k nearest again.
    copies = np.argsort(member, kind="stable")
    sizes = np.bincount(member)
    starts = sizes.cumsum() - sizes
    listed = columns[member]  # (N, k)
    repeats = sizes[listed].ravel()
    rows = np.repeat(np.repeat(np.arange(len(features)), listed.shape[1]), repeats)
    columns = copies[np.repeat(starts[listed].ravel(), repeats) + positions(repeats)]
    similarities = np.repeat(similarities[member].ravel(), repeats)
    kept = nearest(rows, columns, np.where(columns == rows, np.float32(np.inf), similarities), k)
    shape = (len(features), k)
    return columns[kept].reshape(shape), similarities[kept].reshape(shape), None if lowest is None else lowest[member]


def _search_distinct(features: Features, k: int, budget: int, farthest: bool) -> tuple[Integers, Floats, Floats | None]:
    """Do what search_all_pairs does for images that differ."""
    size = min(BLOCK, math.isqrt(max(budget // 4, len(features))), len(features))
    count = math.ceil(len(features) / max(size, 1))
    ends = np.linspace(0, len(features), count + 1).astype(int)
    spans = [slice(*span) for span in itertools.pairwise(ends)]
    lists = [Shortlist(span.stop - span.start, k, farthest) for span in spans]
    own = np.empty(len(features), np.float32)

    def compare(i: int, j: int) -> None:
        block = features[spans[i]] @ features[spans[j]].T
        if i == j:
            own[spans[i]] = block.diagonal()
            np.fill_diagonal(block, np.inf)  # the image itself comes first
            if k <= len(block):
                lists[i].bound[:] = np.partition(block, -k, axis=1)[:, -k]
        else:
            lists[j].offer(block, spans[i].start, transposed=True)
        lists[i].offer(block, spans[j].start)

    # Every block with itself, then with the next one, and so on in a circle, so that the bounds rise early.
    circle = [(i, (i + step) % count) for step in range(count // 2 + 1) for i in range(count)]
    run_chunks(compare, circle[: count * (count + 1) // 2], "neighbours")
    columns, similarities = (
        np.concatenate(parts).reshape(-1, k) for parts in zip(*[each.trim() for each in lists], strict=True)
    )
    similarities[:, 0] = own
    lowest = np.minimum(np.concatenate([each.lowest for each in lists]), own) if farthest else None
    return columns.astype(np.int64), similarities, lowest
