"""Learning from adversarial images: `--adv W --aiter K`.

Zheng et al., U-turn: Crafting Adversarial Queries with Opposite-Direction Features, IJCV 2022.
"""

from contextlib import contextmanager

import torch

from person_reid.data.augment import normalise
from person_reid.training.trainer import StepContext

RATE = 16  # grey values of 255, the most that a pixel is moved


class AdversarialTerm:
    """In every `every`-th batch of an epoch, from the first on: weight · the classifier's loss on attacked images.

    every: above 0; a fraction is published too, and takes the batches whose number, from 0, it divides.
    """

    def __init__(self, weight, every):
        self.weight, self.every = weight, every

    def __call__(self, context: StepContext) -> torch.Tensor | float:
        """Return a scalar, 0 in the batches between."""
        if context.step % self.every:
            return 0.0
        _, logits = context.network(opposite_direction_attack(context.network, context.images))
        return self.weight * context.criterion.classify(logits, context.targets)


def opposite_direction_attack(network, images, rate=RATE):
    """Move pixels, each by at most `rate` grey values, so that the feature f turns into the opposite direction (ODFA).

        d ← clip(d + sign ∂ f(x − d) · f(x) / ∂(x − d), ±rate),  from d = 0, min(1.25 · rate, rate + 4) times

    network: its `embed` gives f; it computes in evaluation mode, and its gradients, statistics and modes stay as they
    are. images: (B, 3, H, W), normalised, of any size. Returns images of that shape, each pixel within black and white.

    In evaluation mode no batch norm updates its statistics, no dropout blurs the direction, and the attack on an image
    does not depend on the others. The published code minimises ‖f(x − d) + f(x)‖² of features of unit length; that is
    at its maximum for d = 0, so that its first step follows the signs of rounding errors.
    """
    extremes = torch.tensor([0, 255], dtype=torch.uint8, device=images.device)
    black, white = normalise(extremes[:, None, None, None].expand(2, 1, 1, 3))
    grey_value = (white - black) / 255
    moved, distance, feature = images.detach(), torch.zeros_like(images), None
    with evaluation_mode(network):
        for _ in range(round(min(1.25 * rate, rate + 4))):
            moved.requires_grad_()
            embedded = network.embed(moved).float()
            feature = embedded.detach() if feature is None else feature
            (gradient,) = torch.autograd.grad((embedded * feature).sum(), moved)
            distance = (distance + gradient.sign()).clamp_(-rate, rate)
            moved = (images - distance * grey_value).clamp_(black, white)
    return moved


@contextmanager
def evaluation_mode(network):
    """Switch a network to evaluation mode; afterwards each of its modules is again in the mode in which it was."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
