"""AutoAugment against Pillow, one image after the other, and statistics of the draws."""

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torchvision.transforms import AutoAugment

from person_reid.data.images.autoaugment import (
    OPERATIONS,
    POLICIES,
    STRENGTH_OF_LEVEL,
    autoaugment,
    magnitude_of,
)
from tests.data.images.test_augment import DEVICES, generator, noise


def pillows(name, image, magnitude):
    """Return Pillow's version of an operation on one image (H, W, 3)."""
    image = Image.fromarray(image.numpy())
    shear = (1, magnitude, 0, 0, 1, 0)
    return {
        "posterize": lambda: ImageOps.posterize(image, int(magnitude)),
        "solarize": lambda: ImageOps.solarize(image, magnitude),
        "invert": lambda: ImageOps.invert(image),
        "autocontrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
        "color": lambda: ImageEnhance.Color(image).enhance(1 + magnitude),
        "contrast": lambda: ImageEnhance.Contrast(image).enhance(1 + magnitude),
        "sharpness": lambda: ImageEnhance.Sharpness(image).enhance(1 + magnitude),
        "rotate": lambda: image.rotate(magnitude),
        "shear_x": lambda: image.transform(image.size, Image.Transform.AFFINE, shear),
    }[name]()


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("level", [2, 9])
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_are_pillows_within_two_grey_levels(name, level, negative):
    images = noise(3, 32, 16, 3)
    magnitude = magnitude_of(name, level, negative)
    ours = OPERATIONS[name](images.permute(0, 3, 1, 2), magnitude).permute(0, 2, 3, 1)
    assert ours.dtype == torch.uint8
    for image, changed in zip(images, ours, strict=True):
        expected = torch.from_numpy(np.asarray(pillows(name, image, magnitude)).copy())
        difference = (changed.int() - expected.int()).abs()
        if name in ("rotate", "shear_x"):  # where a pixel lies between two, rounding decides
            assert (difference > 0).any(2).float().mean() < 0.05
        else:
            assert difference.max() <= 2


def test_policies_and_magnitudes_are_torchvisions():
    library = AutoAugment()
    space = library._augmentation_space(10, (32, 16))
    expected = []
    for policy in library.policies:
        for name, probability, level in policy:
            values, signed = space[name]
            magnitude = float(values[level]) if level is not None else 0.0
            expected.append([probability, magnitude, -magnitude if signed else magnitude])
    ours = [
        (p, *(magnitude_of(name, level, minus) for minus in (False, True)))
        for policy in POLICIES
        for name, p, level in policy
    ]
    assert torch.allclose(torch.tensor(ours), torch.tensor(expected), atol=1e-4)
    names, theirs = (
        [name for policy in table for name, *_ in policy] for table in (POLICIES, library.policies)
    )
    assert names == [{"ShearX": "shear_x"}.get(name, name.lower()) for name in theirs]
    assert len(expected) == 50
    assert {*STRENGTH_OF_LEVEL} <= {*names} <= {*OPERATIONS}


def test_a_policy_happens_as_often_as_it_says(monkeypatch):
    happened: list = []

    def record(name, images, magnitude):
        happened.append((name, magnitude, len(images)))
        return images

    for name in OPERATIONS:
        monkeypatch.setitem(OPERATIONS, name, partial(record, name))
    number = 20_000
    autoaugment(noise(1, 1, 1, 3).expand(number, 1, 1, 3), 0.5, generator(), "cpu")
    for name in OPERATIONS:
        rate = sum(0.5 * p / 25 for policy in POLICIES for step, p, _ in policy if step == name)
        assert abs(sum(count for step, _, count in happened if step == name) / number - rate) < 0.01
    degrees = [(degree, count) for step, degree, count in happened if step == "rotate"]
    positive = sum(count for degree, count in degrees if degree > 0)
    turned = sum(count for _, count in degrees)
    assert abs(positive / turned - 0.5) < 0.03
    assert len({abs(degree) for degree, _ in degrees}) == 3


@pytest.mark.parametrize("device", DEVICES)
def test_chosen_images_change_and_the_bank_does_not(device):
    images = noise(1, 32, 16, 3).expand(400, 32, 16, 3).contiguous().to(device)
    before = images.clone()
    result = autoaugment(images, 0.3, generator(0, device), device)
    assert torch.equal(images, before)
    changed = (result != images).flatten(1).any(1).float().mean()
    assert 0.15 < changed < 0.3  # some policies do nothing now and then
    assert torch.equal(autoaugment(images, 0.0, generator(0, device), device), images)
    assert torch.equal(autoaugment(images, 0.3, generator(0, device), device), result)
    assert len(torch.unique(result.flatten(1), dim=0)) > 30
