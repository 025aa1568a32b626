"""From a feature map to class scores: pooling, necks and classifiers."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

LEAST_ACTIVATION = 1e-6  # the least activation in a generalised mean


class AveragePool(nn.Module):
    """Take the mean over all positions."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.float().mean((2, 3))


class MaxPool(nn.Module):
    """Take the largest value over all positions."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.float().amax((2, 3))


class AverageMaxPool(nn.Module):
    """Take half the sum of the mean and the largest value over all positions."""

    def forward(self, maps: Tensor) -> Tensor:
        maps = maps.float()
        return (maps.mean((2, 3)) + maps.amax((2, 3))) / 2


class GeneralizedMeanPool(nn.Module):
    """f = (1/N · Σ x^p)^(1/p) over the N positions: the mean at p = 1, the maximum as p → ∞.

    p: the initial power. learn: whether p is a parameter, `p` in the state dict. Activations below
        LEAST_ACTIVATION count as LEAST_ACTIVATION.
    Radenović, Tolias, Chum: Fine-tuning CNN Image Retrieval with No Human Annotation, TPAMI 2019,
        equation 3.
    """

    def __init__(self, p: float = 3.0, learn: bool = False) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([float(p)])) if learn else float(p)

    def forward(self, maps: Tensor) -> Tensor:
        maps = maps.float().clamp(min=LEAST_ACTIVATION)
        # Dividing by the largest value keeps the powers from under- or overflowing; f and its
        # gradient do not change.
        largest = maps.detach().amax((2, 3), keepdim=True)
        mean = (maps / largest).pow(self.p).mean((2, 3))
        return mean.pow(1 / self.p) * largest.flatten(1)


POOLINGS: dict[str, Callable[[], nn.Module]] = {
    "avg": AveragePool,
    "max": MaxPool,
    "avgmax": AverageMaxPool,
    "gem": GeneralizedMeanPool,  # p = 3: FastReID's GeneralizedMeanPooling
    # p is learned and starts at 3, as in FastReID's GeneralizedMeanPoolingP.
    "gemp": lambda: GeneralizedMeanPool(learn=True),
}


def build_pooling(name: str) -> nn.Module:
    """Build the pooling called `name` (`--pool`), a module (B, C, h, w) → (B, C)."""
    return POOLINGS[name]()


def pool_stripes(maps: Tensor, count: int, pooling: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Pool each of `count` horizontal stripes of maps (B, C, h, w).

    Returns a list of (B, C), from top to bottom.

    Stripe i has the rows from ⌊i·h/count⌋ up to ⌈(i + 1)·h/count⌉ - 1, as in PyTorch's adaptive
    pooling: neighbouring stripes share a row if h is not a multiple of count.
    """
    height = maps.shape[2]
    bounds = [(i * height // count, -(-(i + 1) * height // count)) for i in range(count)]
    return [pooling(maps[:, :, top:bottom]) for top, bottom in bounds]


class LossFeature(NamedTuple):
    """Which feature of a Head the losses use.

    dropped: whether it is the output of the neck's dropout, as published, or its input.
    normed: whether it is the output of `bnneck`, as in tests, or its input, as published.
    """

    dropped: bool = True
    normed: bool = False


PUBLISHED_FEATURE = LossFeature()


class Head(nn.Module):
    """A neck and a classifier.

    The state dict has the published names, `add_block.*` and `classifier.0.*`.

    dim: D, the width of the backbone's feature.
    neck:
        `linear`: the published bottleneck Linear(D, linear_num) → BatchNorm1d → Dropout(droprate);
            linear_num 0 omits the linear layer.
        `bnneck`: a BatchNorm1d whose bias stays 0. Losses on features see its input; the classifier
            (without bias) and the test see its output. Luo et al., Bag of Tricks and a Strong
            Baseline for Deep Person Re-identification, CVPRW 2019, section 3.5.
        `none`: the classifier directly on the backbone's feature.
    classifier: an option of --head. All but `linear` give cosines (B, num_classes), to which the
        loss applies margin and scale.
    """

    def __init__(
        self,
        dim: int,
        num_classes: int,
        linear_num: int = 512,
        droprate: float = 0.5,
        neck: str = "linear",
        classifier: str = "linear",
    ) -> None:
        super().__init__()
        self.neck = neck
        self.dim = linear_num if neck == "linear" and linear_num > 0 else dim
        self.add_block = nn.Sequential(*_neck(neck, dim, linear_num, droprate))
        self.classifier = nn.Sequential(build_classifier(self.dim, num_classes, neck, classifier))

    def embed(self, pooled: Tensor) -> Tensor:
        """Compute the classifier's input from the backbone's pooled feature: (B, D) → (B, dim)."""
        return self.add_block(pooled)

    def forward(
        self, pooled: Tensor, seen: LossFeature = PUBLISHED_FEATURE
    ) -> tuple[Tensor, Tensor]:
        """Compute the feature for losses and the logits (B, num_classes), from (B, D).

        seen: which feature the losses use, (B, dim) or (B, D).
        """
        drops = len(self.add_block) > 0 and isinstance(self.add_block[-1], nn.Dropout)
        if drops and not seen.dropped:
            whole = self.add_block[:-1](pooled)
            return whole, self.classifier(self.add_block[-1](whole))
        feature = self.add_block(pooled)
        before_neck = self.neck == "bnneck" and not seen.normed
        return pooled if before_neck else feature, self.classifier(feature)


def heads_of(network: nn.Module) -> list[Head]:
    """Return every Head of a network, including the heads of its branches."""
    return [module for module in network.modules() if isinstance(module, Head)]


class CosineClassifier(nn.Module):
    """Compute the cosine between each feature and each class's weight, in float32.

    (B, dim) → (B, num_classes)
    """

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes, dim))
        nn.init.normal_(self.weight, std=0.01)

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return functional.linear(
                functional.normalize(features.float()), functional.normalize(self.weight.float())
            )


