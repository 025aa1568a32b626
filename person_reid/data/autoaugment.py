"""AutoAugment: send each image through one of the 25 sub-policies learned on ImageNet.

A sub-policy is two operations, each with a probability and a level from 0 to 9. Cubuk et al., AutoAugment: Learning
Augmentation Strategies from Data, CVPR 2019, table 9. Magnitudes are torchvision's; if a magnitude may have either
sign, the sign is drawn. An operation maps uint8 images (K, H, W, 3) and magnitudes (K,) to images of the same shape;
pixels from outside the image are black.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from person_reid.data.colours import adjust_colours, change_each, change_where

LEVELS = 9  # the highest level
LARGEST = {"color": 0.9, "contrast": 0.9, "sharpness": 0.9, "rotate": 30, "shear_x": 0.3}  # at the highest level
POLICIES = """
    posterize 0.4 8     rotate 0.6 9
    solarize 0.6 5      autocontrast 0.6 0
    equalize 0.8 0      equalize 0.6 0
    posterize 0.6 7     posterize 0.6 6
    equalize 0.4 0      solarize 0.2 4
    equalize 0.4 0      rotate 0.8 8
    solarize 0.6 3      equalize 0.6 0
    posterize 0.8 5     equalize 1.0 0
    rotate 0.2 3        solarize 0.6 8
    equalize 0.6 0      posterize 0.4 6
    rotate 0.8 8        color 0.4 0
    rotate 0.4 9        equalize 0.6 0
    equalize 0.0 0      equalize 0.8 0
    invert 0.6 0        equalize 1.0 0
    color 0.6 4         contrast 1.0 8
    rotate 0.8 8        color 1.0 2
    color 0.8 8         solarize 0.8 7
    sharpness 0.4 7     invert 0.6 0
    shear_x 0.6 5       equalize 1.0 0
    color 0.4 0         equalize 0.6 0
    equalize 0.4 0      solarize 0.2 4
    solarize 0.6 5      autocontrast 0.6 0
    invert 0.6 0        equalize 1.0 0
    color 0.6 4         contrast 1.0 8
    equalize 0.8 0      equalize 0.6 0
