"""OSNet with linear context transforms, as Intel's Open Model Zoo publishes it.

It differs from OSNet in four places: an instance norm of the image comes first, another follows the
first convolution, the second block of each stage has a ContextGate, and a depthwise convolution
pools the last map. Its feature has 256 dimensions.

Zhou, Yang, Cavallaro, Xiang: Omni-Scale Feature Learning for Person Re-Identification, ICCV 2019.
"""

import torch
from torch import Tensor, nn

from person_reid.models.osnet import InstanceNorm, OmniScaleBlock, OSNet, StreamGate, half

MOST_GROUPS = 16  # of channels, in a gate


class ContextGate(StreamGate):
    """The linear context transform: σ(w ⊙ n(x̄) + b), with channels normalised in groups.

    n subtracts the mean of a channel's group and divides by the group's deviation. There are 16
    groups, or a half or quarter of them if the channels do not divide evenly.

    Ruan, Wang, Yang, Zhang: Linear Context Transform Block, AAAI 2020.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        groups = next(n for n in (MOST_GROUPS, 8, 4, 2, 1) if channels % n == 0)
        self.norm = nn.GroupNorm(groups, channels)
        nn.init.zeros_(self.norm.weight)  # at first, all channels weigh the same
        nn.init.ones_(self.norm.bias)

    def weights(self, averages: Tensor) -> Tensor:
        return torch.sigmoid(self.norm(averages.flatten(0, 1))).view_as(averages)


class OSNetLCT(OSNet):
    """OSNet with linear context transforms: (B, 3, H, W) images → (B, 256).

    It has 2.1 M parameters at width 1.0, and 0.2 M at 0.25. width: see OSNet. size: the (height,
    width) of all images, because the pooling has a weight for each position of the last map.
    """

    dim = 256

    def __init__(self, width: float = 1.0, size: tuple[int, int] = (256, 128)) -> None:
        super().__init__(width, ibn=True)
        self.norm = InstanceNorm(3)
        height, columns = (-(-side // 4) // 4 for side in size)
        channels = self.conv5.conv.out_channels
        self.pool = nn.Conv2d(channels, channels, (height, columns), groups=channels)
        nn.init.constant_(self.pool.weight, 1 / (height * columns))  # at first, the mean
        self.fc[2] = nn.PReLU()

    def add_stages(self, stem: int, first: int, second: int, third: int, ibn: bool) -> None:
        def blocks(inputs: int, outputs: int) -> list[nn.Module]:
            return [
                OmniScaleBlock(inputs, outputs),
                OmniScaleBlock(outputs, outputs, gate=ContextGate),
            ]

        self.conv2 = nn.Sequential(*blocks(stem, first), half(first))
        self.conv3 = nn.Sequential(*blocks(first, second), half(second))
        self.conv4 = nn.Sequential(*blocks(second, third))

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.conv1(self.norm(x)))
        return self.conv5(self.conv4(self.conv3(self.conv2(x))))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.forward_features(x)).flatten(1))
