"""Inverted lists by FAISS: a query looks at some ten thousand of a million images.

Features are grouped around √N centres, and a query is compared with the images of the few centres
nearest to it.
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

from person_reid.basics import UserError, atomic_write, describe
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

    They are read from `NAME.TOKEN-ADDITION.lists` beside the index, where ADDITION is the token of
    the last addition in them, then extended by newer images, or rebuilt; either way the file is
    replaced. If the index does not know the addition, the file belongs to another state of the
    index, such as the one before it was restored from a copy.

    Once made, the lists hold all images with ids up to `last`, whatever other processes do: no id
    is used twice.
    """

    def __init__(self, source: IndexFile) -> None:
        source.mark()
        file, reached = latest_file(source)
        self.token, self.last = source.latest()
        index = _read(file, mapped=reached == self.last) if file else None
        if index is None or index.d != source.width() or _outgrown(index, source, reached):
            index, reached = _train(source), 0
            self.token, self.last = source.latest()
        if reached < self.last:
            _extend(index, source, reached, self.last)
            log.warning("faiss: %s", _tune(index, source, self.last))
            _write(index, source, self.token)
        self.index = index

    def search(
        self, queries: Features, k: int, among: npt.NDArray[np.uint8] | None = None
    ) -> tuple[Features, npt.NDArray[np.int64]]:
        """Return similarities and ids, both (Q, k), of the approximately nearest images.

        among: a bit for each id, the lowest first: search only those whose bit is set. A returned
        id is -1 if no image was found, and may belong to a replaced image.
        """
        import faiss

        settings = faiss.SearchParametersIVF()
        settings.nprobe = self.index.nprobe
        # its k nearest are as far as more of the nearest of all, in more lists
        if among is not None:
            settings.sel = faiss.IDSelectorBitmap(len(among), faiss.swig_ptr(among))
            count = max(1, int(np.unpackbits(among).sum()))
            settings.nprobe = min(
                self.index.nlist, settings.nprobe * self.index.ntotal // count + 1
            )
        similarities, ids = self.index.search(queries, k, params=settings)
        return similarities, ids


def latest_file(source: IndexFile) -> tuple[Path | None, int]:
    """Return (the newest file of lists that fit an IndexFile, the last id in it), or (None, 0)."""
    fitting = [each for each in _files(source) if each[1]]
    return max(fitting, key=lambda each: each[1], default=(None, 0))


def _files(source: IndexFile) -> Iterator[tuple[Path, int]]:
    """Yield (file of lists beside an IndexFile, the last id in it, 0 if it is of another state)."""
    pattern = f"{escape(source.path.name)}.{escape(source.token)}-*.lists"
    for file in source.path.parent.glob(pattern):
        yield file, source.reached(file.stem.rpartition("-")[2])


def delete_lists(source: IndexFile) -> None:
    """Delete the lists of an IndexFile, unfinished ones as well;
    the next search makes them again.
    """
    unfinished = source.path.parent.glob(
        f".{escape(source.path.name)}.{escape(source.token)}-*.partial"
    )
    for file in (*(file for file, _ in _files(source)), *unfinished):
        file.unlink(missing_ok=True)


def _outgrown(index: Any, source: IndexFile, reached: int) -> bool:
    """Return whether lists up to the id `reached` must be rebuilt: too few
    lists, or too many replaced images.
    """
    replaced = index.ntotal + source.count_after(reached) - len(source)
    return bool(replaced > MOST_REPLACED or 2 * index.nlist < len(source) ** 0.5)


def _train(source: IndexFile) -> Any:
    lists = max(1, int(len(source) ** 0.5))
    features = source.sample(TRAINING * lists)
    return trained_lists(features, min(lists, len(features)))


def _extend(index: Any, source: IndexFile, after: int, until: int) -> None:
    """Add the images after an id, up to another, to the lists."""
    with progress(total=source.count_after(after), desc="lists", unit=" images") as bar:
        for ids, features in source.chunks(after, until=until):
            index.add_with_ids(features, ids)
            bar.update(len(ids))


def _tune(index: Any, source: IndexFile, until: int) -> str:
    """Look at as few lists as reach RECALL of the nearest images, the image itself excluded.

    Returns the outcome.
    """
    queries = source.sample(SAMPLE)
    exact = nearest_of_chunks(queries, source.chunks(until=until), NEIGHBOURS + 1)[1][:, 1:]
    index.nprobe, recall = 4, 0.0
    while recall < RECALL and index.nprobe < index.nlist:
        index.nprobe = min(2 * index.nprobe, index.nlist)
        recall = overlap(exact, index.search(queries, NEIGHBOURS + 1)[1])
    return (
        f"{index.nprobe} of {index.nlist} lists, recall {recall:.4f} of the "
        f"{NEIGHBOURS} nearest against exact search"
    )


def _read(file: Path, mapped: bool) -> Any:
    """Read lists, or return None if they are damaged. mapped: leave them on the disk,
    where they cannot be extended.
    """
    import faiss

    try:
        if not mapped or sys.platform == "win32":
            index: Any = faiss.read_index(str(file))
        else:
            index = faiss.read_index(str(file), faiss.IO_FLAG_MMAP)
            lists: Any = faiss.downcast_InvertedLists(index.invlists)
            # its threads would read whole lists, also what a filter leaves out
            lists.prefetch_nthread = 0
    except (RuntimeError, MemoryError, AttributeError):  # the latter two: wrong first bytes
        return None
    return index


def _write(index: Any, source: IndexFile, token: str) -> None:
    import faiss

    file = source.path.with_name(f"{source.path.name}.{source.token}-{token}.lists")
    try:
        if not token:
            raise UserError(f"{source.path} is of version 0.2, and cannot be written to")
        with atomic_write(file) as temporary:
            faiss.write_index(index, str(temporary))
    # FAISS raises the latter if the disk is full
    except (UserError, OSError, RuntimeError) as error:
        log.warning(
            "%s: not saved (%s); the next search makes the lists again.", file, describe(error)
        )
        return
    last = source.reached(token)
    if not last:  # another process has forgotten images in the meantime
        delete_lists(source)
    for old, reached in _files(source):
        if old != file and reached <= last:
            old.unlink(missing_ok=True)
