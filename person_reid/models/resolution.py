"""`--stride 1`: a convolutional network that no longer halves the resolution before its last stage.

Sun, Zheng, Yang, Tian, Wang: Beyond Part Models: Person Retrieval with Refined Part Pooling, ECCV 2018, section 3.1: a
twice as large feature map in both directions, with the weights as they are and without dilation.
"""

import torch
from torch import nn

from person_reid.basics import UserError

STRIDED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


def keep_last_resolution(module, maps, size):
    """Undo the last halving of a convolutional network, in place; its state-dict keys stay what they are.

    maps: maps(module, images) → (B, C, h, w). size: (height, width) of the images. Every convolution and pooling that
    leads from twice the resolution of these maps to theirs, in the path and in the shortcuts, gets stride 1; a pooling
    of two by two is left out. Raises UserError where that does not double the map: for a network of several resolutions
    at once, or without convolutions.
    """
    images = torch.zeros(1, 3, *size, device=next(module.parameters()).device)
    height, layers = _trace(module, maps, images)
    for name, before, after in layers:
        if after == height and before >= 2 * height - 1 > after:
            _stop_halving(module, name)
    try:
        now, _ = _trace(module, maps, images)
    except (RuntimeError, AssertionError):  # maps of two resolutions that no longer fit together
        now = height
    if now < 2 * height - 1 or now == height:
        raise UserError("--stride 1 has no meaning for this network: it has no single last halving. Leave it out.")


def _trace(module, maps, images):
    """The height of the last map, and (name, height before, height after) of each layer that might halve."""
    layers = []

    def watch(name):
        return lambda layer, inputs, output: layers.append((name, inputs[0].shape[-2], output.shape[-2]))

    hooks = [
        layer.register_forward_hook(watch(name))
        for name, layer in module.named_modules()
        if isinstance(layer, STRIDED) and layer.stride not in (1, (1, 1))
    ]
    training = module.training
    try:
        with torch.inference_mode():
            height = maps(module.eval(), images).shape[2]
    finally:
        module.train(training)
        for hook in hooks:
            hook.remove()
    return height, layers


def _stop_halving(module, name):
    """Give one layer stride 1. An even kernel has no middle, so that the map would lose a row and a column: a
    pooling of that kind goes, a convolution pads more on one side."""
    layer = module.get_submodule(name)
    even = layer.kernel_size in (2, (2, 2))
    if isinstance(layer, nn.Conv2d):
        layer.stride = (1, 1)
        layer.padding = "same" if even else layer.padding
    elif even:
        module.set_submodule(name, nn.Identity())
    else:
        layer.stride = 1
