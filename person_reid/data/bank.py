"""Decode a split once and keep it as one uint8 tensor (N, height, width, 3), the image bank.

Person images are small, so a data set fits in memory or in one memory-mapped file. Batches are gathered from it by
index; there are no loader workers to tune or to wait for.
"""

import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from person_reid.basics import atomic_write, describe, remove_abandoned
from person_reid.data.decoding import Load, decode
from person_reid.data.images import Pixels, load_image
from person_reid.progress import progress

log = logging.getLogger(__name__)
DECODER_VERSION = 4  # part of the fingerprint: raise it when the pixels that load_image returns change
Scalar = TypeVar("Scalar", bound=np.generic)


def load_bank(
    paths: Sequence[str | Path], height: int, width: int, cache: str | Path | None = None, description: str = "images"
) -> Tensor:
    """Decode N images into one uint8 tensor (N, height, width, 3), or open the file that an earlier call wrote.

    cache: folder of that file, such as `<data_dir>/.cache`; None keeps the images in memory. The file name contains a
        fingerprint of the images' names, sizes and times, so a stale cache is not found and is replaced. If the file
        cannot be written, a warning is logged and the images stay in memory.
    description: what the images are, such as `train_all`; used in the file name and the progress bar.

    Writing to the tensor changes memory only, never the file. Raises one UserError that names all unreadable images.
    """
    bank = open_bank(paths, height, width, cache, description)
    return bank if isinstance(bank, Tensor) else bank.whole()


def open_bank(
    paths: Sequence[str | Path], height: int, width: int, cache: str | Path | None = None, description: str = "images"
) -> "Tensor | DecodingBank":
    """Return the images for one sequential pass; the parameters are those of load_bank.

    If no cache file holds them yet, the result is a DecodingBank, which yields the first images while the others are
    still being decoded.
    """
    file = None
    if cache is not None and paths:
        stem = f"{re.sub(r'[^0-9A-Za-z-]+', '_', description)}_{height}x{width}"
        file = Path(cache) / f"{stem}_{fingerprint(paths)}.npy"
    bank = None if file is None else open_array(file, (len(paths), height, width, 3), np.uint8)
    if bank is None:
        load = partial(load_image, height=height, width=width)
        return DecodingBank(paths, load, (height, width), file, description)
    return torch.from_numpy(bank)


class DecodingBank:
    """N images still to be decoded, with the parts of a tensor's interface (N, height, width, 3) that extraction uses.

    Length, batches and slices are available as soon as their images are decoded. Each iteration decodes all images
    again.

    sources, load: N objects that load(source) turns into uint8 (height, width, 3), see decode.
    size: (height, width).
    file: a cache file to write on the way, whole or not at all.
    description: what the images are, for messages and the progress bar.
    """

    def __init__(
        self,
        sources: Sequence[Any],
        load: Load,
        size: tuple[int, int],
        file: Path | None = None,
        description: str = "images",
    ) -> None:
        self.sources, self.load, self.file, self.description = sources, load, file, description
        self.shape = (len(sources), *size, 3)

    def __len__(self) -> int:
        return len(self.sources)

    def __iter__(self) -> Iterator[Pixels]:
        """Yield the images in order, each a NumPy array. Raises a UserError after the last: see decode."""
        images = decode(self.sources, self.load)
        try:
            yield from images if self.file is None else _written(images, self.file, self.shape)
        except OSError as error:
            log.warning("%s: no cache; the next run decodes %s again.", describe(error), self.description)
            self.file = None
            yield from images

    def split(self, size: int) -> Iterator[Tensor]:
        """Yield the tensors that torch.split would return."""
        images = iter(self)
        while batch := list(islice(images, size)):
            yield torch.from_numpy(np.stack(batch))

    def __getitem__(self, part: slice) -> "Tensor | DecodingBank":
        """Decode all images and return those of a slice; [:] returns this bank itself."""
        return self if part.indices(len(self)) == (0, len(self), 1) else self.whole()[part]

    def _with_bar(self) -> Iterable[Pixels]:
        return progress(self, total=len(self), desc=f"decoding {self.description}", unit=" images")

    def whole(self) -> Tensor:
        """Return all images as one tensor, memory-mapped if there is a cache file."""
        file = self.file
        if file is not None:
            for _ in self._with_bar():  # iterating writes the file
                if self.file is None:
                    break
            bank = open_array(file, self.shape, np.uint8)  # after a failed write, another process may have made it
            if bank is not None:
                return torch.from_numpy(bank)
        bank = np.empty(self.shape, np.uint8)
        for i, image in enumerate(self._with_bar()):
            bank[i] = image
        return torch.from_numpy(bank)


