"""The search for nearest neighbours, used by re-ranking and query expansion.

found = ExactNeighbours().search(features, features, k=20, itself=True)
found.indices, found.similarities            # (N, 20) each, nearest first

For galleries with millions of images, FaissNeighbours is faster, and finds most neighbours.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from person_reid.arrays import Integers
from person_reid.errors import UserError, optional_module
from person_reid.retrieval.all_pairs import search_all_pairs
from person_reid.retrieval.similarity import (
    CHUNK_BYTES,
    CosineScores,
    Features,
    Floats,
    PreparedGallery,
    chunks,
    on_cpu,
    positions,
    row_minima,
    run_chunks,
    twins,
    unit_rows,
)

if TYPE_CHECKING:  # evaluate.py starts without torch
    import torch

log = logging.getLogger(__name__)
COLUMNS_OF_GROUP = 32  # columns per maximum; the maxima bound the k-th largest score from below
SAMPLED_QUERIES = 200  # queries whose neighbours are compared with the exact ones


class Neighbours(NamedTuple):
    """The result of a search.

    indices: (Q, k) int64, nearest first.
    similarities: (Q, k) float32, in the same order.
    lowest: (Q,) float32, the similarity of the farthest gallery image; None unless requested.
    """

    indices: Integers
    similarities: Floats
    lowest: Floats | None = None


class NeighbourSearch(Protocol):
    """A search for nearest neighbours: exact, or approximate through FAISS."""

    def search(
        self,
        queries: Features,
        gallery: Features,
        k: int,
        itself: bool = False,
        farthest: bool = False,
    ) -> Neighbours:
        """Find the k gallery images nearest to every query, as ExactNeighbours.search does."""


class ExactNeighbours:
    """A search that compares every query with every gallery image, one chunk of queries at a time.

    On a CPU, images are compared among themselves once per pair (all_pairs.py).

    device: an accelerator's torch.device, or None for NumPy. budget: the most bytes of one chunk of
    similarities.
    """

    def __init__(self, device: torch.device | None = None, budget: int = CHUNK_BYTES) -> None:
        self.device, self.budget = device, budget

    def search(
        self,
        queries: Features,
        gallery: Features | PreparedGallery,
        k: int,
        itself: bool = False,
        farthest: bool = False,
    ) -> Neighbours:
        """Find the k gallery images nearest to every query.

        Equal similarities are ordered by index.

        queries, gallery: features (Q, D) and (G, D). A gallery that is searched repeatedly may be
            the result of CosineScores.prepared.
        k: the number of neighbours, at most G.
        itself: the queries are the whole gallery, and every image comes first in its own list.
        farthest: also find `lowest`.
        """
        assert not itself or len(queries) == len(gallery), "the queries are not the gallery"
        if itself and (self.device is None or self.device.type == "cpu"):
            return self._search_all(unit_rows(queries), min(k, len(queries)), farthest)
        scores = CosineScores(queries, gallery, self.device)
        indices = np.empty((len(queries), k), np.int64)
        similarities = np.empty((len(queries), k), np.float32)
        lowest = np.empty(len(queries), np.float32)

        def search_chunk(start: int, stop: int) -> None:
            chunk = scores(start, stop)
            rows = np.arange(stop - start)
            if farthest:
                lowest[start:stop] = row_minima(chunk)
            if itself:
                own = on_cpu(chunk[rows, rows + start])
                # The image itself comes first, even if rounding puts an identical image ahead.
                chunk[rows, rows + start] = np.inf
            columns = top_k(chunk, k) if isinstance(chunk, np.ndarray) else top_k_torch(chunk, k)
            indices[start:stop] = columns
            similarities[start:stop] = on_cpu(chunk[rows[:, None], columns])
            if itself:
                similarities[start:stop, 0] = own

        run_chunks(search_chunk, chunks(scores.shape, self.budget), "neighbours")
        return Neighbours(indices, similarities, lowest if farthest else None)

    def _search_all(self, features: Features, k: int, farthest: bool) -> Neighbours:
        """Find each image's neighbours among all images, as `search` does with `itself`.

        Identical images get the same similarities.
        """
        later, first = twins(features)
        if not len(later):
            return Neighbours(*search_all_pairs(features, k, self.budget, farthest))
        members = np.arange(len(features))
        members[later] = first
        single, rows = np.unique(members, return_inverse=True)
        found = self.search(features[single], features, k, farthest=farthest)
        lowest = None if found.lowest is None else found.lowest[rows]
        found = Neighbours(found.indices[rows], found.similarities[rows], lowest)
        put_itself_first(found)
        return found


def put_itself_first(found: Neighbours) -> None:
    """Move every image to the front of its own list.

    An image that is missing from its list replaces the last entry.
    """
    for i, row in enumerate(found.indices):
        places = np.flatnonzero(row == i)
        place = places[0] if len(places) else len(row) - 1
        row[1 : place + 1] = row[:place].copy()
        found.similarities[i, 1 : place + 1] = found.similarities[i, :place].copy()
        row[0], found.similarities[i, 0] = i, 1.0


def nearest_of_chunks(
    queries: Features, chunks: Iterable[tuple[Integers, Features | PreparedGallery]], k: int
) -> tuple[Features, Integers]:
    """Return the similarities and ids of the nearest of N images, both (Q, min(k, N)).

    The images come in chunks, because they may not all fit into memory.

    chunks: ids (n,) and features (n, D), perhaps prepared. Images with equal similarities keep the
    order of the chunks.
    """
    nearest = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    for ids, features in chunks:
        found = ExactNeighbours().search(queries, features, min(k, len(ids)))
        nearest = merged(nearest, (found.similarities, ids[found.indices]), k)
    return nearest


def merged(
    first: tuple[Features, Integers], second: tuple[Features, Integers], k: int
) -> tuple[Features, Integers]:
    """Return the k nearest in two lists of similarities and ids; ties go to the first list."""
    similarities = np.concatenate([first[0], second[0]], axis=1)
    ids = np.concatenate([first[1], second[1]], axis=1)
    return nearest_first(similarities, ids, k)


def nearest_first(similarities: Features, ids: Integers, k: int) -> tuple[Features, Integers]:
    """Return the k nearest in each row of similarities and ids; ties keep their order."""
    order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(similarities, order, 1), np.take_along_axis(ids, order, 1)


def overlap(neighbours: Integers, others: Integers) -> float:
    """Return the share of the neighbours (N, K) that other lists (N, L) also contain."""
    return float((neighbours[:, :, None] == others[:, None, :]).any(axis=2).mean())


def top_k(scores: Floats, k: int) -> Integers:
    """Return the columns (B, k) of the k largest entries in each row of `scores` (B, N).

    The largest comes first. Equal entries are ordered by column.
    """
    num_rows, num_columns = scores.shape
    # The columns form disjoint groups. The k-th largest maximum of the groups is at most the k-th
    # largest entry. Few entries reach it, and the k largest are among them.
    width = num_columns // COLUMNS_OF_GROUP
    if width >= 4 * k:
        maxima = (
            scores[:, : COLUMNS_OF_GROUP * width]
            .reshape(num_rows, COLUMNS_OF_GROUP, width)
            .max(axis=1)
        )
        bound = np.partition(maxima, width - k, axis=1)[:, width - k]
    else:
        bound = np.partition(scores, num_columns - k, axis=1)[:, num_columns - k]
    rows, columns = np.divmod(np.flatnonzero(scores >= bound[:, None]), num_columns)
    counts = np.bincount(rows, minlength=num_rows)
    places = rows, positions(counts)
    candidates = np.full((num_rows, counts.max(initial=k)), -np.inf, scores.dtype)
    candidates[places] = scores[rows, columns]
    order = np.argsort(-candidates, axis=1, kind="stable")[:, :k]
    listed = np.zeros(candidates.shape, np.int64)
    listed[places] = columns
    return np.take_along_axis(listed, order, axis=1)


def top_k_torch(scores: torch.Tensor, k: int) -> Integers:
    """Return top_k for a tensor on any device, as a NumPy array.

    torch.topk alone does not define the order of equal entries.
    """
    scores = scores + 0.0  # makes -0 equal to 0 where a GPU sorts bits
    return scores.sort(dim=1, descending=True, stable=True).indices[:, :k].cpu().numpy()


def check_neighbours(k1: int, k2: int, gallery_size: int) -> None:
    """Raise UserError unless 1 ≤ k1 ≤ gallery_size and 1 ≤ k2 ≤ k1."""
    if not 1 <= k1 <= gallery_size:
        raise UserError(f"k1={k1}: expected 1 to {gallery_size}, the number of gallery images.")
    if not 1 <= k2 <= k1:
        raise UserError(f"k2={k2}: expected 1 to {k1}, the neighbours that k1 takes.")


class FaissNeighbours:
    """A search like ExactNeighbours, but through a FAISS index; it logs its recall.

    kind: "ivf" (inverted lists) or "hnsw" (a navigable graph). Johnson, Douze, Jégou, Billion-scale
    Similarity Search with GPUs, 2019; Malkov, Yashunin, Efficient and Robust Approximate Nearest
    Neighbor Search Using Hierarchical Navigable Small World Graphs, 2018. Raises UserError if FAISS
    is not installed.
    """

    def __init__(self, kind: str = "ivf") -> None:
        self.faiss, self.kind = open_faiss(), kind

    def search(
        self,
        queries: Features,
        gallery: Features,
        k: int,
        itself: bool = False,
        farthest: bool = False,
    ) -> Neighbours:
        """Search approximately; the arguments are those of ExactNeighbours.search.

        A few neighbours are missed, and `lowest` may be too high.
        """
        queries, gallery = (
            np.ascontiguousarray(features, np.float32) for features in (queries, gallery)
        )
        index = self._index(gallery)
        similarities, indices = index.search(queries, k)
        lowest = -index.search(-queries, 1)[0][:, 0] if farthest else None
        found = Neighbours(indices, similarities, lowest)
        sample = np.random.default_rng(0).permutation(len(queries))[:SAMPLED_QUERIES]
        exact = ExactNeighbours().search(queries[sample], gallery, k).indices
        log.warning(
            "faiss %s: recall %.4f of the %d nearest, over %d images",
            self.kind,
            overlap(exact, found.indices[sample]),
            k,
            len(sample),
        )
        short = np.flatnonzero((found.indices < 0).any(axis=1))
        if len(short):  # the lists held fewer than k images: search for these few exactly
            rest = ExactNeighbours().search(queries[short], gallery, k)
            found.indices[short], found.similarities[short] = rest.indices, rest.similarities
        if itself:
            put_itself_first(found)
        return found

    def _index(self, gallery: Features) -> Any:
        """Return a FAISS index of the gallery."""
        faiss, (count, dimension) = self.faiss, gallery.shape
        if self.kind == "hnsw":
            index = faiss.IndexHNSWFlat(dimension, 32, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction, index.hnsw.efSearch = 80, 128
        else:
            # FAISS asks for 39 images per list
            lists = max(1, min(int(4 * count**0.5), count // 39))
            index = trained_lists(gallery[:: max(1, count // (64 * lists))], lists)
            index.nprobe = max(8, lists // 16)
        index.add(gallery)
        return index


def trained_lists(sample: Features, lists: int, codes: str = "Flat") -> Any:
    """Return empty FAISS inverted lists around centres learned from features (S, D).

    codes: how the lists store features, in the notation of faiss.index_factory.
    """
    faiss = open_faiss()
    index = faiss.index_factory(sample.shape[1], f"IVF{lists},{codes}", faiss.METRIC_INNER_PRODUCT)
    index.train(sample)
    return index


def open_faiss() -> Any:
    """Import FAISS. Raises UserError if it is not installed.

    On macOS, FAISS and PyTorch each load an OpenMP library of their own, and loops on several
    threads then crash (https://github.com/faiss-wheels/faiss-wheels/issues/73). FAISS uses one
    thread there.
    """
    if sys.platform == "darwin":
        os.environ.setdefault("KMP_DUPLICATE_LIB_OK", "TRUE")  # or the second library aborts
    missing = UserError("FAISS is not installed: python -m pip install faiss-cpu")
    faiss = optional_module("faiss", missing)
    if sys.platform == "darwin":
        faiss.omp_set_num_threads(1)
    return faiss
