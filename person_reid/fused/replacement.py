"""The networks whose layers are fused in training.

Names and weights do not change; results are equal up to rounding.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from person_reid.fused.calls import layers_fit
from person_reid.fused.compiler import library
from person_reid.fused.layer import layer
from person_reid.fused.mixture import mixture
from person_reid.models import osnet


class FusedConvNorm(osnet.ConvNorm):
    """Convolution, norm and ReLU.

    A residual is added to the norm; a ReLU always follows.
    """

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        activates = residual is not None or isinstance(self.relu, nn.ReLU)
        return layer(x, self.bn, activates, self.conv, residual=residual)


class FusedLiteConv3x3(osnet.LiteConv3x3):
    """Pointwise and depthwise convolution, norm and ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        return layer(x, self.bn, True, self.conv1, self.conv2)


class FusedGate(osnet.Gate):
    """Averages of the streams, and their mixture."""

    def forward(self, streams: Sequence[Tensor]) -> Tensor:
        if self.training and layers_fit(*streams):
            return mixture(streams, self, self.weights)
        return super().forward(streams)


class _Block(nn.Module):
    """A block whose last layer is fused with the shortcut.

    If a norm comes between them or follows their sum, PyTorch computes the block.
    """

    IN: Any
    conv3: Any
    downsample: Any
    mixed: Any

    def forward(self, x: Tensor) -> Tensor:
        fused = isinstance(self.IN, nn.Identity)
        return self.conv3(self.mixed(x), self.downsample(x)) if fused else super().forward(x)


class FusedOmniScaleBlock(_Block, osnet.OmniScaleBlock):
    """The block of OSNet."""


class FusedAdaptiveBlock(_Block, osnet.AdaptiveBlock):
    """The block of OSNet-AIN."""


FUSED: dict[type[nn.Module], type[nn.Module]] = {
    osnet.ConvNorm: FusedConvNorm,
    osnet.LiteConv3x3: FusedLiteConv3x3,
    osnet.Gate: FusedGate,
    osnet.OmniScaleBlock: FusedOmniScaleBlock,
    osnet.AdaptiveBlock: FusedAdaptiveBlock,
}


def unfuse(network: nn.Module) -> None:
    """Give the fused layers of a network, in place, the classes that they had before."""
    plain = {fused: before for before, fused in FUSED.items()}
    for module in network.modules():
        if type(module) in plain:
            module.__class__ = plain[type(module)]


def is_fused(network: nn.Module) -> bool:
    """Return whether a network has fused layers."""
    return any(type(module) in FUSED.values() for module in network.modules())


def fuse(network: nn.Module) -> bool:
    """Fuse the layers of a network, in place, and return whether any were fused.

    Without such layers, or without a compiler, the network does not change.
    """
    found = [module for module in network.modules() if type(module) in FUSED]
    if not found or library() is None:
        return False
    for module in found:
        module.__class__ = FUSED[type(module)]
    return True
