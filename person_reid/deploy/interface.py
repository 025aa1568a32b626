"""Describe the input and output of an exported network.

Files of this package describe themselves in JSON (exported_files.py). A file from another program
only declares the shape and type of its input, so you must know its preprocessing (Preparation).
Unless you name the output that is the feature, it is guessed.
"""

import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from person_reid.config.option import LARGEST_SIDE
from person_reid.data.images.augment import MEAN, STD
from person_reid.deploy.exported_files import Contents, is_image_size
from person_reid.errors import UserError

USUAL = (256, 128)  # the size of images if a file from another program does not specify it
Run = Callable[[torch.Tensor], torch.Tensor]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Preparation:
    """The preprocessing of a network: (pixel · scale - mean) / std, in float32.

    mean, std: three channels each, in the network's order. None means ImageNet's values for 0..1,
    and 0 and 1 for 0..255.
    bgr: the channels are blue, green and red.
    up_to: 1 or 255, the highest value of a scaled pixel.
    size: (height, width), for a file that leaves it open. given: the preparation's name in
    messages.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    bgr: bool = False
    up_to: int = 1
    size: tuple[int | None, int | None] = (None, None)
    given: str = "preparation"

    def __post_init__(self) -> None:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and (len(values) != 3 or (name == "std" and 0 in values)):
                raise UserError(
                    f"--{name} {','.join(map(str, values))}: "
                    "expected three numbers, those of std not 0."
                )

    @property
    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the mean and std of the three channels, in the network's order."""
        mean, std = (MEAN, STD) if self.up_to == 1 else ((0.0,) * 3, (1.0,) * 3)
        order = -1 if self.bgr else 1
        return self.mean or mean[::order], self.std or std[::order]

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return preprocessed images, float32 (B, H, W, 3), in the network's channel order.

        pixels: RGB, uint8 (B, H, W, 3).
        """
        mean, std = map(torch.tensor, self.statistics)
        images = (pixels.flip(3) if self.bgr else pixels).float()
        return ((images / 255 if self.up_to == 1 else images) - mean) / std

    def __str__(self) -> str:
        mean, std = (",".join(f"{value:g}" for value in values) for values in self.statistics)
        channels = "BGR" if self.bgr else "RGB"
        return f"{channels}, --range 0..{self.up_to}, --mean {mean}, --std {std}"


class DeclaredInterface(NamedTuple):
    """The input and outputs that an ONNX or OpenVINO file declares.

    shape, dtype: the input's; None means a variable length. remark: which of several outputs is
    used, or "" if there is no doubt.
    """

    shape: Sequence[int | None]
    dtype: torch.dtype
    remark: str


def adapt_interface(
    path: Path, declared: DeclaredInterface, run: Run, preparation: Preparation
) -> tuple[Contents, Run]:
    """Adapt a network from another program to our interface, and log the assumptions.

    The adapted network takes uint8 images (B, H, W, 3), in batches of any size.

    run: calls the network. Raises UserError if its input is not a batch of colour images, or if it
    does not return a feature for each image.
    """
    shape, dtype, remark = declared
    if remark:
        log.warning("%s: %s", path, remark)
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise UserError(
            f"{path}: takes {_shown(shape)}; "
            "expected a batch of colour images, such as (B, 3, 256, 128)."
        )
    channels_last = shape[1] != 3
    batch, *sides = shape[:3] if channels_last else (shape[0], *shape[2:])
    asked = preparation.size
    height, width = (
        side or own or usual for side, own, usual in zip(sides, asked, USUAL, strict=True)
    )
    takes = f"{path}: takes images of {height}×{width}"
    if any(side and own not in (None, side) for side, own in zip(sides, asked, strict=True)):
        raise UserError(f"{takes}; leave height and width out.")
    if not is_image_size(height, width):
        raise UserError(f"{takes} pixels; expected at most {LARGEST_SIDE} on a side.")

    def features(pixels: torch.Tensor) -> torch.Tensor:
        images = preparation(pixels)
        images = (images if channels_last else images.permute(0, 3, 1, 2)).contiguous()
        return run((images if dtype.is_floating_point else images.round()).to(dtype)).flatten(1)

    def in_batches(pixels: torch.Tensor) -> torch.Tensor:
        count = batch or max(1, len(pixels))
        padding = pixels[:1].expand(-len(pixels) % count, *pixels.shape[1:])
        parts = torch.cat([pixels, padding]).split(count)
        return torch.cat([features(part) for part in parts])[: len(pixels)]

    found = in_batches(torch.zeros(1, height, width, 3, dtype=torch.uint8))
    if len(found) != 1 or not found.numel():
        raise UserError(f"{path}: gives {_shown(found.shape)} for an image; expected a feature.")
    log.info(
        "%s: not written by tools/export.py. Assumed: images of %d×%d, %s.",
        path,
        height,
        width,
        preparation,
    )
    return Contents(height, width, found.shape[1], source=path.name, normalised=True), in_batches


def _shown(shape: Sequence[int | None]) -> str:
    return "(" + ", ".join("?" if length is None else str(length) for length in shape) + ")"


# How other programs name embeddings and class scores among several outputs.
EMBEDDING = re.compile(r"feat|emb|reid|descriptor|vector|neck|pre_?logit", re.IGNORECASE)
SCORES = re.compile(r"logit|class|cls|score|prob|softmax|output_id", re.IGNORECASE)


def chosen_output(
    path: Path, shapes: Mapping[str, Sequence[Any]], asked: str | None
) -> tuple[str, str]:
    """Return the name of the output that is the feature, and a remark if it had to be guessed.

    shapes: {output: its shape}; a length that is not a number is variable. asked: the name given by
    --output. Without it, an output named like an embedding is preferred, then one that is not named
    like class scores, then one whose length is a multiple of 64 (usual for embeddings, rare for
    numbers of classes), then a longer one. A feature map, which has a height and a width, comes
    last.

    Raises UserError if no output has that name.
    """
    rows = {name: tuple(shape[1:]) for name, shape in shapes.items()}
    widths = {
        name: math.prod(row) if all(isinstance(length, int) for length in row) else 0
        for name, row in rows.items()
    }
    listing = ", ".join(f"{name} ({width or '?'})" for name, width in widths.items())
    if asked is not None and asked not in rows:
        raise UserError(f"{path}: output={asked}: no such output. There are: {listing}.")
    if asked is not None or len(rows) == 1:
        return asked or next(iter(rows)), ""

    def likely(name: str) -> tuple[bool, bool, bool, bool, int]:
        is_map = len(rows[name]) == 3 and any(side != 1 for side in rows[name][2:])
        embedding, scores = EMBEDDING.search(name), SCORES.search(name)
        width = widths[name]
        return not is_map, bool(embedding), not scores, width > 0 and not width % 64, width

    best = max(rows, key=likely)
    return best, (
        f"its outputs are {listing}. {best} is taken for the feature; --output NAME chooses."
    )
