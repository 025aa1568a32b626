"""Backbones of further libraries, and our OSNets."""

from pathlib import Path

import torch
from torch import nn

from reid.models.entry import PERSON, Backbone, file_in_cache
from reid.models.osnet import OSNet
from reid.models.resolution import keep_last_resolution
from reid.models.timm_backbones import feature_map
from reid.models.weights import load_matching, read_state_dict
from utils import UserError

ZOO = "https://kaiyangzhou.github.io/deep-person-reid/MODEL_ZOO"


def osnet_entry(name, width, network=OSNet, **settings):
    """The Backbone of an OSNet; network: its class, which takes width= and settings."""

    def build(pretrained, size):
        module = network(width=width, **settings)
        if pretrained:
            file = Path(torch.hub.get_dir(), "checkpoints", f"{name}_imagenet.pth")
            if not file.is_file():
                raise UserError(
                    f"{file}: not there, and OSNet's ImageNet weights cannot be downloaded automatically. {source()} "
                    "Or name a file you have with --weights FILE, or start from random weights with --weights none."
                )
            load_matching(module, read_state_dict(file))
        return module

    def source():
        return f"Take {name}_imagenet.pth from the authors' model zoo ({ZOO}) and put it there."

    return Backbone(
        build,
        network.dim,
        feature_map,
        channels=int(512 * width),
        after=lambda module, pooled: module.fc(pooled),
        keep_resolution=keep_osnet_resolution,
        source=source,
        licence=lambda: "MIT",
    )


def keep_osnet_resolution(module, maps, size=PERSON):
    """The last average of two by two, which ends stage conv3, goes."""
    transition = module.pool3 if hasattr(module, "pool3") else module.conv3[2]
    transition[1] = nn.Identity()


def efficientnet_maps(module, images):
    """(B, 3, H, W) → (B, C, H/32, W/32), the last map of efficientnet_pytorch's networks."""
    return module.extract_features(images)


def build_efficientnet(pretrained, size):
    """EfficientNet-b4 of efficientnet_pytorch, as published."""
    from efficientnet_pytorch import EfficientNet

    return EfficientNet.from_pretrained("efficientnet-b4") if pretrained else EfficientNet.from_name("efficientnet-b4")


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


def build_nasnet(pretrained, size):
    """NASNet-A-Large of pretrainedmodels, as published."""
    from pretrainedmodels import nasnetalarge

    module = nasnetalarge(num_classes=1000, pretrained="imagenet" if pretrained else None)
    module.last_linear = nn.Identity()
    return module


def nasnet_source():
    """Where NASNet-A-Large's ImageNet weights are."""
    from pretrainedmodels.models.nasnet import pretrained_settings

    return file_in_cache(pretrained_settings["nasnetalarge"]["imagenet"]["url"])
