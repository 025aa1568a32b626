"""Inverted lists by FAISS for the images of an IndexFile: of a million images, a query looks at some ten thousand.

Features are grouped around √N centres, and a query is compared with the images of the few centres nearest to it.
Johnson, Douze, Jégou: Billion-scale Similarity Search with GPUs, 2019.
"""

import logging
import sys
from collections.abc import Iterator
from glob import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from person_reid.basics import atomic_write, describe
from person_reid.gallery.index_file import IndexFile
from person_reid.progress import progress
from person_reid.retrieval.faiss_neighbours import trained_lists
from person_reid.retrieval.neighbours import nearest_of_chunks, overlap
from person_reid.retrieval.similarity import Features

log = logging.getLogger(__name__)
RECALL = 0.98  # wanted of the NEIGHBOURS nearest; decides how many lists a query looks at
NEIGHBOURS = 10
SAMPLE = 200  # images whose neighbours are compared with the exact ones
TRAINING = 40  # images per list to learn its centre from; FAISS asks for 39
MOST_REPLACED = 1000  # images that may have been replaced before the lists are rebuilt


def faiss_is_installed() -> bool:
    """Return whether FAISS can be imported; without it a search is exact."""
    return find_spec("faiss") is not None


class InvertedLists:
    """The up-to-date lists of an IndexFile.

    They are read from `NAME.TOKEN-LAST.lists` beside the index (LAST: the last image in them), then extended by newer
    images, or rebuilt; either way the file is replaced.
    """

    def __init__(self, source: IndexFile) -> None:
        self.forgotten, self.last = source.times_forgotten(), source.last_id()
        file, reached = latest_file(source)
        index = _read(file, mapped=reached == self.last) if file else None
        if index is None or _outgrown(index, source, reached):
            index, reached = _train(source), 0
        if reached < self.last:
            self.last = _extend(index, source, reached)
            log.warning("faiss: %s", _tune(index, source))
            _write(index, source, self.last)
            if source.times_forgotten() != self.forgotten:  # in the meantime, by another process
                delete_lists(source)
        self.index = index
        self.replaced = index.ntotal - len(source)

    def search(
        self, queries: Features, k: int, among: npt.NDArray[np.uint8] | None = None
    ) -> tuple[Features, npt.NDArray[np.int64]]:
        """Return similarities and ids, both (Q, ≥k), of the approximately nearest images.

        among: a bit for each id, the lowest first: search only those whose bit is set. A returned id is -1 if no image
        was found, and may be that of a replaced image.
        """
        import faiss

        settings = faiss.SearchParametersIVF()
        settings.nprobe = self.index.nprobe
        if among is not None:  # its k nearest are as far as more of the nearest of all, in more lists
            settings.sel = faiss.IDSelectorBitmap(len(among), faiss.swig_ptr(among))
            count = max(1, int(np.unpackbits(among).sum()))
            settings.nprobe = min(self.index.nlist, settings.nprobe * self.index.ntotal // count + 1)
        similarities, ids = self.index.search(queries, k + self.replaced, params=settings)
        return similarities, ids


def latest_file(source: IndexFile) -> tuple[Path | None, int]:
    """Return (the newest file of lists beside an IndexFile, the last id in it), or (None, 0)."""
    found = ((file, int(file.stem.rpartition("-")[2])) for file in _files(source))
    return max(found, key=lambda each: each[1], default=(None, 0))


def _files(source: IndexFile) -> Iterator[Path]:
    """Return the files of lists beside an IndexFile."""
    return source.path.parent.glob(f"{escape(source.path.name)}.{escape(source.token)}-*.lists")


def delete_lists(source: IndexFile) -> None:
    """Delete the lists of an IndexFile, unfinished ones as well; the next search makes them again."""
    unfinished = source.path.parent.glob(f".{escape(source.path.name)}.{escape(source.token)}-*.partial")
    for file in (*_files(source), *unfinished):
        file.unlink(missing_ok=True)


def _outgrown(index: Any, source: IndexFile, reached: int) -> bool:
    """Return whether lists up to the id `reached` must be rebuilt: too few lists, or too many replaced images."""
    replaced = index.ntotal + source.count_after(reached) - len(source)
    return bool(replaced > MOST_REPLACED or 2 * index.nlist < len(source) ** 0.5)


def _train(source: IndexFile) -> Any:
    lists = max(1, int(len(source) ** 0.5))
    return trained_lists(source.sample(TRAINING * lists), lists)


def _extend(index: Any, source: IndexFile, after: int) -> int:
    """Add the images after an id to the lists, also those that come meanwhile. Returns the id of the last one."""
    with progress(total=source.count_after(after), desc="lists", unit=" images") as bar:
        for ids, features in source.chunks(after):
            index.add_with_ids(features, ids)
            bar.update(len(ids))
            after = int(ids[-1])
    return after


def _tune(index: Any, source: IndexFile) -> str:
    """Look at as few lists as reach RECALL of the nearest images, the image itself excluded. Returns the outcome."""
    queries = source.sample(SAMPLE)
    exact = nearest_of_chunks(queries, source.chunks(), NEIGHBOURS + 1)[1][:, 1:]
    index.nprobe, recall = 4, 0.0
    while recall < RECALL and index.nprobe < index.nlist:
        index.nprobe = min(2 * index.nprobe, index.nlist)
        recall = overlap(exact, index.search(queries, NEIGHBOURS + 1)[1])
    return (
        f"{index.nprobe} of {index.nlist} lists, recall {recall:.4f} of the {NEIGHBOURS} nearest against exact search"
    )


def _read(file: Path, mapped: bool) -> Any:
    """Read lists, or return None if they are damaged. mapped: leave them on the disk, where they cannot be extended."""
    import faiss

    try:
        if not mapped or sys.platform == "win32":
            return faiss.read_index(str(file))
        index: Any = faiss.read_index(str(file), faiss.IO_FLAG_MMAP)
        lists: Any = faiss.downcast_InvertedLists(index.invlists)
        lists.prefetch_nthread = 0  # its threads would read whole lists, also what a filter leaves out
        return index
    except RuntimeError:
        return None


def _write(index: Any, source: IndexFile, last: int) -> None:
    import faiss

    file = source.path.with_name(f"{source.path.name}.{source.token}-{last}.lists")
    try:
        with atomic_write(file) as temporary:
            faiss.write_index(index, str(temporary))
    except (OSError, RuntimeError) as error:  # FAISS raises the latter if the disk is full
        log.warning("%s: not saved (%s); the next search makes the lists again.", file, describe(error))
        return
    for old in _files(source):
        if old != file:
            old.unlink(missing_ok=True)
