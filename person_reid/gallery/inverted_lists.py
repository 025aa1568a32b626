"""Inverted lists by FAISS: out of a million images, a query visits about ten thousand.

Features are grouped around √N centres, and a query is compared with the images of the few centres
nearest to it. Codes, which are smaller than features, find candidates among these images. The
features in the index file then rank the candidates.
Johnson, Douze, Jégou: Billion-scale Similarity Search with GPUs, 2019. Jégou, Douze, Schmid:
Product Quantization for Nearest Neighbor Search, PAMI 2011.
"""

import logging
import sys
from collections.abc import Iterator
from glob import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from person_reid.errors import UserError, describe_error
from person_reid.files import atomic_write
from person_reid.gallery.image_table import FEATURE_ROUNDING, ImageTable
from person_reid.gallery.metadata import EVERYTHING
from person_reid.progress import progress
from person_reid.retrieval.neighbours import (
    nearest_first,
    nearest_of_chunks,
    open_faiss,
    overlap,
    trained_lists,
)
from person_reid.retrieval.similarity import Features

log = logging.getLogger(__name__)
RECALL = 0.98  # required share of the NEIGHBOURS nearest images; sets how many lists a query visits
NEIGHBOURS = 10
SAMPLED_IMAGES = 200  # images whose neighbours are compared with the exact ones
TRAINING = 40  # images per list from which to learn its centre; FAISS asks for 39
LEAST_TRAINING = 10_000  # images from which to learn codes; FAISS asks for 39 for each of 256
NEWEST = 10_000  # at most this many newer images test the codes
# The lists are brought up to date once they lack more images than this, each of which a search has
# to compare, or still hold more replaced images than this.
MOST_NEWER, MOST_REPLACED = 10_000, 1000


def faiss_is_installed() -> bool:
    """Return whether FAISS can be imported; without FAISS, every search is exact."""
    return find_spec("faiss") is not None


class Codec(NamedTuple):
    """A way in which lists store features.

    factory: the storage in the notation of faiss.index_factory. error: the largest error of a
    cosine; codes clip values outside the range of their training images. each: candidates per
    answer whose cosines are computed again. least: the minimum number of candidates.
    """

    factory: str
    error: float
    each: int = 1
    least: int = 1

    def candidates(self, k: int) -> int:
        """Return how many candidates to find for k answers."""
        return max(self.least, self.each * k)


CODECS = {
    "float32": Codec("Flat", FEATURE_ROUNDING),
    "float16": Codec("SQfp16", 2 * FEATURE_ROUNDING),
    "sq8": Codec("SQ8", 1.0, 4),
    "pq64": Codec("PQ64np", 1.0, 20, 500),
}


def codec_of(source: ImageTable) -> Codec:
    """Return how the lists of an ImageTable store features.

    64-byte codes need a dimension divisible by 64 and 256 images to learn from; otherwise sq8 is
    used.
    """
    possible = (source.width() or 0) % 64 == 0 and len(source) >= 256
    return CODECS[source.codes if possible or source.codes != "pq64" else "sq8"]


