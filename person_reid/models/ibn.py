"""IBN-Net: a ResNet that depends less on the colours of a camera.

Pan, Luo, Shi, Tang: Two at Once: Enhancing Learning and Generalization Capacities via IBN-Net, ECCV
2018, section 3.2. The layers have the authors' names, so their published weights load unchanged.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet

from person_reid.models.osnet import InstanceNorm

DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}  # blocks per stage
RELEASE = "https://github.com/XingangPan/IBN-Net/releases/download/v1.0/"
IBN_WEIGHTS = {
    "resnet50_ibn_a": f"{RELEASE}resnet50_ibn_a-d9d0bb7b.pth",
    "resnet101_ibn_a": f"{RELEASE}resnet101_ibn_a-59ea0ac6.pth",
    "resnet50_ibn_b": f"{RELEASE}resnet50_ibn_b-9ca61e85.pth",
    "resnet101_ibn_b": f"{RELEASE}resnet101_ibn_b-c55f6dba.pth",
}


class InstanceBatchNorm(nn.Module):
    """Instance norm for the first half of the channels, batch norm for the rest.

    The first removes the overall appearance of an image; the second keeps what distinguishes
    classes.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.split = channels // 2
        self.IN = InstanceNorm(self.split)
        self.BN = nn.BatchNorm2d(channels - self.split)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.IN(x[:, : self.split]), self.BN(x[:, self.split :])], dim=1)


class NormalisedSum(Bottleneck):  # type: ignore[misc, unused-ignore]  # torchvision has no types
    """ResNet's bottleneck with a slot, `IN`, for a norm between the sum and its ReLU."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.IN = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x))
        return self.relu(self.IN(y))


def ibn_a(depth: int) -> ResNet:
    """Build IBN-Net-a with 50 or 101 layers.

    An InstanceBatchNorm follows the first convolution of every block. The last stage has none, to
    keep what distinguishes classes.
    """
    return with_instance_norms(ResNet(Bottleneck, DEPTHS[depth]))


def with_instance_norms(network: ResNet) -> ResNet:
    """Give the blocks of a ResNet's first three stages the norms of IBN-Net-a, in place."""
    for stage in (network.layer1, network.layer2, network.layer3):
        for block in stage:
            block.bn1 = InstanceBatchNorm(block.bn1.num_features)
    return network


def ibn_b(depth: int) -> ResNet:
    """Build IBN-Net-b with 50 or 101 layers.

    Instance norms follow the stem and the last sum of stages 1 and 2.
    """
    network = ResNet(NormalisedSum, DEPTHS[depth])
    network.bn1 = InstanceNorm(64)
    network.layer1[-1].IN = InstanceNorm(256)
    network.layer2[-1].IN = InstanceNorm(512)
    return network
