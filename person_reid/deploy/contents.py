"""What an exported file says of itself: its images, its features,
and the steps that are inside it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields

import torch

from person_reid.basics import parse_json
from person_reid.config.option import LARGEST_SIDE
from person_reid.data.augment import normalise

KEY = "person-reid"  # under which a file holds its Contents


@dataclass(frozen=True)
class Contents:
    """What an exported file expects and returns.

    height, width: of the images, in pixels.
    dim: width of the feature.
    pieces: number of equal pieces of the feature that are normalised separately.
    source: the network and its weights, in words.
    normalised: the file takes uint8 RGB images (B, H, W, 3) and applies ImageNet's normalisation
        itself; otherwise it takes normalised float32 images (B, 3, H, W).
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
        contents = cls(
            **{field.name: found[field.name] for field in fields(cls) if field.name in found}
        )
        for field in fields(cls):
            value = getattr(contents, field.name)
            if type(value).__name__ != field.type:
                raise ValueError(
                    f"its description says {field.name} {value!r}, "
                    f"expected a value of type {field.type}"
                )
        if not (0 < contents.height <= LARGEST_SIDE and 0 < contents.width <= LARGEST_SIDE):
            raise ValueError(f"its description says {contents.height} x {contents.width} pixels")
        if contents.up_to not in (0, 1, 255):
            raise ValueError(f"its description says values from 0 to {contents.up_to}")
        if contents.dim < 1 or contents.pieces < 1 or contents.dim % contents.pieces:
            raise ValueError(
                "its description says a feature of width "
                f"{contents.dim} in {contents.pieces} pieces"
            )
        return contents

    def images(self, batch: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """Return random images in the form that the file expects."""
        shape = (batch, self.height, self.width, 3)
        pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        return self.input(pixels).contiguous()

    def input(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return RGB images, uint8 (B, H, W, 3), in the form that the file expects."""
        if self.normalised:
            return pixels
        if not self.up_to:
            return normalise(pixels)
        images = (pixels.flip(3) if self.bgr else pixels).permute(0, 3, 1, 2)
        return images.float() * (self.up_to / 255)
