"""Augment a whole batch at once on the image bank's device, with separate draws for each image.

All work is on tensors: except in AutoAugment, it neither loops over images nor makes the host wait
for a value. The pipeline equals the published baseline's: pad with black -> random crop ->
horizontal flip -> ImageNet normalisation. Optional steps run in this order: AutoAugment -> colour
jitter -> --augment -> random 2D translation -> crop and flip -> local grayscale transformation ->
normalisation -> grayscale erasing -> random erasing -> Cutout.

The boxes of a batch are four tensors (B, 1) of whole pixels: top, left, height and width. A box of
height 0 leaves its image unchanged.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from person_reid.config.train import AUGMENTATION_NAMES, AugmentationOptions, chances
from person_reid.config.zoo import MEAN as MEAN
from person_reid.config.zoo import STD as STD
from person_reid.registration import Registry

GREY_WEIGHTS = (0.2989, 0.587, 0.114)  # ITU-R 601-2, as torchvision rounds it


def grey(images: Tensor) -> Tensor:
    """Return the grey values (...), float32, of colours (..., 3)."""
    red, green, blue = images.float().unbind(-1)
    return (
        (GREY_WEIGHTS[0] * red).add_(green, alpha=GREY_WEIGHTS[1]).add_(blue, alpha=GREY_WEIGHTS[2])
    )


def adjust_colours(
    images: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor
) -> Tensor:
    """Scale the brightness, contrast and saturation of uint8 images (B, H, W, 3).

    Each image has its own factors (B,). The definitions are torchvision's, computed in float with
    one rounding at the end. The order is fixed: except for values clipped at 0 and 255, the three
    commute, so torchvision's random order makes no difference.
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

    The others do not change.

    change: maps K images, and the K matching entries of each argument, to K images of the same
        shape.
    arguments: tensors (B, …).

    On a CPU, the change sees only the chosen images. On an accelerator, it sees all of them
    and a mask selects from the result: waiting for the host to find the chosen ones would take
    longer than computing the others.
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
    """Choose a random box, in whole pixels, for each of `batch` images.

    Returns (tops, lefts, heights, widths), each (B, 1).

    A box covers 2 to 40 % of the image, its height is 0.3 to 3.3 times its width, and it is redrawn
    until it fits. With the given probability an image is changed; otherwise, the height of its box
    is 0. Zhong et al., Random Erasing Data Augmentation, AAAI 2020, algorithm 1.
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
    """Choose Cutout's square for each of `batch` images, as draw_boxes chooses boxes.

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
    """Set a box in each image (B, 3, H, W), channels_last, to 0 in place.

    After normalisation, 0 is the mean colour.

    box: tops, lefts, heights, widths as draw_boxes returns them.
    """
    height, width = images.shape[2:]
    pixels = images.permute(0, 2, 3, 1).flatten(2)  # (B, H, 3W), a view
    columns = torch.arange(width, device=images.device).repeat_interleave(3)
    pixels.masked_fill_(_inside(torch.arange(height, device=images.device), columns, *box), 0)


