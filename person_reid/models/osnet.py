"""OSNet, the omni-scale network: small, made for people.

Zhou, Yang, Cavallaro, Xiang: Omni-Scale Feature Learning for Person Re-Identification, ICCV 2019. Its IBN variant is
that with which the authors' later paper (osnet_ain.py) compares.
Names of layers are the authors', so that their published weights load as they are.
"""

from functools import partial

from torch import nn
from torch.nn import functional

CHANNELS = (64, 256, 384, 512)  # of the stem and the three stages at width 1
InstanceNorm = partial(nn.InstanceNorm2d, affine=True)


class ConvNorm(nn.Module):
    """Convolution, norm and, if activate, ReLU."""

    def __init__(self, inputs, outputs, kernel=1, stride=1, activate=True, norm=nn.BatchNorm2d):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        self.bn = norm(outputs)
        self.relu = nn.ReLU() if activate else nn.Identity()

    def forward(self, x):
        return self.relu(self.bn(self.conv(x)))


class LiteConv3x3(nn.Module):
    """The factorised 3×3 convolution of section 3.1: pointwise, then depthwise (the order the paper found better)."""

    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.bn(self.conv2(self.conv1(x))))


class Gate(nn.Module):
    """The unified aggregation gate G (eq. 3): weighs every channel of a stream by the stream's own global average."""

    def __init__(self, channels, reduction=16):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x):
        squeezed = x.mean((2, 3), keepdim=True)
        return x * self.fc2(functional.relu(self.fc1(squeezed))).sigmoid()


class OmniScaleBlock(nn.Module):
    """y = x + conv3(Σ_t G(F_t(conv1(x)))), t = 1…4 (eq. 2, 3): F_t is a stack of t lite convolutions, so that its
    receptive field is 2t + 1, and one gate G serves the four streams. norm: of the sum y; none in the first paper."""

    def __init__(self, inputs, outputs, norm=None):
        super().__init__()
        channels = outputs // 4
        self.conv1 = ConvNorm(inputs, channels)
        self.conv2a = LiteConv3x3(channels)
        self.conv2b = nn.Sequential(*(LiteConv3x3(channels) for _ in range(2)))
        self.conv2c = nn.Sequential(*(LiteConv3x3(channels) for _ in range(3)))
        self.conv2d = nn.Sequential(*(LiteConv3x3(channels) for _ in range(4)))
        self.gate = Gate(channels)
        self.conv3 = ConvNorm(channels, outputs, activate=False)
        self.downsample = ConvNorm(inputs, outputs, activate=False) if inputs != outputs else nn.Identity()
        self.IN = norm(outputs) if norm else nn.Identity()

    def forward(self, x):
        squeezed = self.conv1(x)
        streams = (self.conv2a, self.conv2b, self.conv2c, self.conv2d)
        mixed = sum(self.gate(stream(squeezed)) for stream in streams)
        return functional.relu(self.IN(self.conv3(mixed) + self.downsample(x)))


class OSNet(nn.Module):
    """(B, 3, H, W) images → (B, 512) features. 2.2 M parameters at width 1.0, 0.2 M at 0.25 (table 6 of the paper).

    width: the multiplier β of the channels (64, 256, 384, 512). ibn: instance norm after the first convolution and on
    the sums of the first stage (OSNet-IBN).
    """

    dim = 512

    def __init__(self, width=1.0, ibn=False):
        super().__init__()
        stem, *stages = (int(channels * width) for channels in CHANNELS)
        norms = {"norm": InstanceNorm} if ibn else {}
        self.conv1 = ConvNorm(3, stem, kernel=7, stride=2, **norms)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.conv2 = _stage(stem, stages[0], reduce=True, **norms)
        self.conv3 = _stage(stages[0], stages[1], reduce=True)
        self.conv4 = _stage(stages[1], stages[2], reduce=False)
        self.conv5 = ConvNorm(stages[2], stages[2])
        self.fc = nn.Sequential(nn.Linear(stages[2], self.dim), nn.BatchNorm1d(self.dim), nn.ReLU())
        self.apply(initialise)

    def forward_features(self, x):
        """(B, 3, H, W) images → (B, C, H/16, W/16), the last feature map."""
        x = self.maxpool(self.conv1(x))
        return self.conv5(self.conv4(self.conv3(self.conv2(x))))

    def forward(self, x):
        return self.fc(self.forward_features(x).mean((2, 3)))


def _stage(inputs, outputs, reduce, **norms):
    layers: list[nn.Module] = [OmniScaleBlock(inputs, outputs, **norms), OmniScaleBlock(outputs, outputs, **norms)]
    if reduce:
        layers.append(nn.Sequential(ConvNorm(outputs, outputs), nn.AvgPool2d(2, stride=2)))
    return nn.Sequential(*layers)


def initialise(layer):
    """The authors' initial values: Kaiming (fan out) for convolutions, N(0, 0.01²) for linear layers, no bias."""
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    elif isinstance(layer, nn.Linear):
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(layer.bias)
