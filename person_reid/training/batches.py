"""The batches of a training: chosen by its sampler, drawn and augmented from seeds, at the size of their epoch."""

import logging
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from person_reid.data.augment import scale
from person_reid.data.bank import Batch, BatchSource
from person_reid.data.layout import Split
from person_reid.data.samplers import ClusterSampler, PKSampler, Sampler, ShuffleSampler, expected_pairs
from person_reid.distributed import World
from person_reid.training.spec import Sizes, TrainSpec

FEW_PAIRS = 0.25  # same-identity pairs per image of a batch; the balanced sampler's 4 instances give 1.5
log = logging.getLogger(__name__)


class Batches:
    """The batches of every epoch. Each step draws its randomness from (seed, epoch, step, rank), whatever came before.

    source: makes the augmented images. targets: (N,) int64, the class of each image. sampler: chooses the images of
    each step. rank: of this process. sizes: see DataSpec.
    """

    def __init__(
        self, source: BatchSource, targets: Tensor, sampler: Sampler, seed: int = 0, rank: int = 0, sizes: Sizes = ()
    ) -> None:
        self.source, self.sampler, self.seed, self.rank, self.sizes = source, sampler, seed, rank, sizes
        self.device, self.targets = source.device, targets.to(source.device)

    def __len__(self) -> int:
        return len(self.sampler)

    def of(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches from step `first` of an epoch on."""
        generator = torch.Generator(self.device)
        size = self.size_of(epoch)
        for step, indices in enumerate(self.sampler.batches(epoch)):
            if step >= first:
                generator.manual_seed(self.seed_of(epoch, step))
                images = scale(self.source(indices, generator), size)
                indices = indices.to(self.device, non_blocking=True)
                yield Batch(images, self.targets[indices], indices)

    def size_of(self, epoch: int) -> tuple[int, int] | None:
        """Return the (height, width) that an epoch is trained at; None leaves the images as they are."""
        return next((size for begin, size in reversed(self.sizes) if begin <= epoch), None)

    def seed_of(self, epoch: int, step: int) -> int:
        """Return the seed of everything that this process draws at random in a step."""
        entropy = np.random.SeedSequence((self.seed, epoch, step, self.rank))
        return int(entropy.generate_state(1, np.uint64)[0]) >> 1


def build_sampler(spec: TrainSpec, split: Split, world: World) -> Sampler:
    """Build the sampler; log a hint if shuffled batches hold hardly any of the pairs that the losses learn from."""
    data, ranks = spec.data, (world.rank, world.size)
    if spec.adapt:
        return ClusterSampler(
            len(split), data.batch_size, data.instances, spec.adapt.steps, spec.seed, split.cameras, *ranks,
            parts=split.targets > 0,
        )  # fmt: skip
    if data.sampler != "shuffle":
        cameras = split.cameras if data.sampler == "pk_camera" else None
        return PKSampler(split.targets, data.batch_size, data.instances, spec.seed, cameras, *ranks)
    batch = data.batch_size * world.size
    pairs = expected_pairs(split.targets, batch)
    hungry = [term.name for term in spec.losses.terms if term.needs_positives]
    if hungry and pairs < FEW_PAIRS * batch and world.leads:
        log.info(
            "A shuffled batch of %d images holds %.1f pairs of one identity on average, which is what %s learns from. "
            "--sampler pk puts %d images of each identity into a batch.",
            batch, pairs, " + ".join(hungry), data.instances,
        )  # fmt: skip
    return ShuffleSampler(len(split), data.batch_size, spec.seed, *ranks)
