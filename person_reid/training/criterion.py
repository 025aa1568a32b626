"""A run's losses by name: the classifier's, and those that the plan adds."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from person_reid import losses
from person_reid.losses.plan import LossPlan, LossSpec
from person_reid.models.heads import LossFeature
from person_reid.models.network import Network


class PlannedLoss(nn.ModuleList):
    """weight · Σ over parts of a loss on features, or over heads of a loss on class scores.

    Each of the P parts has a copy of the loss, with its own prototypes; the heads share one.
    """

    def __init__(self, spec: LossSpec, parts: int, **sizes: int) -> None:
        self.spec, self.on_logits = spec, spec.kind.takes == "logits"
        copies = 1 if self.on_logits else parts
        super().__init__(
            losses.create_loss(spec.name, **sizes, **spec.settings) for _ in range(copies)
        )

    def forward(
        self, features: Tensor, logits: Tensor, feature_targets: Tensor, logit_targets: Tensor
    ) -> Tensor:
        """Return the loss, a float32 scalar. features: (B, D) or (B, P, D). logits: (B[, H], C)."""
        weight = self.spec.weight / (len(features) if self.spec.per_image else 1)
        if self.on_logits:
            return weight * sum(self[0](head, logit_targets) for head in parts_of(logits))
        pairs = zip(self, parts_of(features), strict=True)
        return weight * sum(loss(part, feature_targets) for loss, part in pairs)


class Criterion(nn.Module):
    """The losses of a plan, whose sum a training run minimises.

    plan: the losses and their weights. network: gives the number of classes and features, and their
        widths.
    names: the names of the losses, in the order in which they are returned.
    seen: which of the network's features the losses use.
    taught_dim: the width of a teacher's features, with which the losses in `taught` compare the
        network's features; Distillation adds them.
    """

    def __init__(self, plan: LossPlan, network: Network, taught_dim: int = 0) -> None:
        super().__init__()
        sizes = {"num_classes": network.num_classes or 0, "dim": network.metric_dim}

        def planned(specs: Iterable[LossSpec]) -> nn.ModuleDict:
            known = {"taught_dim": taught_dim, **sizes}
            return nn.ModuleDict({s.name: PlannedLoss(s, network.parts, **known) for s in specs})

        self.added = planned(plan.added)
        self.of_classifier = PlannedLoss(plan.classification, 1, **sizes)
        self.taught = planned(plan.taught)
        self.names = [plan.classification.name, *self.added]
        self.seen = LossFeature(dropped=not any(spec.kind.before_dropout for spec in plan.added))

    @property
    def classification(self) -> nn.Module:
        """The classifier's loss, without its weight."""
        return self.of_classifier[0]

    def forward(self, features: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the losses (T,), float32 and weighted, in the order of `names`.

        features: (B, D) or (B, P, D). logits: (B, C) or (B, H, C). labels: (B,) below C.
        """
        planned = (self.of_classifier, *self.added.values())
        return torch.stack([loss(features, logits, labels, labels) for loss in planned])

    def logits_of(self, features: Tensor, logits: Tensor) -> Tensor:
        """Return the class scores for the loss and the error: the network's logits."""
        return logits

    def classify(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the classifier's loss, a scalar.

        In evaluation mode it is plain cross entropy, without margin or smoothing.
        """
        return sum(self.classification(head, labels) for head in parts_of(logits))


def parts_of(outputs: Tensor) -> tuple[Tensor, ...]:
    """Return a part network's outputs (B, P, D) by part, or outputs (B, D) as the only part."""
    return outputs.unbind(1) if outputs.ndim == 3 else (outputs,)


def predicted(logits: Tensor) -> Tensor:
    """Return the identities (B,) that logits (B, C) predict.

    The probabilities of H classifiers, with logits (B, H, C), are summed.
    """
    return (logits.float().softmax(2).sum(1) if logits.ndim == 3 else logits).argmax(1)