"""  # operation, probability, level; twice in each line


def autoaugment(images: Tensor, probability: float, generator: torch.Generator, device: torch.device | str) -> Tensor:
    """Send each of the uint8 images (B, H, W, 3), with the given probability, through a sub-policy of its own."""
    draw: dict[str, Any] = {"generator": generator, "device": device}
    policies = _policies(device)
    policies = policies[torch.randint(len(policies), (len(images),), **draw)]
    chosen = torch.rand(len(images), **draw)
    chances = torch.rand(len(images), 2, 2, **draw)  # for each step: whether it happens, whether its sign is minus
    return change_where(chosen < probability, images, _apply, policies, chances)


def _apply(images: Tensor, policies: Tensor, chances: Tensor) -> Tensor:
    """Apply both steps of a sub-policy to each image. policies: (K, 2, 4), rows of _policies. chances: (K, 2, 2)."""
    for step in range(2):
        number, probability, magnitude, negative = policies[:, step].unbind(1)
        happens, minus = chances[:, step].unbind(1)
        number = torch.where(happens < probability, number, -1)
        magnitude = torch.where(minus < 0.5, negative, magnitude)
        images = change_each(number, images, OPERATIONS.values(), magnitude)
    return images


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the highest `bits` (1 to 8) bits of each value."""
    mask = 256 - 2 ** (8 - bits)
    return images & mask.to(torch.uint8)[:, None, None, None]


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert all values at or above a threshold in [0, 255]."""
    inverted = images >= threshold.ceil().to(torch.uint8)[:, None, None, None]
    return inverted.to(torch.uint8).mul_(255).bitwise_xor_(images)


def invert(images: Tensor, _: Tensor) -> Tensor:
    """Return the negative of each image."""
    return 255 - images


def autocontrast(images: Tensor, _: Tensor) -> Tensor:
    """Stretch each channel to the range 0 to 255; leave a channel with a single value unchanged."""
    low, high = images.amin(1).amin(1), images.amax(1).amax(1)
    low, high = (value.repeat(1, images.shape[2])[:, None] for value in (low, high))  # (K, 1, 3W), as a row
    stretched = (images.flatten(2) - low).float().mul_(255).div_((high - low).clamp(min=1)).to(torch.uint8)
    return stretched.add_(torch.where(low == high, low, 0)).view_as(images)


def equalize(images: Tensor, _: Tensor) -> Tensor:
    """Make all values of a channel about equally frequent, by Pillow's table.

        table[v] = (pixels below v + step / 2) / step,  step = (pixels below the channel's highest value) / 255

    All divisions are integer divisions; a channel with step 0 is left unchanged.
    """
    every_value = torch.arange(256, device=images.device)
    channels = torch.arange(3 * len(images), dtype=torch.int32, device=images.device).view(-1, 1, 3)
    values = (images.flatten(2) + 256 * channels.repeat(1, 1, images.shape[2])).flatten()  # indices into all tables
    count = channels.new_zeros(256 * channels.numel())
    count = count.index_add_(0, values, channels.new_ones(1).expand(len(values))).view(-1, 256)
    below = count.cumsum(1) - count
    highest = torch.where(count > 0, every_value, 0).amax(1, keepdim=True)
    step = below.gather(1, highest) // 255
    table = ((below + step // 2) // step.clamp(min=1)).clamp(max=255)
    table = torch.where(step > 0, table, every_value).to(torch.uint8)
    return table.flatten().index_select(0, values).view_as(images)


def color(images: Tensor, magnitude: Tensor) -> Tensor:
    """Scale the saturation by 1 + magnitude."""
    one = torch.ones_like(magnitude)
    return adjust_colours(images, one, one, 1 + magnitude)


def contrast(images: Tensor, magnitude: Tensor) -> Tensor:
    """Scale the contrast by 1 + magnitude."""
    one = torch.ones_like(magnitude)
    return adjust_colours(images, one, 1 + magnitude, one)


def sharpness(images: Tensor, magnitude: Tensor) -> Tensor:
    """Scale the difference from a smoothed image (Pillow's SMOOTH: 3 × 3, centre weight 5) by 1 + magnitude.

    The outermost pixels stay unchanged.
    """
    pixels = images.flatten(2).float()  # (K, H, 3W): the next pixel of a row is three values away
    inside = pixels[:, 1:-1, 3:-3]
    smooth = pixels[:, :-2] + pixels[:, 1:-1] + pixels[:, 2:]
    smooth = (smooth[:, :, :-6] + smooth[:, :, 3:-3] + smooth[:, :, 6:] + 4 * inside) / 13
    inside.copy_(torch.lerp(smooth, inside, 1 + magnitude[:, None, None]))
    return pixels.clamp_(0, 255).round_().to(torch.uint8).view_as(images)


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Turn each image counter-clockwise about its centre."""
    cos, sin = torch.cos(degrees * (math.pi / 180)), torch.sin(degrees * (math.pi / 180))
    return _warp(images, (cos, -sin, sin, cos), images.shape[2] / 2, images.shape[1] / 2)


def shear_x(images: Tensor, magnitude: Tensor) -> Tensor:
    """Shift the rows of each image sideways by `magnitude` times their distance from the top."""
    one, zero = torch.ones_like(magnitude), torch.zeros_like(magnitude)
    return _warp(images, (one, magnitude, zero, one), 0, 0)


def _warp(images: Tensor, matrix: tuple[Tensor, Tensor, Tensor, Tensor], centre_x: float, centre_y: float) -> Tensor:
    """Set pixel (x, y) of each image to the pixel nearest to (a x + b y, c x + d y), measured from the centre.

    matrix: a, b, c, d, each (K,). The pixels equal those of torchvision's nearest-neighbour affine transformation.
    """
    batch, height, width, _ = images.shape
    a, b, c, d = (entry[:, None, None] for entry in matrix)
    x = torch.arange(width, device=images.device) + (0.5 - centre_x)
    y = torch.arange(height, device=images.device)[:, None] + (0.5 - centre_y)
    column, row = (a * x + b * y + centre_x).floor(), (c * x + d * y + centre_y).floor()  # (K, H, W)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    first = height * width * torch.arange(batch, device=images.device)[:, None, None]
    pixel = torch.where(inside, first + (row * width + column).long(), batch * height * width)
    pixels = torch.cat([images.reshape(-1, 3), images.new_zeros(1, 3)])  # the last pixel is the one outside
    return pixels.index_select(0, pixel.view(-1)).view_as(images)


OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    operation.__name__: operation
    for operation in (
        posterize, solarize, invert, autocontrast, equalize, color, contrast, sharpness, rotate, shear_x,
    )
}  # fmt: skip


def _magnitudes(name: str, level: int) -> tuple[float, float]:
    """Return the two magnitudes of an operation at a level from 0 to 9; they differ if it may have either sign."""
    if name == "posterize":
        return (8 - round(4 * level / LEVELS),) * 2
    if name == "solarize":
        return (255 * (1 - level / LEVELS),) * 2
    magnitude = LARGEST.get(name, 0) * level / LEVELS
    return magnitude, -magnitude


@lru_cache
def _policies(device: torch.device | str) -> Tensor:
    """Return (25, 2, 4): each operation's number, probability and two magnitudes.

    Cached, because every copy to a GPU makes the host wait.
    """
    words, names = POLICIES.split(), list(OPERATIONS)
    steps = [
        (names.index(name), float(probability), *_magnitudes(name, int(level)))
        for name, probability, level in zip(words[::3], words[1::3], words[2::3], strict=True)
    ]
    return torch.tensor(steps, device=device).view(-1, 2, 4)
