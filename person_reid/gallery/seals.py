"""Checksums behind the inverted lists in their file, so that no damage is answered from.

FAISS writes a header, which says how many lists there are and how long each is, and then the lists.
Behind these stand a checksum of each list and of the header, and one of the checksums. The last
counts in a name, so that the lists of another index are not taken for one's own.
"""

import struct
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt

Sums = npt.NDArray[np.uint32]
SUM = np.dtype("<u4")
# The header's bytes, the number of lists, the checksum of all checksums, and a mark.
SEAL_END = struct.Struct("<QQI8s")
MARK = b"seals 01"
ID = 8  # bytes


def seal(file: Path, index: Any, name: str) -> None:
    """Append the checksums of an index to the file that FAISS has just written it to."""
    lists = [sum_of(index, number) for number in range(index.nlist)]
    with file.open("r+b") as opened:
        size = opened.seek(0, 2)
        header = size - sum(map(index.invlists.list_size, range(index.nlist))) * (
            index.code_size + ID
        )
        opened.seek(0)
        sums = np.array([*lists, crc32(opened.read(header))], SUM).tobytes()
        opened.seek(size)
        opened.write(sums + SEAL_END.pack(header, index.nlist, _whole(name, sums, header), MARK))


def sealed(file: Path, name: str) -> Sums | None:
    """Return the checksums of the lists in a file.

    Returns None if there are none, if they or the header are damaged, or under another name.
    """
    size = file.stat().st_size
    if size < SEAL_END.size:
        return None
    with file.open("rb") as opened:
        opened.seek(size - SEAL_END.size)
        header, lists, whole, mark = SEAL_END.unpack(opened.read(SEAL_END.size))
        begin = size - SEAL_END.size - SUM.itemsize * (lists + 1)
        if mark != MARK or not 0 <= header <= begin:
            return None
        opened.seek(begin)
        sums = opened.read(SUM.itemsize * (lists + 1))
        if whole != _whole(name, sums, header):
            return None
        opened.seek(0)
        *each, of_header = np.frombuffer(sums, SUM).tolist()
        return np.array(each, np.uint32) if crc32(opened.read(header)) == of_header else None


def sum_of(index: Any, number: int) -> int:
    """Return the checksum of a list of an index."""
    import faiss

    lists = faiss.downcast_InvertedLists(index.invlists)
    if not (length := lists.list_size(number)):
        return 0
    codes: Any = faiss.rev_swig_ptr(lists.get_codes(number), length * lists.code_size)
    ids: Any = faiss.rev_swig_ptr(lists.get_ids(number), length)
    return crc32(ids, crc32(codes))


def _whole(name: str, sums: bytes, header: int) -> int:
    return crc32(f"{name} {header}".encode(), crc32(sums))
