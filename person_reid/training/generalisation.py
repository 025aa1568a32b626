"""Also train on unlabelled images: `--DG`, named after the DG-Market images it was made for.

The network in training is the student; the average of its weights is the teacher. Shown two
augmentations of an image, both should predict the same identities. Zheng and Yang, Unsupervised
Scene Adaptation with Memory Regularization in Vivo, IJCAI 2020, with the teacher of Tarvainen and
Valpola, Mean teachers are better role models, NIPS 2017.
"""

from typing import Any

import numpy as np
import torch

from person_reid.data.images.bank import BatchSource
from person_reid.training.step import TrainingStep
from person_reid.training.training_images import Batch

ADVERSARIAL_WEIGHT = 0.1  # as in the published training


class GeneralisationTerm:
    """Add the divergence of student and teacher on unlabelled images, times ADVERSARIAL_WEIGHT.

    It begins once the weights are averaged.

    source: makes the unlabelled images. size: how many of them this process draws in a step.
    """

    def __init__(self, source: BatchSource, size: int) -> None:
        self.source, self.size = source, size

    def __call__(
        self, step: TrainingStep, batch: Batch, features: torch.Tensor, logits: torch.Tensor
    ) -> torch.Tensor | float:
        """Return a scalar, 0 before the average begins; the labelled images are not used."""
        if step.average is None:
            return 0.0
        first, second = self.draw(batch.seed)
        _, student = step.network(first)
        with torch.no_grad():
            teacher_network: Any = step.average.module
            _, teacher = teacher_network.outputs(second)
        # Only a head that returns cosines has a scale.
        scale = getattr(step.criterion.classification, "scale", 1.0)
        return ADVERSARIAL_WEIGHT * symmetric_divergence(
            scale * student.float(), scale * teacher.float()
        )

    def draw(self, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return two augmentations of the same images, each (size, 3, H, W).

        The seed chooses the images.
        """
        random = np.random.default_rng(seed)
        count = len(self.source.bank)
        indices = torch.from_numpy(random.choice(count, self.size, replace=count < self.size))
        generator = torch.Generator(self.source.device).manual_seed(int(random.integers(2**63)))
        return self.source(indices, generator), self.source(indices, generator)


def symmetric_divergence(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return the symmetric Kullback-Leibler divergence of the softmax of class scores.

        (KL(p‖q) + KL(q‖p)) / 2 = Σ (p − q) · (log p − log q) / 2, p and q the two softmaxes

    first, second: (B, C), or (B, H, C) of a part network. Sums over classes and heads, averages
    over images.
    """
    first, second = first.log_softmax(-1), second.log_softmax(-1)
    return ((first.exp() - second.exp()) * (first - second)).sum() / (2 * len(first))
