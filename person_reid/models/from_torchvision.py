"""Backbones that torchvision builds, and ours that follow its names."""

from functools import cache

import torch
from torch import nn

from person_reid.models.backbone import PERSON, Backbone, call, file_in_cache, stochastic_depth
from person_reid.models.resolution import keep_last_resolution


def torchvision_entry(name, dim, maps=None, **fields):
    """The Backbone of torchvision's ResNet `name`; with other `maps` and fields, of its other networks."""
    return Backbone(
        _build(name),
        dim,
        maps or resnet_maps,
        source=_source(name),
        licence=lambda: "BSD-3-Clause",
        **{"keep_resolution": keep_last_resolution, **fields},
    )


def ibn_entry(name, variant, depth):
    """The Backbone of an IBN-Net; variant: ibn_a or ibn_b of person_reid.models.ibn."""

    def build(pretrained, size, drop_path):
        from person_reid.models import ibn

        module = getattr(ibn, variant)(depth)
        if pretrained:
            weights = torch.hub.load_state_dict_from_url(ibn.WEIGHTS[name], map_location="cpu", weights_only=True)
            module.load_state_dict(weights)
        return module

    def source():
        from person_reid.models import ibn

        return file_in_cache(ibn.WEIGHTS[name])

    return Backbone(
        build,
        2048,
        resnet_maps,
        keep_resolution=keep_last_resolution,
        source=source,
        licence=lambda: "MIT",
    )


def is_torchvision(name):
    """Whether torchvision classifies images with a network of that name."""
    return name in torchvision_names()


def torchvision_names():
    """The names of torchvision's networks that classify images."""
    import torchvision

    return torchvision.models.list_models(module=torchvision.models)


@cache
def find_torchvision(name):
    """The Backbone of any network of torchvision: a ResNet shows its maps, of the others only the inputs of the last
    linear layer are known."""
    import torchvision

    with torch.device("meta"):
        module = torchvision.models.get_model(name, weights=None)
    if isinstance(module, torchvision.models.ResNet):
        return torchvision_entry(name, module.fc.in_features)

    def build(pretrained, size, drop_path):
        return _without_last_linear(_build(name)(pretrained, size, drop_path))[0]

    depth = max(stochastic_depth(module), default=0.0)
    _, width = _without_last_linear(module)
    return Backbone(
        build, width, embed=call, drop_path=round(depth, 6), source=_source(name), licence=lambda: "BSD-3-Clause"
    )


def resnet_maps(module, images):
    """(B, 3, H, W) → (B, 512 or 2048, H/32, W/32), the last map of a ResNet with torchvision's names."""
    x = module.maxpool(module.relu(module.bn1(module.conv1(images))))
    return module.layer4(module.layer3(module.layer2(module.layer1(x))))


def densenet_maps(module, images):
    """(B, 3, H, W) → (B, 1024, H/32, W/32), before torchvision's last ReLU, as published."""
    return module.features(images)


def keep_densenet_resolution(module, maps, size=PERSON):
    """As published: the last transition still averages two by two, step by step."""
    module.features.transition3.pool.stride = 1


def _build(name):
    def build(pretrained, size, drop_path):
        import torchvision

        module = torchvision.models.get_model(name, weights="IMAGENET1K_V1" if pretrained else None)
        deepest = max(stochastic_depth(module), default=0.0)
        for layer in module.modules():
            if isinstance(layer, torchvision.ops.StochasticDepth) and deepest:
                layer.p *= drop_path / deepest
        return module

    return build


def _source(name):
    def source():
        import torchvision

        return file_in_cache(torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].url)

    return source


def _without_last_linear(module):
    """The module with its last nn.Linear, by order of registration, replaced by an identity, and its inputs."""
    name, last = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, nn.Linear)][-1]
    module.set_submodule(name, nn.Identity())
    return module, last.in_features
