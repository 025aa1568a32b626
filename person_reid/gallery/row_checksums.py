"""A checksum of each image's row, so that damage is named and never answered from.

The upper half of its 64 bits is of the feature, and the lower half of all that is known.
"""

from collections.abc import Sequence
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt

SUM_BITS = 32
LOW_BITS = 2**SUM_BITS - 1
GOLDEN = 0x9E3779B97F4A7C15  # 2^64 divided by the golden ratio: its multiples spread evenly
FeatureSums = npt.NDArray[np.int64]


def sums_of_features(stored: npt.NDArray[Any]) -> FeatureSums:
    """Return the sum (n,), of 32 bits, of each of n features (n, D) as they are stored."""
    bits = np.ascontiguousarray(stored)
    size = next(size for size in (8, 4, 2) if bits.shape[1] * bits.itemsize % size == 0)
    words = bits.view(f"<u{size}").astype(np.uint64, copy=False)
    weights = (np.arange(1, words.shape[1] + 1, dtype=np.uint64) * np.uint64(GOLDEN)) | np.uint64(1)
    return (np.einsum("nd,d->n", words, weights) >> np.uint64(SUM_BITS)).astype(np.int64)


def sum_of_facts(path: bytes, facts: Sequence[str | None]) -> int:
    """Return the sum, of 32 bits, of a path and of texts or None."""
    texts = "\0".join(["-" if each is None else "+" + each for each in facts])
    return crc32(texts.encode(errors="surrogatepass"), crc32(path))


def joined(of_feature: int, of_facts: int) -> int:
    """Return a checksum as SQLite stores it, as a signed number."""
    whole = of_feature << SUM_BITS | of_facts
    return whole - 2**64 if whole >= 2**63 else whole
