"""What follows the backbone: the neck whose output is the feature at test time, and the classifier of identities."""

import torch
from torch import nn
from torch.nn import functional


class Head(nn.Module):
    """A neck, `add_block.*` in the state dict, and a classifier, `classifier.0.*`: the published names.

    neck: `linear`, the published bottleneck Linear(D, linear_num) → BatchNorm1d → Dropout; linear_num 0 leaves the
    linear layer out. `bnneck`: a BatchNorm1d whose bias stays 0; losses on features see what enters it, the classifier
    (without bias) and the test what leaves it. Luo et al., Bag of Tricks and a Strong Baseline for Deep Person
    Re-identification, CVPRW 2019, section 3.5. `none`: the classifier on the backbone's feature. The last two have
    neither a linear layer nor dropout: linear_num and droprate are of the first alone.

    dim: D, the width of the backbone's feature. classifier: `linear`, or else one that gives cosines (B, num_classes),
    whose margin and scale are the loss's affair. drops_for_losses: whether losses on features see what leaves the
    neck's dropout, as the published baseline's do, or what enters it.
    """

    drops_for_losses = True

    def __init__(self, dim, num_classes, linear_num=512, droprate=0.5, neck="linear", classifier="linear"):
        super().__init__()
        self.neck = neck
        self.dim = linear_num if neck == "linear" and linear_num > 0 else dim
        self.num_classes = num_classes
        self.add_block = nn.Sequential(*_neck(neck, dim, linear_num, droprate))
        self.classifier = nn.Sequential(build_classifier(self.dim, num_classes, neck, classifier))

    def embed(self, pooled):
        """(B, D) pooled feature of the backbone → (B, dim), what enters the classifier."""
        return self.add_block(pooled)

    def forward(self, pooled):
        """(B, D) → the feature that losses see (B, dim) and the logits (B, num_classes)."""
        if not self.drops_for_losses and len(self.add_block) and isinstance(self.add_block[-1], nn.Dropout):
            whole = self.add_block[:-1](pooled)
            return whole, self.classifier(self.add_block[-1](whole))
        feature = self.embed(pooled)
        return pooled if self.neck == "bnneck" else feature, self.classifier(feature)


class CosineClassifier(nn.Module):
    """(B, dim) → (B, num_classes): the cosine of the angle between a feature and each class's weight, in float32."""

    def __init__(self, dim, num_classes):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes, dim))
        nn.init.normal_(self.weight, std=0.01)

    def forward(self, features):
        with torch.autocast(features.device.type, enabled=False):
            return functional.linear(functional.normalize(features.float()), functional.normalize(self.weight.float()))


def build_classifier(dim, num_classes, neck="linear", classifier="linear"):
    """The classifier of a Head, with the initial values of the code that its neck comes from."""
    if classifier != "linear":
        return CosineClassifier(dim, num_classes)
    layer = nn.Linear(dim, num_classes, bias=neck != "bnneck")
    if neck != "none":  # which keeps PyTorch's own, Kaiming
        nn.init.normal_(layer.weight, std=1e-4 if neck == "linear" else 1e-3)
    if neck == "linear":
        nn.init.zeros_(layer.bias)
    return layer


def frozen_bias_norm(dim):
    """The BatchNorm1d of a BNNeck: its bias stays 0, so that the identities lie around the origin."""
    norm = nn.BatchNorm1d(dim)
    norm.bias.requires_grad_(False)
    return norm


def _neck(neck, dim, linear_num, droprate):
    """The layers of a neck."""
    if neck == "none":
        return []
    if neck == "bnneck":
        return [frozen_bias_norm(dim)]
    layers: list[nn.Module] = [nn.Linear(dim, linear_num)] if linear_num > 0 else []
    layers += [nn.BatchNorm1d(linear_num or dim), *([nn.Dropout(droprate)] if droprate > 0 else [])]
    for layer in layers:
        _initialise_bottleneck(layer)
    return layers


def _initialise_bottleneck(layer):
    """Kaiming (fan out) for the linear layer, N(1, 0.02²) for the norm's weight: the published initial values."""
    if isinstance(layer, nn.Linear):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out")
        nn.init.zeros_(layer.bias)
    elif isinstance(layer, nn.BatchNorm1d):
        nn.init.normal_(layer.weight, mean=1.0, std=0.02)
        nn.init.zeros_(layer.bias)
