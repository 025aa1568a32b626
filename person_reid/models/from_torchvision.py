"""Backbones that torchvision builds."""

from functools import cache

from person_reid.models.backbone import Backbone, file_in_cache, stochastic_depth


class TorchvisionBackbone(Backbone):
    """A network of torchvision whose names of layers are those of its ResNets."""

    def build(self, pretrained, size, drop_path):
        import torchvision

        module = torchvision.models.get_model(self.name, weights="IMAGENET1K_V1" if pretrained else None)
        deepest = max(stochastic_depth(module), default=0.0)
        for layer in module.modules():
            if isinstance(layer, torchvision.ops.StochasticDepth) and deepest:
                layer.p *= drop_path / deepest
        return module

    def feature_map(self, module, images):
        """(B, 3, H, W) → (B, 512 or 2048, H/32, W/32)."""
        x = module.maxpool(module.relu(module.bn1(module.conv1(images))))
        return module.layer4(module.layer3(module.layer2(module.layer1(x))))

    def source(self):
        import torchvision

        return file_in_cache(torchvision.models.get_model_weights(self.name)["IMAGENET1K_V1"].url)

    def licence(self):
        return "BSD-3-Clause"


class DenseNetBackbone(TorchvisionBackbone):
    """A DenseNet."""

    def feature_map(self, module, images):
        """(B, 3, H, W) → (B, 1024, H/32, W/32), before torchvision's last ReLU, as published."""
        return module.features(images)

    def keep_resolution(self, module, size):
        """As published: the last transition still averages two by two, step by step."""
        module.features.transition3.pool.stride = 1


class OpaqueBackbone(TorchvisionBackbone):
    """A network of which only the inputs of its last linear layer are known."""

    def build(self, pretrained, size, drop_path):
        module = super().build(pretrained, size, drop_path)
        _replace_last_linear(module)
        return module


@cache
def find_torchvision(name):
    """The Backbone of any network of torchvision: a ResNet shows its maps, the others are opaque."""
    import torch
    import torchvision

    with torch.device("meta"):
        module = torchvision.models.get_model(name, weights=None)
    if isinstance(module, torchvision.models.ResNet):
        return TorchvisionBackbone(name, module.fc.in_features)
    depth = max(stochastic_depth(module), default=0.0)
    return OpaqueBackbone(
        name, _replace_last_linear(module), drop_path=round(depth, 6),
        has_map=False, own_feature=True, can_keep_resolution=False,
    )  # fmt: skip


def is_torchvision(name):
    """Whether torchvision classifies images with a network of that name."""
    return name in torchvision_names()


def torchvision_names():
    """The names of torchvision's networks that classify images."""
    import torchvision

    return torchvision.models.list_models(module=torchvision.models)


def _replace_last_linear(module):
    """Replace the last nn.Linear of a module, by order of registration, by an identity; return its number of inputs."""
    from torch import nn

    name, last = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, nn.Linear)][-1]
    module.set_submodule(name, nn.Identity())
    return last.in_features
