"""Train on adversarial images: `--adv W --aiter K`.

Zheng et al., U-turn: Crafting Adversarial Queries with Opposite-Direction Features, IJCV 2022.
"""

from typing import Any

import torch

from person_reid.data.images.augment import normalise
from person_reid.losses.base import unit_length
from person_reid.models.modes_and_hooks import evaluation_mode
from person_reid.training.step import TrainingStep
from person_reid.training.training_images import Batch

ADVERSARIAL_RATE = 16  # grey values, out of 255: the most by which a pixel is moved


class AdversarialTerm:
    """Add weight · the classifier's loss on attacked images in some batches of an epoch.

    It is added in every `every`-th batch, from the first on.

    every: above 0. A fraction, as in published commands, takes the batches whose number, from 0, it
    divides.
    """

    def __init__(self, weight: float, every: float) -> None:
        self.weight, self.every = weight, every

    def __call__(
        self, step: TrainingStep, batch: Batch, features: torch.Tensor, logits: torch.Tensor
    ) -> torch.Tensor | float:
        """Return a scalar, 0 in all other batches."""
        if batch.step % self.every:
            return 0.0
        _, attacked = step.network(opposite_direction_attack(step.network, batch.images))
        return self.weight * step.criterion.classify(attacked, batch.targets)


def opposite_direction_attack(
    network: Any, images: torch.Tensor, rate: int = ADVERSARIAL_RATE
) -> torch.Tensor:
    """Move each pixel a little so that the feature f turns in the opposite direction (ODFA).

    Each pixel moves by at most `rate` grey values.

        d ← clip(d + sign ∂ cos(f(x − d), f(x)) / ∂(x − d), ±rate)
        from d = 0, min(1.25 · rate, rate + 4) times

    network: its `embed` gives f. Evaluation mode is used; its gradients, statistics and modes do
        not change.
    images: (B, 3, H, W), normalised, of any size. Returns images of that shape, each pixel between
        black and white.

    In evaluation mode no batch norm updates its statistics, no dropout blurs the direction, and the
    attack on an image does not depend on the others. The published code minimises ‖f(x − d) +
    f(x)‖² for features of unit length, which is 2 + 2 cos(f(x − d), f(x)). That is at its maximum
    at d = 0, so its first step follows the signs of rounding errors. The first step here descends
    the inner product f(x − d) · f(x). The others do not: after a ReLU, where no feature points away
    from another, that would shorten the feature instead of turning it.
    """
    extremes = torch.tensor([0, 255], dtype=torch.uint8, device=images.device)
    black, white = normalise(extremes[:, None, None, None].expand(2, 1, 1, 3))
    grey_value = (white - black) / 255
    moved = images.detach()
    distance = torch.zeros_like(images)
    feature = None
    with evaluation_mode(network):
        for _ in range(round(min(1.25 * rate, rate + 4))):
            moved.requires_grad_()
            embedded = network.embed(moved).float()
            if feature is None:
                feature = embedded.detach()
            else:
                embedded = unit_length(embedded)
            (gradient,) = torch.autograd.grad((embedded * feature).sum(), moved)
            distance = (distance + gradient.sign()).clamp_(-rate, rate)
            moved = (images - distance * grey_value).clamp_(black, white)
    return moved