def turn_grey(images: Tensor, *box: Tensor) -> Tensor:
    """Replace the colours in a box of each image (B, H, W, 3) with their grey values.

    All three channels have the same value.

    On uint8 images this is the local grayscale transformation of Gong et al., arXiv 2101.08533. On
    normalised float images it is the published RandomGrayscaleErasing: the grey weights apply to
    the normalised channels, so the network gets the same value three times (as a colour, grey with
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
    """Return whether each pixel lies in the box of its image, as booleans (B, H, W).

    rows: (H,); columns: (W,).
    """
    rows = (rows >= tops) & (rows < tops + heights)
    columns = (columns >= lefts) & (columns < lefts + widths)
    return rows[:, :, None] & columns[:, None, :]


COLOR_JITTER = 0.1  # brightness, contrast and saturation are each scaled by 1 ± COLOR_JITTER
ENLARGEMENT = 1.125  # scale applied before a random 2D translation


def normalise(images: Tensor) -> Tensor:
    """Normalise uint8 images (B, H, W, 3) to float32 (B, 3, H, W).

    The result has the same bits as torchvision's ToTensor and Normalize with ImageNet's mean and
    standard deviation. It is channels_last in memory, the faster layout for convolutions.
    """
    scale, mean, std = _statistics(images.device).repeat(1, images.shape[2])
    # (B, H, 3W): on a CPU, arithmetic on long rows is many times faster
    pixels = images.flatten(2).float()
    return pixels.div_(scale).sub_(mean).div_(std).view(images.shape).permute(0, 3, 1, 2)


class Augment(AugmentationOptions, kw_only=False):
    """Make an augmented training batch from indices into an image bank.

    height, width: size of the crop.
    padding: black pixels added on every side before the crop; 0 leaves only the flip.

    The other settings are the options of the same names; see docs/losses.md.

    >>> augment = Augment(256, 128, erasing_p=0.5)
    >>> batch = augment(bank, torch.tensor([7, 0, 12]), torch.Generator().manual_seed(0))
    >>> batch.shape
    torch.Size([3, 3, 256, 128])
    """

    left_out = frozenset({"height", "width", "padding"})  # these are not options

    height: int
    width: int
    padding: int = 10

    @classmethod
    def of(cls, options: AugmentationOptions, height: int, width: int, padding: int) -> "Augment":
        """Return the augmentation that `options` describe, for images of size (height, width)."""
        chosen = {name: getattr(options, name) for name in AugmentationOptions.own_options}
        return cls.of_checked({"height": height, "width": width, "padding": padding, **chosen})

    def __call__(self, bank: Tensor, indices: Tensor, generator: torch.Generator) -> Tensor:
        """Return augmented images, float32 (B, 3, height, width), in channels_last layout.

        bank: uint8 (N, H, W, 3).
        indices: (B,) int64, on the device of the bank.
        generator: a generator on the same device, for all random draws.
        """
        draw: dict[str, Any] = {"generator": generator, "device": bank.device}
        size = (len(indices), self.height, self.width)
        images = self._recolour(bank.index_select(0, indices), draw)
        images = self._move(images, draw)
        if self.lgt_p > 0:
            images = turn_grey(images, *draw_boxes(*size, self.lgt_p, **draw))
        images = normalise(images)
        if self.grayscale_erasing_p > 0:
            box = draw_boxes(*size, self.grayscale_erasing_p, **draw)
            images = turn_grey(images.permute(0, 2, 3, 1), *box).permute(0, 3, 1, 2)
        if self.erasing_p > 0:
            erase(images, *draw_boxes(*size, self.erasing_p, **draw))
        if self.cutout_p > 0:
            erase(images, *draw_squares(*size, self.cutout_p, **draw))
        return images

    def _recolour(self, images: Tensor, draw: dict[str, Any]) -> Tensor:
        if self.autoaugment_p > 0:
            from person_reid.data.images.autoaugment import autoaugment  # torchvision loads slowly

            images = autoaugment(images, self.autoaugment_p, **draw)
        if self.color_jitter:
            images = adjust_colours(
                images, *(1 + COLOR_JITTER * (2 * torch.rand(3, len(images), **draw) - 1))
            )
        for name, chance in chances(self.augment).items() if self.augment else ():
            chosen = torch.rand(len(images), **draw) < chance
            changed = AUGMENTATIONS.named(name)(images, draw["generator"])
            images = torch.where(chosen[:, None, None, None], changed, images)
        return images

    def _move(self, images: Tensor, draw: dict[str, Any]) -> Tensor:
        batch = len(images)
        if self.translation_p > 0:
            chance, *corner = torch.rand(3, batch, **draw)
            images = change_where(chance < self.translation_p, images, translate, *corner)
        tops = torch.randint(images.shape[1] + 2 * self.padding - self.height + 1, (batch,), **draw)
        lefts = torch.randint(images.shape[2] + 2 * self.padding - self.width + 1, (batch,), **draw)
        flips = torch.rand(batch, **draw) < self.flip_p
        return pad_crop_flip(images, (self.height, self.width), self.padding, tops, lefts, flips)


Change = Callable[[Tensor, torch.Generator], Tensor]
"""(images, generator) → images, both uint8 (B, H, W, 3)."""
AUGMENTATIONS: Registry[Change] = Registry("augmentation", names=AUGMENTATION_NAMES)


def register_augmentation(name: str, change: Change) -> None:
    """Register an augmentation under a name for --augment NAME:PROBABILITY.

    change: (images, generator) → images, both uint8 (B, H, W, 3). Each image is changed with this
    probability. It must draw from the generator, so that a resumed run draws the same numbers.
    """
    AUGMENTATIONS.register(name, change)


def pad_crop_flip(
    images: Tensor, size: tuple[int, int], padding: int, tops: Tensor, lefts: Tensor, flips: Tensor
) -> Tensor:
    """Pad uint8 images (B, H, W, 3) with black, crop each at its own position, and flip some.

    size: (height, width) of the crop.
    padding: black pixels on every side.
    tops, lefts: (B,) int64, top left corner of the crop in the padded image.
    flips: (B,) bool, whether to flip the image horizontally.
    """
    batch, source_height, source_width, _ = images.shape
    canvas_height, canvas_width = source_height + 2 * padding, source_width + 2 * padding
    canvas = images.new_zeros(batch, canvas_height, canvas_width, 3)
    canvas[:, padding : padding + source_height, padding : padding + source_width] = images
    rows = tops[:, None] + torch.arange(size[0], device=images.device)
    columns = torch.arange(size[1], device=images.device)
    columns = lefts[:, None] + torch.where(flips[:, None], columns.flip(0), columns)
    rows = rows + canvas_height * torch.arange(batch, device=images.device)[:, None]
    # (B, height, width), indices into all canvas pixels
    pixels = rows[:, :, None] * canvas_width + columns[:, None, :]
    return canvas.view(-1, 3).index_select(0, pixels.view(-1)).view(batch, *size, 3)


def scale(images: Tensor, size: tuple[int, int] | None) -> Tensor:
    """Scale normalised images (B, 3, H, W) to (B, 3, *size), bilinearly with antialiasing.

    size: None keeps their size.
    """
    if size in (None, images.shape[2:]):
        return images
    return interpolate(images, size, mode="bilinear", antialias=True).contiguous(
        memory_format=torch.channels_last
    )


def translate(images: Tensor, tops: Tensor, lefts: Tensor) -> Tensor:
    """Enlarge uint8 images (B, H, W, 3) by an eighth, and crop each back to its original size.

    The scaling is bilinear, and each image has its own crop.

    tops, lefts: (B,) in [0, 1], the crop's corner as a fraction of the possible positions.
    """
    size = (images.shape[1], images.shape[2])
    larger = [round(ENLARGEMENT * side) for side in size]
    enlarged = interpolate(images.permute(0, 3, 1, 2).float(), larger, mode="bilinear")
    enlarged = enlarged.round_().to(torch.uint8).permute(0, 2, 3, 1)
    tops = (tops * (larger[0] - size[0])).round().long()
    lefts = (lefts * (larger[1] - size[1])).round().long()
    return pad_crop_flip(enlarged, size, 0, tops, lefts, torch.zeros_like(tops, dtype=torch.bool))


@lru_cache
def _statistics(device: torch.device) -> Tensor:
    """Return a (3, 3) tensor: 255, the mean and the standard deviation of each channel.

    Cached, because every copy to a GPU makes the host wait. 255 is also a tensor: a GPU would
    multiply by the inverse of a plain number, which gives different bits.
    """
    return torch.tensor([(255.0,) * 3, MEAN, STD], device=device)