def build_classifier(
    dim: int, num_classes: int, neck: str = "linear", classifier: str = "linear"
) -> nn.Module:
    """Build the classifier of a Head.

    Its initial values come from the same code as its neck's.
    """
    if classifier != "linear":
        return CosineClassifier(dim, num_classes)
    layer = nn.Linear(dim, num_classes, bias=neck != "bnneck")
    if neck != "none":  # "none" keeps PyTorch's initial values
        nn.init.normal_(layer.weight, std=1e-4 if neck == "linear" else 1e-3)
    if neck == "linear":
        nn.init.zeros_(layer.bias)
    return layer


def weights_init_kaiming(module: nn.Module) -> None:
    """Give a layer the published initial values; for `network.apply(weights_init_kaiming)`.

    Weights of convolutions (fan_in) and linear layers (fan_out) are Kaiming's, with zero biases; a
    BatchNorm1d's weights have mean 1 and deviation 0.02. He et al., Delving Deep into Rectifiers,
    ICCV 2015.
    """
    if isinstance(module, nn.modules.conv._ConvNd | nn.Linear):
        nn.init.kaiming_normal_(
            module.weight, mode="fan_out" if isinstance(module, nn.Linear) else "fan_in"
        )
    elif isinstance(module, nn.BatchNorm1d):
        nn.init.normal_(module.weight, mean=1.0, std=0.02)
    if isinstance(module, nn.Linear | nn.BatchNorm1d) and module.bias is not None:
        nn.init.zeros_(module.bias)


def frozen_bias_norm(dim: int) -> nn.BatchNorm1d:
    """Build the BatchNorm1d of a BNNeck; its bias stays 0, so identities lie around the origin."""
    norm = nn.BatchNorm1d(dim)
    norm.bias.requires_grad_(False)
    return norm


def _neck(neck: str, dim: int, linear_num: int, droprate: float) -> list[nn.Module]:
    """Build the layers of a neck; the initial values of `linear` are as published."""
    if neck == "none":
        return []
    if neck == "bnneck":
        return [frozen_bias_norm(dim)]
    layers: list[nn.Module] = []
    if linear_num > 0:
        layers.append(nn.Linear(dim, linear_num))
    layers.append(nn.BatchNorm1d(linear_num or dim))
    for layer in layers:
        weights_init_kaiming(layer)
    if droprate > 0:
        layers.append(nn.Dropout(droprate))
    return layers
