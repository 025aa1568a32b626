"""The loss of a training: the classifier's over the identities, plus those that the plan adds."""

from torch import nn

from person_reid import losses
from person_reid.losses.plan import LossPlan


class Criterion(nn.Module):
    """loss = w · Σ over heads of the classifier's loss + Σ over losses and parts of weight · loss.

    plan: which losses, and their weights. num_classes: identities. dim: D, width of the features that the metric losses
    see. parts: P, how many features an image has; each part has losses, and prototypes, of its own. The weights that
    losses own are parameters of this module.
    """

    def __init__(self, plan: LossPlan, num_classes: int, dim: int, parts: int = 1) -> None:
        super().__init__()
        self.classification_weight = plan.classification_weight
        self.classification = losses.create(losses.HEADS[plan.head], smoothing=plan.label_smoothing)
        self.metric_losses, self.logit_losses = nn.ModuleDict(), nn.ModuleDict()
        for term in plan.terms:
            copies = [
                losses.Weighted(
                    losses.create(term.name, num_classes, dim, **term.settings), term.weight, term.per_image
                )
                for _ in range(parts)
            ]
            if copies[0].takes == "logits":
                self.logit_losses[term.name] = copies[0]
            else:
                self.metric_losses[term.name] = copies[0] if parts == 1 else PartLosses(copies)

    def forward(self, features, logits, labels):
        """features (B, D) or (B, P, D), logits (B, C) or (B, H, C), labels (B,) in 0..C-1 → a scalar, in float32."""
        loss = self.classification_weight * self.classify(logits, labels)
        loss = loss + sum(_over_heads(logit_loss, logits, labels) for logit_loss in self.logit_losses.values())
        return loss + sum(metric_loss(features, labels) for metric_loss in self.metric_losses.values())

    def classify(self, logits, labels):
        """The classifier's loss alone, a scalar; in evaluation mode plain cross entropy: no margin, no smoothing."""
        return _over_heads(self.classification, logits, labels)


class PartLosses(nn.ModuleList):
    """One loss for each of P parts, called with features (B, P, D): the sum over the parts."""

    def forward(self, features, labels):
        return sum(loss(part, labels) for loss, part in zip(self, features.unbind(1), strict=True))


def _over_heads(loss, logits, labels):
    """The sum of a loss over the H heads of a part network; of one head, the loss."""
    return sum(loss(head, labels) for head in (logits.unbind(1) if logits.ndim == 3 else [logits]))
