"""Inverted lists by FAISS for the images of a SearchIndex: of a million images a query looks at some ten thousand.

Features are gathered around √N centres, and a query is compared with the images of the few centres nearest to it.
Johnson, Douze, Jégou: Billion-scale Similarity Search with GPUs, 2019.
"""

import logging
import sys
from importlib.util import find_spec

import numpy as np

from person_reid.basics import atomic_write, progress

log = logging.getLogger(__name__)
RECALL = 0.98  # of the NEIGHBOURS nearest, for which the number of lists to look at is chosen
NEIGHBOURS = 10
SAMPLE = 200  # images whose neighbours are compared with the exact ones
TRAINING = 40  # images a list that its centre is learned from; FAISS asks for 39
MOST_REPLACED = 1000  # images that may have been replaced before the lists are made anew


def faiss_is_installed():
    """Whether FAISS can be imported; without it a search is exact."""
    return find_spec("faiss") is not None


class InvertedLists:
    """The lists of a SearchIndex, up to date. They are read from the file beside it, `NAME.TOKEN-LAST.lists`, where
    LAST is the last image in them, extended by what has come since, or made anew; then the file is replaced."""

    def __init__(self, source):
        self.last = source.last_id()
        file, reached = latest_file(source)
        index = _read(file, mapped=reached == self.last) if file else None
        if index is None or _outgrown(index, source, reached):
            index, reached = _train(source), 0
        if reached < self.last:
            _extend(index, source, reached)
            log.warning("faiss: %s", _tune(index, source))
            _write(index, source, self.last)
        self.index = index
        self.replaced = index.ntotal - len(source)

    def search(self, queries, k):
        """Similarities (Q, ≥k) and ids (Q, ≥k) of the nearest images, approximately; an id is -1 where no image was
        found, and images that have been replaced may be among them."""
        return self.index.search(queries, k + self.replaced)


def latest_file(source):
    """(the newest file of lists beside a SearchIndex, the last id in it), or (None, 0)."""
    files = source.path.parent.glob(f"{source.path.name}.{source.token}-*.lists")
    return max(
        ((file, int(file.stem.rpartition("-")[2])) for file in files), key=lambda pair: pair[1], default=(None, 0)
    )


def _outgrown(index, source, reached):
    """Whether lists that reach to an id are to be made anew: too few, or of too many images that were replaced."""
    added = source.count_after(reached)
    return index.ntotal + added - len(source) > MOST_REPLACED or 2 * index.nlist < len(source) ** 0.5


def _train(source):
    import faiss

    lists = max(1, int(len(source) ** 0.5))
    features = source.sample(TRAINING * lists)
    index = faiss.index_factory(features.shape[1], f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(features)
    return index


def _extend(index, source, after):
    with progress(total=source.count_after(after), desc="lists", unit=" images") as bar:
        for ids, features in source.chunks(after):
            index.add_with_ids(features, ids)
            bar.update(len(ids))


def _tune(index, source):
    """Look at as few lists as give RECALL of the nearest images, the image itself left out. Returns what was found."""
    queries = source.sample(SAMPLE)
    exact = source.nearest(queries, NEIGHBOURS + 1)[1][:, 1:]
    index.nprobe, recall = 4, 0.0
    while recall < RECALL and index.nprobe < index.nlist:
        index.nprobe = min(2 * index.nprobe, index.nlist)
        found = index.search(queries, NEIGHBOURS + 1)[1]
        recall = np.mean([np.isin(row, own).mean() for row, own in zip(exact, found, strict=True)])
    return (
        f"{index.nprobe} of {index.nlist} lists, recall {recall:.4f} of the {NEIGHBOURS} nearest against exact search"
    )


def _read(file, mapped):
    """mapped: the lists stay on the disk and are read when a query needs them; they cannot be extended then."""
    import faiss

    try:
        return faiss.read_index(str(file), faiss.IO_FLAG_MMAP if mapped and sys.platform != "win32" else 0)
    except RuntimeError:  # damaged: it is made anew
        return None


def _write(index, source, last):
    import faiss

    file = source.path.with_name(f"{source.path.name}.{source.token}-{last}.lists")
    with atomic_write(file, shared=True) as temporary:
        faiss.write_index(index, str(temporary))
    for old in source.path.parent.glob(f"{source.path.name}.{source.token}-*.lists"):
        if old != file:
            old.unlink(missing_ok=True)
