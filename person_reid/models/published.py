"""The networks of the published code under its class names, with its constructor arguments and state-dict keys.

    from model import ft_net

    network = ft_net(751)                                # ResNet-50 from ImageNet weights
    logits = network(images)                             # (B, 751); with circle=True [logits, feature]
    network.classifier.classifier = nn.Sequential()      # for testing
    features = network(images)                           # (B, 512)

The published constructors always load ImageNet weights. Where there are none in the cache, or a checkpoint follows
anyway, every class also takes weights="none", by keyword. They ignore `stride` where the published ones do: for Swin,
SwinV2, DINOv3 and ConvNeXt. New code calls create_model, which knows every network and every option.
"""

from torch import nn

from person_reid.basics import UserError
from person_reid.models import pcb
from person_reid.models.heads import Head
from person_reid.models.network import HeadSpec, PlainNetwork, USAMNetwork
from person_reid.models.registry import build_backbone, find_backbone


class ClassBlock(Head):
    """Linear → BatchNorm1d → LeakyReLU (relu) → Dropout, then the classifier: (B, input_dim) → (B, class_num).

    linear: width of the bottleneck; 0 leaves its linear layer out. return_f: give [logits, feature].
    """

    def __init__(self, input_dim, class_num, droprate=0.5, relu=False, bnorm=True, linear=512, return_f=False):
        super().__init__(input_dim, class_num, linear, droprate)
        layers = [layer for layer in self.add_block if bnorm or not isinstance(layer, nn.BatchNorm1d)]
        if relu:
            layers.insert(len(layers) - (droprate > 0), nn.LeakyReLU(0.1))
        self.add_block = nn.Sequential(*layers)
        self.linear_num, self.return_f = self.dim, return_f

    def forward(self, pooled):
        feature, logits = super().forward(pooled)
        return [logits, feature] if self.return_f else logits


class PublishedNetwork(PlainNetwork):
    """A backbone, its pooled feature and a ClassBlock: what all published networks but PCB are."""

    def __init__(self, backbone, class_num, droprate, linear_num, circle=False, weights="imagenet", **settings):
        module, entry = _build(backbone, weights, **settings)
        super().__init__(module, entry, HeadSpec(None))
        self.circle = circle
        self.classifier = ClassBlock(self.dim, class_num, droprate, linear=linear_num, return_f=circle)
        self.num_classes, self.dim = class_num, self.classifier.dim


class ft_net(PublishedNetwork, USAMNetwork):
    """ResNet-50. ibn: IBN-Net-a. usam: attention after the stem and after the first stage."""

    def __init__(
        self, class_num=751, droprate=0.5, stride=2, circle=False, ibn=False, linear_num=512, usam=False, **weights
    ):
        backbone = "resnet50_ibn_a" if ibn else "resnet50"
        super().__init__(backbone, class_num, droprate, linear_num, circle, stride=stride, **weights)
        self.usam = usam
        for name in () if usam else ("usam_1", "usam_2"):
            self.add_module(name, nn.Identity())


class ft_net_middle(ft_net):
    """The same network: the published class does what its ft_net does by default."""

    def __init__(self, class_num=751, droprate=0.5, **weights):
        super().__init__(class_num, droprate, **weights)


class ft_net_dense(PublishedNetwork):
    """DenseNet-121."""

    def __init__(self, class_num, droprate=0.5, stride=2, circle=False, linear_num=512, **weights):
        super().__init__("densenet121", class_num, droprate, linear_num, circle, stride=stride, **weights)


class ft_net_swin(PublishedNetwork):
    """Swin-B for images of 224×224."""

    def __init__(self, class_num, droprate=0.5, stride=2, circle=False, linear_num=512, **weights):
        super().__init__("swin_base", class_num, droprate, linear_num, circle, **weights)


class ft_net_swinv2(PublishedNetwork):
    """SwinV2-B for images of `input_size` (height, width)."""

    backbone = "swinv2_base"

    def __init__(
        self, class_num, input_size=(256, 128), droprate=0.5, stride=2, circle=False, linear_num=512, **weights
    ):
        settings = {"size": tuple(input_size)}
        super().__init__(self.backbone, class_num, droprate, linear_num, circle, **settings, **weights)


class ft_net_dino(ft_net_swinv2):
    """ViT-B/16 of DINOv3 for images of `input_size` (height, width)."""

    backbone = "dinov3_vit_base"


class ft_net_convnext(PublishedNetwork):
    """ConvNeXt-B."""

    def __init__(self, class_num, droprate=0.5, stride=2, circle=False, linear_num=512, **weights):
        super().__init__("convnext_base", class_num, droprate, linear_num, circle, **weights)


class ft_net_hr(PublishedNetwork):
    """HRNet-W18."""

    def __init__(self, class_num, droprate=0.5, circle=False, linear_num=512, **weights):
        super().__init__("hrnet_w18", class_num, droprate, linear_num, circle, **weights)


class ft_net_efficient(PublishedNetwork):
    """EfficientNet-B4."""

    def __init__(self, class_num, droprate=0.5, circle=False, linear_num=512, **weights):
        super().__init__("efficientnet_b4", class_num, droprate, linear_num, circle, **weights)


class ft_net_NAS(PublishedNetwork):
    """NASNet-A-Large."""

    def __init__(self, class_num, droprate=0.5, linear_num=512, **weights):
        super().__init__("nasnetalarge", class_num, droprate, linear_num, **weights)


class PCB(pcb.PCB):
    """ResNet-50 in six stripes: a list of six logits (B, class_num), from top to bottom."""

    def __init__(self, class_num, **weights):
        module, entry = _build("resnet50", stride=1, size=pcb.PCB.size, **weights)
        super().__init__(module, entry, HeadSpec(class_num))
        self.part = self.parts

    def forward(self, images):
        return list(super().forward(images)[1].unbind(1))


class PCB_test(pcb.PCB):
    """The test half of a PCB, which shares its `model.*`: (B, 3, H, W) → (B, 2048, 6), the pooled stripes."""

    def __init__(self, model):
        super().__init__(model.model, find_backbone("resnet50"), HeadSpec(None))
        self.part = self.parts
        for layer in (self.model.layer4[0].conv2, self.model.layer4[0].downsample[0]):
            layer.stride = (1, 1)

    def forward(self, images):
        return self.stripes(images)


def _build(backbone, weights="imagenet", **settings):
    """build_backbone's module and entry, from ImageNet weights or from none."""
    if weights not in ("imagenet", "none"):
        raise UserError(f"weights={weights!r}: expected 'imagenet' or 'none'; model.load_weights reads a file.")
    return build_backbone(backbone, weights == "imagenet", **settings)
