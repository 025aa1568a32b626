"""Augmentation of a whole batch at once, on the device where the image bank lies, each image with a draw of its own.

Everything is tensors: no loop over images, no value that the host waits for. The pipeline is that of the published
baseline: colour jitter (if asked for) -> pad with black -> random crop -> horizontal flip -> ImageNet normalisation ->
random erasing.
"""

from functools import lru_cache

import torch

MEAN = (0.485, 0.456, 0.406)  # of ImageNet, RGB, for values in [0, 1]
STD = (0.229, 0.224, 0.225)
GREY = (0.2989, 0.587, 0.114)  # ITU-R 601-2, as torchvision rounds it
JITTER = 0.1  # brightness, contrast and saturation are each scaled by 1 ± this
AREA, ASPECT = (0.02, 0.4), (0.3, 1 / 0.3)  # of an erased box, Zhong et al., AAAI 2020
ATTEMPTS = 100  # boxes drawn before an image is left whole, as in their code


def normalise(images):
    """uint8 (B, H, W, 3) -> float32 (B, 3, H, W): the same bits as torchvision's ToTensor and Normalize with ImageNet's
    mean and deviation. The result is channels_last in memory, as convolutions like it.
    """
    scale, mean, std = _statistics(images.device).repeat(1, images.shape[2])
    pixels = images.flatten(2).float()  # (B, H, 3W): on a CPU, arithmetic over long rows is many times faster
    return pixels.div_(scale).sub_(mean).div_(std).unflatten(2, (-1, 3)).permute(0, 3, 1, 2)


class Augment:
    """Turn indices into an image bank into a batch for training.

    height, width: of the crop. padding: black pixels added on every side before it; 0 leaves the flip alone.
    flip_p, erasing_p: probabilities in [0, 1]. color_jitter: brightness, contrast and saturation by up to 10 %.

    >>> augment = Augment(256, 128, erasing_p=0.5)
    >>> batch = augment(bank, torch.tensor([7, 0, 12]), torch.Generator().manual_seed(0))  # (3, 3, 256, 128)
    """

    def __init__(self, height, width, padding=10, flip_p=0.5, erasing_p=0.0, color_jitter=False):
        self.height, self.width, self.padding = height, width, padding
        self.flip_p, self.erasing_p, self.color_jitter = flip_p, erasing_p, color_jitter

    def __call__(self, bank, indices, generator):
        """bank: uint8 (N, H, W, 3); indices: (B,) int64; generator: a torch.Generator. All are on one device.

        Returns float32 (B, 3, height, width), channels_last. It depends on the generator's state and nothing else.
        """
        images = bank.index_select(0, indices)
        draw = {"generator": generator, "device": bank.device}
        if self.color_jitter:
            images = adjust_colours(images, *(1 + JITTER * (2 * torch.rand(3, len(images), **draw) - 1)))
        tops = torch.randint(images.shape[1] + 2 * self.padding - self.height + 1, indices.shape, **draw)
        lefts = torch.randint(images.shape[2] + 2 * self.padding - self.width + 1, indices.shape, **draw)
        flips = torch.rand(indices.shape, **draw) < self.flip_p
        images = pad_crop_flip(images, (self.height, self.width), self.padding, tops, lefts, flips)
        images = normalise(images)
        if self.erasing_p > 0:
            erase(images, *draw_boxes(len(images), self.height, self.width, self.erasing_p, **draw))
        return images


def pad_crop_flip(images, size, padding, tops, lefts, flips):
    """Pad uint8 images (B, H, W, 3) with black, crop each to `size` (height, width) at its own place, flip some.

    tops, lefts: (B,) int64, the crop's corner in the padded image. flips: (B,) bool.
    """
    batch, source_height, source_width, _ = images.shape
    canvas_height, canvas_width = source_height + 2 * padding, source_width + 2 * padding
    canvas = images.new_zeros(batch, canvas_height, canvas_width, 3)
    canvas[:, padding : padding + source_height, padding : padding + source_width] = images
    rows = tops[:, None] + torch.arange(size[0], device=images.device)
    columns = torch.arange(size[1], device=images.device)
    columns = lefts[:, None] + torch.where(flips[:, None], columns.flip(0), columns)
    rows = rows + canvas_height * torch.arange(batch, device=images.device)[:, None]
    pixels = rows[:, :, None] * canvas_width + columns[:, None, :]  # (B, height, width), into all pixels of the canvas
    return canvas.view(-1, 3).index_select(0, pixels.view(-1)).view(batch, *size, 3)


def adjust_colours(images, brightness, contrast, saturation):
    """Scale the brightness, contrast and saturation of each of the uint8 images (B, H, W, 3) by its own factor (B,).

    torchvision's definitions, in float with one rounding at the end. The order is fixed: but for values cut off at 0
    and 255 the three commute, so torchvision's random order makes no other images.
    """
    brightness, contrast, saturation = (factor[:, None, None] for factor in (brightness, contrast, saturation))
    pixels = images.permute(3, 0, 1, 2).contiguous().float()  # (3, B, H, W): whole planes broadcast fastest
    pixels = pixels.mul_(brightness).clamp_(0, 255)
    pixels = torch.lerp(_grey(pixels).mean((1, 2), keepdim=True), pixels, contrast).clamp_(0, 255)
    pixels = torch.lerp(_grey(pixels), pixels, saturation).clamp_(0, 255)
    return pixels.round_().to(torch.uint8).permute(1, 2, 3, 0).contiguous()


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


def erase(images, tops, lefts, heights, widths):
    """Set a box of each image (B, 3, H, W), channels_last, to 0 in place: after normalisation, the mean colour."""
    pixels = images.permute(0, 2, 3, 1).flatten(2)  # (B, H, 3W), a view
    rows = torch.arange(images.shape[2], device=images.device)
    columns = torch.arange(images.shape[3], device=images.device).repeat_interleave(3)
    rows = (rows >= tops) & (rows < tops + heights)
    columns = (columns >= lefts) & (columns < lefts + widths)
    pixels.masked_fill_(rows[:, :, None] & columns[:, None, :], 0)


def _grey(planes):
    return GREY[0] * planes[0] + GREY[1] * planes[1] + GREY[2] * planes[2]


@lru_cache
def _statistics(device):
    """(3, 3): 255, the mean and the deviation of each channel. Kept, because every copy to a GPU makes the host wait.

    255 is a tensor too: a GPU would multiply by the inverse of a number, which gives other bits.
    """
    return torch.tensor([(255.0,) * 3, MEAN, STD], device=device)
