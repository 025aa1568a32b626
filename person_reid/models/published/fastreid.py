"""fast-reid's ResNets and MGN, and CLIP's ResNet-50, with their authors' layer names.

fast-reid's ResNets differ from torchvision's: the pooling after the first convolution has no
padding, the last stage keeps its resolution, and non-local blocks follow the last blocks of stages
2 and 3.

He, Liao, Liu, Liu, Cheng, Mei: FastReID: A PyTorch Toolbox for General Instance Re-identification,
arXiv 2006.02631. Radford et al., Learning Transferable Visual Models From Natural Language
Supervision, ICML 2021. Li, Sun, Li: CLIP-ReID: Exploiting Vision-Language Model for Image
Re-Identification without Concrete Text Labels, AAAI 2023, section 3.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torchvision.models.resnet import Bottleneck, ResNet

from person_reid.config.zoo import MEAN, STD
from person_reid.models.heads import GeneralizedMeanPool
from person_reid.models.ibn import with_instance_norms

ATTENTION_HEADS = 32  # of CLIP
FASTREID_WIDTH = 256  # channels in each feature of MGN
MGN_HEADS = (1, 2, 3, 21, 22, 31, 32, 33)


def unnormalised(images: Tensor) -> Tensor:
    """Undo ImageNet's normalisation of images (B, 3, H, W), giving values from 0 to 1."""
    mean, std = (images.new_tensor(values)[:, None, None] for values in (MEAN, STD))
    return images * std + mean


class HalfRange(nn.Module):
    """Convert images (B, 3, H, W) from ImageNet's normalisation to values from -1 to 1.

    A network trained with mean 0.5 and standard deviation 0.5 begins with this layer, so that all
    networks take the same images.
    """

    def forward(self, images: Tensor) -> Tensor:
        return (unnormalised(images) - 0.5) / 0.5


class NonLocal(nn.Module):
    """Add to every position what all have in common: y_i = x_i + norm(W θ_i Σ_j φ_j g_j / N).

    θ, φ and g have one channel, so all positions j weigh alike for any i. Wang, Girshick, Gupta,
    He: Non-local Neural Networks, CVPR 2018, equation 4 with the dot product, as in fast-reid.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.g, self.theta, self.phi = (nn.Conv2d(channels, 1, 1) for _ in range(3))
        norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(norm.weight)
        self.W = nn.Sequential(nn.Conv2d(1, channels, 1), norm)

    def forward(self, x: Tensor) -> Tensor:
        common = (self.phi(x) * self.g(x)).mean((2, 3), keepdim=True)
        return x + self.W(self.theta(x) * common)


def resnet(
    layers: Sequence[int], ibn: bool = False, non_local: Sequence[int] = (0, 0, 0, 0)
) -> ResNet:
    """Build a ResNet.

    layers: the number of blocks in each stage. non_local: the number of last blocks in each stage
    that a non-local block follows. ibn: whether it has IBN-Net-a's norms.
    """
    network = ResNet(Bottleneck, list(layers))
    if ibn:
        with_instance_norms(network)
    network.maxpool = nn.MaxPool2d(3, 2, ceil_mode=True)
    network.fc = nn.Identity()
    for layer in (network.layer4[0].conv2, network.layer4[0].downsample[0]):
        layer.stride = (1, 1)
    for number, count in enumerate(non_local, start=1):
        if count:
            blocks = (NonLocal(128 * 2**number) for _ in range(count))
            network.add_module(f"NL_{number}", nn.ModuleList(blocks))
    return network


def feature_map(network: Any, images: Tensor) -> Tensor:
    """Compute the last map of `resnet`: (B, 3, H, W) → (B, 2048, H / 16, W / 16)."""
    x = network.maxpool(network.relu(network.bn1(network.conv1(images))))
    for number in (1, 2, 3, 4):
        stage, after = getattr(network, f"layer{number}"), getattr(network, f"NL_{number}", ())
        for i, block in enumerate(stage, start=len(after) - len(stage)):
            x = after[i](block(x)) if i >= 0 else block(x)
    return x


def resnest() -> Any:
    """Build the ResNeSt-50 that fast-reid calls S50.

    It is timm's with dilation in place of the last stride.
    """
    import timm

    network: Any = timm.create_model("resnest50d", num_classes=0)
    first, *others = network.layer4
    first.avd_last.stride, first.downsample[0] = 1, nn.Identity()
    for block in others:
        block.conv2.conv.dilation = block.conv2.conv.padding = (2, 2)
    return network


class ReducedNeck(nn.Module):
    """Pool a map by its generalised mean, and reduce the result to FASTREID_WIDTH numbers.

    (B, C, h, w) → mean → linear layer → batch norm → (B, FASTREID_WIDTH).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool_layer = GeneralizedMeanPool(learn=True)
        self.bottleneck = nn.Sequential(
            nn.Conv2d(channels, FASTREID_WIDTH, 1, bias=False), nn.BatchNorm2d(FASTREID_WIDTH)
        )
        self.bottleneck[1].bias.requires_grad_(False)

    def forward(self, maps: Tensor) -> Tensor:
        return self.bottleneck(self.pool_layer(maps)[:, :, None, None]).flatten(1)


