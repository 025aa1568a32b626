"""AutoAugment: send each image through one of the 25 sub-policies learned on ImageNet.

A sub-policy is two operations, each with a probability and a level from 0 to 9. Cubuk et al.,
AutoAugment: Learning Augmentation Strategies from Data, CVPR 2019, table 9. Operations and
magnitudes are torchvision's; if a magnitude may have either sign, the sign is drawn. Pixels from
outside the image are black.
"""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

HIGHEST_LEVEL = 9  # the highest level
# Magnitudes at the highest level.
STRENGTH_OF_LEVEL = {"color": 0.9, "contrast": 0.9, "sharpness": 0.9, "rotate": 30, "shear_x": 0.3}
POLICY_TABLE = """
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
POLICY_STEPS = [
    (name, float(p), int(level))
    for name, p, level in zip(*[iter(POLICY_TABLE.split())] * 3, strict=True)
]
POLICIES = list(zip(POLICY_STEPS[::2], POLICY_STEPS[1::2], strict=True))


def shear_x(images: Tensor, magnitude: float) -> Tensor:
    """Shift the rows of each image sideways by `magnitude` times their distance from the top."""
    degrees = math.degrees(math.atan(magnitude))
    return functional.affine(images, 0.0, [0, 0], 1.0, [degrees, 0.0], center=[0, 0])


# Functions of uint8 images (K, 3, H, W) and one magnitude.
OPERATIONS: dict[str, Callable[[Tensor, Any], Tensor]] = {
    "posterize": functional.posterize,
    "solarize": functional.solarize,
    "invert": lambda images, _: functional.invert(images),
    "autocontrast": lambda images, _: functional.autocontrast(images),
    "equalize": lambda images, _: functional.equalize(images),
    "color": lambda images, magnitude: functional.adjust_saturation(images, 1 + magnitude),
    "contrast": lambda images, magnitude: functional.adjust_contrast(images, 1 + magnitude),
    "sharpness": lambda images, magnitude: functional.adjust_sharpness(images, 1 + magnitude),
    "rotate": functional.rotate,
    "shear_x": shear_x,
}


def autoaugment(
    images: Tensor, probability: float, generator: torch.Generator, device: torch.device | str
) -> Tensor:
    """Apply a random sub-policy to each of the uint8 images (B, H, W, 3).

    probability: the chance that an image is changed at all.

    Images with the same operation and magnitude are changed together.
    """
    draw: dict[str, Any] = {"generator": generator, "device": device}
    policies = torch.randint(len(POLICIES), (len(images),), **draw).tolist()
    chosen = (torch.rand(len(images), **draw) < probability).tolist()
    # For each step: whether it happens, and whether its sign is minus.
    chances = torch.rand(len(images), 2, 2, **draw).tolist()
    images = images.clone().permute(0, 3, 1, 2)
    for step in range(2):
        groups = defaultdict(list)
        for i in range(len(images)):
            name, likely, level = POLICIES[policies[i]][step]
            happens, minus = chances[i][step]
            if chosen[i] and happens < likely:
                groups[name, magnitude_of(name, level, minus < 0.5)].append(i)
        for (name, magnitude), members in groups.items():
            images[members] = OPERATIONS[name](images[members], magnitude)
    return images.permute(0, 2, 3, 1)


def magnitude_of(name: str, level: int, negative: bool) -> float:
    """Return the magnitude of an operation at a level from 0 to 9.

    negative: whether it is negative, for an operation with a random sign.
    """
    if name == "posterize":  # the bits that are kept
        return 8 - round(4 * level / HIGHEST_LEVEL)
    if name == "solarize":  # the threshold
        return 255 * (1 - level / HIGHEST_LEVEL)
    magnitude = STRENGTH_OF_LEVEL.get(name, 0) * level / HIGHEST_LEVEL
    return -magnitude if negative else magnitude
