"""MGN, the multiple granularity network.

It is a ResNet-50 whose last stages branch into whole body, halves and thirds.

Wang, Yuan, Chen, Li, Zhou: Learning Discriminative Features with Multiple Granularities for Person
Re-Identification, ACM Multimedia 2018, section 3 and table 1.
"""

import copy
import re
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from person_reid.config.network import NetworkOptions
from person_reid.models.backbone import Backbone
from person_reid.models.heads import AS_PUBLISHED, Seen, build_classifier
from person_reid.models.network import BranchedNetwork, per_part
from person_reid.models.pooling import build_pooling, pool_stripes

MGN_WIDTH = 256


class MGN(BranchedNetwork):
    """Three branches with eight features, each reduced to 256.

    Branch i has stage 3 from its second block on, and stage 4, which keeps its resolution in
    branches 2 and 3. Its output is pooled (maximum) as a whole and, in branches 2 and 3, in i
    stripes.

    The losses see the three features of the whole body (B, 3, 256), the classifiers see all eight
    (B, 8, C), and the test feature is all eight in a row. One deviation from the paper, common to
    the implementations in use: the classifiers of the whole body also follow the reduction, so that
    it also learns without a loss on features.
    """

    dim = 8 * MGN_WIDTH
    metric_dim = MGN_WIDTH
    parts = 3

    def __init__(
        self, module: Any, entry: Backbone, spec: NetworkOptions, num_classes: int | None = None
    ) -> None:
        kept = copy.deepcopy(module)
        entry.keep_resolution(kept, entry.size)
        branches = [_branch(resnet) for resnet in (module, kept, kept)]
        stem = {
            name: getattr(module, name)
            for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2")
        }
        trunk = nn.Sequential(OrderedDict(**stem, layer3=module.layer3[:1]))
        super().__init__(
            nn.ModuleDict({"trunk": trunk, "branches": nn.ModuleList(branches)}),
            entry,
            spec,
            num_classes,
        )
        self.pooling = build_pooling(spec.pool or "max")
        self.heads: Any = nn.ModuleList(
            ReducedHead(entry.channels, spec, num_classes) for _ in range(8)
        )

    def base_name(self, name: str) -> str:
        return re.sub(r"^(trunk|branches\.\d)\.", "", name)

    def pooled(self, images: Tensor) -> list[Tensor]:
        """Compute eight (B, 2048): the whole body in three branches, two halves, three thirds."""
        shared = self.model["trunk"](images)
        maps = [branch(shared) for branch in self.model["branches"]]
        whole = [self.pooling(branch) for branch in maps]
        halves, thirds = (pool_stripes(maps[i], i + 1, self.pooling) for i in (1, 2))
        return [*whole, *halves, *thirds]

    def embed(self, images: Tensor) -> Tensor:
        features = [
            head.reduction(pooled)
            for head, pooled in zip(self.heads, self.pooled(images), strict=True)
        ]
        return torch.cat(features, dim=1)

    def outputs(self, images: Tensor, seen: Seen = AS_PUBLISHED) -> tuple[Tensor, Tensor]:
        features, logits = per_part(self.heads, self.pooled(images))
        return features[:, : self.parts], logits


class ReducedHead(nn.Module):
    """(B, D) → Linear(D, 256) → BatchNorm1d → ReLU, the feature, and its classifier."""

    def __init__(self, dim: int, spec: NetworkOptions, num_classes: int | None) -> None:
        super().__init__()
        linear = nn.Linear(dim, MGN_WIDTH, bias=False)
        nn.init.kaiming_normal_(linear.weight)
        self.reduction = nn.Sequential(linear, nn.BatchNorm1d(MGN_WIDTH), nn.ReLU())
        if num_classes:
            self.classifier = build_classifier(MGN_WIDTH, num_classes, classifier=spec.head)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        feature = self.reduction(pooled)
        return feature, self.classifier(feature)


def _branch(resnet: Any) -> nn.Sequential:
    """Copy the stages after the first block of stage 3, and keep the names of their tensors."""
    return copy.deepcopy(nn.Sequential(OrderedDict(layer3=resnet.layer3[1:], layer4=resnet.layer4)))
