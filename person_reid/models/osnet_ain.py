"""OSNet-AIN: the omni-scale network with instance norms where an architecture search placed them.

Zhou, Yang, Cavallaro, Xiang: Learning Generalisable Omni-Scale Representations for Person
Re-Identification, TPAMI 2021. The layers have the authors' names, so their published weights load
unchanged.
"""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from person_reid.models.osnet import CHANNELS, ConvNorm, Gate, InstanceNorm, LiteConv3x3, initialise

# Figure 5 of the paper: whether each of the two blocks of a stage has an instance norm inside its
# residual.
NORMALISED = ((True, True), (False, True), (True, False))


class AdaptiveBlock(nn.Module):
    """The omni-scale block with a norm inside the residual: y = x + N(conv3(Σ_t G(F_t(conv1(x))))).

    normalise: whether N is an instance norm, which replaces the batch norm of conv3.
    """

    def __init__(self, inputs: int, outputs: int, normalise: bool) -> None:
        super().__init__()
        channels = outputs // 4
        self.conv1 = ConvNorm(inputs, channels)
        self.conv2 = nn.ModuleList(_stream(channels, depth) for depth in (1, 2, 3, 4))
        self.gate = Gate(channels)
        self.conv3 = ConvNorm(
            channels, outputs, activate=False, norm=nn.Identity if normalise else nn.BatchNorm2d
        )
        self.downsample = (
            ConvNorm(inputs, outputs, activate=False) if inputs != outputs else nn.Identity()
        )
        self.IN = InstanceNorm(outputs) if normalise else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.IN(self.conv3(self.mixed(x))) + self.downsample(x))

    @property
    def streams(self) -> Sequence[nn.Module]:
        """Return F_1 to F_4."""
        return tuple(self.conv2)

    def mixed(self, x: Tensor) -> Tensor:
        """Return the gated sum of the streams."""
        squeezed = self.conv1(x)
        return self.gate([stream(squeezed) for stream in self.streams])


class OSNetAIN(nn.Module):
    """OSNet-AIN, as large as OSNet: (B, 3, H, W) images → (B, 512). width:
    the multiplier β of the channels.
    """

    dim = 512

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        stem, first, second, third = (int(channels * width) for channels in CHANNELS)
        self.conv1 = ConvNorm(3, stem, kernel=7, stride=2, norm=InstanceNorm)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.conv2 = _stage(stem, first, NORMALISED[0])
        self.pool2 = nn.Sequential(ConvNorm(first, first), nn.AvgPool2d(2, stride=2))
        self.conv3 = _stage(first, second, NORMALISED[1])
        self.pool3 = nn.Sequential(ConvNorm(second, second), nn.AvgPool2d(2, stride=2))
        self.conv4 = _stage(second, third, NORMALISED[2])
        self.conv5 = ConvNorm(third, third)
        self.fc = nn.Sequential(nn.Linear(third, self.dim), nn.BatchNorm1d(self.dim), nn.ReLU())
        self.apply(initialise)

    def forward_features(self, x: Tensor) -> Tensor:
        """Compute the last feature map of images: (B, 3, H, W) → (B, C, H/16, W/16)."""
        x = self.pool2(self.conv2(self.maxpool(self.conv1(x))))
        return self.conv5(self.conv4(self.pool3(self.conv3(x))))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.forward_features(x).mean((2, 3)))


def _stream(channels: int, depth: int) -> nn.Sequential:
    layers = nn.Sequential(*(LiteConv3x3(channels) for _ in range(depth)))
    return nn.Sequential(OrderedDict(layers=layers))


def _stage(inputs: int, outputs: int, normalised: tuple[bool, bool]) -> nn.Sequential:
    first, second = normalised
    return nn.Sequential(
        AdaptiveBlock(inputs, outputs, first), AdaptiveBlock(outputs, outputs, second)
    )
