"""Changes of colour to a batch of images, each by factors of its own."""

import torch

GREY = (0.2989, 0.587, 0.114)  # ITU-R 601-2, as torchvision rounds it


def grey(images):
    """The grey values (...) of colours (..., 3), float32."""
    red, green, blue = images.float().unbind(-1)
    return (GREY[0] * red).add_(green, alpha=GREY[1]).add_(blue, alpha=GREY[2])


def adjust_colours(images, brightness, contrast, saturation):
    """Scale the brightness, contrast and saturation of each of the uint8 images (B, H, W, 3) by its own factor (B,).

    torchvision's definitions, in float with one rounding at the end. The order is fixed: but for values cut off at 0
    and 255 the three commute, so torchvision's random order makes no other images.
    """
    brightness, contrast, saturation = (factor[:, None, None, None] for factor in (brightness, contrast, saturation))
    pixels = images.float().mul_(brightness).clamp_(0, 255)  # in place: a CPU's time goes into fresh memory
    mean = grey(pixels.mean((1, 2)))[:, None, None, None]
    pixels.mul_(contrast).add_(mean * (1 - contrast)).clamp_(0, 255)
    greys = grey(pixels)[..., None].mul_(1 - saturation)
    return pixels.mul_(saturation).add_(greys).clamp_(0, 255).round_().to(torch.uint8)


def change_where(chosen, images, change, *arguments):
    """change(images, *arguments) for the images (B, …) of which chosen (B,) is true; the others stay as they are.

    change: from K images and the K first-dimension entries of each argument to as many images of the same shape.
    """
    return change_each(chosen.int() - 1, images, [change], *arguments)


def change_each(numbers, images, changes, *arguments):
    """change_where with several changes: image i goes through changes[numbers[i]], and where that is -1 it stays.

    On a CPU a change sees its own images alone. On an accelerator it sees all, and a mask chooses from the result: to
    ask which images are chosen would make the host wait, for longer than an accelerator computes the others.
    """
    if images.device.type != "cpu":
        for number, change in enumerate(changes):
            chosen = (numbers == number).view(-1, *[1] * (images.ndim - 1))
            images = torch.where(chosen, change(images, *arguments), images)
        return images
    rows = list(images)
    for number, change in enumerate(changes):
        indices = (numbers == number).nonzero()[:, 0]
        if len(indices):
            changed = change(*(tensor.index_select(0, indices) for tensor in (images, *arguments)))
            for index, image in zip(indices.tolist(), changed, strict=True):
                rows[index] = image
    return torch.stack(rows)