class FastReIDMGN(nn.Module):
    """A network with eight features: three of the whole body, two of halves, three of thirds.

    Wang et al., Learning Discriminative Features with Multiple Granularities for Person
    Re-Identification, ACM Multimedia 2018. All branches keep the resolution of their last stage.

    of_luperson: as in LUPerson, with a norm after each branch, with padding before the first
    pooling, and with pixel statistics from the weight file. Fu et al., Unsupervised Pre-training
    for Person Re-identification, CVPR 2021.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, network: Any, of_luperson: bool = False) -> None:
        super().__init__()
        self.of_luperson = of_luperson
        if of_luperson:
            network.maxpool = nn.MaxPool2d(3, 2, 1)
            for name, values in (("pixel_mean", MEAN), ("pixel_std", STD)):
                self.register_buffer(name, 255 * torch.tensor(values)[None, :, None, None])
        stem = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2")
        self.backbone = nn.Sequential(*(getattr(network, name) for name in stem), network.layer3[0])
        branch = nn.Sequential(nn.Sequential(*network.layer3[1:]), network.layer4)
        for number in (1, 2, 3):
            self.add_module(f"b{number}", copy.deepcopy(branch))
            if of_luperson:
                self.add_module(f"heads_extra_bn_b{number}", nn.BatchNorm2d(2048))
        for number in MGN_HEADS:
            self.add_module(f"b{number}_head", ReducedNeck(2048))

    def forward(self, images: Tensor) -> Tensor:
        whole, halves, thirds = self.maps(images)
        parts = [whole, halves, thirds, *_stripes(halves, 2), *_stripes(thirds, 3)]
        heads = [getattr(self, f"b{name}_head") for name in MGN_HEADS]
        return torch.cat([head(part) for head, part in zip(heads, parts, strict=True)], dim=1)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Compute the last maps (B, 2048, H / 16, W / 16) of the three branches."""
        if self.of_luperson:
            images = (255 * unnormalised(images) - self.pixel_mean) / self.pixel_std
        shared = self.backbone(images)
        maps = [getattr(self, f"b{number}")(shared) for number in (1, 2, 3)]
        if not self.of_luperson:
            return maps
        return [getattr(self, f"heads_extra_bn_b{i}")(x) for i, x in enumerate(maps, start=1)]

    def forward_features(self, images: Tensor) -> Tensor:
        """Compute the last map of the whole-body branch."""
        return self.maps(images)[0]


def _stripes(maps: Tensor, count: int) -> tuple[Tensor, ...]:
    """Cut a map (B, C, h, w) into stripes of ⌈h / count⌉ rows; the last stripe may have fewer."""
    return torch.split(maps, -(-maps.shape[2] // count), dim=2)


class PooledBottleneck(Bottleneck):  # type: ignore[misc, unused-ignore]  # torchvision has no types
    """ResNet's bottleneck with average pooling in place of each stride."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.pool = nn.AvgPool2d(self.stride) if self.stride > 1 else nn.Identity()
        self.conv2.stride = (1, 1)
        if self.downsample:
            self.downsample[0].stride = (1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.pool(self.relu(self.bn2(self.conv2(y))))
        x = self.downsample(self.pool(x)) if self.downsample else x
        return self.relu(self.bn3(self.conv3(y)) + x)


class AttentionPool(nn.Module):
    """Let the mean of a map (B, C, h, w) attend to itself and to all positions: (B, dim)."""

    def __init__(self, positions: int, channels: int, dim: int) -> None:
        super().__init__()
        embedding = torch.randn(positions + 1, channels) / channels**0.5
        self.positional_embedding = nn.Parameter(embedding)
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(channels, channels) for _ in range(3))
        self.c_proj = nn.Linear(channels, dim)

    def forward(self, maps: Tensor) -> Tensor:
        x = maps.flatten(2).mT
        x = torch.cat([x.mean(1, keepdim=True), x], dim=1) + self.positional_embedding
        query, key, value = (
            part.unflatten(2, (ATTENTION_HEADS, -1)).transpose(1, 2)
            for part in (self.q_proj(x[:, :1]), self.k_proj(x), self.v_proj(x))
        )
        return self.c_proj(scaled_dot_product_attention(query, key, value).flatten(1))


class ClipResNet(ResNet):  # type: ignore[misc, unused-ignore]
    """A ResNet with a stem of three convolutions, for images of `size`: (B, 3, H, W) → (B, 3072).

    The last stage keeps its resolution.
    """

    def __init__(self, size: tuple[int, int], layers: tuple[int, ...] = (3, 4, 6, 3)) -> None:
        super().__init__(PooledBottleneck, list(layers))
        self.conv1 = nn.Conv2d(3, 32, 3, 2, 1, bias=False)
        self.conv2 = nn.Conv2d(32, 32, 3, padding=1, bias=False)
        self.conv3 = nn.Conv2d(32, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.bn2 = nn.BatchNorm2d(32)
        self.bn3 = nn.BatchNorm2d(64)
        self.maxpool, self.fc = nn.AvgPool2d(2), nn.Identity()
        self.layer4[0].pool = nn.Identity()
        self.attnpool = AttentionPool(size[0] // 16 * (size[1] // 16), 2048, 1024)

    def feature_map(self, images: Tensor) -> Tensor:
        """Compute the last map: (B, 3, H, W) → (B, 2048, H / 16, W / 16)."""
        x = self.relu(self.bn1(self.conv1(images)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.maxpool(self.relu(self.bn3(self.conv3(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward(self, images: Tensor) -> Tensor:
        maps = self.feature_map(images)
        return torch.cat([maps.mean((2, 3)), self.attnpool(maps)], dim=1)
