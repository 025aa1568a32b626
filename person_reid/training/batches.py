"""Batches of augmented images, made on the device from a bank that may be too large for it."""

from collections.abc import Iterator

import numpy as np
import torch

from person_reid.data.samplers import Sampler


class BatchSource:
    """Called with indices (B,) and a torch.Generator of the device: augmented images (B, 3, H, W) on the device.

    augment: (bank, indices, generator) → images. bank: uint8 (N, H, W, 3). It is moved to the device where it fits;
    otherwise it stays in memory or in its memory-mapped file, and each batch is gathered on the host, then moved.
    """

    def __init__(self, bank, augment, device):
        self.bank_is_here = fits(bank, device)
        self.bank = bank.to(device) if self.bank_is_here else bank
        self.augment, self.device = augment, device

    def __call__(self, indices, generator):
        if self.bank_is_here:
            return self.augment(self.bank, indices.to(self.device, non_blocking=True), generator)
        images = self.bank[indices].to(self.device, non_blocking=True)
        return self.augment(images, torch.arange(len(images), device=self.device), generator)


class Batches:
    """The batches of every epoch. Each step draws its randomness from (seed, epoch, step, rank), whatever came before.

    source: gives the augmented images. targets: (N,) classes of all images. sampler: chooses the images of each step.
    rank: of this process.
    """

    def __init__(
        self, source: BatchSource, targets: torch.Tensor, sampler: Sampler, seed: int = 0, rank: int = 0
    ) -> None:
        self.source, self.sampler, self.seed, self.rank = source, sampler, seed, rank
        self.device = source.device
        self.targets = torch.as_tensor(targets).to(self.device)

    def __len__(self) -> int:
        return len(self.sampler)

    def of(self, epoch: int, first: int = 0) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the augmented images (B, 3, H, W) and targets (B,) of an epoch from step `first` on, on the device."""
        generator = torch.Generator(self.device)
        for step, indices in enumerate(self.sampler.batches(epoch)):
            if step >= first:
                generator.manual_seed(self.seed_of(epoch, step))
                yield self.source(indices, generator), self.targets[indices.to(self.device, non_blocking=True)]

    def seed_of(self, epoch: int, step: int) -> int:
        """The seed of everything that this process draws at random in a step."""
        entropy = np.random.SeedSequence((self.seed, epoch, step, self.rank))
        return int(entropy.generate_state(1, np.uint64)[0] >> 1)


def fits(bank, device):
    """Whether the bank takes at most half of the memory that is free on the device."""
    if device.type == "cuda":
        return bank.nbytes <= torch.cuda.mem_get_info(device)[0] / 2
    if device.type == "mps":
        free = torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
        return bank.nbytes <= free / 2
    return True
