"""Boxes in the images of a batch, one drawn for each image, and what becomes of the pixels inside.

A box is four tensors (B, 1) of whole pixels: top, left, height and width. An image whose height is 0 stays as it is.
"""

import torch

from person_reid.data.colours import change_where, grey

AREA, ASPECT = (0.02, 0.4), (0.3, 1 / 0.3)  # of a box, Zhong et al., AAAI 2020
ATTEMPTS = 100  # boxes drawn before an image is left whole, as in their code
CUTOUT = 0.5  # side of the square, as a share of the image's shorter side: 16 of 32 pixels, DeVries and Taylor


def draw_boxes(batch, height, width, probability, generator, device):
    """Draw a box to erase for each of `batch` images: (tops, lefts, heights, widths), each (B, 1), in whole pixels.

    A box covers 2 to 40 % of the image, its height is 0.3 to 3.3 times its width, and it is drawn again until it fits.
    heights are 0 where an image stays as it is. Zhong et al., Random Erasing Data Augmentation, AAAI 2020, algorithm 1.
    """
    area, aspect = torch.rand(2, batch, ATTEMPTS, generator=generator, device=device)
    area = height * width * (AREA[0] + area * (AREA[1] - AREA[0]))
    aspect = ASPECT[0] + aspect * (ASPECT[1] - ASPECT[0])
    heights, widths = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (heights < height) & (widths < width)
    first = fits.int().argmax(1, keepdim=True)
    heights, widths = heights.gather(1, first), widths.gather(1, first)
    chance, top, left = torch.rand(3, batch, 1, generator=generator, device=device)
    erased = (chance < probability) & fits.gather(1, first)
    return (top * (height - heights + 1)).floor(), (left * (width - widths + 1)).floor(), heights * erased, widths


def draw_squares(batch, height, width, probability, generator, device):
    """Draw the square of Cutout for each of `batch` images: as draw_boxes, but a square of half the shorter side.

    Its centre is anywhere in the image, so that part of it may lie outside (tops and lefts may be negative). DeVries
    and Taylor, Improved Regularization of Convolutional Neural Networks with Cutout, arXiv 1708.04552.
    """
    side = max(round(CUTOUT * min(height, width)), 1)
    chance, row, column = torch.rand(3, batch, 1, generator=generator, device=device)
    tops, lefts = (row * height).floor() - side // 2, (column * width).floor() - side // 2
    sides = torch.full_like(tops, side)
    return tops, lefts, sides * (chance < probability), sides


def erase(images, *box):
    """Set a box of each image (B, 3, H, W), channels_last, to 0 in place: after normalisation, the mean colour."""
    height, width = images.shape[2:]
    pixels = images.permute(0, 2, 3, 1).flatten(2)  # (B, H, 3W), a view
    columns = torch.arange(width, device=images.device).repeat_interleave(3)
    pixels.masked_fill_(_inside(torch.arange(height, device=images.device), columns, *box), 0)


def turn_grey(images, *box):
    """Replace the colours in a box of each image (B, H, W, 3) by their grey value, the same in all three channels.

    Of uint8 images this is the local grayscale transformation of Gong et al., arXiv 2101.08533. Of normalised images,
    float, it is what is published as RandomGrayscaleErasing: the weights of grey are applied to the normalised
    channels, so that a network sees one value three times (as a colour, that is grey with a slight tint).
    """
    return change_where(box[2][:, 0] > 0, images, _grey_inside, *box)


def _grey_inside(images, *box):
    height, width = images.shape[1:3]
    values = grey(images)
    values = values if images.is_floating_point() else values.round().to(images.dtype)
    rows, columns = (torch.arange(size, device=images.device) for size in (height, width))
    return torch.where(_inside(rows, columns, *box)[..., None], values[..., None], images)


def _inside(rows, columns, tops, lefts, heights, widths):
    """Which of the pixels at these rows (H,) and columns (W,) lie in the box of each image: (B, H, W) bool."""
    rows = (rows >= tops) & (rows < tops + heights)
    columns = (columns >= lefts) & (columns < lefts + widths)
    return rows[:, :, None] & columns[:, None, :]
