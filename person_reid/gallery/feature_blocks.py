"""The features of an index in memory, shared by all searches of its file in this process.

    blocks = blocks_of(table, after=0)
    for ids, gallery in blocks.now(table):              # as this connection sees the file
        ...

The feature of an id never changes, and no id is used twice. The number of images and the last id
therefore identify a state of the file, and after an addition, only the new features are read.
"""

from threading import Lock
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

from person_reid.gallery.image_table import ImageTable
from person_reid.retrieval.similarity import CosineScores, PreparedGallery, twins

LARGEST_BLOCK = 50_000  # images; larger blocks are not joined, which would copy them

Block = tuple[npt.NDArray[np.int64], PreparedGallery]


class FeatureBlocks:
    """The images of a file with ids above `after`, in immutable blocks."""

    def __init__(self, after: int) -> None:
        self._after = after
        self._blocks: list[Block] = []
        self._lock = Lock()  # the first thread reads, and the others reuse what it has read

    def now(self, table: ImageTable) -> list[Block]:
        """Return blocks (ids (n,), features (n, D)) in order of ids; call this in a transaction.

        Raises StoreError if fewer images can be read than the file counts.
        """
        count = table.count_after(self._after)
        with self._lock:
            if (counted(self._blocks), last_of(self._blocks)) != (count, count and table.last_id()):
                self._blocks = joined(self._renewed(table, count))
            return self._blocks

    def _renewed(self, table: ImageTable, count: int) -> list[Block]:
        """Return the blocks, with deleted images removed and new images added."""
        known, last = self._blocks, last_of(self._blocks, self._after)
        older = count - table.count_after(last)
        if counted(known) != older:
            there = table.ids()
            known = [each for block in known for each in among(block, there)]
        if counted(known) != older:  # the blocks are newer than the state that this connection sees
            known, last = [], self._after
        new = [(ids, CosineScores.prepared(features)) for ids, features in table.chunks(last)]
        if counted(known + new) != count:
            raise table.db.damaged(f"{count} images are listed, and {counted(known + new)} found")
        return known + new


def counted(blocks: list[Block]) -> int:
    """Return the number of images in `blocks`."""
    return sum(len(ids) for ids, _ in blocks)


def last_of(blocks: list[Block], otherwise: int = 0) -> int:
    """Return the last id in `blocks`, or `otherwise` if they are empty."""
    return int(blocks[-1][0][-1]) if blocks else otherwise


def among(block: Block, there: npt.NDArray[np.int64]) -> list[Block]:
    """Keep the images of a block whose ids are in `there`; return a list of at most one block."""
    ids, gallery = block
    inside = np.isin(ids, there)
    if inside.all():
        return [block]
    return [prepared(ids[inside], gallery.factor[inside])] if inside.any() else []


def joined(blocks: list[Block]) -> list[Block]:
    """Merge each block with the previous one unless the latter is at least twice as large."""
    found: list[Block] = []
    for block in blocks:
        found.append(block)
        while len(found) > 1 and len(found[-2][0]) < 2 * len(found[-1][0]):
            if counted(found[-2:]) > LARGEST_BLOCK:
                break
            both = [*zip(*found[-2:], strict=True)]
            factor = np.concatenate([gallery.factor for gallery in both[1]])
            found[-2:] = [prepared(np.concatenate(both[0]), factor)]
    return found


def prepared(ids: npt.NDArray[np.int64], factor: npt.NDArray[np.float32]) -> Block:
    """Return a block of features prepared for searching."""
    return ids, PreparedGallery(factor, *twins(factor))


OPEN: WeakValueDictionary[tuple[object, ...], FeatureBlocks] = WeakValueDictionary()
OPENING = Lock()


def blocks_of(table: ImageTable, after: int) -> FeatureBlocks:
    """Return the blocks of a file, shared by all objects that have it open."""
    key = table.db.identity, table.token, table.features_token, after
    with OPENING:
        return OPEN.setdefault(key, FeatureBlocks(after))