def fingerprint(paths: Iterable[str | Path], times: bool = True) -> str:
    """Return 16 hexadecimal digits that depend on every image's name, folder, size and, with `times`, last change."""
    digest = hashlib.sha256(f"decoder {DECODER_VERSION}\n".encode())
    for path in map(Path, paths):
        try:
            status = path.stat()
            state = f"{status.st_size} {status.st_mtime_ns if times else ''}"
        except OSError:
            state = "missing"  # decoding will report it with all the others
        # The last three parts, not the whole path, so that a data set keeps its cache when it is moved.
        digest.update(f"{'/'.join(path.parts[-3:])} {state}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def open_array(file: Path, shape: tuple[int, ...], kind: type[Scalar]) -> npt.NDArray[Scalar] | None:
    """Return the array in a cache file, or None if it is missing, damaged, unreadable, or of another shape or type."""
    try:
        array = np.load(file, mmap_mode="c")  # copy on write: torch warns about read-only arrays
    except (OSError, ValueError, EOFError):
        return None
    return array if array.shape == shape and array.dtype == kind else None


def _written(images: Iterable[Pixels], file: Path, shape: tuple[int, ...]) -> Iterator[Pixels]:
    """Yield each image, then append it to a .npy file; the finished file replaces any stale ones.

    Not through a memory map, because a full disk would then kill the process. Raises OSError if the file cannot be
    written; the rest of `images` can still be consumed.
    """
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with atomic_write(file) as temporary, temporary.open("wb") as out:
        np.lib.format.write_array_header_1_0(out, header)
        for image in images:
            yield image
            out.write(image.data)
    _remove_stale(file)


def _remove_stale(file: Path) -> None:
    """Remove outdated caches of the same split and size, and partial files that a killed process left behind."""
    stem = file.stem.rpartition("_")[0]
    remove_abandoned(file.parent.glob(f".{stem}_*.partial"))
    for old in file.parent.glob(f"{stem}_*.npy"):
        with suppress(OSError):  # on Windows a file in use cannot be removed
            if old != file:
                old.unlink()


class Batch(NamedTuple):
    """Augmented images (B, 3, H, W), their targets (B,), both on the device, and their indices (B,) in the split."""

    images: Tensor
    targets: Tensor
    indices: Tensor


class BatchSource:
    """Turn indices (B,) and a torch.Generator of the device into augmented images (B, 3, H, W) on the device.

    augment: (bank, indices, generator) → images. bank: uint8 (N, H, W, 3). It is moved to the device if it fits.
    Otherwise it stays in memory or in its memory-mapped file, and each batch is gathered on the host, then moved.
    """

    def __init__(self, bank: Tensor, augment: Callable[..., Tensor], device: torch.device) -> None:
        self.bank_is_here = bank_fits(bank, device)
        self.bank = bank.to(device) if self.bank_is_here else bank
        self.augment, self.device = augment, device

    def __call__(self, indices: Tensor, generator: torch.Generator) -> Tensor:
        if self.bank_is_here:
            return self.augment(self.bank, indices.to(self.device, non_blocking=True), generator)
        images = self.bank[indices].to(self.device, non_blocking=True)
        return self.augment(images, torch.arange(len(images), device=self.device), generator)


def bank_fits(bank: Tensor, device: torch.device) -> bool:
    """Return whether the bank takes at most half of the device's free memory."""
    if device.type == "cuda":
        return bank.nbytes <= torch.cuda.mem_get_info(device)[0] / 2
    if device.type == "mps":
        free = torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
        return bank.nbytes <= free / 2
    return True
