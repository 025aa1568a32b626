"""Batches of augmented images, made on the device from a bank that may be too large for it."""

import torch


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


def fits(bank, device):
    """Whether the bank takes at most half of the memory that is free on the device."""
    if device.type == "cuda":
        return bank.nbytes <= torch.cuda.mem_get_info(device)[0] / 2
    if device.type == "mps":
        free = torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
        return bank.nbytes <= free / 2
    return True
