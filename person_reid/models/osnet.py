"""OSNet, the omni-scale network: small, and designed for person re-identification.

Zhou, Yang, Cavallaro, Xiang: Omni-Scale Feature Learning for Person Re-Identification, ICCV 2019.
The same authors describe OSNet-AIN, and compare it with the IBN variant, in Learning Generalisable
Omni-Scale Representations for Person Re-Identification, TPAMI 2021. The layers have the authors'
names, so their published weights load unchanged.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

CHANNELS = (64, 256, 384, 512)  # the stem and the three stages at width 1
REDUCTION = 16  # divides the channels inside a gate
Norm = Callable[[int], nn.Module]
InstanceNorm: Norm = partial(nn.InstanceNorm2d, affine=True)


class ConvNorm(nn.Module):
    """A convolution, a norm and, if `activate`, a ReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        activate: bool = True,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        self.bn = norm(outputs)
        self.relu = nn.ReLU(inplace=True) if activate else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))


class LiteConv3x3(nn.Module):
    """The factorised 3×3 convolution of section 3.1.

    It is pointwise, then depthwise, the order that the paper found better.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv2(self.conv1(x))))


class StreamGate(nn.Module):
    """A gate G that weights the channels of each stream by the stream's global average."""

    def forward(self, streams: Sequence[Tensor]) -> Tensor:
        """Return Σ_t G(x_t) ⊙ x_t, (B, C, H, W), for T streams of that shape."""
        weights = self.weights(torch.stack([stream.mean((2, 3)) for stream in streams]))
        first, *others = (stream * weights[t, :, :, None, None] for t, stream in enumerate(streams))
        return sum(others, first)

    def weights(self, averages: Tensor) -> Tensor:
        """Return the weights of T streams' channels, given the channels' means: both (T, B, C)."""
        raise NotImplementedError


class Gate(StreamGate):
    """The unified aggregation gate (eq. 3).

    Its layers are the authors' 1×1 convolutions. An average is a single pixel, so they are linear
    and run on all streams at once: as forty-eight small convolutions, they took up to a tenth of
    OSNet's training step on a CPU.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // REDUCTION, 1)
        self.fc2 = nn.Conv2d(channels // REDUCTION, channels, 1)

    def weights(self, averages: Tensor) -> Tensor:
        x = averages
        for layer, activate in ((self.fc1, functional.relu), (self.fc2, torch.sigmoid)):
            x = activate(functional.linear(x, layer.weight.flatten(1), layer.bias))
        return x


class OmniScaleBlock(nn.Module):
    """The omni-scale block: y = x + conv3(Σ_t G(x_t) ⊙ x_t), x_t = F_t(conv1(x)) (eq. 2, 3).

    F_t is a stack of t lite convolutions with a receptive field of 2t + 1, t = 1…4; the four
    streams share one gate G. norm: applied to the sum y; the first paper has none. last_norm:
    conv3's norm. gate: makes G for a number of channels.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        norm: Norm = nn.Identity,
        last_norm: Norm = nn.BatchNorm2d,
        gate: Callable[[int], StreamGate] = Gate,
    ) -> None:
        super().__init__()
        channels = outputs // 4
        self.conv1 = ConvNorm(inputs, channels)
        self.add_streams(channels)
        self.gate = gate(channels)
        self.conv3 = ConvNorm(channels, outputs, activate=False, norm=last_norm)
        widens = inputs != outputs
        self.downsample = ConvNorm(inputs, outputs, activate=False) if widens else nn.Identity()
        self.IN = norm(outputs)

    def add_streams(self, channels: int) -> None:
        """Create the layers of the four streams, F_1 to F_4."""
        self.conv2a = LiteConv3x3(channels)
        self.conv2b, self.conv2c, self.conv2d = (_stack(channels, depth) for depth in (2, 3, 4))

    @property
    def streams(self) -> Sequence[nn.Module]:
        """Return F_1 to F_4."""
        return self.conv2a, self.conv2b, self.conv2c, self.conv2d

    def mixed(self, x: Tensor) -> Tensor:
        """Return the gated sum of the streams."""
        squeezed = self.conv1(x)
        return self.gate([stream(squeezed) for stream in self.streams])

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.IN(self.conv3(self.mixed(x)) + self.downsample(x)))


