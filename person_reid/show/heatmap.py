"""Show where in an image a network responds: the energy of its last feature map.

Heat maps are laid over photographs, each below the photograph itself.
"""

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import interpolate

from person_reid.data.images.augment import normalise
from person_reid.data.images.bank import Pixels
from person_reid.errors import UserError
from person_reid.models.lightmbn import BRANCHES, LightMBN
from person_reid.models.network import STRIPES, Network, PCBNetwork, USAMNetwork
from person_reid.models.surgery import hooked
from person_reid.show.sheet import SheetRow, Tile, pixels_of

# Black to yellow, getting steadily lighter: legible in grey and for colour-blind readers.
COLOURS = "inferno"
STRENGTH = 0.6
MAPPED_AT_ONCE = 32  # images
MOST_PREFIX = 16  # the most class and register tokens before the patch tokens


def overlay(pixels: Pixels, heat: npt.NDArray[np.floating]) -> Pixels:
    """Lay coloured heat (h, w), from 0 to 1, over a grey version of an image (H, W, 3)."""
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
    """Return rows for a sheet: the tiles, then the same images with heat maps over them.

    Each branch of the network has a row of heat.

    bank: the images of the tiles as the network's input, uint8 (N, H, W, 3). White lines separate
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


@torch.inference_mode()
def activations(
    network: Network,
    bank: torch.Tensor,
    device: torch.device | str = "cpu",
    batchsize: int = MAPPED_AT_ONCE,
) -> dict[str, npt.NDArray[np.float32]]:
    """Return heat maps for a bank of images as {branch: (N, H, W)}, each from 0 to 1.

    bank: uint8 (N, H, W, 3).

    A network with branches has a map for each; any other network has one map, named "". The heat at
    a position is

        Σ_c A_c², the energy of the feature map A there,

    resized bicubically to the image and stretched to 0..1 for each image separately (for PCB, each
    stripe).
    Zagoruyko, Komodakis: Paying More Attention to Attention, ICLR 2017, equation 1 with p = 2.
    Raises UserError if the network has no feature map.
    """
    found: dict[str, list[torch.Tensor]] = {}
    network.to(device).eval()
    for chunk in torch.split(bank, batchsize):
        for name, maps in feature_maps(network, normalise(chunk.to(device))).items():
            energy = maps.float().square().sum(1, keepdim=True)
            heat = (
                interpolate(energy, chunk.shape[1:3], mode="bicubic", align_corners=False)[:, 0]
                .clamp(min=0)
                .cpu()
            )
            found.setdefault(name, []).append(stretched(heat, parts_of(network)))
    return {name: torch.cat(maps).numpy() for name, maps in found.items()}


def stretched(heat: torch.Tensor, parts: int = 1) -> torch.Tensor:
    """Stretch maps (N, H, W) to the range 0..1, separately in each of `parts` horizontal stripes.

    Flat stripes become 0.
    """
    stripes = []
    for stripe in heat.tensor_split(parts, dim=1):
        low, high = stripe.amin((1, 2), keepdim=True), stripe.amax((1, 2), keepdim=True)
        stripes.append((stripe - low) / (high - low).clamp(min=1e-12))
    return torch.cat(stripes, dim=1)


def parts_of(network: Network) -> int:
    """Return the number of stripes that a network divides its feature map into."""
    return STRIPES if isinstance(network, PCBNetwork) else 1


def feature_maps(network: Network, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the feature maps before pooling, {branch or "": (B, C, h, w)}.

    images: (B, 3, H, W), normalised.
    """
    if isinstance(network, LightMBN):
        shared = network.module["backbone"](images)
        maps = {name.removesuffix("_branch"): network.module[name](shared) for name in BRANCHES}
        maps["global"] = network.batch_drop_block["drop_batch_bottleneck"](maps["global"])
        return maps
    if isinstance(network, USAMNetwork):
        return {"": _input_of(network.pooling, lambda: network.pooled(images))}
    module = network.module
    last = (
        network.architecture.feature_map(module, images)
        if network.architecture.has_map
        else _last_map(module, images)
    )
    return {"": on_grid(last, images.shape[2:], getattr(module, "num_prefix_tokens", None))}


def on_grid(maps: torch.Tensor, size: Sequence[int], prefix: int | None = None) -> torch.Tensor:
    """Return the patch tokens of a transformer, (B, C, N, 1), as a map (B, C, h, w).

    A map is returned unchanged.

    size: (height, width) of the images. prefix: the number of tokens before the patch tokens, None
    if unknown. The grid is the one with N square patches. Raises UserError if there is no such
    grid.
    """
    count = maps.shape[2]
    if maps.shape[3] != 1 or count <= 1:
        return maps
    grids = {(size[0] // patch) * (size[1] // patch): patch for patch in range(min(size), 0, -1)}
    for first in range(MOST_PREFIX + 1) if prefix is None else (prefix,):
        if count - first in grids:
            patch = grids[count - first]
            return maps[:, :, first:, 0].reshape(
                *maps.shape[:2], size[0] // patch, size[1] // patch
            )
    raise UserError(
        f"{count} tokens of images {size[0]}×{size[1]} form no grid of square patches: no heat map."
    )


def _input_of(module: nn.Module, call: Callable[[], object]) -> torch.Tensor:
    """Return the first input that `module` gets while call() runs."""
    seen: list[torch.Tensor] = []
    with module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])):
        call()
    return seen[0]


def _last_map(module: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return the last of an opaque network's layer outputs that have several positions.

    The output consists of maps (B, C, h, w) or tokens.
    """
    last: list[torch.Tensor] = []

    def remember(layer: nn.Module, inputs: Any, output: Any) -> None:
        if not isinstance(output, torch.Tensor) or len(output) != len(images):
            return
        if output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
            last[:] = [output]
        elif output.ndim == 3 and output.shape[1] > 1:
            last[:] = [output.mT[..., None]]

    layers = [layer for layer in module.modules() if not any(layer.children())]
    with hooked(layer.register_forward_hook(remember) for layer in layers):
        module(images)
    if not last:
        raise UserError(
            "no layer of this network has an output with several positions, "
            "so there is no heat map."
        )
    return last[0]
