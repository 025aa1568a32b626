"""Small networks as training leaves them: with statistics of their own, and with filters of zeros."""

import torch

from person_reid.models.factory import create_model
from person_reid.models.osnet import ConvNorm, LiteConv3x3

SIZE = (64, 32)


def network(name="osnet_x0_25", neck="bnneck", **settings):
    """A network whose batch norms have statistics of their own, as after training."""
    torch.manual_seed(0)
    built = create_model(name, 5, weights="none", size=SIZE, neck=neck, droprate=0, **settings).train()
    with torch.no_grad():
        for _ in range(3):
            built(2 * torch.randn(8, 3, *SIZE) + 1)
    return built.eval()


def layers(built):
    return [layer for layer in built.modules() if isinstance(layer, ConvNorm | LiteConv3x3)]


def with_dead_filters(name="osnet_x0_25", **settings):
    """A network of which every second four filters of a layer are zero, as Adam leaves them: so are their norms."""
    built = network(name, **settings)
    for layer in layers(built):
        convolution = layer.conv2 if isinstance(layer, LiteConv3x3) else layer.conv
        dead = torch.arange(len(convolution.weight)) % 8 >= 4
        norms = [layer.bn, *(block.IN for block in built.modules() if getattr(block, "conv3", None) is layer)]
        convolution.weight.data[dead] = 1e-40
        for norm in norms:
            for tensor in (*norm.parameters(), *norm.buffers()):
                if tensor.ndim:
                    tensor.data[dead] = 0
    return built