class InvertedLists:
    """The lists of an ImageTable, brought up to date unless `renew` is False.

    They are read from `NAME.TOKEN-ADDITION.lists` beside the index, where ADDITION is the token of
    the last addition in them. Outdated lists get the newer images and lose the replaced images; if
    the index has outgrown them, they are rebuilt. Either way, the file is replaced. If the index
    does not know the addition, the file belongs to another state of the index, such as the state
    before it was restored from a copy.

    The lists then hold all images with ids up to `last`, whatever other processes do, because no id
    is used twice. They are loaded into memory only to be changed. Without `renew`, `index` is None
    if there is no file that fits.
    """

    def __init__(self, source: ImageTable, renew: bool = True) -> None:
        file, self.last = latest_file(source)
        self.token = _token(file) if file else ""
        self.index = _read(file, mapped=True)
        fits = (
            self.index is not None
            and self.index.d == source.width()
            and not _outgrown(self.index, source)
        )
        if renew and (not fits or self.is_behind(source)):
            self._renew(source, _read(file, mapped=False) if fits else None)
        elif not fits:
            self.index = None

    def _renew(self, source: ImageTable, index: Any) -> None:
        """Update lists in memory, or create them, and write them."""
        after = self.last
        if index is None:
            index, after = _train(source), 0
        self.token, self.last = source.latest()
        grown = source.count_after(after) > len(source) / 10
        _extend(index, source, after, self.last)
        if after and _told_apart(index, source, after) < RECALL:
            log.warning("faiss: the newer images look different; the lists are learned again")
            index = _train(source)
            grown = True
            newest = after
            _extend(index, source, 0, self.last)
            if (told := _told_apart(index, source, newest)) < RECALL:
                log.warning(
                    "%s: many of the newer images look so alike that its codes tell them apart "
                    "badly: %.2f of the %d nearest are among the candidates. An index with "
                    "--codes float16 finds them.",
                    source.path,
                    told,
                    NEIGHBOURS,
                )
        if grown:
            log.warning("faiss: %s", _tune(index, source, self.last))
        file = _write(index, source, self.token)
        self.index = _read(file, mapped=True) or index

    def is_behind(self, source: ImageTable) -> bool:
        """Return whether too many images of an ImageTable are missing from the lists.

        Lists with too many replaced images are also outdated.
        """
        return source.count_after(self.last) > MOST_NEWER or self.replaced(source) > MOST_REPLACED

    def replaced(self, source: ImageTable) -> int:
        """Return how many images in the lists were replaced; if negative, images are missing."""
        return int(self.index.ntotal) + source.count_after(self.last) - len(source)

    def search(
        self,
        queries: Features,
        k: int,
        candidates: int,
        among: tuple[npt.NDArray[np.uint8], int] | None = None,
    ) -> tuple[Features, npt.NDArray[np.int64]]:
        """Return code-based similarities and ids (Q, C) of candidates for the k nearest images.

        among: the result of ImageTable.allowed; search only the images whose bit is set. A returned
        id is -1 if no image was found, and may belong to a replaced image.
        """
        faiss = open_faiss()
        settings = faiss.SearchParametersIVF()
        # More neighbours lie in more lists, and neighbours that pass a filter lie further away.
        more = max(1.0, k / NEIGHBOURS) ** 0.5
        if among is not None:
            bits, count = among
            settings.sel = faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))
            more *= self.index.ntotal // max(1, count) + 1
        settings.nprobe = min(self.index.nlist, int(self.index.nprobe * more))
        # Threads divide up the lists of one query, or several queries.
        self.index.parallel_mode = int(len(queries) == 1)
        similarities, ids = self.index.search(queries, candidates, params=settings)
        return similarities, ids


def rescored(
    source: ImageTable, queries: Features, found: tuple[Features, npt.NDArray[np.int64]]
) -> tuple[Features, npt.NDArray[np.int64]]:
    """Return the candidates, with cosines computed from the features in the file.

    found: similarities and ids (Q, C). A similarity becomes −∞ if no image has the id any more.

    Raises UserError if a code-based cosine deviates more than undamaged codes allow.
    """
    similarities, ids = found
    cosines = source.cosines(queries, ids)
    wrong = np.abs(cosines - similarities) > codec_of(source).error
    if wrong.any():
        raise damaged_lists(source, f"a similarity of {similarities[wrong][0]:.3g} is wrong")
    return np.where(np.isnan(cosines), -np.inf, cosines), ids


def damaged_lists(source: ImageTable, what: str) -> UserError:
    """Return the error to raise for lists that do not match their index."""
    return UserError(
        f"{source.path}: its inverted lists are damaged: {what}. "
        f"Delete {source.path}.{source.token}-*.lists; the next search makes them again."
    )


def latest_file(source: ImageTable) -> tuple[Path | None, int]:
    """Return (the newest lists file that fits an ImageTable, its last id), or (None, 0)."""
    fitting = [each for each in _files(source) if each[1]]
    return max(fitting, key=lambda each: each[1], default=(None, 0))


def _token(file: Path) -> str:
    return file.stem.rpartition("-")[2]


def tokens_of_files(source: ImageTable) -> list[str]:
    """Return the tokens of the lists that are beside an index and fit it."""
    return [_token(file) for file in list_files(source)]


def _files(source: ImageTable) -> Iterator[tuple[Path, int]]:
    """Yield each lists file beside an index, with its last id, or 0 if it is for another state."""
    pattern = f"{escape(source.path.name)}.{escape(source.token)}-*.lists"
    for file in source.path.parent.glob(pattern):
        yield file, source.reached(_token(file))


def list_files(source: ImageTable) -> list[Path]:
    """Return the lists files that fit an ImageTable."""
    return [file for file, reached in _files(source) if reached]


def delete_lists(source: ImageTable) -> None:
    """Delete the lists of an ImageTable, including unfinished lists.

    The next search rebuilds them.
    """
    unfinished = source.path.parent.glob(
        f".{escape(source.path.name)}.{escape(source.token)}-*.partial"
    )
    for file in (*(file for file, _ in _files(source)), *unfinished):
        file.unlink(missing_ok=True)


