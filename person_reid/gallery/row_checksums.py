"""A checksum of each image's row, so that damage is named and never answered from.

The upper half of its 64 bits is of the feature, and the lower half of all that is known.
"""

from collections.abc import Sequence
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt

from person_reid.arrays import row_hashes

SUM_BITS = 32
LOW_BITS = 2**SUM_BITS - 1
FeatureSums = npt.NDArray[np.int64]


def sums_of_features(stored: npt.NDArray[Any]) -> FeatureSums:
    """Return the sum (n,), of 32 bits, of each of n features (n, D) as they are stored."""
    return (row_hashes(stored) >> np.uint64(SUM_BITS)).astype(np.int64)


def sum_of_facts(path: bytes, facts: Sequence[str | None]) -> int:
    """Return the sum, of 32 bits, of a path and of texts or None."""
    texts = "\0".join(["-" if each is None else "+" + each for each in facts])
    return crc32(texts.encode(errors="surrogatepass"), crc32(path))


def joined(of_feature: int, of_facts: int) -> int:
    """Return a checksum as SQLite stores it, as a signed number."""
    whole = of_feature << SUM_BITS | of_facts
    return whole - 2**64 if whole >= 2**63 else whole
