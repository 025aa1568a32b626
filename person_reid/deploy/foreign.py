"""Networks that were made elsewhere: ONNX and OpenVINO files without a description of ours.

Their input says its size and type; how pixels become numbers has to be known (Preparation).
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from person_reid.basics import UserError
from person_reid.config.option import LARGEST_SIDE
from person_reid.data.augment import MEAN, STD
from person_reid.deploy.contents import Contents

log = logging.getLogger(__name__)
USUAL = (256, 128)  # the size of images if the file does not say it
Run = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Preparation:
    """How a network wants its pixels: (pixel · scale - mean) / std, where the scale makes 0..255 or
    0..1 of them.

    mean, std: of the three channels in the network's order; None means ImageNet's for 0..1, and 0
        and 1 for 0..255.
    bgr: the channels are blue, green, red. up_to: 1 or 255. size: (height, width), for a file that
        does not say it.
    given: what to call it in messages.
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
                    f"--{name} {','.join(map(str, values))}: expected "
                    "three numbers, those of std not 0."
                )

    @property
    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and std, of the three channels in the network's order."""
        mean, std = (MEAN, STD) if self.up_to == 1 else ((0.0,) * 3, (1.0,) * 3)
        order = -1 if self.bgr else 1
        return self.mean or mean[::order], self.std or std[::order]

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return float32 (B, H, W, 3), in the network's channel order, for
        RGB pixels, uint8 (B, H, W, 3).
        """
        mean, std = map(torch.tensor, self.statistics)
        images = (pixels.flip(3) if self.bgr else pixels).float()
        return ((images / 255 if self.up_to == 1 else images) - mean) / std

    def __str__(self) -> str:
        mean, std = (",".join(f"{value:g}" for value in values) for values in self.statistics)
        return (
            f"{'BGR' if self.bgr else 'RGB'}, --range 0..{self.up_to}, --mean {mean}, --std {std}"
        )


def adapt(
    path: Path, shape: Sequence[int | None], dtype: torch.dtype, run: Run, preparation: Preparation
) -> tuple[Contents, Run]:
    """Make a foreign network look like one of tools/export.py that normalises its input; log what
    is assumed of it.

    shape: of its input, None for a length that is free. dtype: of its input. run: its function.
    Raises UserError if its input is not a batch of colour images, or if it does not give a feature
    of each.
    """
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise UserError(
            f"{path}: takes {_shown(shape)}; expected a batch of colour "
            "images, such as (B, 3, 256, 128)."
        )
    channels_last = shape[1] != 3
    batch, *sides = (
        (shape[0], shape[1], shape[2]) if channels_last else (shape[0], shape[2], shape[3])
    )
    height, width = (
        side or asked or usual
        for side, asked, usual in zip(sides, preparation.size, USUAL, strict=True)
    )
    for side, asked in zip(sides, preparation.size, strict=True):
        if side and asked not in (None, side):
            raise UserError(
                f"{path}: takes images of {height}×{width}; leave --height and --width out."
            )
    if not (0 < height <= LARGEST_SIDE and 0 < width <= LARGEST_SIDE):
        raise UserError(
            f"{path}: takes images of {height}×{width} pixels; expected at "
            f"most {LARGEST_SIDE} on a side."
        )

    def whole(pixels: torch.Tensor) -> torch.Tensor:
        images = preparation(pixels)
        images = (images if channels_last else images.permute(0, 3, 1, 2)).contiguous()
        return run(
            images.round().to(dtype) if not dtype.is_floating_point else images.to(dtype)
        ).flatten(1)

    def in_batches(pixels: torch.Tensor) -> torch.Tensor:
        parts = pixels.split(batch or 1)
        padded = [
            torch.cat([part, part[:1].expand((batch or 1) - len(part), *part.shape[1:])])
            for part in parts
        ]
        return torch.cat(
            [whole(images)[: len(part)] for images, part in zip(padded, parts, strict=True)]
        )

    adapted = in_batches if batch else whole
    found = adapted(torch.zeros(1, height, width, 3, dtype=torch.uint8))
    if len(found) != 1 or not found.numel():
        raise UserError(f"{path}: gives {_shown(found.shape)} for an image; expected a feature.")
    log.info(
        "%s: not written by tools/export.py. Assumed: images of %d×%d, %s.",
        path,
        height,
        width,
        preparation,
    )
    return Contents(height, width, found.shape[1], source=path.name, normalised=True), adapted


def _shown(shape: Sequence[int | None]) -> str:
    return "(" + ", ".join("?" if length is None else str(length) for length in shape) + ")"
