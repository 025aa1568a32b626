"""Decode a split once and keep it as one uint8 tensor (N, height, width, 3), the image bank.

Person images are small, so a data set fits in memory or in one memory-mapped file. Batches are
gathered from it by index, without loader workers.
"""

import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from person_reid.data.images.image_decoding import decode
from person_reid.data.images.image_files import Pixels, load_image
from person_reid.errors import describe_error
from person_reid.files import TENSORS, atomic_write, regular_file, remove_abandoned
from person_reid.progress import progress

log = logging.getLogger(__name__)
# Part of the fingerprint: increase it when load_image returns other pixels.
DECODER_VERSION = 5
# Before PyTorch 2.14, Apple's GPU reads zeros beyond this number of elements
# (https://github.com/pytorch/pytorch/issues/188756).
MOST_ON_MPS = 2**31
Scalar = TypeVar("Scalar", bound=np.generic)


def load_bank(
    paths: Sequence[str | Path],
    height: int,
    width: int,
    cache: str | Path | None = None,
    description: str = "images",
    resize: str = "bicubic",
) -> Tensor:
    """Decode N images into one uint8 tensor (N, height, width, 3), or open its cache.

    cache: the folder of the cache, such as `<data_dir>/.cache`; None keeps the images in memory.
        The file name contains a fingerprint of the images' names, sizes and times, so a stale cache
        is not found and is replaced. If the file cannot be written, a warning is logged and the
        images stay in memory.
    description: such as `train_all`, for the file name and the progress bar.
    resize: passed to fit_image.

    Writing to the tensor never changes the file. Raises one UserError that lists all unreadable
    images.
    """
    shape = (len(paths), height, width, 3)

    def images() -> Iterable[Pixels]:
        load = partial(load_image, height=height, width=width, resize=resize)
        decoded = decode(paths, load)
        return progress(decoded, total=len(paths), desc=f"decoding {description}", unit=" images")

    if cache is not None and paths:
        kind = "" if resize == "bicubic" else f"_{resize}"
        stem = f"{re.sub(r'[^0-9A-Za-z-]+', '_', description)}{kind}_{height}x{width}"
        file = Path(cache) / f"{stem}_{fingerprint(paths)}.npy"
        bank = open_array(file, shape, np.uint8)
        if bank is None:
            try:
                _write(images(), file, shape)
            except OSError as error:
                log.warning(
                    "%s: no cache; the next run decodes %s again.",
                    describe_error(error),
                    description,
                )
            # Another process may have written the cache nevertheless.
            bank = open_array(file, shape, np.uint8)
        if bank is not None:
            return torch.from_numpy(bank)
    bank = np.empty(shape, np.uint8)
    for i, image in enumerate(images()):
        bank[i] = image
    return torch.from_numpy(bank)


def fingerprint(paths: Iterable[str | Path], times: bool = True) -> str:
    """Return 16 hexadecimal digits that depend on each image's name, folder and file size.

    times: whether they also depend on the modification time of each image.
    """
    digest = hashlib.sha256(f"decoder {DECODER_VERSION}\n".encode())
    for path in map(Path, paths):
        try:
            status = path.stat()
            state = f"{status.st_size} {status.st_mtime_ns if times else ''}"
        except OSError:
            state = "missing"  # decoding will report a missing file with all the others
        # The last three parts, not the whole path, so that a data set keeps its cache when it is
        # moved.
        digest.update(f"{'/'.join(path.parts[-3:])} {state}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def open_array(
    file: Path, shape: tuple[int, ...], kind: type[Scalar]
) -> npt.NDArray[Scalar] | None:
    """Return the array in a cache file, or None if the file has no such array.

    The file may be missing, damaged, unreadable, or of another shape or type.
    """
    try:
        # Copy on write, because torch warns about read-only arrays.
        array = np.load(regular_file(file, TENSORS), mmap_mode="c")
    except (OSError, ValueError, EOFError):
        return None
    return array if array.shape == shape and array.dtype == kind else None


def _write(images: Iterable[Pixels], file: Path, shape: tuple[int, ...]) -> None:
    """Write images to a .npy file one by one, and remove older files for this split and size.

    It uses no memory map, because a full disk would then kill the process.
    """
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with atomic_write(file) as temporary, temporary.open("wb") as out:
        np.lib.format.write_array_header_1_0(out, header)
        for image in images:
            out.write(image.data)
    stem = file.stem.rpartition("_")[0]
    remove_abandoned(file.parent.glob(f".{stem}_*.partial"))  # from a process that was killed
    for old in file.parent.glob(f"{stem}_*.npy"):
        with suppress(OSError):  # on Windows a file in use cannot be removed
            if old != file:
                old.unlink()


class BatchSource:
    """Map indices (B,) and a generator to augmented images (B, 3, H, W) on the device.

    The torch.Generator belongs to the device.

    augment: (bank, indices, generator) → images. bank: uint8 (N, H, W, 3). It is moved to the
    device if it fits. Otherwise, it stays in memory or in its memory-mapped file, and each batch is
    gathered on the host and then moved.
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
        return bank.nbytes <= free / 2 and bank.numel() <= MOST_ON_MPS
    return True
