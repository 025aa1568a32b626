"""The losses of a run besides those of its criterion: --adv, --DG and --teacher."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from person_reid.data.images.augment import normalise
from person_reid.data.images.bank import BatchSource, fingerprint, load_bank, open_array
from person_reid.data.layout import Split
from person_reid.deploy.embedder import Embedder
from person_reid.distributed import World
from person_reid.errors import describe_error
from person_reid.files import atomic_write
from person_reid.losses.base import unit_length
from person_reid.models.surgery import evaluation_mode
from person_reid.retrieval.similarity import Features
from person_reid.training.step import TrainingStep
from person_reid.training.training_images import Batch

log = logging.getLogger(__name__)
ADVERSARIAL_RATE = 16  # grey values, out of 255: the most by which a pixel is moved


class Adversarial:
    """`--adv W --aiter K`: add weight · the classifier's loss on attacked images in some batches.

    Zheng et al., U-turn: Crafting Adversarial Queries with Opposite-Direction Features, IJCV 2022.

    every: above 0. The loss is added in every `every`-th batch of an epoch, from the first on. For
    a fraction, as in published commands, it is added in the batches whose number, from 0, is a
    multiple of `every`.
    """

    names = ("adv",)

    def __init__(self, weight: float, every: float) -> None:
        self.weight, self.every = weight, every

    def __call__(
        self, step: TrainingStep, batch: Batch, features: torch.Tensor, logits: torch.Tensor
    ) -> torch.Tensor:
        """Return the loss, a scalar, which is 0 in batches that are not attacked."""
        if batch.step % self.every:
            return features.new_zeros(())
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

    In evaluation mode, batch norms do not update their statistics, dropout does not blur the
    direction, and the attack on an image does not depend on the others. The published code
    minimises ‖f(x − d) + f(x)‖² for features of unit length, which is 2 + 2 cos(f(x − d), f(x)).
    That is at its maximum at d = 0, so its first step follows the signs of rounding errors. Here,
    only the first step descends the inner product f(x − d) · f(x): after a ReLU, where no feature
    points away from another, further such steps would shorten the feature instead of turning it.
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


ADVERSARIAL_WEIGHT = 0.1  # as in the published training


class Generalisation:
    """`--DG`: add ADVERSARIAL_WEIGHT · the student-teacher divergence on unlabelled images.

    The network in training is the student; the average of its weights is the teacher. Shown two
    augmentations of an image, both should predict the same identities. Zheng and Yang, Unsupervised
    Scene Adaptation with Memory Regularization in Vivo, IJCAI 2020, with the teacher of Tarvainen
    and Valpola, Mean teachers are better role models, NIPS 2017. It begins when the averaging of
    the weights does.

    source: provides the unlabelled images. size: how many of them this process draws per step.
    """

    names = ("DG",)

    def __init__(self, source: BatchSource, size: int) -> None:
        self.source, self.size = source, size

    def __call__(
        self, step: TrainingStep, batch: Batch, features: torch.Tensor, logits: torch.Tensor
    ) -> torch.Tensor:
        """Return the loss, which is 0 until averaging begins; the labelled images are not used."""
        if step.average is None:
            return features.new_zeros(())
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
    """Return the symmetric Kullback-Leibler divergence between softmaxes of class scores.

        (KL(p‖q) + KL(q‖p)) / 2 = Σ (p − q) · (log p − log q) / 2, p and q the two softmaxes

    first, second: (B, C), or (B, H, C) of a part network. Sums over classes and heads, averages
    over images.
    """
    first, second = first.log_softmax(-1), second.log_softmax(-1)
    return ((first.exp() - second.exp()) * (first - second)).sum() / (2 * len(first))


class Distillation:
    """`--teacher`: add the losses that compare student and teacher (`Criterion.taught`).

    The teacher sees each image unchanged and mirrored, the student augmented.

    taught: the teacher's features (N, E) of the training images. targets: their classes (N,).
    device: where the training runs. world: the processes that train together; each computes the
        loss of the whole batch.
    names: the losses, in the order of `Criterion.taught`.
    """

    def __init__(
        self,
        taught: Features,
        targets: torch.Tensor,
        device: torch.device,
        world: World,
        names: Sequence[str],
    ) -> None:
        self.names = names
        self.taught = F.normalize(torch.from_numpy(taught)).to(device)
        means = torch.zeros(int(targets.max()) + 1, taught.shape[1], device=device)
        self.means = F.normalize(means.index_add_(0, targets.to(device), self.taught))
        self.gather = world.gather

    def __call__(
        self, step: TrainingStep, batch: Batch, features: torch.Tensor, logits: torch.Tensor
    ) -> torch.Tensor:
        """Return the T losses that compare the network with its teacher, (T,).

        All parts and classifiers of a part network have the same teacher.
        """
        taught = self.gather(self.taught[batch.indices])
        with torch.autocast(taught.device.type, enabled=False):
            cosines = taught @ self.means.T
        features, logits = self.gather(features), self.gather(logits)
        planned = step.criterion.taught.values()
        return torch.stack([loss(features, logits, taught, cosines) for loss in planned])


def teacher_features(teacher: Embedder, splits: Sequence[tuple[Path, Split]]) -> Features:
    """Return a teacher's features (N, E) for the images in `splits`.

    An earlier call may have computed them.

    splits: (folder, images) of each data set. The features are cached beside the decoded images,
    under a name that depends on the images and on the teacher's feature of a synthetic one.
    """
    probe = teacher.probe().tobytes()
    found = []
    for folder, split in splits:
        cache, name = folder.parent / ".cache", folder.name
        known = hashlib.sha256(probe + fingerprint(split.paths).encode()).hexdigest()[:16]
        file = cache / f"teacher_{name}_{known}.npy"
        features = open_array(file, (len(split), teacher.dim), np.float32)
        if features is None:
            features = teacher.features(
                load_bank(split.paths, *teacher.size, cache, name, teacher.resize),
                f"teacher of {name}",
            )
            _write(features, file)
        found.append(features)
    return np.concatenate(found)


def _write(features: Features, file: Path) -> None:
    try:
        with atomic_write(file) as temporary, temporary.open("wb") as stream:
            np.save(stream, features)
    except OSError as error:
        log.warning(
            "%s: no cache; the next run computes the teacher's features again.",
            describe_error(error),
        )
