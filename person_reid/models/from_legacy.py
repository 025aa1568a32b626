"""Backbones of libraries that are no longer developed: efficientnet_pytorch and pretrainedmodels."""

from person_reid.models.backbone import Backbone, file_in_cache


class EfficientNetBackbone(Backbone):
    """EfficientNet-b4 of efficientnet_pytorch, as published; its drop_connect_rate is a stochastic depth."""

    def build(self, pretrained, size, drop_path):
        from efficientnet_pytorch import EfficientNet

        build = EfficientNet.from_pretrained if pretrained else EfficientNet.from_name
        return build(self.name, drop_connect_rate=drop_path)

    def feature_map(self, module, images):
        return module.extract_features(images)

    def keep_resolution(self, module, size):
        """Its convolutions are padded in a layer of their own, which was made for their stride."""
        from torch import nn

        super().keep_resolution(module, size)
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d) and layer.stride == (1, 1) and layer.groups > 1:
                layer.static_padding = nn.ZeroPad2d(layer.kernel_size[0] // 2)

    def source(self):
        from efficientnet_pytorch.utils import url_map

        return file_in_cache(url_map[self.name])

    def licence(self):
        return "Apache-2.0"


class NASNetBackbone(Backbone):
    """NASNet-A-Large of pretrainedmodels, as published."""

    def build(self, pretrained, size, drop_path):
        from pretrainedmodels import nasnetalarge
        from torch import nn

        module = nasnetalarge(num_classes=1000, pretrained="imagenet" if pretrained else None)
        module.last_linear = nn.Identity()
        return module

    def feature_map(self, module, images):
        """(B, 3, H, W) → (B, 4032, H/32, W/32), after the last ReLU."""
        return module.features(images)

    def source(self):
        from pretrainedmodels.models.nasnet import pretrained_settings

        return file_in_cache(pretrained_settings[self.name]["imagenet"]["url"])

    def licence(self):
        return "Apache-2.0"
