# PYTHON_ARGCOMPLETE_OK
"""List the networks, or describe one; also define the network classes of the published code.

python model.py                          # list the networks
python model.py osnet_x0_25              # build one, run it, print its stages
python model.py --published "osnet*"     # list networks that others have published

The classes have the published names, arguments, state-dict keys and outputs. The published
constructors always load ImageNet weights. If none are cached, or you load a checkpoint afterwards,
pass weights="none" (by keyword) to any class. Swin, SwinV2, DINOv3 and ConvNeXt ignore `stride`, as
published. New code should call create_model, which builds every network with every option.
"""

import sys

from person_reid.config.zoo import listing
from person_reid.console import run_script
from person_reid.console.options import load_plugins
from person_reid.console.parser import Parser
from person_reid.models.architecture import LIST, REGISTERED


def main(argv: list[str] | None = None) -> None:
    """Print the list or the description."""
    parser = Parser(__doc__)
    parser.add_argument(
        "backbone", nargs="?", help="network to describe; without one, all are listed"
    )
    parser.add_argument(
        "--published",
        nargs="?",
        const="*",
        metavar="PATTERN",
        help="list the published networks whose names match, by default all",
    )
    parser.add_argument(
        "--plugin", metavar="FILE,FILE", help="your own files or modules that register networks"
    )
    load_plugins(argv)
    options = parser.parse_args(argv)
    if options.backbone and options.published is not None:
        parser.error("--published and a network: choose one")
    name = options.backbone
    if options.published is not None:
        print(listing(options.published), end="")
    elif name:
        from person_reid.models.complexity import layer_table

        print(layer_table(name))
    else:
        print(LIST.read_text(encoding="utf-8"), end="")
        print("".join(f"{name}\n" for name in REGISTERED), end="")


if __name__ == "__main__":  # ends before the classes, because the list needs no PyTorch
    run_script(main)
    sys.exit()

# Used as published:
#
# network = ft_net(751)                              # ResNet-50 from ImageNet weights
# logits = network(images)                           # (B, 751); with circle=True [logits, feature]
# network.classifier.classifier = nn.Sequential()    # for testing
# features = network(images)                         # (B, 512)

from typing import Any

from timm.layers import DropPath
from torch import Tensor, nn

from person_reid.config.network import NetworkOptions
from person_reid.errors import UserError
from person_reid.models.architecture import Architecture
from person_reid.models.attention import USAM
from person_reid.models.factory import create_model, find_architecture, parameter_count
from person_reid.models.heads import PUBLISHED_FEATURE, Head, LossFeature, weights_init_kaiming
from person_reid.models.network import Network, PCBNetwork, PlainNetwork, USAMNetwork
from person_reid.models.weights import load_weights

__all__ = [
    "PCB", "USAM", "ClassBlock", "PCB_test", "activate_drop", "create_model", "ft_net",
    "ft_net_NAS", "ft_net_convnext", "ft_net_dense", "ft_net_dino", "ft_net_efficient", "ft_net_hr",
    "ft_net_middle", "ft_net_swin", "ft_net_swinv2", "load_weights", "parameter_count",
    "weights_init_classifier", "weights_init_kaiming",
]  # fmt: skip


def weights_init_classifier(module: nn.Module) -> None:
    """Initialise a linear layer like a published classifier: standard deviation 0.001, biases 0."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.001)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def activate_drop(module: nn.Module) -> None:
    """Enable a layer's dropout and stochastic depth, for `network.apply(activate_drop)`."""
    if isinstance(module, nn.modules.dropout._DropoutNd | DropPath):
        module.train()


class ClassBlock(Head):
    """Linear → BatchNorm1d → LeakyReLU → Dropout → classifier: (B, input_dim) → (B, class_num).

    relu, bnorm: whether to have that layer. linear: the width of the bottleneck; 0 omits its linear
    layer. return_f: return [logits, feature].
    """

    def __init__(
        self,
        input_dim: int,
        class_num: int,
        droprate: float = 0.5,
        relu: bool = False,
        bnorm: bool = True,
        linear: int = 512,
        return_f: bool = False,
    ) -> None:
        super().__init__(input_dim, class_num, linear, droprate)
        layers = [
            layer for layer in self.add_block if bnorm or not isinstance(layer, nn.BatchNorm1d)
        ]
        if relu:
            layers.insert(len(layers) - 1 if droprate > 0 else len(layers), nn.LeakyReLU(0.1))
        self.add_block = nn.Sequential(*layers)
        self.linear_num, self.return_f = self.dim, return_f

    def forward(self, pooled: Tensor, seen: LossFeature = PUBLISHED_FEATURE) -> Any:
        feature, logits = super().forward(pooled, seen)
        return [logits, feature] if self.return_f else logits


class PublishedNetwork(PlainNetwork):
    """A backbone, its pooled feature and a ClassBlock, as in all published networks except PCB."""

    def __init__(
        self,
        backbone: str,
        class_num: int,
        droprate: float,
        linear_num: int,
        circle: bool = False,
        weights: str = "imagenet",
        **settings: Any,
    ) -> None:
        module, architecture = _build(backbone, weights, **settings)
        super().__init__(module, architecture, NetworkOptions())
        self.circle = circle
        self.classifier = ClassBlock(
            self.dim, class_num, droprate, linear=linear_num, return_f=circle
        )
        self.num_classes, self.dim = class_num, self.classifier.dim

    def forward(self, images: Tensor) -> Any:
        """Return logits (B, class_num) or, with circle, [logits, features], also in evaluation."""
        return self.classifier(self.pooled(images))


