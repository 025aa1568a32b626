"""Lay a network's heat maps over photographs, each below the photograph itself."""

from collections.abc import Sequence

import matplotlib
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from person_reid.data.images.bank import Pixels
from person_reid.models.network import Network
from person_reid.show.activation import MAPPED_AT_ONCE, activations, parts_of
from person_reid.show.sheet import SheetRow, Tile, pixels_of

# Black to yellow, steadily lighter: legible in grey and to colour-blind readers.
COLOURS = "inferno"
STRENGTH = 0.6


def overlay(pixels: Pixels, heat: npt.NDArray[np.floating]) -> Pixels:
    """Lay heat (h, w), 0..1, in colour over an image (H, W, 3) in grey."""
    height, width = pixels.shape[:2]
    resized = Image.fromarray(heat.astype(np.float32)).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    colour = matplotlib.colormaps[COLOURS](np.asarray(resized))[..., :3] * 255
    grey = np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
    return np.asarray(((1 - STRENGTH) * grey + STRENGTH * colour).round(), np.uint8)


def heat_rows(
    network: Network,
    tiles: Sequence[Tile],
    bank: torch.Tensor,
    device: torch.device | str = "cpu",
    title: str = "",
    subtitle: str = "",
    batchsize: int = MAPPED_AT_ONCE,
) -> list[SheetRow]:
    """Return rows of a sheet: the tiles, then the same images under the network's heat.

    Each branch of the network has a row of heat.

    bank: the images of the tiles as the network sees them, uint8 (N, H, W, 3). White lines separate
    PCB's stripes.
    """
    images = [pixels_of(tile.image) for tile in tiles]
    rows = [SheetRow(tiles, title, subtitle)]
    parts = parts_of(network)
    lines = [part / parts for part in range(1, parts)]
    for name, heats in activations(network, bank, device, batchsize).items():
        hot = [
            Tile(overlay(image, heat), tile.colour, lines=lines)
            for image, heat, tile in zip(images, heats, tiles, strict=True)
        ]
        rows.append(
            SheetRow(hot, f"Branch: {name}" if name else "Where its features are strongest")
        )
    return rows
