"""Fit the batch norms of a network to the images it is tested on, without a label.

The images it was trained on are not needed.
"""

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from person_reid.config.option import OptionError
from person_reid.data.images.augment import normalise
from person_reid.device import autocast
from person_reid.models.network import Network
from person_reid.progress import progress

STATISTICS_BATCH = 64  # images per batch; the statistics are means over the batches


@torch.inference_mode()
def reestimate_batch_norms(
    network: Network, bank: torch.Tensor, device: torch.device, dtype: torch.dtype | None = None
) -> None:
    """Measure the running statistics of all batch norms anew, in place, on a bank of images.

    bank: (N, H, W, 3) uint8.

    Each statistic is the mean over batches of images in random order, so that a batch resembles the
    whole. The network ends in evaluation mode. dtype: of autocast. Raises UserError if the network
    has no batch norm, or if there are fewer than two images. Li et al., Revisiting Batch
    Normalization For Practical Domain Adaptation, ICLR 2017.
    """
    norms = [
        module
        for module in network.modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
    ]
    if not norms or len(bank) < 2:
        found = "the network has no batch norm" if not norms else "a single image has no statistics"
        raise OptionError(f"{{adapt_bn}}: {found}. Leave the flag out.")
    network.to(device).eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
        norm.momentum = None  # a plain mean over the batches
    order = torch.randperm(len(bank), generator=torch.Generator().manual_seed(0))
    # The batches are of equal size, so that none is too small.
    batches = order.tensor_split(-(-len(bank) // STATISTICS_BATCH))
    for indices in progress(batches, desc="batch norms"):
        with autocast(device, dtype):
            network.embed(normalise(bank[indices].to(device)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