class ft_net(PublishedNetwork, USAMNetwork):
    """ResNet-50. ibn: IBN-Net-a. usam: attention after the stem and after the first stage."""

    def __init__(
        self,
        class_num: int = 751,
        droprate: float = 0.5,
        stride: int = 2,
        circle: bool = False,
        ibn: bool = False,
        linear_num: int = 512,
        usam: bool = False,
        **weights: Any,
    ) -> None:
        backbone = "resnet50_ibn_a" if ibn else "resnet50"
        super().__init__(
            backbone, class_num, droprate, linear_num, circle, stride=stride, **weights
        )
        self.usam = usam
        if not usam:
            self.add_module("usam_1", nn.Identity())
            self.add_module("usam_2", nn.Identity())


class ft_net_middle(ft_net):
    """The network that ft_net builds by default, under another published name."""

    def __init__(self, class_num: int = 751, droprate: float = 0.5, **weights: Any) -> None:
        super().__init__(class_num, droprate, **weights)


class ft_net_dense(PublishedNetwork):
    """DenseNet-121."""

    def __init__(
        self,
        class_num: int,
        droprate: float = 0.5,
        stride: int = 2,
        circle: bool = False,
        linear_num: int = 512,
        **weights: Any,
    ) -> None:
        super().__init__(
            "densenet121", class_num, droprate, linear_num, circle, stride=stride, **weights
        )


class ft_net_swin(PublishedNetwork):
    """Swin-B for images of 224×224."""

    backbone_name = "swin_base"

    def __init__(
        self,
        class_num: int,
        droprate: float = 0.5,
        stride: int = 2,
        circle: bool = False,
        linear_num: int = 512,
        **weights: Any,
    ) -> None:
        super().__init__(self.backbone_name, class_num, droprate, linear_num, circle, **weights)


class ft_net_convnext(ft_net_swin):
    """ConvNeXt-B."""

    backbone_name = "convnext_base"


class ft_net_swinv2(PublishedNetwork):
    """SwinV2-B for images of `input_size` (height, width)."""

    backbone_name = "swinv2_base"

    def __init__(
        self,
        class_num: int,
        input_size: tuple[int, int] = (256, 128),
        droprate: float = 0.5,
        stride: int = 2,
        circle: bool = False,
        linear_num: int = 512,
        **weights: Any,
    ) -> None:
        super().__init__(
            self.backbone_name,
            class_num,
            droprate,
            linear_num,
            circle,
            size=tuple(input_size),
            **weights,
        )


class ft_net_dino(ft_net_swinv2):
    """ViT-B/16 of DINOv3 for images of `input_size` (height, width)."""

    backbone_name = "dinov3_vit_base"


class ft_net_hr(PublishedNetwork):
    """HRNet-W18."""

    backbone_name = "hrnet_w18"

    def __init__(
        self,
        class_num: int,
        droprate: float = 0.5,
        circle: bool = False,
        linear_num: int = 512,
        **weights: Any,
    ) -> None:
        super().__init__(self.backbone_name, class_num, droprate, linear_num, circle, **weights)


class ft_net_efficient(ft_net_hr):
    """EfficientNet-B4."""

    backbone_name = "efficientnet_b4"


class ft_net_NAS(PublishedNetwork):
    """NASNet-A-Large."""

    def __init__(
        self, class_num: int, droprate: float = 0.5, linear_num: int = 512, **weights: Any
    ) -> None:
        super().__init__("nasnetalarge", class_num, droprate, linear_num, **weights)


class PCB(PCBNetwork):
    """ResNet-50 with six stripes; returns their logits (B, class_num), from top to bottom."""

    def __init__(self, class_num: int, **weights: Any) -> None:
        module, architecture = _build("resnet50", stride=1, size=(384, 192), **weights)
        super().__init__(module, architecture, NetworkOptions(), class_num)
        self.part = self.parts

    def forward(self, images: Tensor) -> Any:
        return list(self.outputs(images)[1].unbind(1))


class PCB_test(PCBNetwork):
    """A PCB for testing, which returns its pooled stripes: (B, 3, H, W) → (B, 2048, 6).

    It shares the PCB's backbone, `model.*`.
    """

    def __init__(self, model: Network) -> None:
        super().__init__(model.model, find_architecture("resnet50"), NetworkOptions())
        self.part = self.parts
        for layer in (self.model.layer4[0].conv2, self.model.layer4[0].downsample[0]):
            layer.stride = (1, 1)

    def forward(self, images: Tensor) -> Any:
        return self.stripes(images)


def _build(name: str, weights: str = "imagenet", **settings: Any) -> tuple[Any, Architecture]:
    """Return the module called `name`, with ImageNet weights or none, and its architecture."""
    if weights not in ("imagenet", "none"):
        raise UserError(
            f"weights={weights!r}: expected 'imagenet' or 'none'; model.load_weights reads a file."
        )
    architecture = find_architecture(name)
    return architecture.build(weights == "imagenet", **settings, called=name), architecture
