"""What is minimised: cross entropy over the identities, plus the metric losses that the flags add."""

from torch import nn

import losses


class Criterion(nn.Module):
    """loss = cross entropy(logits) + Σ metric losses(features). The weights that losses own are parameters of this.

    options: of train.py. num_classes, dim: what the network's head gives.
    """

    def __init__(self, options, num_classes, dim):
        super().__init__()
        self.cross_entropy = losses.create("cross_entropy", smoothing=options.label_smoothing)
        self.metric_losses = nn.ModuleDict()
        for flag in losses.PUBLISHED:
            if getattr(options, flag):
                settings = {"gamma": options.ins_gamma} if flag in ("instance", "instance_id") else {}
                self.metric_losses[flag] = losses.published(flag, num_classes, dim, **settings)

    def forward(self, features, logits, labels):
        """features (B, D), logits (B, C), labels (B,) in 0..C-1 → a scalar, in float32."""
        loss = self.cross_entropy(logits, labels)
        return loss + sum(metric_loss(features, labels) for metric_loss in self.metric_losses.values())
