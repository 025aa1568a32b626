"""Networks from torchvision, and two from older libraries."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from person_reid.errors import UserError
from person_reid.models.architecture import (
    OTHER_WEIGHTS,
    Architecture,
    file_in_cache,
    stochastic_depth,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

TORCHVISION_WEIGHTS = "IMAGENET1K_V1"
# Settings of networks with random weights: without two more classifiers and SciPy's slow initial
# values, and with the preprocessing of the trained network.
UNTRAINED = {"googlenet": {"aux_logits": False, "init_weights": False, "transform_input": True}}


class TorchvisionArchitecture(Architecture):
    """A torchvision network whose layers have the names of torchvision's ResNets."""

    terms = "BSD-3-Clause"

    def make(self, pretrained: bool, size: tuple[int, int], drop_path: float) -> nn.Module:
        import torchvision

        known = torchvision.models.get_model_weights(self.name).__members__
        if pretrained and TORCHVISION_WEIGHTS not in known:
            raise UserError(
                f"torchvision has no weights {TORCHVISION_WEIGHTS} of {self.name}, only "
                f"{', '.join(known) or 'none'}. {OTHER_WEIGHTS}"
            )
        module = _build(self.name, TORCHVISION_WEIGHTS if pretrained else None)
        deepest = max(stochastic_depth(module), default=0.0)
        for layer in module.modules():
            if isinstance(layer, torchvision.ops.StochasticDepth) and deepest:
                layer.p *= drop_path / deepest
        return module

    def feature_map(self, module: Any, images: Tensor) -> Tensor:
        """Compute the map of the last stage: (B, 3, H, W) → (B, 512 or 2048, H/32, W/32)."""
        x = module.maxpool(module.relu(module.bn1(module.conv1(images))))
        return module.layer4(module.layer3(module.layer2(module.layer1(x))))

    def source(self) -> str:
        import torchvision

        return file_in_cache(
            torchvision.models.get_model_weights(self.name)[TORCHVISION_WEIGHTS].url
        )


class DenseNetArchitecture(TorchvisionArchitecture):
    """A DenseNet."""

    def feature_map(self, module: Any, images: Tensor) -> Tensor:
        """Compute the map before torchvision's last ReLU, as published.

        (B, 3, H, W) → (B, 1024, H/32, W/32)
        """
        return module.features(images)

    def keep_resolution(self, module: Any, size: tuple[int, int]) -> None:
        """Give the last transition stride 1; as published, it still averages blocks of 2×2."""
        module.features.transition3.pool.stride = 1


class OpaqueArchitecture(TorchvisionArchitecture):
    """A network whose feature is the input of its last linear layer."""

    def make(self, pretrained: bool, size: tuple[int, int], drop_path: float) -> nn.Module:
        module = super().make(pretrained, size, drop_path)
        _leave_out_classifier(module)
        return module


@cache
def find_torchvision(name: str) -> TorchvisionArchitecture:
    """Return the architecture of any torchvision network.

    ResNets have feature maps; all others are opaque.
    """
    import torchvision

    from person_reid.models.surgery import shapes_alone

    with shapes_alone():
        module = _build(name)
    if isinstance(module, torchvision.models.ResNet):
        return TorchvisionArchitecture(name, module.fc.in_features)
    depth = max(stochastic_depth(module), default=0.0)
    return OpaqueArchitecture(
        name,
        _leave_out_classifier(module),
        drop_path=round(depth, 6),
        has_map=False,
        own_feature=True,
        can_keep_resolution=False,
    )


def torchvision_names() -> list[str]:
    """Return the names of torchvision's image classifiers."""
    import torchvision

    return torchvision.models.list_models(module=torchvision.models)


def _build(name: str, weights: str | None = None) -> Any:
    """Build a torchvision network on the default device."""
    import torch
    import torchvision

    # Up to PyTorch 2.7, get_default_device ignores `with torch.device`.
    place = torch.empty(0).device
    settings = {} if weights else UNTRAINED.get(name, {})
    # A RegNet computes its widths with tensors, which need a device with values.
    with torch.device("cpu" if name.startswith("regnet") else place):
        return torchvision.models.get_model(name, weights=weights, **settings).to(place)


def _leave_out_classifier(module: nn.Module) -> int:
    """Replace the last linear layer, or else the last convolution, with an identity.

    "Last" is in the order of registration. Returns the width of its input.
    """
    from torch import nn

    layers: dict[str, Any] = dict(module.named_modules())
    linear = [name for name, layer in layers.items() if isinstance(layer, nn.Linear)]
    last = (linear or [name for name, layer in layers.items() if isinstance(layer, nn.Conv2d)])[-1]
    module.set_submodule(last, nn.Identity())
    return int(layers[last].in_features if linear else layers[last].in_channels)


class EfficientNetArchitecture(Architecture):
    """EfficientNet-b4 from efficientnet_pytorch, as published.

    Its drop_connect_rate is the stochastic depth.
    """

    terms = "Apache-2.0"

    def make(self, pretrained: bool, size: tuple[int, int], drop_path: float) -> nn.Module:
        from efficientnet_pytorch import EfficientNet

        build = EfficientNet.from_pretrained if pretrained else EfficientNet.from_name
        return build(self.name, drop_connect_rate=drop_path)

    def feature_map(self, module: Any, images: Tensor) -> Tensor:
        return module.extract_features(images)

    def keep_resolution(self, module: nn.Module, size: tuple[int, int]) -> None:
        """Also replace the padding of each convolution, which suits only the old stride."""
        from torch import nn

        super().keep_resolution(module, size)
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d) and layer.stride == (1, 1) and layer.groups > 1:
                layer.static_padding = nn.ZeroPad2d(layer.kernel_size[0] // 2)

    def source(self) -> str:
        from efficientnet_pytorch.utils import url_map

        return file_in_cache(url_map[self.name])


class NASNetArchitecture(Architecture):
    """NASNet-A-Large from pretrainedmodels, as published."""

    terms = "Apache-2.0"

    def make(self, pretrained: bool, size: tuple[int, int], drop_path: float) -> nn.Module:
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
