"""What every network is: a backbone, `model.*` in the state dict, and heads; images in, features and logits out."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from person_reid.basics import UserError
from person_reid.models.attention import USAM
from person_reid.models.heads import Head
from person_reid.models.pooling import build_pooling


@dataclass(frozen=True)
class HeadSpec:
    """What follows the backbone, as in NetworkSpec. num_classes None leaves the classifiers out."""

    num_classes: int | None
    linear_num: int = 512
    droprate: float = 0.5
    pool: str | None = None
    neck: str = "linear"
    classifier: str = "linear"


class Network(nn.Module):
    """The common part. A network gives `features, logits = network(images)` for training and `embed(images)` at test.

    module, entry: of registry.build_backbone. dim: width of the test feature. metric_dim: D, width of the
    features that losses see; parts: P, how many of them an image has. features are (B, D) and logits (B, num_classes),
    or with parts (B, P, D) and (B, H, num_classes) of H classifiers. pieces: the test feature is normalised whole, or
    as so many pieces, (B, dim / pieces, pieces) flattened, one by one.
    """

    model: Any
    dim: int
    metric_dim: int
    parts = 1
    pieces = 1

    def __init__(self, module, entry, head):
        super().__init__()
        self.model = module
        self.entry = entry
        self.num_classes = head.num_classes

    def embed(self, images):
        """(B, 3, H, W) normalised images → (B, dim), the test feature, not normalised."""
        raise NotImplementedError

    def renamed(self, state_dict):
        """The tensors of a file under this network's names, where its writer had others for the same layers."""
        return state_dict


class PlainNetwork(Network):
    """One feature of the whole image, and one head, `classifier.*`; without classes the backbone's own feature."""

    def __init__(self, module, entry, head):
        super().__init__(module, entry, head)
        self.pooling: Any = build_pooling(head.pool) if head.pool else None
        self.classifier: Any = None
        if head.num_classes:
            self.classifier = Head(
                entry.dim, head.num_classes, head.linear_num, head.droprate, head.neck, head.classifier
            )
        self.dim = self.metric_dim = self.classifier.dim if self.classifier else entry.dim

    def pooled(self, images):
        """(B, 3, H, W) → (B, D), the backbone's feature."""
        return self.entry.feature(self.model, images, self.pooling)

    def embed(self, images):
        pooled = self.pooled(images)
        return self.classifier.embed(pooled) if self.classifier else pooled

    def forward(self, images):
        return self.classifier(self.pooled(images))


class USAMNetwork(PlainNetwork):
    """A ResNet with attention after the stem and after the first stage, as published (`--usam`)."""

    def __init__(self, module, entry, head):
        super().__init__(module, entry, head)
        if not all(hasattr(module, name) for name in ("conv1", "bn1", "relu", "maxpool", "layer4")):
            raise UserError(
                "--usam is for the ResNets of torchvision; elsewhere choose the place: --attention usam:STAGE"
            )
        self.pooling = self.pooling or build_pooling("avg")
        self.usam_1, self.usam_2 = USAM(), USAM()

    def pooled(self, images):
        resnet = self.model
        x = self.usam_1(resnet.relu(resnet.bn1(resnet.conv1(images))))
        x = self.usam_2(resnet.layer1(resnet.maxpool(x)))
        return self.pooling(resnet.layer4(resnet.layer3(resnet.layer2(x))))


def each(heads, pooled):
    """Call one head for each of P pooled features (B, D): the features (B, P, dim) and logits (B, P, num_classes)."""
    outputs = [head(feature) for head, feature in zip(heads, pooled, strict=True)]
    features, logits = zip(*outputs, strict=True)
    return torch.stack(features, dim=1), torch.stack(logits, dim=1)


class BranchedNetwork(Network):
    """A network whose branches begin as copies of a backbone's stages; a file of that backbone starts them all."""

    def base_name(self, name):
        """What the backbone calls the tensor that is `name` in `self.model`."""
        raise NotImplementedError

    def renamed(self, state_dict):
        """A file of the backbone, bare or in a plain network, under the names of its copies here."""
        sources = {f"model.{name}": self.base_name(name) for name in self.model.state_dict()}
        if any(name in sources for name in state_dict):
            return state_dict
        base = {name.removeprefix("model."): value for name, value in state_dict.items()}
        copies = {name: base[source] for name, source in sources.items() if source in base}
        return copies | {name: value for name, value in base.items() if name not in sources.values()}
