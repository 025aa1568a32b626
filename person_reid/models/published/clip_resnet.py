"""CLIP's ResNet-50 as in CLIP-ReID: the mean of its last map, and its attention pooling.

Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021.
Li, Sun, Li: CLIP-ReID: Exploiting Vision-Language Model for Image Re-Identification without
Concrete Text Labels, AAAI 2023, section 3. The layers have the authors' names.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torchvision.models.resnet import Bottleneck, ResNet

ATTENTION_HEADS = 32


class PooledBottleneck(Bottleneck):  # type: ignore[misc, unused-ignore]  # torchvision has no types
    """ResNet's bottleneck with an average in place of each stride."""

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
    """Let the mean of a map (B, C, h, w) attend to it and its positions: (B, dim)."""

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
