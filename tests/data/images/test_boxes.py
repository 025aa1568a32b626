"""Squares, grey boxes and erased ones against loops, and Zhong's algorithm."""

import math
import random

import numpy as np
import pytest
import torch
from PIL import Image

from person_reid.data.images.augment import draw_boxes, draw_squares, erase, normalise, turn_grey
from tests.data.images.test_augment import generator, noise


def boxes(number=40, probability=0.7):
    return draw_boxes(number, 32, 16, probability, generator(1), "cpu")


def inside(box, height=32, width=16):
    """(B, H, W) bool, pixel by pixel."""
    mask = np.zeros((len(box[0]), height, width), bool)
    for image, (top, left, tall, wide) in zip(
        mask, torch.cat(box, dim=1).int().tolist(), strict=True
    ):
        for row in range(height):
            for column in range(width):
                image[row, column] = top <= row < top + tall and left <= column < left + wide
    return torch.from_numpy(mask)


def test_squares_are_centred_anywhere_and_half_as_wide_as_the_image():
    tops, lefts, heights, widths = draw_squares(20_000, 64, 32, 1.0, generator(), "cpu")
    assert (heights == 16).all()
    assert (widths == 16).all()
    for corner, side in ((tops, 64), (lefts, 32)):
        assert corner.min() == -8
        assert corner.max() == side - 1 - 8
        counts = torch.bincount((corner + 8).long()[:, 0], minlength=side)
        assert ((counts - 20_000 / side) ** 2 / (20_000 / side)).sum() < side + 5 * side**0.5
    assert abs(np.corrcoef(tops[:, 0], lefts[:, 0])[0, 1]) < 0.03


@pytest.mark.parametrize("probability", [0.0, 0.4, 1.0])
def test_squares_come_with_the_given_probability(probability):
    heights = draw_squares(5000, 64, 32, probability, generator(), "cpu")[2]
    assert abs((heights > 0).float().mean() - probability) <= 0.02 * (0 < probability < 1)


def test_squares_are_cut_off_at_the_edge():
    box = draw_squares(50, 32, 16, 0.7, generator(), "cpu")
    images = normalise(noise(50, 32, 16, 3) // 2 + 1)
    expected = torch.where(inside(box)[:, None], 0.0, images)
    erase(images, *box)
    assert torch.equal(images, expected)
    assert len((images == 0).all(1).flatten(1).sum(1).unique()) > 3


def test_grey_boxes_are_pillows_grey_and_the_rest_stays():
    images, box = noise(40, 32, 16, 3), boxes()
    before = images.clone()
    result = turn_grey(images, *box)
    assert torch.equal(images, before)
    assert result.dtype == torch.uint8
    grey = torch.stack(
        [
            torch.from_numpy(np.array(Image.fromarray(image.numpy()).convert("L")))
            for image in images
        ]
    )
    mask = inside(box)
    assert torch.equal(result[~mask], images[~mask])
    assert (result[mask] == result[mask][:, :1]).all()
    difference = (result[mask][:, 0].int() - grey[mask].int()).abs()
    # Pillow's weights have fewer digits
    assert difference.max() <= 1
    assert difference.float().mean() < 0.05
    assert 0 < mask.flatten(1).any(1).sum() < 40


def test_grey_boxes_of_normalised_images_weigh_the_channels_that_the_network_sees():
    images, box = normalise(noise(40, 32, 16, 3)), boxes()
    result = turn_grey(images.permute(0, 2, 3, 1), *box).permute(0, 3, 1, 2)
    assert result.is_contiguous(memory_format=torch.channels_last)
    red, green, blue = images.unbind(1)
    weighed = (0.2989 * red + 0.587 * green + 0.114 * blue)[:, None].expand_as(images)
    assert torch.allclose(result, torch.where(inside(box)[:, None], weighed, images), atol=1e-6)


def test_an_image_without_a_box_does_not_change():
    images = noise(40, 32, 16, 3)
    assert torch.equal(turn_grey(images, *boxes(probability=0.0)), images)


def zhong(height, width, rng):
    """Algorithm 1 of the paper: (top, left, height, width) of a box."""
    while True:
        area, aspect = rng.uniform(0.02, 0.4) * height * width, rng.uniform(0.3, 1 / 0.3)
        box_height, box_width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if box_height < height and box_width < width:
            return (
                rng.randint(0, height - box_height),
                rng.randint(0, width - box_width),
                box_height,
                box_width,
            )


def test_erased_boxes_are_distributed_as_in_the_paper():
    number = 10_000
    ours = torch.cat(draw_boxes(number, 256, 128, 1.0, generator(), "cpu"), dim=1).numpy()
    rng = random.Random(0)
    theirs = np.array([zhong(256, 128, rng) for _ in range(number)])
    quantiles = np.linspace(0.02, 0.98, 9)
    for values in ("top", "left", "height", "width", "area", "aspect"):
        pair = []
        for top, left, height, width in (ours.T, theirs.T):
            every = {"top": top, "left": left, "height": height, "width": width}
            every |= {"area": height * width / 256 / 128, "aspect": height / width}
            pair.append(np.quantile(every[values], quantiles))
        assert np.abs(pair[0] - pair[1]).max() < 0.03 * np.ptp(pair[1]), values


def test_erased_boxes_are_whole_pixels_inside_and_within_their_ranges():
    tops, lefts, heights, widths = draw_boxes(5000, 256, 128, 1.0, generator(), "cpu")
    for values in (tops, lefts, heights, widths):
        assert torch.equal(values, values.round())
        assert values.min() >= 0
    assert (tops + heights).max() <= 256
    assert (lefts + widths).max() <= 128
    area = heights * widths / (256 * 128)
    assert 0.019 < area.min() < 0.03
    assert 0.37 < area.max() < 0.405
    aspect = heights / widths
    assert 0.28 < aspect.min() < 0.35
    assert 3.2 < aspect.max() < 3.45


def test_an_image_in_which_no_box_fits_stays_whole():
    _, _, heights, widths = draw_boxes(100, 40, 1, 1.0, generator(), "cpu")
    assert not (heights * widths).any()


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_boxes_come_with_the_given_probability(probability):
    heights = draw_boxes(5000, 64, 32, probability, generator(), "cpu")[2]
    assert abs((heights > 0).float().mean() - probability) <= 0.02 * (0 < probability < 1)


def test_erase_equals_a_loop():
    images = normalise(noise(50, 32, 16, 3))
    boxes = draw_boxes(50, 32, 16, 0.7, generator(1), "cpu")
    expected = images.clone()
    for image, (top, left, height, width) in zip(
        expected, torch.cat(boxes, dim=1).int().tolist(), strict=True
    ):
        image[:, top : top + height, left : left + width] = 0
    erase(images, *boxes)
    assert torch.equal(images, expected)
    assert (expected == 0).any()
