"""What is minimised: the classifier's loss over the identities, plus the losses that the flags add."""

from torch import nn

from person_reid import losses


class Criterion(nn.Module):
    """loss = w · Σ over heads of the classifier's loss + Σ over losses and parts of weight · loss.

    options: of train.py; the classifier's loss is that of --head, and w is 1 unless --loss says cross_entropy:w.
    num_classes: identities. dim: D, width of the features that the metric losses see. parts: P, how many features an
    image has; each part has losses, and prototypes, of its own. The weights that losses own are parameters of this
    module. Raises UserError for a loss that is asked for twice, or does not fit the head.
    """

    def __init__(self, options, num_classes, dim, parts=1):
        super().__init__()
        losses.names_in(options)  # refuses what does not go together
        weights = losses.parse(options.loss or "")
        self.classification_weight = weights.pop("cross_entropy", 1.0)
        self.classification = losses.create(losses.HEADS[options.head], smoothing=options.label_smoothing)
        self.metric_losses, self.logit_losses = nn.ModuleDict(), nn.ModuleDict()
        for flag in losses.PUBLISHED:
            if getattr(options, flag):
                settings = {"gamma": options.ins_gamma} if flag in ("instance", "instance_id") else {}
                copies = [losses.published(flag, num_classes, dim, **settings) for _ in range(parts)]
                self.metric_losses[flag] = _for_parts(copies)
        if options.alpha:
            weights = {"verification": options.alpha, **weights}
        for name, weight in weights.items():
            copies = [losses.Weighted(losses.create(name, num_classes, dim), weight) for _ in range(parts)]
            if copies[0].takes == "logits":
                self.logit_losses[name] = copies[0]
            else:
                self.metric_losses[name] = _for_parts(copies)

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


def _for_parts(copies):
    return copies[0] if len(copies) == 1 else PartLosses(copies)


def _over_heads(loss, logits, labels):
    """The sum of a loss over the H heads of a part network; of one head, the loss."""
    return sum(loss(head, labels) for head in (logits.unbind(1) if logits.ndim == 3 else [logits]))
