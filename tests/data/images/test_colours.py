"""person_reid/data/images/augment.py against torchvision and Pillow, image by image."""

import numpy as np
import pytest
import torch
from torchvision.transforms import functional

from person_reid.data.images.augment import adjust_colours, change_where
from tests.data.images.test_augment import generator, noise


def test_colour_jitter_equals_torchvision():
    images = noise(20, 16, 8, 3)
    # The factors go further than the augmentation's, so that values are cut off.
    images[0], images[1] = 0, 255
    factors = 0.5 + torch.rand(3, 20, generator=generator(1))
    result = adjust_colours(images, *factors)
    assert result.dtype == torch.uint8
    for image, (brightness, contrast, saturation), ours in zip(
        images, factors.T.tolist(), result, strict=True
    ):
        expected = image.permute(2, 0, 1) / 255
        expected = functional.adjust_brightness(expected, brightness)
        expected = functional.adjust_contrast(expected, contrast)
        expected = functional.adjust_saturation(expected, saturation)
        assert (ours.permute(2, 0, 1) - 255 * expected).abs().max() < 0.5 + 1e-3


def test_colour_jitter_is_near_pillows():
    image = torch.randint(60, 190, (1, 16, 8, 3), dtype=torch.uint8, generator=generator())
    ours = adjust_colours(image, torch.tensor([1.1]), torch.tensor([0.9]), torch.tensor([1.05]))[0]
    # The operations in another order.
    theirs = functional.adjust_saturation(functional.to_pil_image(image[0].numpy()), 1.05)
    theirs = functional.adjust_brightness(functional.adjust_contrast(theirs, 0.9), 1.1)
    assert (ours.int() - torch.from_numpy(np.array(theirs)).int()).abs().max() <= 3


def test_only_the_chosen_images_change():
    images = noise(3, 4, 2, 3)
    chosen, amount = torch.tensor([True, False, True]), torch.tensor([1, 2, 3], dtype=torch.uint8)
    changed = change_where(chosen, images, lambda some, by: some ^ by[:, None, None, None], amount)
    assert torch.equal(changed, torch.stack([images[0] ^ 1, images[1], images[2] ^ 3]))
    assert torch.equal(change_where(chosen & False, images, pytest.fail), images)


def test_on_an_accelerator_all_are_computed_without_asking_which():
    # A device without values: whatever asks for one fails.
    chosen = torch.tensor([True, False], device="meta")
    images = torch.empty(2, 4, 2, 3, device="meta")
    seen = []

    def change(images, argument):
        seen.append((len(images), len(argument)))
        return images

    assert change_where(chosen, images, change, chosen).shape == images.shape
    assert seen == [(2, 2)]
