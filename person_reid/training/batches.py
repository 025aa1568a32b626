"""Make batches of augmented images on the device, from a bank that may be too large for it."""

from collections.abc import Callable, Iterator

import numpy as np
import torch

from person_reid.data.samplers import Sampler


class BatchSource:
    """Turn indices (B,) and a torch.Generator of the device into augmented images (B, 3, H, W) on the device.

    augment: (bank, indices, generator) → images. bank: uint8 (N, H, W, 3). It is moved to the device if it fits.
    Otherwise it stays in memory or in its memory-mapped file, and each batch is gathered on the host, then moved.
    """

    def __init__(self, bank: torch.Tensor, augment: Callable[..., torch.Tensor], device: torch.device) -> None:
        self.bank_is_here = fits(bank, device)
        self.bank = bank.to(device) if self.bank_is_here else bank
        self.augment, self.device = augment, device

    def __call__(self, indices: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        if self.bank_is_here:
            return self.augment(self.bank, indices.to(self.device, non_blocking=True), generator)
        images = self.bank[indices].to(self.device, non_blocking=True)
        return self.augment(images, torch.arange(len(images), device=self.device), generator)


class Batches:
    """The batches of every epoch. Each step draws its randomness from (seed, epoch, step, rank), whatever came before.

    source: makes the augmented images. targets: (N,) int64, the class of each image. sampler: chooses the images of
    each step. rank: of this process.
    """

    def __init__(
        self, source: BatchSource, targets: torch.Tensor, sampler: Sampler, seed: int = 0, rank: int = 0
    ) -> None:
        self.source, self.sampler, self.seed, self.rank = source, sampler, seed, rank
        self.device = source.device
        self.targets = targets.to(self.device)

    def __len__(self) -> int:
        return len(self.sampler)

    def of(self, epoch: int, first: int = 0) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield augmented images (B, 3, H, W) and targets (B,) on the device, from step `first` of an epoch on."""
        generator = torch.Generator(self.device)
        for step, indices in enumerate(self.sampler.batches(epoch)):
            if step >= first:
                generator.manual_seed(self.seed_of(epoch, step))
                yield self.source(indices, generator), self.targets[indices.to(self.device, non_blocking=True)]

    def seed_of(self, epoch: int, step: int) -> int:
        """Return the seed of everything that this process draws at random in a step."""
        entropy = np.random.SeedSequence((self.seed, epoch, step, self.rank))
        return int(entropy.generate_state(1, np.uint64)[0] >> 1)


def fits(bank: torch.Tensor, device: torch.device) -> bool:
    """Return whether the bank takes at most half of the device's free memory."""
    if device.type == "cuda":
        return bank.nbytes <= torch.cuda.mem_get_info(device)[0] / 2
    if device.type == "mps":
        free = torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
        return bank.nbytes <= free / 2
    return True