class AdaptiveBlock(OmniScaleBlock):
    """OSNet-AIN's block: y = x + N(conv3(Σ_t G(x_t) ⊙ x_t)); see OmniScaleBlock.

    instance: whether N is an instance norm, which replaces the batch norm of conv3.
    """

    def __init__(self, inputs: int, outputs: int, instance: bool) -> None:
        norms = (InstanceNorm, nn.Identity) if instance else (nn.Identity, nn.BatchNorm2d)
        super().__init__(inputs, outputs, *norms)

    def add_streams(self, channels: int) -> None:
        self.conv2 = nn.ModuleList(
            nn.Sequential(OrderedDict(layers=_stack(channels, depth))) for depth in (1, 2, 3, 4)
        )

    @property
    def streams(self) -> Sequence[nn.Module]:
        return tuple(self.conv2)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.IN(self.conv3(self.mixed(x))) + self.downsample(x))


class OSNet(nn.Module):
    """OSNet: (B, 3, H, W) images → (B, 512).

    It has 2.2 M parameters at width 1.0, and 0.2 M at 0.25 (table 6 of the paper).

    width: the multiplier β of the channels (64, 256, 384, 512). ibn: instance norm after the first
    convolution and on the sums of the first stage (OSNet-IBN).
    """

    dim = 512

    def __init__(self, width: float = 1.0, ibn: bool = False) -> None:
        super().__init__()
        stem, first, second, third = (int(channels * width) for channels in CHANNELS)
        norm = InstanceNorm if ibn else nn.BatchNorm2d
        self.conv1 = ConvNorm(3, stem, kernel=7, stride=2, norm=norm)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.add_stages(stem, first, second, third, ibn)
        self.conv5 = ConvNorm(third, third)
        self.fc = nn.Sequential(nn.Linear(third, self.dim), nn.BatchNorm1d(self.dim), nn.ReLU())
        self.apply(initialise)

    def add_stages(self, stem: int, first: int, second: int, third: int, ibn: bool) -> None:
        """Add the stages between the stem and the last convolution, given their channels."""
        norm = InstanceNorm if ibn else nn.Identity
        block = OmniScaleBlock
        self.conv2 = nn.Sequential(block(stem, first, norm), block(first, first, norm), half(first))
        self.conv3 = nn.Sequential(block(first, second), block(second, second), half(second))
        self.conv4 = nn.Sequential(block(second, third), block(third, third))

    def forward_features(self, x: Tensor) -> Tensor:
        """Compute the last feature map of images: (B, 3, H, W) → (B, C, H/16, W/16)."""
        *stages, _ = self.children()
        for stage in stages:
            x = stage(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.forward_features(x).mean((2, 3)))


class OSNetAIN(OSNet):
    """OSNet-AIN, as large as OSNet; an architecture search placed its instance norms (figure 5)."""

    def __init__(self, width: float = 1.0) -> None:
        super().__init__(width, ibn=True)

    def add_stages(self, stem: int, first: int, second: int, third: int, ibn: bool) -> None:
        block = AdaptiveBlock
        self.conv2 = nn.Sequential(block(stem, first, True), block(first, first, True))
        self.pool2 = half(first)
        self.conv3 = nn.Sequential(block(first, second, False), block(second, second, True))
        self.pool3 = half(second)
        self.conv4 = nn.Sequential(block(second, third, True), block(third, third, False))


def _stack(channels: int, depth: int) -> nn.Sequential:
    return nn.Sequential(*(LiteConv3x3(channels) for _ in range(depth)))


def half(channels: int) -> nn.Sequential:
    """Build the layers between two stages; they halve the resolution."""
    return nn.Sequential(ConvNorm(channels, channels), nn.AvgPool2d(2, stride=2))


def initialise(layer: nn.Module) -> None:
    """Set the authors' initial values.

    They are Kaiming's (fan out) for convolutions, N(0, 0.01²) for linear layers, and 0 for biases.
    """
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    elif isinstance(layer, nn.Linear):
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(layer.bias)
