"""PCB, the part-based convolutional baseline.

Each of six stripes of the feature map has its own classifier.

Sun, Zheng, Yang, Tian, Wang: Beyond Part Models: Person Retrieval with Refined Part Pooling, ECCV
2018, section 3.
"""

from functools import partial

import torch
from torch import Tensor, nn

from person_reid.config.network import NetworkOptions
from person_reid.config.option import OptionError
from person_reid.models.backbone import Backbone
from person_reid.models.heads import AS_PUBLISHED, Head, Seen
from person_reid.models.network import Network, per_part
from person_reid.models.pooling import build_pooling, pool_stripes

STRIPES = 6
PCB_WIDTH = 256  # each head's bottleneck


class PCBNetwork(Network):
    """Cut the last feature map into six stripes, each with pooling, dropout and a Head of 256.

    The heads are `classifier0.*` to `classifier5.*`.

    The losses see the six bottlenecks (B, 6, 256). The test feature is the pooled stripes (B, D,
    6), flattened; each stripe is normalised on its own.
    """

    own_size = (384, 192)
    padding = 0
    pieces = parts = STRIPES
    metric_dim = PCB_WIDTH

    def __init__(
        self,
        module: nn.Module,
        entry: Backbone,
        spec: NetworkOptions,
        num_classes: int | None = None,
    ) -> None:
        super().__init__(module, entry, spec, num_classes)
        if not entry.has_map:
            raise OptionError(
                "{PCB}: this network has no feature map to cut into stripes; choose another "
                "{backbone}."
            )
        self.dim = STRIPES * entry.dim
        self.pooling = build_pooling(spec.pool or "avg")
        self.dropout = nn.Dropout(spec.droprate)
        if num_classes:
            for i in range(STRIPES):
                classifier = Head(
                    entry.dim, num_classes, PCB_WIDTH, spec.droprate, classifier=spec.head
                )
                self.add_module(f"classifier{i}", classifier)

    def stripes(self, images: Tensor) -> Tensor:
        """Compute the pooled stripes, from top to bottom: (B, 3, H, W) → (B, D, 6)."""
        maps = self.backbone.feature_map(self.model, images)
        pooled = pool_stripes(maps, STRIPES, self.pooling)
        return torch.stack([self.backbone.after_pool(self.model, each) for each in pooled], dim=2)

    def embed(self, images: Tensor) -> Tensor:
        return self.stripes(images).flatten(1)

    def outputs(self, images: Tensor, seen: Seen = AS_PUBLISHED) -> tuple[Tensor, Tensor]:
        heads = [partial(getattr(self, f"classifier{i}"), seen=seen) for i in range(STRIPES)]
        return per_part(heads, self.dropout(self.stripes(images)).unbind(2))
