"""`--stride 1`: a convolutional network that no longer halves the resolution before its last stage.

Sun, Zheng, Yang, Tian, Wang: Beyond Part Models: Person Retrieval with Refined Part Pooling, ECCV
2018, section 3.1: the feature map is twice as large in both directions, with the same weights and
without dilation.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from person_reid.config.option import OptionError
from person_reid.models.modes_and_hooks import evaluation_mode, traced

STRIDED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


def keep_last_resolution(
    module: nn.Module, maps: Callable[[nn.Module, Tensor], Tensor], size: tuple[int, int]
) -> None:
    """Undo the last halving of a convolutional network, in place, and keep its state-dict keys.

    Every convolution and pooling that halves the resolution to the last map's, in the path and in
    the shortcuts, gets stride 1; a 2×2 pooling is removed.

    maps: maps(module, images) → (B, C, h, w), the last map. size: (height, width) of the images.
    Raises UserError if that does not double the map: for a network with several resolutions at
    once, or without convolutions.
    """
    images = torch.zeros(1, 3, *size, device=next(module.parameters()).device)
    height, layers = _trace(module, maps, images)
    for name, before, after in layers:
        if after == height and before >= 2 * height - 1 > after:
            _stop_halving(module, name)
    try:
        now, _ = _trace(module, maps, images)
    except (RuntimeError, AssertionError):  # maps of two resolutions that no longer match
        now = height
    if now < 2 * height - 1 or now == height:
        raise OptionError(
            "{stride}, which {PCB} implies, has no meaning for this network with images of "
            f"{size[0]}×{size[1]}: it has no single last halving. "
            "Leave it out, or try larger images.",
            stride=1,
        )


def _trace(
    module: nn.Module, maps: Callable[..., Tensor], images: Tensor
) -> tuple[int, list[tuple[str, int, int]]]:
    """Return the last map's height, and heights before and after each layer that can halve it."""
    layers = {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, STRIDED) and layer.stride not in (1, (1, 1))
    }
    heights: list[int] = []
    with evaluation_mode(module), torch.inference_mode():
        calls = traced(layers, lambda: heights.append(maps(module, images).shape[2]))
    return heights[0], [
        (name, inputs[0].shape[-2], output.shape[-2]) for name, inputs, output in calls
    ]


def _stop_halving(module: nn.Module, name: str) -> None:
    """Give one layer stride 1.

    With an even kernel, which has no middle, the map would lose a row and a column: such a pooling
    is removed, and such a convolution pads more on one side.
    """
    layer: Any = module.get_submodule(name)
    even = layer.kernel_size in (2, (2, 2))
    if isinstance(layer, nn.Conv2d):
        layer.stride = (1, 1)
        layer.padding = "same" if even else layer.padding
    elif even:
        module.set_submodule(name, nn.Identity())
    else:
        layer.stride = 1
