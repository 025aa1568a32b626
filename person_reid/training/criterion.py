"""The loss of a training run: the classifier's loss over the identities and what the plan adds."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from person_reid import losses
from person_reid.losses.plan import LossPlan, LossTerm
from person_reid.models.heads import Seen
from person_reid.models.network import Network


class TermLosses(nn.Module):
    """Σ over terms and parts of weight · loss.

    terms: the losses and their weights. sizes: the numbers that create_loss asks for.
    parts: P, the features of an image. Each part has its own losses on features, and its own
        prototypes, which are parameters here.
    """

    def __init__(self, terms: Sequence[LossTerm], parts: int, **sizes: int) -> None:
        super().__init__()
        self.metric_losses, self.logit_losses = nn.ModuleDict(), nn.ModuleDict()
        for term in terms:
            create = partial(losses.create_loss, term.name, **sizes, **term.settings)
            copies = [losses.Weighted(create(), term.weight, term.per_image) for _ in range(parts)]
            if copies[0].takes == "logits":
                self.logit_losses[term.name] = copies[0]
            else:
                self.metric_losses[term.name] = copies[0] if parts == 1 else PartLosses(copies)

    def compare(
        self, features: Tensor, logits: Tensor, feature_targets: Tensor, logit_targets: Tensor
    ) -> Tensor:
        """Return a float32 scalar.

        features: (B, D) or (B, P, D). logits: (B, C) or (B, H, C). The targets are what they aim
        at.
        """
        zero = features.new_zeros((), dtype=torch.float32)
        of_logits = sum(
            over_parts(loss, logits, logit_targets) for loss in self.logit_losses.values()
        )
        return (
            zero
            + of_logits
            + sum(loss(features, feature_targets) for loss in self.metric_losses.values())
        )


class Criterion(TermLosses):
    """loss = w · Σ over heads of the classifier's loss + Σ over losses and parts of weight · loss.

    plan: the losses and their weights. network: says how many classes and features there are, and
        how wide they are.
    seen: which of its features the losses see.
    taught_dim: the width of a teacher's features, which `taught` compares with; DistillationTerm
        adds its loss.
    """

    def __init__(self, plan: LossPlan, network: Network, taught_dim: int = 0) -> None:
        parts, dim = network.parts, network.metric_dim
        super().__init__(plan.terms, parts, num_classes=network.num_classes or 0, dim=dim)
        self.seen = Seen(dropped=not any(term.kind.before_dropout for term in plan.terms))
        self.classification_weight = plan.classification.weight
        self.classification = losses.create_loss(
            plan.classification.name, **plan.classification.settings
        )
        self.taught = TermLosses(plan.taught, parts, dim=dim, taught_dim=taught_dim)

    def forward(self, features: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Return a float32 scalar.

        features: (B, D) or (B, P, D). logits: (B, C) or (B, H, C). labels: (B,) below C.
        """
        classification = self.classification_weight * self.classify(logits, labels)
        return classification + self.compare(features, logits, labels, labels)

    def scores(self, features: Tensor, logits: Tensor) -> Tensor:
        """Return the class scores for the loss and the error: the network's logits."""
        return logits

    def classify(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the classifier's loss, a scalar.

        In evaluation mode it is plain cross entropy, without margin or smoothing.
        """
        return over_parts(self.classification, logits, labels)


class PartLosses(nn.ModuleList):
    """Sum the losses of P parts, one loss each, over features (B, P, D)."""

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        return sum(loss(part, labels) for loss, part in zip(self, features.unbind(1), strict=True))


def over_parts(loss: nn.Module, outputs: Tensor, targets: Tensor) -> Tensor:
    """Sum a loss over the outputs (B, P, D) of a part network, or over the only one, (B, D)."""
    return sum(
        loss(part, targets) for part in (outputs.unbind(1) if outputs.ndim == 3 else [outputs])
    )


def predicted(logits: Tensor) -> Tensor:
    """Return the identities (B,) that logits (B, C) predict.

    For logits (B, H, C) of H classifiers, their probabilities are summed.
    """
    return (logits.float().softmax(2).sum(1) if logits.ndim == 3 else logits).argmax(1)
