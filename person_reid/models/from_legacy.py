"""Backbones of libraries that are no longer developed: efficientnet_pytorch and pretrainedmodels."""

from torch import nn

from person_reid.models.backbone import PERSON, file_in_cache
from person_reid.models.resolution import keep_last_resolution


def efficientnet_maps(module, images):
    """(B, 3, H, W) → (B, C, H/32, W/32), the last map of efficientnet_pytorch's networks."""
    return module.extract_features(images)


def build_efficientnet(pretrained, size, drop_path):
    """EfficientNet-b4 of efficientnet_pytorch, as published; its drop_connect_rate is a stochastic depth."""
    from efficientnet_pytorch import EfficientNet

    build = EfficientNet.from_pretrained if pretrained else EfficientNet.from_name
    return build("efficientnet-b4", drop_connect_rate=drop_path)


def keep_efficientnet_resolution(module, maps, size=PERSON):
    """Its convolutions are padded in a layer of their own, which was made for their stride."""
    keep_last_resolution(module, maps, size)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d) and layer.stride == (1, 1) and layer.groups > 1:
            layer.static_padding = nn.ZeroPad2d(layer.kernel_size[0] // 2)


def efficientnet_source():
    """Where EfficientNet-b4's ImageNet weights are."""
    from efficientnet_pytorch.utils import url_map

    return file_in_cache(url_map["efficientnet-b4"])


def nasnet_maps(module, images):
    """(B, 3, H, W) → (B, 4032, H/32, W/32), after the last ReLU."""
    return module.features(images)


def build_nasnet(pretrained, size, drop_path):
    """NASNet-A-Large of pretrainedmodels, as published."""
    from pretrainedmodels import nasnetalarge

    module = nasnetalarge(num_classes=1000, pretrained="imagenet" if pretrained else None)
    module.last_linear = nn.Identity()
    return module


def nasnet_source():
    """Where NASNet-A-Large's ImageNet weights are."""
    from pretrainedmodels.models.nasnet import pretrained_settings

    return file_in_cache(pretrained_settings["nasnetalarge"]["imagenet"]["url"])
