"""OSNet, the omni-scale network: small, and designed for person re-identification.

Zhou, Yang, Cavallaro, Xiang: Omni-Scale Feature Learning for Person Re-Identification, ICCV 2019.
The IBN variant is the one that the authors' later paper (osnet_ain.py) compares with. The layers
have the authors' names, so their published weights load unchanged.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

CHANNELS = (64, 256, 384, 512)  # of the stem and the three stages at width 1
REDUCTION = 16  # of the channels inside a gate
InstanceNorm = partial(nn.InstanceNorm2d, affine=True)


class ConvNorm(nn.Module):
    """A convolution, a norm and, if `activate`, a ReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        activate: bool = True,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        self.bn = norm(outputs)
        self.relu = nn.ReLU(inplace=True) if activate else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))


class LiteConv3x3(nn.Module):
    """The factorised 3×3 convolution of section 3.1: pointwise, then depthwise (the
    order the paper found better).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv2(self.conv1(x))))


class Gate(nn.Module):
    """The unified aggregation gate G (eq. 3): weights the channels of each stream by its own global
    average.

    Its layers are the authors' 1×1 convolutions. On averages they are linear, and computed as such
    for all streams at
    once: as forty-eight small convolutions they took up to a tenth of OSNet's training step on a
    processor.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // REDUCTION, 1)
        self.fc2 = nn.Conv2d(channels // REDUCTION, channels, 1)

    def forward(self, streams: Sequence[Tensor]) -> Tensor:
        """Return Σ_t G(x_t), (B, C, H, W), of T streams of that shape."""
        weights = self.weights(torch.stack([stream.mean((2, 3)) for stream in streams]))
        first, *others = (stream * weights[t, :, :, None, None] for t, stream in enumerate(streams))
        return sum(others, first)

    def weights(self, averages: Tensor) -> Tensor:
        """Return the weights of T streams' channels, given their averages: both (T, B, C)."""
        x = averages
        for layer, activate in ((self.fc1, functional.relu), (self.fc2, torch.sigmoid)):
            x = activate(functional.linear(x, layer.weight.flatten(1), layer.bias))
        return x


class OmniScaleBlock(nn.Module):
    """The omni-scale block: y = x + conv3(Σ_t G(F_t(conv1(x)))), t = 1…4 (eq. 2, 3).

    F_t is a stack of t lite convolutions with a receptive field of 2t + 1; the four streams share
    one gate G. norm: applied to the sum y; the first paper has none.
    """

    def __init__(
        self, inputs: int, outputs: int, norm: Callable[[int], nn.Module] | None = None
    ) -> None:
        super().__init__()
        channels = outputs // 4
        self.conv1 = ConvNorm(inputs, channels)
        self.conv2a = LiteConv3x3(channels)
        self.conv2b = nn.Sequential(*(LiteConv3x3(channels) for _ in range(2)))
        self.conv2c = nn.Sequential(*(LiteConv3x3(channels) for _ in range(3)))
        self.conv2d = nn.Sequential(*(LiteConv3x3(channels) for _ in range(4)))
        self.gate = Gate(channels)
        self.conv3 = ConvNorm(channels, outputs, activate=False)
        self.downsample = (
            ConvNorm(inputs, outputs, activate=False) if inputs != outputs else nn.Identity()
        )
        self.IN = norm(outputs) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.IN(self.conv3(self.mixed(x)) + self.downsample(x)))

    @property
    def streams(self) -> Sequence[nn.Module]:
        """Return F_1 to F_4."""
        return self.conv2a, self.conv2b, self.conv2c, self.conv2d

    def mixed(self, x: Tensor) -> Tensor:
        """Return the gated sum of the streams."""
        squeezed = self.conv1(x)
        return self.gate([stream(squeezed) for stream in self.streams])


class OSNet(nn.Module):
    """OSNet: (B, 3, H, W) images → (B, 512). 2.2 M parameters at width 1.0, 0.2 M at 0.25 (table 6
    of the paper).

    width: the multiplier β of the channels (64, 256, 384, 512). ibn: instance norm after the first
    convolution and on the sums of the first stage (OSNet-IBN).
    """

    dim = 512

    def __init__(self, width: float = 1.0, ibn: bool = False) -> None:
        super().__init__()
        stem, *stages = (int(channels * width) for channels in CHANNELS)
        self.conv1 = ConvNorm(
            3, stem, kernel=7, stride=2, norm=InstanceNorm if ibn else nn.BatchNorm2d
        )
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.conv2 = _stage(stem, stages[0], reduce=True, norm=InstanceNorm if ibn else None)
        self.conv3 = _stage(stages[0], stages[1], reduce=True)
        self.conv4 = _stage(stages[1], stages[2], reduce=False)
        self.conv5 = ConvNorm(stages[2], stages[2])
        self.fc = nn.Sequential(nn.Linear(stages[2], self.dim), nn.BatchNorm1d(self.dim), nn.ReLU())
        self.apply(initialise)

    def forward_features(self, x: Tensor) -> Tensor:
        """Compute the last feature map of images: (B, 3, H, W) → (B, C, H/16, W/16)."""
        x = self.maxpool(self.conv1(x))
        return self.conv5(self.conv4(self.conv3(self.conv2(x))))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.forward_features(x).mean((2, 3)))


def _stage(
    inputs: int, outputs: int, reduce: bool, norm: Callable[[int], nn.Module] | None = None
) -> nn.Sequential:
    layers: list[nn.Module] = [
        OmniScaleBlock(inputs, outputs, norm),
        OmniScaleBlock(outputs, outputs, norm),
    ]
    if reduce:
        layers.append(nn.Sequential(ConvNorm(outputs, outputs), nn.AvgPool2d(2, stride=2)))
    return nn.Sequential(*layers)


def initialise(layer: nn.Module) -> None:
    """Set the authors' initial values: Kaiming (fan out) for convolutions, N(0,
    0.01²) for linear layers, biases 0.
    """
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    elif isinstance(layer, nn.Linear):
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(layer.bias)
