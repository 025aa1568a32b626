"""Networks that turn images into features and logits.

A network has the module of its architecture, `model.*` in the state dict, and heads.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from person_reid.config.network import NetworkOptions
from person_reid.device import seeded
from person_reid.errors import UserError
from person_reid.models.architecture import Architecture, OwnArchitecture, fits_images
from person_reid.models.attention import USAM
from person_reid.models.heads import (
    PUBLISHED_FEATURE,
    Head,
    LossFeature,
    build_pooling,
    pool_stripes,
)


class Network(nn.Module):
    """The base class of all networks.

    A call returns, in training, features (B, D) and logits (B, num_classes); with P parts and H
    classifiers they are (B, P, D) and (B, H, num_classes). In evaluation, or without classes, it
    returns the embedding (B, dim) that test.py tests, not normalised.

    module: built by the architecture; its tensors are `model.*`. spec: describes the heads.
    num_classes: the number of identities, or None or 0 for no classifiers.
    head_name: the classifier, an option of --head. size: (height, width) of the images.
    padding: black pixels around a training image before it is cropped.
    dim: the width of the test feature.
    metric_dim: D, the width of the features for losses. parts: P, the number of such features per
        image.
    pieces: the number of separately normalised pieces of the test feature; the feature is (B, dim /
        pieces, pieces), flattened.
    """

    model: Any
    dim: int
    metric_dim: int
    parts = 1
    pieces = 1
    padding = 10
    own_size: tuple[int, int] | None = None  # size of the images, if not the backbone's

    def __init__(
        self,
        module: nn.Module,
        architecture: Architecture,
        spec: NetworkOptions,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        self.model = module
        self.architecture = architecture
        self.num_classes = num_classes or None
        self.head_name = spec.head
        height, width = self.own_size or architecture.size
        self.size = spec.height or height, spec.width or width

    @property
    def module(self) -> Any:
        """The architecture's module, `model.*` in the state dict, as in published checkpoints."""
        return self.model

    @property
    def sides(self) -> int:
        """The number of cameras for which the network has side information; usually 0."""
        return 0

    def forward(self, images: Tensor) -> Any:
        """Compute the output for normalised images (B, 3, H, W); it depends on the mode."""
        return self.outputs(images) if self.training and self.num_classes else self.embed(images)

    def outputs(
        self, images: Tensor, seen: LossFeature = PUBLISHED_FEATURE
    ) -> tuple[Tensor, Tensor]:
        """Compute features and logits in any mode. seen: which feature the losses use."""
        raise NotImplementedError

    def embed(self, images: Tensor) -> Tensor:
        """Compute the test feature of normalised images: (B, 3, H, W) → (B, dim).

        The feature is not normalised.
        """
        raise NotImplementedError

    def renamed(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors from a file under this network's names for the same layers."""
        return state_dict


def check_size(
    network: Network,
    name: str,
    size: tuple[int, int],
    batch_size: int | None = None,
    advice: str = "height and width",
) -> None:
    """Raise UserError if the network cannot process images of `size`.

    With batch_size, it also raises if the network cannot learn from batches of that many images. It
    tries at most two images, and changes no weights, statistics or random numbers.

    advice: see fits_images.
    """
    if batch_size is None:
        count, forward = 1, network.eval().embed
    else:
        count, forward = min(batch_size, 2), network.train()
    before = [buffer.clone() for buffer in network.buffers()]
    place = next(network.parameters()).device
    try:
        with fits_images(name, size, batch_size, advice), torch.no_grad(), seeded(0, place):
            forward(torch.zeros(count, 3, *size, device=place))
    finally:
        for buffer, value in zip(network.buffers(), before, strict=True):
            buffer.copy_(value)


# How the names of other networks with a BNNeck begin (the norm's first), and ours:
# reid-strong-baseline and Ranked_Person_ReID, then fast-reid.
NORM, CLASSIFIER_WEIGHT = "classifier.add_block.0.", "classifier.classifier.0.weight"
BNNECKS = (
    {"bottleneck.": NORM, "base.": "model.", "classifier.weight": CLASSIFIER_WEIGHT},
    {
        "heads.bottleneck.0.": NORM,
        "backbone.": "model.",
        "heads.weight": CLASSIFIER_WEIGHT,
        "heads.pool_layer.": "pooling.",
    },
)


def unused_classifiers(network: Network) -> list[nn.Linear]:
    """Return the ImageNet classifiers of the libraries' networks, which are never used.

    They are linear layers with 1000 outputs. A custom module may use layers of these names.
    """
    if isinstance(network.architecture, OwnArchitecture):
        return []
    layers = [getattr(network.module, name, None) for name in ("fc", "_fc", "classifier")]
    return [
        layer for layer in layers if isinstance(layer, nn.Linear) and layer.out_features == 1000
    ]


class PlainNetwork(Network):
    """A network with one feature of the whole image and one head, `classifier.*`.

    Without classes, the feature is the backbone's own.
    """

    def __init__(
        self,
        module: nn.Module,
        architecture: Architecture,
        spec: NetworkOptions,
        num_classes: int | None = None,
    ) -> None:
        super().__init__(module, architecture, spec, num_classes)
        self.pooling: Any = build_pooling(spec.pool) if spec.pool else None
        self.classifier: Any = None
        if num_classes:
            self.classifier = Head(
                architecture.dim, num_classes, spec.linear_num, spec.droprate, spec.neck, spec.head
            )
        self.dim = self.metric_dim = self.classifier.dim if self.classifier else architecture.dim

    @property
    def sides(self) -> int:
        return 0 if self.pooling else getattr(self.module, "sides", 0)

    def pooled(self, images: Tensor, sides: Tensor | None = None) -> Tensor:
        """Compute the backbone's feature: (B, 3, H, W) → (B, D)."""
        return self.architecture.feature(self.module, images, self.pooling, sides)

    def embed(self, images: Tensor, sides: Tensor | None = None) -> Tensor:
        feature = self.pooled(images, sides)
        return self.classifier.embed(feature) if self.classifier else feature

    def outputs(
        self, images: Tensor, seen: LossFeature = PUBLISHED_FEATURE
    ) -> tuple[Tensor, Tensor]:
        return self.classifier(self.pooled(images), seen)

    def renamed(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors of another program's BNNeck network under the names used here."""
        state_dict = self.architecture.renamed(state_dict)
        names = next(
            (names for names in BNNECKS if f"{next(iter(names))}running_mean" in state_dict), None
        )
        if not names or not self.classifier or self.classifier.neck != "bnneck":
            return state_dict
        begin = re.compile(f"^({'|'.join(map(re.escape, names))})")
        renamed = {
            begin.sub(lambda found: names[found[0]], name): value
            for name, value in state_dict.items()
        }
        # TransReID-SSL's networks without labels have no prefix before the backbone
        bare = renamed.keys() & self.module.state_dict().keys()
        return {f"model.{name}" if name in bare else name: v for name, v in renamed.items()}


class USAMNetwork(PlainNetwork):
    """A ResNet with attention after the stem and after the first stage, as published (`--usam`)."""

    def __init__(
        self,
        module: nn.Module,
        architecture: Architecture,
        spec: NetworkOptions,
        num_classes: int | None = None,
    ) -> None:
        super().__init__(module, architecture, spec, num_classes)
        if not all(hasattr(module, name) for name in ("conv1", "bn1", "relu", "maxpool", "layer4")):
            raise UserError(
                "usam is for the ResNets of torchvision; elsewhere choose the place: "
                "attention=usam:STAGE"
            )
        self.pooling = self.pooling or build_pooling("avg")
        self.usam_1, self.usam_2 = USAM(), USAM()

    def pooled(self, images: Tensor, sides: Tensor | None = None) -> Tensor:
        resnet = self.module
        x = self.usam_1(resnet.relu(resnet.bn1(resnet.conv1(images))))
        x = self.usam_2(resnet.layer1(resnet.maxpool(x)))
        return self.pooling(resnet.layer4(resnet.layer3(resnet.layer2(x))))


def per_part(
    heads: Sequence[Callable[[Tensor], Any]], pooled: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Apply each of P heads to its own pooled feature (B, D).

    Returns features (B, P, dim) and logits (B, P, num_classes).
    """
    outputs = [head(feature) for head, feature in zip(heads, pooled, strict=True)]
    features, logits = zip(*outputs, strict=True)
    return torch.stack(features, dim=1), torch.stack(logits, dim=1)


class BranchedNetwork(Network):
    """A network of branches that start as copies of a backbone's stages.

    A weight file of that backbone initialises them all.
    """

    def base_name(self, name: str) -> str:
        """Return the backbone's name for the tensor `name` of `self.module`."""
        raise NotImplementedError

    def renamed(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors of a backbone under the names of all their copies in this network.

        The backbone may be bare or in a plain network.
        """
        sources = {f"model.{name}": self.base_name(name) for name in self.module.state_dict()}
        if any(name in sources for name in state_dict):
            return state_dict
        base = {name.removeprefix("model."): value for name, value in state_dict.items()}
        copies = {name: base[source] for name, source in sources.items() if source in base}
        return copies | {
            name: value for name, value in base.items() if name not in sources.values()
        }


STRIPES = 6
PCB_WIDTH = 256  # each head's bottleneck


class PCBNetwork(Network):
    """Cut the last map into six stripes, each with pooling, dropout and a Head of width 256.

    The heads are `classifier0.*` to `classifier5.*`.

    The losses use the six bottlenecks (B, 6, 256). The test feature is the pooled stripes (B, D,
    6), flattened; each stripe is normalised on its own.
    """

    own_size = (384, 192)
    padding = 0
    pieces = parts = STRIPES
    metric_dim = PCB_WIDTH

    def __init__(
        self,
        module: nn.Module,
        architecture: Architecture,
        spec: NetworkOptions,
        num_classes: int | None = None,
    ) -> None:
        super().__init__(module, architecture, spec, num_classes)
        if not architecture.has_map:
            raise UserError(
                "PCB: this network has no feature map to cut into stripes; choose another backbone."
            )
        self.dim = STRIPES * architecture.dim
        self.pooling = build_pooling(spec.pool or "avg")
        self.dropout = nn.Dropout(spec.droprate)
        if num_classes:
            for i in range(STRIPES):
                classifier = Head(
                    architecture.dim, num_classes, PCB_WIDTH, spec.droprate, classifier=spec.head
                )
                self.add_module(f"classifier{i}", classifier)

    def stripes(self, images: Tensor) -> Tensor:
        """Compute the pooled stripes, from top to bottom: (B, 3, H, W) → (B, D, 6)."""
        maps = self.architecture.feature_map(self.module, images)
        pooled = pool_stripes(maps, STRIPES, self.pooling)
        return torch.stack(
            [self.architecture.after_pool(self.module, each) for each in pooled], dim=2
        )

    def embed(self, images: Tensor) -> Tensor:
        return self.stripes(images).flatten(1)

    def outputs(
        self, images: Tensor, seen: LossFeature = PUBLISHED_FEATURE
    ) -> tuple[Tensor, Tensor]:
        heads = [partial(getattr(self, f"classifier{i}"), seen=seen) for i in range(STRIPES)]
        return per_part(heads, self.dropout(self.stripes(images)).unbind(2))
