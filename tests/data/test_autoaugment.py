"""person_reid/data/autoaugment.py against torchvision, operation by operation, and statistics of the draws."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import AutoAugment
from torchvision.transforms.v2 import functional

from person_reid.data import autoaugment as module
from person_reid.data import colours
from person_reid.data.autoaugment import OPERATIONS, _policies, autoaugment
from person_reid.data.bank import load_bank
from tests.data.test_augment import DEVICES, generator, noise

UNUSUAL: dict = {
    "posterize": [8, 7, 4, 1],
    "solarize": [0, 42.5, 255],
    "rotate": [30, -9.3, 0],
    "shear_x": [0.3, -0.1, 0],
}


def people():
    """Images (B, 3, 32, 16): noise, a slope, one colour, two colours, and few pixels of another colour."""
    slope = torch.arange(512).view(1, 32, 16, 1).expand(1, 32, 16, 3) // 3
    flat = torch.full((1, 32, 16, 3), 77)
    two, few = flat.clone(), flat.clone()
    two[:, 10:20], few[:, 0, :3, 1] = 200, 90
    return torch.cat([noise(3, 32, 16, 3), *(image.to(torch.uint8) for image in (slope, flat, two, few))])


def theirs(name, images, magnitude):
    """torchvision's images (B, 3, H, W), in float where the operation ends in rounding: it cuts off instead."""
    share = images / 255
    return {
        "posterize": lambda: functional.posterize(images, int(magnitude)),
        "solarize": lambda: functional.solarize(images, magnitude),
        "invert": lambda: functional.invert(images),
        "autocontrast": lambda: functional.autocontrast(images),
        "equalize": lambda: functional.equalize(images),
        "color": lambda: 255 * functional.adjust_saturation(share, 1 + magnitude),
        "contrast": lambda: 255 * functional.adjust_contrast(share, 1 + magnitude),
        "sharpness": lambda: 255 * functional.adjust_sharpness(share, 1 + magnitude),
        "rotate": lambda: functional.rotate(images, magnitude),
        "shear_x": lambda: functional.affine(
            images, 0.0, [0, 0], 1.0, [math.degrees(math.atan(magnitude)), 0.0], center=[0, 0]
        ),
    }[name]()


def check(name, images, magnitude):
    ours = OPERATIONS[name](images, torch.full((len(images),), float(magnitude)))
    assert ours.dtype == torch.uint8 and ours.shape == images.shape
    difference = (ours.permute(0, 3, 1, 2).float() - theirs(name, images.permute(0, 3, 1, 2), magnitude)).abs()
    if name in ("color", "contrast", "sharpness"):
        assert difference.max() < 0.5 + 1e-3
    elif name == "autocontrast":  # theirs divides in float, and is one below where the quotient is whole
        assert difference.max() <= 1
    elif name in ("rotate", "shear_x"):  # where a pixel lies between two, float decides
        assert (difference > 0).float().mean() < 0.005
    else:
        assert difference.max() == 0


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_equal_torchvisions(name):
    for magnitude in UNUSUAL.get(name, [0.9, -0.9, 0.4, 0]):
        check(name, people(), magnitude)


def test_operations_equal_torchvisions_on_photographs(real_people):
    photographs = load_bank(sorted((real_people / "query").glob("*.jpg"))[:4], 128, 64)
    used = {(names[int(number)], magnitude) for number, _, *two in _policies("cpu").view(-1, 4).tolist()
            for names in [list(OPERATIONS)] for magnitude in two}  # fmt: skip
    assert len(used) > 20
    for name, magnitude in used:
        check(name, photographs, magnitude)


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_image_has_its_own_magnitude(name):
    magnitudes = torch.tensor([4.0, 6, 8] if name == "posterize" else [0.1, 0.5, -0.3]) * (
        100 if name == "solarize" else 1
    )
    together = OPERATIONS[name](noise(3, 32, 16, 3), magnitudes)
    alone = [OPERATIONS[name](noise(3, 32, 16, 3)[i : i + 1], magnitudes[i : i + 1]) for i in range(3)]
    assert torch.equal(together, torch.cat(alone))


