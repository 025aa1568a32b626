"""Photographs with a network's heat over them, each below the photograph itself."""

import matplotlib
import numpy as np
from PIL import Image

from person_reid.show.activation import activations, parts_of
from person_reid.show.sheet import Row, Tile, pixels_of

COLOURS = "inferno"  # from black to yellow through ever lighter tones: legible in grey and to every eye
STRENGTH = 0.6


def overlay(pixels, heat):
    """uint8 (H, W, 3): an image in grey with heat (h, w), 0..1, in colour over it."""
    height, width = pixels.shape[:2]
    heat = np.asarray(Image.fromarray(heat.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR))
    colour = matplotlib.colormaps[COLOURS](heat)[..., :3] * 255
    grey = np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
    return ((1 - STRENGTH) * grey + STRENGTH * colour).round().astype(np.uint8)


def heat_rows(network, tiles, bank, device="cpu", title="", subtitle=""):
    """Rows of a sheet: the Tiles, and below them the same images under the network's heat, a row for each branch.

    bank: the images of the tiles as the network sees them, uint8 (N, H, W, 3). White lines part PCB's stripes.
    """
    images = [pixels_of(tile.image) for tile in tiles]
    rows = [Row(tiles, title, subtitle)]
    parts = parts_of(network)
    lines = [part / parts for part in range(1, parts)]
    for name, heats in activations(network, bank, device).items():
        hot = [
            Tile(overlay(image, heat), tile.colour, lines=lines)
            for image, heat, tile in zip(images, heats, tiles, strict=True)
        ]
        rows.append(Row(hot, f"Branch: {name}" if name else ""))
    return rows
