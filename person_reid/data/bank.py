"""The image bank: a split decoded once, kept as one uint8 tensor (N, height, width, 3).

Person images are small, so a data set fits in memory or in one memory-mapped file. Batches are gathered from it by
index; there are no loader workers to tune or to wait for. Pillow decodes and resizes without holding Python's lock,
so plain threads use every core.
"""

import hashlib
import logging
import re
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from person_reid.basics import UserError, atomic_write, describe, progress
from person_reid.data.layout import some_of

log = logging.getLogger(__name__)
DECODER_VERSION = 1  # part of the fingerprint: raise it when load_image gives other pixels than before
AHEAD = 512  # images decoded before they are asked for, at most: they are held in memory


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
    bank = open_bank(paths, height, width, cache, description)
    return bank if isinstance(bank, torch.Tensor) else bank.whole()


def open_bank(paths, height, width, cache=None, description="images"):
    """The same for who needs the images once and in order: where they are in no file yet, a DecodingBank, which gives
    the first while the others are still being decoded."""
    file = None
    if cache is not None and paths:
        stem = f"{re.sub(r'[^0-9A-Za-z-]+', '_', description)}_{height}x{width}"
        file = Path(cache) / f"{stem}_{fingerprint(paths)}.npy"
    bank = None if file is None else _open(file, (len(paths), height, width, 3))
    if bank is None:
        return DecodingBank(paths, lambda path: load_image(path, height, width), (height, width), file, description)
    return torch.from_numpy(bank)


class DecodingBank:
    """N images that are still to be decoded: what extraction asks of a tensor (N, height, width, 3), its length, its
    batches and a part of it, each given as soon as it is there.

    sources: N of anything that load(source) turns into uint8 (height, width, 3), in threads. file: a cache file to
    write on the way, whole or not at all. description: of the images. Iterating decodes them anew each time.
    """

    def __init__(self, sources, load, size, file=None, description="images"):
        self.sources, self.load, self.file, self.description = sources, load, file, description
        self.shape = (len(sources), *size, 3)

    def __len__(self):
        return len(self.sources)

    def __iter__(self):
        """The images in order, each a NumPy array. Raises a UserError after the last: see decode."""
        images = decode(self.sources, self.load)
        try:
            yield from images if self.file is None else _written(images, self.file, self.shape)
        except OSError as error:
            log.warning("%s: no cache; the next run decodes %s again.", describe(error), self.description)
            self.file = None
            yield from images

    def split(self, size):
        """Yield the tensors of torch.split."""
        images = iter(self)
        while batch := list(islice(images, size)):
            yield torch.from_numpy(np.stack(batch))

    def __getitem__(self, part):
        """The images of a slice, for which all are decoded first. All of them, [:], are this bank itself."""
        return self if part.indices(len(self)) == (0, len(self), 1) else self.whole()[part]

    def _with_bar(self):
        return progress(self, total=len(self), desc=f"decoding {self.description}", unit=" images")

    def whole(self):
        """All images as one tensor; with a file, memory-mapped from it."""
        file = self.file
        if file is not None:
            for _ in self._with_bar():  # into the file
                if self.file is None:
                    break
            bank = _open(file, self.shape)  # where our write failed, another process may have finished the same file
            if bank is not None:
                return torch.from_numpy(bank)
        bank = np.empty(self.shape, np.uint8)
        for i, image in enumerate(self._with_bar()):
            bank[i] = image
        return torch.from_numpy(bank)


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


def decode(sources, load):
    """Yield load(source) of each source, in order, with the next AHEAD of them already at work in threads.

    Once one has failed, no more are given, since what is done with them would be lost; the others are still tried, so
    that one UserError names all that fail.
    """
    wrong = []

    def attempt(source):
        try:
            return load(source)
        except Exception as error:  # decoders fail in many ways, and every failure means the same here
            return f"{source}: {_reason(error)}"

    sources_left = iter(sources)
    with ThreadPoolExecutor() as pool:
        running = deque(pool.submit(attempt, source) for source in islice(sources_left, AHEAD))
        while running:
            found = running.popleft().result()
            running.extend(pool.submit(attempt, source) for source in islice(sources_left, 1))
            if isinstance(found, str):
                wrong.append(found)
            elif not wrong:
                yield found
    if wrong:
        raise UserError(
            f"{len(wrong)} of {len(sources)} images cannot be read. Replace or remove them, then run again:\n"
            + some_of(wrong)
        )


def _written(images, file, shape):
    """Yield the images, each before it is written to a .npy file, which is there once all are, and no stale one then.

    Not through a memory map: on a full disk that would kill the process. Raises OSError where it cannot be written;
    what `images` has left is still to be had then.
    """
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with atomic_write(file, shared=True) as temporary, temporary.open("wb") as out:
        np.lib.format.write_array_header_1_0(out, header)
        for image in images:
            yield image
            out.write(image.data)
    _remove_stale(file)


def _reason(error):
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _remove_stale(file):
    """Remove the caches of the same split and size that no longer hold, and what a killed process left of one."""
    stem = file.stem.rpartition("_")[0]
    for old in [*file.parent.glob(f"{stem}_*.npy"), *file.parent.glob(f".{stem}_*.partial")]:
        if old != file:
            with suppress(OSError):  # on Windows a file in use stays
                old.unlink()
