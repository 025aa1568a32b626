"""Learning from people whom nobody has named: `--DG`, after the DG-Market images that it was made for.

The network in training is the student, the average of its weights the teacher: shown two augmentations of one image,
both should see the same identities in it. Zheng and Yang, Unsupervised Scene Adaptation with Memory Regularization
in Vivo, IJCAI 2020, with the teacher of Tarvainen and Valpola, Mean teachers are better role models, NIPS 2017.
"""

import numpy as np
import torch

from person_reid.training.trainer import StepContext

WEIGHT = 0.1  # of the published training


class GeneralisationTerm:
    """Once the trainer averages: WEIGHT · the divergence of student and teacher on unlabelled images.

    source: a BatchSource of unlabelled images. size: how many of them a step of this process draws.
    """

    def __init__(self, source, size):
        self.source, self.size = source, size

    def __call__(self, context: StepContext) -> torch.Tensor | float:
        """Return a scalar; the labelled images are not looked at."""
        if context.teacher is None:
            return 0.0
        first, second = self.draw(context.seed)
        _, student = context.network(first)
        with torch.no_grad():
            _, teacher = context.teacher(second)
        scale = getattr(context.criterion.classification, "scale", 1.0)  # of a head that gives cosines
        return WEIGHT * symmetric_divergence(scale * student.float(), scale * teacher.float())

    def draw(self, seed):
        """Two augmentations, each (size, 3, H, W), of the images that a seed stands for."""
        random = np.random.default_rng(seed)
        count = len(self.source.bank)
        indices = torch.from_numpy(random.choice(count, self.size, replace=count < self.size))
        generator = torch.Generator(self.source.device).manual_seed(int(random.integers(2**63)))
        return self.source(indices, generator), self.source(indices, generator)


def symmetric_divergence(first, second):
    """(KL(p‖q) + KL(q‖p)) / 2 = Σ (p − q) · (log p − log q) / 2, p and q the softmax of class scores.

    first, second: (B, C), or (B, H, C) of a part network. Returns the sum over classes and heads, the mean over images.
    """
    first, second = first.log_softmax(-1), second.log_softmax(-1)
    return ((first.exp() - second.exp()) * (first - second)).sum() / (2 * len(first))
