"""person_reid/data/colours.py against torchvision and Pillow, image by image."""

import numpy as np
import torch
from torchvision.transforms import functional

from person_reid.data.colours import adjust_colours
from tests.data.test_augment import generator, noise


def test_colour_jitter_equals_torchvision():
    images = noise(20, 16, 8, 3)
    images[0], images[1] = 0, 255  # and the factors go further than the augmentation does, so that values are cut off
    factors = 0.5 + torch.rand(3, 20, generator=generator(1))
    result = adjust_colours(images, *factors)
    assert result.dtype == torch.uint8
    for image, (brightness, contrast, saturation), ours in zip(images, factors.T.tolist(), result, strict=True):
        expected = image.permute(2, 0, 1) / 255
        expected = functional.adjust_brightness(expected, brightness)
        expected = functional.adjust_contrast(expected, contrast)
        expected = functional.adjust_saturation(expected, saturation)
        assert (ours.permute(2, 0, 1) - 255 * expected).abs().max() < 0.5 + 1e-3


def test_colour_jitter_is_near_pillows():
    image = torch.randint(60, 190, (1, 16, 8, 3), dtype=torch.uint8, generator=generator())
    ours = adjust_colours(image, torch.tensor([1.1]), torch.tensor([0.9]), torch.tensor([1.05]))[0]
    theirs = functional.adjust_saturation(functional.to_pil_image(image[0].numpy()), 1.05)  # another order
    theirs = functional.adjust_brightness(functional.adjust_contrast(theirs, 0.9), 1.1)
    assert (ours.int() - torch.from_numpy(np.array(theirs)).int()).abs().max() <= 3
