"""Backbones of two libraries no longer developed: efficientnet_pytorch and pretrainedmodels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from person_reid.models.backbone import Backbone, file_in_cache

if TYPE_CHECKING:
    from torch import Tensor, nn


class EfficientNetBackbone(Backbone):
    """EfficientNet-b4 of efficientnet_pytorch, as published.

    Its drop_connect_rate is the stochastic depth.
    """

    terms = "Apache-2.0"

    def build(self, pretrained: bool, size: tuple[int, int], drop_path: float) -> nn.Module:
        from efficientnet_pytorch import EfficientNet

        build = EfficientNet.from_pretrained if pretrained else EfficientNet.from_name
        return build(self.name, drop_connect_rate=drop_path)

    def feature_map(self, module: Any, images: Tensor) -> Tensor:
        return module.extract_features(images)

    def keep_resolution(self, module: nn.Module, size: tuple[int, int]) -> None:
        """Also replace the padding, which is a layer before each convolution.

        It was made for the old stride.
        """
        from torch import nn

        super().keep_resolution(module, size)
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d) and layer.stride == (1, 1) and layer.groups > 1:
                layer.static_padding = nn.ZeroPad2d(layer.kernel_size[0] // 2)

    def source(self) -> str:
        from efficientnet_pytorch.utils import url_map

        return file_in_cache(url_map[self.name])


class NASNetBackbone(Backbone):
    """NASNet-A-Large of pretrainedmodels, as published."""

    terms = "Apache-2.0"

    def build(self, pretrained: bool, size: tuple[int, int], drop_path: float) -> nn.Module:
        from pretrainedmodels import nasnetalarge
        from torch import nn

        module = nasnetalarge(num_classes=1000, pretrained="imagenet" if pretrained else None)
        module.last_linear = nn.Identity()
        return module

    def feature_map(self, module: Any, images: Tensor) -> Tensor:
        """Compute the map after the last ReLU: (B, 3, H, W) → (B, 4032, H/32, W/32)."""
        return module.features(images)

    def source(self) -> str:
        from pretrainedmodels.models.nasnet import pretrained_settings

        return file_in_cache(pretrained_settings[self.name]["imagenet"]["url"])