def _outgrown(index: Any, source: ImageTable) -> bool:
    """Return whether there are too few lists for the images."""
    return bool(2 * index.nlist < len(source) ** 0.5)


def _train(source: ImageTable) -> Any:
    lists = max(1, int(len(source) ** 0.5))
    features = source.sample(max(TRAINING * lists, LEAST_TRAINING))
    return trained_lists(features, min(lists, len(features)), codec_of(source).factory)


def _extend(index: Any, source: ImageTable, after: int, until: int) -> None:
    """Remove replaced images from the lists, and add those with ids from `after` + 1 to `until`."""
    faiss = open_faiss()
    if after:
        bits, _ = source.allowed(EVERYTHING)
        there = faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))
        index.remove_ids(faiss.IDSelectorNot(there))
    with progress(total=source.count_after(after), desc="lists", unit=" images") as bar:
        for ids, features in source.chunks(after, until=until):
            index.add_with_ids(features, ids)
            bar.update(len(ids))


def _told_apart(index: Any, source: ImageTable, after: int) -> float:
    """Return the share of the nearest images that codes find, among images with ids above `after`.

    The share is 1 for codes that are not learned from images.
    """
    if codec_of(source).each == 1 or source.count_after(after) <= NEIGHBOURS:
        return 1.0
    features = source.sample(NEWEST, after)
    k = min(NEIGHBOURS, len(features) - 1)
    decoded = index.sa_decode(index.sa_encode(features))
    itself = np.unique(np.linspace(0, len(features) - 1, SAMPLED_IMAGES).astype(int))
    queries, numbers = features[itself], np.arange(len(features))

    def nearest(images: Features, count: int) -> npt.NDArray[np.int64]:
        cosines = queries @ images.T
        cosines[np.arange(len(itself)), itself] = -np.inf
        return nearest_first(cosines, np.tile(numbers, (len(queries), 1)), count)[1]

    candidates = min(codec_of(source).candidates(k), len(features) - 1)
    return overlap(nearest(features, k), nearest(decoded, candidates))


def _tune(index: Any, source: ImageTable, until: int) -> str:
    """Find how few lists contain the share RECALL of the nearest images, except the query itself.

    Returns a report for the log.
    """
    queries = source.sample(SAMPLED_IMAGES)
    exact = nearest_of_chunks(queries, source.chunks(until=until), NEIGHBOURS + 1)[1][:, 1:]
    candidates = codec_of(source).candidates(NEIGHBOURS + 1)
    index.nprobe = 4
    recall = 0.0
    gain = 1.0
    while recall < RECALL and gain > 0 and index.nprobe < index.nlist:
        index.nprobe = min(2 * index.nprobe, index.nlist)
        compared = rescored(source, queries, index.search(queries, candidates))
        found = overlap(exact, nearest_first(*compared, NEIGHBOURS + 1)[1])
        recall, gain = found, found - recall
    return (
        f"{index.nprobe} of {index.nlist} lists, "
        f"recall {recall:.4f} of the {NEIGHBOURS} nearest against exact search"
    )


def _read(file: Path | None, mapped: bool) -> Any:
    """Read lists; return None for a missing or damaged file.

    mapped: leave the lists on disk, where they cannot be extended.
    """
    faiss = open_faiss()
    if file is None or not file.is_file():
        return None
    try:
        if not mapped or sys.platform == "win32":
            index: Any = faiss.read_index(str(file))
        else:
            index = faiss.read_index(str(file), faiss.IO_FLAG_MMAP)
            lists: Any = faiss.downcast_InvertedLists(index.invlists)
            # Threads would read whole lists, including the images that a filter excludes.
            lists.prefetch_nthread = 0
    except (RuntimeError, MemoryError, AttributeError):  # the last two: wrong first bytes
        return None
    return index


def _write(index: Any, source: ImageTable, token: str) -> Path | None:
    """Write lists, replacing older ones. Return the file, or None if it cannot be written."""
    faiss = open_faiss()
    file = source.path.with_name(f"{source.path.name}.{source.token}-{token}.lists")
    try:
        with atomic_write(file) as temporary:
            faiss.write_index(index, str(temporary))
    # FAISS raises RuntimeError if the disk is full.
    except (UserError, OSError, RuntimeError) as error:
        log.warning(
            "%s: not saved (%s); the next search makes the lists again.",
            file,
            describe_error(error),
        )
        return None
    last = source.reached(token)
    if not last:  # another process has forgotten images in the meantime
        delete_lists(source)
        return None
    for old, reached in _files(source):
        if old != file and reached <= last:
            old.unlink(missing_ok=True)
    return file