def test_autocontrast_is_exact():
    images = people()
    low, high = (extreme(images.int(), dim=(1, 2), keepdim=True) for extreme in (torch.amin, torch.amax))
    expected = torch.where(high > low, 255 * (images.int() - low) // (high - low).clamp(min=1), images)
    assert torch.equal(OPERATIONS["autocontrast"](images, torch.zeros(len(images))).int(), expected)


def test_shear_is_that_of_the_paper():
    image = noise(1, 64, 32, 3)
    expected = Image.fromarray(image[0].numpy()).transform((32, 64), Image.Transform.AFFINE, (1, 1 / 6, 0, 0, 1, 0))
    ours = module.shear_x(image, torch.tensor([1 / 6]))[0].numpy()
    assert (ours != np.asarray(expected)).any(2).mean() < 0.02


def test_policies_and_magnitudes_are_torchvisions():
    spelled = {name.replace("_", ""): name for name in OPERATIONS}
    library = AutoAugment()
    space = library._augmentation_space(10, (32, 16))
    expected = []
    for policy in library.policies:
        for name, probability, level in policy:
            values, signed = space[name]
            magnitude = float(values[level]) if level is not None else 0.0
            number = list(OPERATIONS).index(spelled[name.lower()])
            expected.append([number, probability, magnitude, -magnitude if signed else magnitude])
    assert torch.allclose(_policies("cpu").view(-1, 4), torch.tensor(expected), atol=1e-4)
    assert len(expected) == 50


def test_a_policy_happens_as_often_as_it_says(monkeypatch):
    happened: list = []
    for name in OPERATIONS:
        monkeypatch.setitem(
            OPERATIONS, name, lambda images, magnitude, name=name: record(happened, name, images, magnitude)
        )
    number = 20_000
    autoaugment(noise(1, 1, 1, 3).expand(number, 1, 1, 3), 0.5, generator(), "cpu")
    names = list(OPERATIONS)
    rate = torch.zeros(len(names))
    for operation, probability, *_ in _policies("cpu").view(-1, 4).tolist():
        rate[int(operation)] += 0.5 * probability / 25
    counted = torch.zeros(len(names))
    for name, magnitudes in happened:
        counted[names.index(name)] += len(magnitudes)
    assert (counted / number - rate).abs().max() < 0.01
    degrees = torch.cat([magnitudes for name, magnitudes in happened if name == "rotate"])
    assert abs((degrees > 0).float().mean() - 0.5) < 0.03
    assert degrees.abs().unique().numel() == 3


def record(happened, name, images, magnitude):
    happened.append((name, magnitude))
    return images


def test_chosen_images_change_and_the_bank_does_not():
    images = noise(1, 32, 16, 3).expand(400, 32, 16, 3).contiguous()
    before = images.clone()
    result = autoaugment(images, 0.3, generator(), "cpu")
    assert torch.equal(images, before)
    changed = (result != images).flatten(1).any(1).float().mean()
    assert 0.15 < changed < 0.3  # some policies do nothing now and then
    assert torch.equal(autoaugment(images, 0.0, generator(), "cpu"), images)
    assert len(torch.unique(result.flatten(1), dim=0)) > 30


@pytest.mark.parametrize("device", DEVICES)
def test_same_images_whether_all_are_computed_or_the_chosen_alone(device, monkeypatch):
    images = people().repeat(6, 1, 1, 1).to(device)
    first = autoaugment(images, 0.6, generator(5, device), device)
    assert torch.equal(autoaugment(images, 0.6, generator(5, device), device), first)

    def compute_all(chosen, images, change, *arguments):
        return torch.where(chosen.view(-1, 1, 1, 1), change(images, *arguments), images)

    monkeypatch.setattr(module, "change_where", compute_all)
    assert torch.equal(autoaugment(images, 0.6, generator(5, device), device), first)


def test_on_an_accelerator_all_are_computed_without_asking_which():
    chosen = torch.tensor([True, False], device="meta")
    images = torch.empty(2, 4, 2, 3, device="meta")
    seen = []

    def change(images, argument):
        seen.append((len(images), len(argument)))
        return images

    assert colours.change_where(chosen, images, change, chosen).shape == images.shape
    assert seen == [(2, 2)]
    assert autoaugment_on_meta().shape == (2, 8, 4, 3)


def autoaugment_on_meta():
    """A device without values: whatever asks for one fails."""
    images = torch.empty(2, 8, 4, 3, device="meta", dtype=torch.uint8)
    return module._apply(images, torch.empty(2, 2, 4, device="meta"), torch.empty(2, 2, 2, device="meta"))
