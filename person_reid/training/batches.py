"""The batches of a training, drawn and augmented from seeds, at the size of their epoch."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from person_reid.data.augment import scale
from person_reid.data.bank import Batch, BatchSource
from person_reid.data.samplers import Sampler
from person_reid.training.spec import Sizes


class Batches:
    """The batches of every epoch. Each step draws its randomness from (seed, epoch, step, rank), whatever came before.

    source: makes the augmented images. targets: (N,) int64, the class of each image. sampler: chooses the images of
    each step. rank: of this process. sizes: see DataSpec.
    """

    def __init__(
        self,
        source: BatchSource,
        targets: Tensor,
        sampler: Sampler,
        seed: int = 0,
        rank: int = 0,
        sizes: Sizes = (),
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
        return int(entropy.generate_state(1, np.uint64)[0] >> 1)
