"""Approximate nearest neighbours with FAISS, for galleries of millions."""

import logging
from typing import Any

import numpy as np

from person_reid.config.option import OptionError
from person_reid.errors import optional_module
from person_reid.retrieval.neighbours import ExactNeighbours, Neighbours, overlap, put_itself_first
from person_reid.retrieval.similarity import Features

log = logging.getLogger(__name__)
SAMPLED_QUERIES = 200  # queries whose neighbours are compared with the exact ones


class FaissNeighbours:
    """The search of ExactNeighbours through a FAISS index, which logs the recall it reaches.

    kind: "ivf" (inverted lists) or "hnsw" (a navigable graph). Johnson, Douze, Jégou, Billion-scale
    Similarity Search with GPUs, 2019; Malkov, Yashunin, Efficient and Robust Approximate Nearest
    Neighbor Search Using Hierarchical Navigable Small World Graphs, 2018. Raises UserError if FAISS
    is not installed.
    """

    def __init__(self, kind: str = "ivf") -> None:
        missing = OptionError(
            "{neighbours}: FAISS is not installed: python -m pip install faiss-cpu",
            neighbours="faiss",
        )
        self.faiss, self.kind = optional_module("faiss", missing), kind

    def search(
        self,
        queries: Features,
        gallery: Features,
        k: int,
        itself: bool = False,
        farthest: bool = False,
    ) -> Neighbours:
        """Search approximately, with the arguments of ExactNeighbours.search.

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
    """Return inverted lists of FAISS, still empty, around centres learnt from features (S, D).

    codes: how they hold features, as faiss.index_factory calls it.
    """
    import faiss

    index = faiss.index_factory(sample.shape[1], f"IVF{lists},{codes}", faiss.METRIC_INNER_PRODUCT)
    index.train(sample)
    return index
