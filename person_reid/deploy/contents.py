"""The description that an exported file of this package holds, in JSON; it needs no PyTorch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from person_reid.config.option import LARGEST_SIDE
from person_reid.text import parse_json

if TYPE_CHECKING:
    import torch

CONTENTS_KEY = "person-reid"  # under which a file holds its Contents


@dataclass(frozen=True)
class Contents:
    """Describe what an exported file expects and returns.

    height, width: the images' size in pixels.
    dim: width of the feature.
    pieces: number of equal pieces of the feature that are normalised separately.
    source: the network and its weights, in words.
    normalised: the file takes uint8 RGB images (B, H, W, 3) and applies ImageNet's normalisation
        itself. Otherwise it takes normalised float32 images (B, 3, H, W).
    flip: the file adds the mirrored image's feature itself.
    l2: the feature has unit length.
    precision: float32, float16 or int8.
    tensorrt: run by TensorRT if it is installed.
    up_to: 1 or 255 if the file takes float32 images (B, 3, H, W) with values from 0 to that and
        applies ImageNet's normalisation itself; 0 if it does not.
    bgr: their channels are blue, green and red.
    """

    height: int
    width: int
    dim: int
    pieces: int = 1
    source: str = ""
    normalised: bool = False
    flip: bool = False
    l2: bool = False
    precision: str = "float32"
    tensorrt: bool = False
    up_to: int = 0
    bgr: bool = False

    @property
    def takes(self) -> str:
        """Return the type and the shape of the images that the file takes, in words."""
        if self.normalised:
            return f"uint8 (B, {self.height}, {self.width}, 3)"
        values = f", {'BGR' if self.bgr else 'RGB'} 0..{self.up_to}" if self.up_to else ""
        return f"float32 (B, 3, {self.height}, {self.width}){values}"

    def to_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Contents:
        """Read the JSON in a file and ignore entries of later versions.

        Raises ValueError or TypeError for an entry that is missing or cannot be true.
        """
        found = parse_json(text)
        if not isinstance(found, dict):
            raise ValueError(f"its description is {text[:40]}")
        known = {field.name: field.type for field in fields(cls)}
        contents = cls(**{name: found[name] for name in known if name in found})
        for name, kind in known.items():
            value = getattr(contents, name)
            if type(value).__name__ != kind:
                raise ValueError(
                    f"its description says {name} {value!r}, expected a value of type {kind}"
                )
        problems = {
            f"{contents.height} x {contents.width} pixels": not is_image_size(
                contents.height, contents.width
            ),
            f"values from 0 to {contents.up_to}": contents.up_to not in (0, 1, 255),
            f"a feature of width {contents.dim} in {contents.pieces} pieces": contents.dim < 1
            or contents.pieces < 1
            or contents.dim % contents.pieces,
        }
        for problem, applies in problems.items():
            if applies:
                raise ValueError(f"its description says {problem}")
        return contents

    def images(self, batch: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """Return random images in the form that the file expects."""
        import torch

        shape = (batch, self.height, self.width, 3)
        pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        return self.input(pixels).contiguous()

    def input(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return RGB images, uint8 (B, H, W, 3), in the form that the file expects."""
        if self.normalised:
            return pixels
        if not self.up_to:
            from person_reid.data.images.augment import normalise  # loads torch

            return normalise(pixels)
        images = (pixels.flip(3) if self.bgr else pixels).permute(0, 3, 1, 2)
        return images.float() * (self.up_to / 255)


def is_image_size(height: int, width: int) -> bool:
    """Return whether images may have this size in pixels."""
    return 0 < height <= LARGEST_SIDE and 0 < width <= LARGEST_SIDE
