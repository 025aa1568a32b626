"""What follows the backbone: the bottleneck whose output is the feature, and the linear classifier of identities."""

from torch import nn


class Head(nn.Module):
    """The published bottleneck and classifier: Linear(D, linear_num) → BatchNorm1d → Dropout → Linear(classes).

    dim: D, the width of the backbone's feature. linear_num: width of the bottleneck; 0 leaves the linear layer out, so
    that the norm alone stands before the classifier. droprate: dropout's probability.
    State-dict keys are the published ones: `add_block.*` and `classifier.0.*`.
    """

    def __init__(self, dim, num_classes, linear_num=512, droprate=0.5):
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(dim, linear_num)] if linear_num > 0 else []
        self.dim = linear_num if linear_num > 0 else dim
        self.num_classes = num_classes
        layers.append(nn.BatchNorm1d(self.dim))
        if droprate > 0:
            layers.append(nn.Dropout(droprate))
        self.add_block = nn.Sequential(*layers)
        self.add_block.apply(_initialise_bottleneck)
        linear = nn.Linear(self.dim, num_classes)
        nn.init.normal_(linear.weight, std=1e-4)
        nn.init.zeros_(linear.bias)
        self.classifier = nn.Sequential(linear)

    def embed(self, pooled):
        """(B, D) pooled feature of the backbone → (B, dim), what enters the classifier."""
        return self.add_block(pooled)

    def forward(self, pooled):
        """(B, D) → the feature (B, dim) and the logits (B, num_classes)."""
        feature = self.embed(pooled)
        return feature, self.classifier(feature)


def _initialise_bottleneck(layer):
    """Kaiming (fan out) for the linear layer, N(1, 0.02²) for the norm's weight: the published initial values."""
    if isinstance(layer, nn.Linear):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out")
        nn.init.zeros_(layer.bias)
    elif isinstance(layer, nn.BatchNorm1d):
        nn.init.normal_(layer.weight, mean=1.0, std=0.02)
        nn.init.zeros_(layer.bias)
