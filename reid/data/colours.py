"""Changes of colour to a batch of images, each by factors of its own."""

import torch

GREY = (0.2989, 0.587, 0.114)  # ITU-R 601-2, as torchvision rounds it


def grey(red, green, blue):
    """The grey value of colours, given as three tensors of one shape."""
    return GREY[0] * red + GREY[1] * green + GREY[2] * blue


def adjust_colours(images, brightness, contrast, saturation):
    """Scale the brightness, contrast and saturation of each of the uint8 images (B, H, W, 3) by its own factor (B,).

    torchvision's definitions, in float with one rounding at the end. The order is fixed: but for values cut off at 0
    and 255 the three commute, so torchvision's random order makes no other images.
    """
    brightness, contrast, saturation = (factor[:, None, None] for factor in (brightness, contrast, saturation))
    pixels = images.permute(3, 0, 1, 2).contiguous().float()  # (3, B, H, W): whole planes broadcast fastest
    pixels = pixels.mul_(brightness).clamp_(0, 255)
    pixels = torch.lerp(grey(*pixels).mean((1, 2), keepdim=True), pixels, contrast).clamp_(0, 255)
    pixels = torch.lerp(grey(*pixels), pixels, saturation).clamp_(0, 255)
    return pixels.round_().to(torch.uint8).permute(1, 2, 3, 0).contiguous()


def change_where(chosen, images, change, *arguments):
    """change(images, *arguments) for the images (B, …) of which chosen (B,) is true; the others stay as they are.

    change: from K images and the K first-dimension entries of each argument to as many images of the same shape.

    On a CPU it sees the chosen images alone. On an accelerator it sees all, and a mask chooses from the result: to
    ask which images are chosen would make the host wait, for longer than an accelerator computes the others.
    """
    if images.device.type != "cpu":
        return torch.where(chosen.view(-1, *[1] * (images.ndim - 1)), change(images, *arguments), images)
    indices = chosen.nonzero()[:, 0]
    if len(indices) == 0:
        return images
    changed = change(images[indices], *(argument[indices] for argument in arguments))
    return images.index_copy(0, indices, changed)
