"""Change the colours of a batch of images, each image by its own factors."""

from collections.abc import Callable

import torch
from torch import Tensor

GREY_WEIGHTS = (0.2989, 0.587, 0.114)  # ITU-R 601-2, as torchvision rounds it


def grey(images: Tensor) -> Tensor:
    """Return the grey values (...) of colours (..., 3), float32."""
    red, green, blue = images.float().unbind(-1)
    return (
        (GREY_WEIGHTS[0] * red).add_(green, alpha=GREY_WEIGHTS[1]).add_(blue, alpha=GREY_WEIGHTS[2])
    )


def adjust_colours(
    images: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor
) -> Tensor:
    """Scale the brightness, contrast and saturation of uint8 images (B, H, W, 3).

    Each image has its own factors (B,). The definitions are torchvision's, computed in float with
    one rounding at the end. The order is fixed: except for values clipped at 0 and 255 the three
    commute, so torchvision's random order gives no other images.
    """
    brightness, contrast, saturation = (
        factor[:, None, None, None] for factor in (brightness, contrast, saturation)
    )
    # In place, because fresh memory costs the most time on a CPU.
    pixels = images.float().mul_(brightness).clamp_(0, 255)
    mean = grey(pixels.mean((1, 2)))[:, None, None, None]
    pixels.mul_(contrast).add_(mean * (1 - contrast)).clamp_(0, 255)
    greys = grey(pixels)[..., None].mul_(1 - saturation)
    return pixels.mul_(saturation).add_(greys).clamp_(0, 255).round_().to(torch.uint8)


def change_where(
    chosen: Tensor, images: Tensor, change: Callable[..., Tensor], *arguments: Tensor
) -> Tensor:
    """Apply change(images, *arguments) to the images (B, …) where chosen (B,) is true.

    The others stay unchanged.

    change: maps K images, and the K matching entries of each argument, to K images of the same
        shape.
    arguments: tensors (B, …).

    On a CPU, the change sees only the chosen images. On an accelerator it sees all of them and a
    mask selects from the
    result: finding out which are chosen would make the host wait longer than computing the others
        takes.
    """
    if images.device.type != "cpu":
        return torch.where(
            chosen.view(-1, *[1] * (images.ndim - 1)), change(images, *arguments), images
        )
    indices = chosen.nonzero()[:, 0]
    if not len(indices):
        return images
    changed = change(*(tensor.index_select(0, indices) for tensor in (images, *arguments)))
    return images.index_copy(0, indices, changed)
