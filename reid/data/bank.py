"""The image bank: a split decoded once, kept as one uint8 tensor (N, height, width, 3).

Person images are small, so a data set fits in memory or in one memory-mapped file. Batches are gathered from it by
index; there are no loader workers to tune or to wait for. Pillow decodes and resizes without holding Python's lock,
so plain threads use every core.
"""

import hashlib
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from reid.data.layout import some_of
from utils import UserError, atomic_write, describe, progress

DECODER_VERSION = 1  # part of the fingerprint: raise it when load_image gives other pixels than before
CHUNK = 512  # images held in memory at once while a cache file is written


def load_image(path, height, width):
    """Decode one image file: fit_image of it. Raises what Pillow raises for a file that it cannot read."""
    with Image.open(path) as file:
        return fit_image(file, height, width)


def fit_image(image, height, width):
    """A PIL image as a viewer shows it, resized: uint8 (height, width, 3), RGB.

    EXIF rotation is applied, transparency is laid over white, 16-bit values keep their high byte; greyscale, palette
    and CMYK become RGB. The resize is Pillow's bicubic one, so the pixels are those of torchvision's
    `Resize((height, width), BICUBIC)` on a PIL image.
    """
    image = _to_rgb(ImageOps.exif_transpose(image))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def _to_rgb(image):
    if image.mode.startswith("I"):  # 16 bits a pixel, or 32 that hold 16; Pillow's own conversion would clip at 255
        return Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def load_bank(paths, height, width, cache=None, description="images"):
    """Decode N images into one uint8 tensor (N, height, width, 3), or open the file that an earlier call wrote.

    cache: the folder of that file, such as `<data_dir>/.cache`; None keeps the images in memory. The file's name holds
        a fingerprint of the images' names, sizes and times, so that a cache which no longer holds is simply not found;
        it is then replaced. Where the file cannot be written, a line says so and the images stay in memory.
    description: what these images are, such as `train_all`: it names the file and the progress bar.

    Writing to the tensor changes memory only, never the file. Raises one UserError that names all unreadable images.
    """
    if cache is None or not paths:
        return _decode_to_memory(paths, height, width, description)
    stem = f"{re.sub(r'[^0-9A-Za-z-]+', '_', description)}_{height}x{width}"
    file = Path(cache) / f"{stem}_{fingerprint(paths)}.npy"
    shape = (len(paths), height, width, 3)
    bank = _open(file, shape)
    if bank is None:
        try:
            _decode_to_file(file, paths, height, width, description)
            _remove_stale(file, stem)
        except OSError as error:
            print(f"{describe(error)}: no cache, {description} stays in memory.", file=sys.stderr)
        bank = _open(file, shape)  # where our write failed, another process may have finished the same file
    return _decode_to_memory(paths, height, width, description) if bank is None else torch.from_numpy(bank)


def fingerprint(paths):
    """16 hexadecimal digits that change with any image's name, folder, size or time of change."""
    digest = hashlib.sha256(f"decoder {DECODER_VERSION}\n".encode())
    for path in map(Path, paths):
        try:
            status = path.stat()
            state = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            state = "missing"  # decoding will name it, with all others
        # Three parts, not the whole path: a data set that is moved keeps its cache.
        digest.update(f"{'/'.join(path.parts[-3:])} {state}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def _open(file, shape):
    """The array in a cache file, or None where it is missing, damaged or cannot be read."""
    try:
        bank = np.load(file, mmap_mode="c")  # copy on write: torch warns of arrays that cannot be written
    except (OSError, ValueError, EOFError):
        return None
    return bank if bank.shape == shape and bank.dtype == np.uint8 else None


def _decode_to_memory(paths, height, width, description):
    bank = np.empty((len(paths), height, width, 3), np.uint8)
    start = 0
    for chunk in _decode(paths, height, width, description):
        bank[start : start + len(chunk)] = chunk
        start += len(chunk)
    return torch.from_numpy(bank)


def _decode_to_file(file, paths, height, width, description):
    """Write the .npy file chunk by chunk. Not through a memory map: on a full disk that would kill the process."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(paths), height, width, 3)}
    with atomic_write(file, shared=True) as temporary, temporary.open("wb") as out:
        np.lib.format.write_array_header_1_0(out, header)
        for chunk in _decode(paths, height, width, description):
            out.write(chunk.data)


def _decode(paths, height, width, description):
    """Yield the images in order, as arrays (up to CHUNK, height, width, 3); raise a UserError after the last."""
    wrong = []

    def decode_into(chunk, position, path):
        try:
            chunk[position] = load_image(path, height, width)
        except Exception as error:  # decoders fail in many ways, and every failure means the same here
            return f"{path}: {_reason(error)}"

    bar = progress(total=len(paths), desc=f"decoding {description}", unit=" images")
    with bar, ThreadPoolExecutor() as pool:
        for start in range(0, len(paths), CHUNK):
            part = paths[start : start + CHUNK]
            chunk = np.empty((len(part), height, width, 3), np.uint8)
            for problem in pool.map(decode_into, [chunk] * len(part), range(len(part)), part):
                bar.update()
                if problem:
                    wrong.append(problem)
            yield chunk
    if wrong:
        raise UserError(
            f"{len(wrong)} of {len(paths)} images cannot be read. Replace or remove them, then run again:\n"
            + some_of(wrong)
        )


def _reason(error):
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _remove_stale(file, stem):
    """Remove the caches of the same split and size that no longer hold, and what a killed process left of one."""
    for old in [*file.parent.glob(f"{stem}_*.npy"), *file.parent.glob(f".{stem}_*.partial")]:
        if old != file:
            with suppress(OSError):  # on Windows a file in use stays
                old.unlink()
