"""Approximate neighbours by FAISS, for galleries of millions."""

import logging

import numpy as np

from person_reid.basics import UserError
from person_reid.retrieval.neighbours import ExactNeighbours, Neighbours

log = logging.getLogger(__name__)
SAMPLE = 200  # queries whose neighbours are compared with the exact ones


class FaissNeighbours:
    """The search of ExactNeighbours through a FAISS index; it logs the recall that it reaches.

    kind: "ivf" (inverted lists) or "hnsw" (a navigable graph). Johnson, Douze, Jégou, Billion-scale Similarity Search
    with GPUs, 2019; Malkov, Yashunin, Efficient and Robust Approximate Nearest Neighbor Search Using Hierarchical
    Navigable Small World Graphs, 2018. Raises UserError where FAISS is not installed.
    """

    def __init__(self, kind="ivf"):
        try:
            import faiss
        except ImportError:
            raise UserError("--neighbours faiss: FAISS is not installed: python -m pip install faiss-cpu") from None
        self.faiss, self.kind = faiss, kind

    def search(self, queries, gallery, k, itself=False, farthest=False):
        """As ExactNeighbours.search, approximately: some neighbours are missed, and `lowest` may be a little high."""
        queries, gallery = (np.ascontiguousarray(features, np.float32) for features in (queries, gallery))
        index = self._index(gallery)
        similarities, indices = index.search(queries, k)
        lowest = -index.search(-queries, 1)[0][:, 0] if farthest else None
        found = Neighbours(indices, similarities, lowest)
        sample = np.random.default_rng(0).permutation(len(queries))[:SAMPLE]
        exact = ExactNeighbours().search(queries[sample], gallery, k).indices
        recall = np.mean([np.isin(row, found.indices[i]).mean() for i, row in zip(sample, exact, strict=True)])
        log.warning("faiss %s: recall %.4f of the %d nearest, over %d images", self.kind, recall, k, len(sample))
        short = np.flatnonzero((found.indices < 0).any(axis=1))
        if len(short):  # lists too small for k: these few are searched exactly
            rest = ExactNeighbours().search(queries[short], gallery, k)
            found.indices[short], found.similarities[short] = rest.indices, rest.similarities
        if itself:
            put_itself_first(found)
        return found

    def _index(self, gallery):
        faiss, (count, dimension) = self.faiss, gallery.shape
        if self.kind == "hnsw":
            index = faiss.IndexHNSWFlat(dimension, 32, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction, index.hnsw.efSearch = 80, 128
        else:
            lists = max(1, min(int(4 * count**0.5), count // 39))  # FAISS asks for 39 images a list
            self.quantizer = faiss.IndexFlatIP(dimension)  # kept: the index does not own it
            index = faiss.IndexIVFFlat(self.quantizer, dimension, lists, faiss.METRIC_INNER_PRODUCT)
            index.train(gallery[:: max(1, count // (64 * lists))])
            index.nprobe = max(8, lists // 16)
        index.add(gallery)
        return index


def put_itself_first(found):
    """Move every image to the front of its own list, in the place of the last where the index missed it."""
    for i, row in enumerate(found.indices):
        places = np.flatnonzero(row == i)
        place = places[0] if len(places) else len(row) - 1
        row[1 : place + 1] = row[:place].copy()
        found.similarities[i, 1 : place + 1] = found.similarities[i, :place].copy()
        row[0], found.similarities[i, 0] = i, 1.0
