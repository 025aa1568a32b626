"""MGN, the multiple granularity network: a ResNet-50 whose last stages branch into whole body, halves and thirds.

Wang, Yuan, Chen, Li, Zhou: Learning Discriminative Features with Multiple Granularities for Person Re-Identification,
ACM Multimedia 2018, section 3 and table 1.
"""

import copy
import re
from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from person_reid.models.heads import build_classifier
from person_reid.models.network import BranchedNetwork, each
from person_reid.models.pooling import build_pooling, pool_stripes

WIDTH = 256


class MGN(BranchedNetwork):
    """Branch i has stage 3 from its second block on and stage 4, which keeps its resolution in branches 2 and 3, and is
    pooled (maximum) as a whole and in i stripes: eight features, each reduced to 256.

    The losses see the three of the whole body (B, 3, 256), the classifiers all eight (B, 8, C), and the test feature is
    all eight in a row. One deviation, common to the implementations in use: the whole body's classifiers, too, stand
    after the reduction, so that it also learns where no loss on features is asked for.
    """

    dim = 8 * WIDTH
    metric_dim = WIDTH
    parts = 3

    def __init__(self, module, entry, head):
        kept = copy.deepcopy(module)
        entry.keep_resolution(kept, entry.size)
        branches = [_branch(resnet) for resnet in (module, kept, kept)]
        stem = {name: getattr(module, name) for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2")}
        trunk = nn.Sequential(OrderedDict(**stem, layer3=module.layer3[:1]))
        super().__init__(nn.ModuleDict({"trunk": trunk, "branches": nn.ModuleList(branches)}), entry, head)
        self.pooling = build_pooling(head.pool or "max")
        self.heads: Any = nn.ModuleList(ReducedHead(entry.channels, head) for _ in range(8))

    def base_name(self, name):
        return re.sub(r"^(trunk|branches\.\d)\.", "", name)

    def pooled(self, images):
        """Eight (B, 2048): the three branches' whole bodies, two halves, three thirds."""
        shared = self.model["trunk"](images)
        maps = [branch(shared) for branch in self.model["branches"]]
        whole = [self.pooling(branch) for branch in maps]
        halves, thirds = (pool_stripes(maps[i], i + 1, self.pooling) for i in (1, 2))
        return [*whole, *halves, *thirds]

    def embed(self, images):
        features = [head.reduction(pooled) for head, pooled in zip(self.heads, self.pooled(images), strict=True)]
        return torch.cat(features, dim=1)

    def forward(self, images):
        features, logits = each(self.heads, self.pooled(images))
        return features[:, : self.parts], logits


class ReducedHead(nn.Module):
    """(B, D) → Linear(D, 256) → BatchNorm1d → ReLU, the feature, and its classifier."""

    def __init__(self, dim, head):
        super().__init__()
        linear = nn.Linear(dim, WIDTH, bias=False)
        nn.init.kaiming_normal_(linear.weight)
        self.reduction = nn.Sequential(linear, nn.BatchNorm1d(WIDTH), nn.ReLU())
        if head.num_classes:
            self.classifier = build_classifier(WIDTH, head.num_classes, classifier=head.classifier)

    def forward(self, pooled):
        feature = self.reduction(pooled)
        return feature, self.classifier(feature)


def _branch(resnet):
    """A copy of the stages after the first block of stage 3, the names of its tensors unchanged."""
    return copy.deepcopy(nn.Sequential(OrderedDict(layer3=resnet.layer3[1:], layer4=resnet.layer4)))
