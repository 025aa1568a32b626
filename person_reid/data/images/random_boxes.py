"""Draw a random box in each image of a batch, and erase or grey out the pixels inside.

The boxes of a batch are four tensors (B, 1) of whole pixels: top, left, height and width. A box of
height 0 leaves its image unchanged.
"""

import torch
from torch import Tensor

from person_reid.data.images.colours import change_where, grey

AREA, ASPECT = (0.02, 0.4), (0.3, 1 / 0.3)  # ranges for a box, Zhong et al., AAAI 2020
ATTEMPTS = 100  # boxes tried before an image is left whole, as in their code
# The square's side as a fraction of the image's shorter one. DeVries and Taylor: 16 of 32 pixels.
CUTOUT = 0.5

RandomBoxes = tuple[Tensor, Tensor, Tensor, Tensor]


def draw_boxes(
    batch: int,
    height: int,
    width: int,
    probability: float,
    generator: torch.Generator,
    device: torch.device | str,
) -> RandomBoxes:
    """Draw a box for each of `batch` images, in whole pixels.

    Returns (tops, lefts, heights, widths), each (B, 1).

    A box covers 2 to 40 % of the image, its height is 0.3 to 3.3 times its width, and it is redrawn
    until it fits. An image is changed with the given probability; if it is not, the height of its
    box is 0. Zhong et al., Random Erasing Data Augmentation, AAAI 2020, algorithm 1.
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
    heights_or_0 = torch.where(erased, heights, 0.0)
    return (
        (top * (height - heights + 1)).floor(),
        (left * (width - widths + 1)).floor(),
        heights_or_0,
        widths,
    )


def draw_squares(
    batch: int,
    height: int,
    width: int,
    probability: float,
    generator: torch.Generator,
    device: torch.device | str,
) -> RandomBoxes:
    """Draw the square of Cutout for each of `batch` images, as draw_boxes draws boxes.

    Its side is half the shorter side of the image. Its centre is anywhere in the image, so part of
    the square may lie outside (tops and lefts may be negative). DeVries and Taylor, Improved
    Regularization of Convolutional Neural Networks with Cutout, arXiv 1708.04552.
    """
    side = max(round(CUTOUT * min(height, width)), 1)
    chance, row, column = torch.rand(3, batch, 1, generator=generator, device=device)
    tops, lefts = (row * height).floor() - side // 2, (column * width).floor() - side // 2
    sides = torch.full_like(tops, side)
    return tops, lefts, torch.where(chance < probability, sides, 0.0), sides


def erase(images: Tensor, *box: Tensor) -> None:
    """Set a box of each image (B, 3, H, W), channels_last, to 0 in place.

    After normalisation 0 is the mean colour.

    box: tops, lefts, heights, widths as draw_boxes returns them.
    """
    height, width = images.shape[2:]
    pixels = images.permute(0, 2, 3, 1).flatten(2)  # (B, H, 3W), a view
    columns = torch.arange(width, device=images.device).repeat_interleave(3)
    pixels.masked_fill_(_inside(torch.arange(height, device=images.device), columns, *box), 0)


def turn_grey(images: Tensor, *box: Tensor) -> Tensor:
    """Replace the colours in a box of each image (B, H, W, 3) by their grey value.

    All three channels have the same value.

    On uint8 images this is the local grayscale transformation of Gong et al., arXiv 2101.08533. On
    normalised float images it is the published RandomGrayscaleErasing: the grey weights apply to
    the normalised channels, so the network sees the same value three times (as a colour, grey with
    a slight tint).
    """
    return change_where(box[2][:, 0] > 0, images, _grey_inside, *box)


def _grey_inside(images: Tensor, *box: Tensor) -> Tensor:
    height, width = images.shape[1:3]
    values = grey(images)
    values = values if images.is_floating_point() else values.round().to(images.dtype)
    rows, columns = (torch.arange(size, device=images.device) for size in (height, width))
    return torch.where(_inside(rows, columns, *box)[..., None], values[..., None], images)


def _inside(
    rows: Tensor, columns: Tensor, tops: Tensor, lefts: Tensor, heights: Tensor, widths: Tensor
) -> Tensor:
    """Return (B, H, W) bool: whether each pixel lies in the box of its image.

    rows: (H,); columns: (W,).
    """
    rows = (rows >= tops) & (rows < tops + heights)
    columns = (columns >= lefts) & (columns < lefts + widths)
    return rows[:, :, None] & columns[:, None, :]
