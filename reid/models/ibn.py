"""IBN-a: a network that is less moved by the colours of a camera.

Pan, Luo, Shi, Tang: Two at Once: Enhancing Learning and Generalization Capacities via IBN-Net, ECCV 2018, section 3.2.
Names of layers are the authors', so that their published weights load as they are.
"""

import torch
from torch import nn

WEIGHTS = "https://github.com/XingangPan/IBN-Net/releases/download/v1.0/resnet50_ibn_a-d9d0bb7b.pth"


class InstanceBatchNorm(nn.Module):
    """Instance norm for the first half of the channels, batch norm for the rest.

    The first forgets what an image looks like as a whole, the second keeps what tells classes apart.
    """

    def __init__(self, channels):
        super().__init__()
        self.split = channels // 2
        self.IN = nn.InstanceNorm2d(self.split, affine=True)
        self.BN = nn.BatchNorm2d(channels - self.split)

    def forward(self, x):
        return torch.cat([self.IN(x[:, : self.split]), self.BN(x[:, self.split :])], dim=1)


def ibn_a(resnet):
    """Put an InstanceBatchNorm after the first convolution of every block of a torchvision ResNet, its last stage left
    out (the paper's IBN-Net-a); changes the network in place and returns it."""
    for stage in (resnet.layer1, resnet.layer2, resnet.layer3):
        for block in stage:
            block.bn1 = InstanceBatchNorm(block.bn1.num_features)
    return resnet
