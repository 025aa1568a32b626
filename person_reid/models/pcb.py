"""PCB, the part-based convolutional baseline: six stripes of the feature map, each with a classifier of its own.

Sun, Zheng, Yang, Tian, Wang: Beyond Part Models: Person Retrieval with Refined Part Pooling, ECCV 2018, section 3.
"""

import torch
from torch import nn

from person_reid.basics import UserError
from person_reid.models.heads import Head
from person_reid.models.network import Network, each
from person_reid.models.pooling import build_pooling, pool_stripes

STRIPES = 6
WIDTH = 256  # of each head's bottleneck


class PCB(Network):
    """The last feature map in six stripes, each pooled, through dropout, and into a Head of 256, `classifier0.*` to
    `classifier5.*`. The losses see the six bottlenecks (B, 6, 256); the test feature is the pooled stripes (B, D, 6),
    flattened, each normalised by itself.
    """

    size = (384, 192)
    pieces = parts = STRIPES
    metric_dim = WIDTH

    def __init__(self, module, entry, head):
        super().__init__(module, entry, head)
        if not entry.has_map:
            raise UserError("--PCB: this network shows no feature map to cut into stripes; choose another --backbone.")
        self.dim = STRIPES * entry.dim
        self.pooling = build_pooling(head.pool or "avg")
        self.dropout = nn.Dropout(head.droprate)
        for i in range(STRIPES if head.num_classes else 0):
            classifier = Head(entry.dim, head.num_classes, WIDTH, head.droprate, classifier=head.classifier)
            self.add_module(f"classifier{i}", classifier)

    def stripes(self, images):
        """(B, 3, H, W) → (B, D, 6), the pooled stripes from top to bottom."""
        return torch.stack(pool_stripes(self.entry.feature_map(self.model, images), STRIPES, self._pool), dim=2)

    def embed(self, images):
        return self.stripes(images).flatten(1)

    def forward(self, images):
        heads = [getattr(self, f"classifier{i}") for i in range(STRIPES)]
        return each(heads, self.dropout(self.stripes(images)).unbind(2))

    def _pool(self, maps):
        return self.entry.after_pool(self.model, self.pooling(maps))
