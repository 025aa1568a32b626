"""The optimiser's groups and the learning rate over the steps of a training run."""

import math

import torch
from torch.optim.lr_scheduler import LambdaLR


def build_optimizer(network, criterion, options):
    """SGD with Nesterov momentum 0.9 over two groups: the backbone at `backbone_lr`; the head, and whatever weights the
    losses own, at `lr`. Weight decay on all."""
    backbone = [parameter for parameter in network.model.parameters() if parameter.requires_grad]
    taken = set(map(id, network.model.parameters()))
    head = [p for p in [*network.parameters(), *criterion.parameters()] if id(p) not in taken and p.requires_grad]
    groups = [{"params": backbone, "lr": options.backbone_lr}, {"params": head, "lr": options.lr}]
    return torch.optim.SGD(
        groups, momentum=0.9, nesterov=True, weight_decay=options.weight_decay, fused=options.FSGD or None
    )


def build_scheduler(optimizer, options, steps_per_epoch):
    """PyTorch's LambdaLR, stepped once a batch: warm-up × the published step or cosine schedule."""
    floors = [options.lr * 0.01 / group["lr"] for group in optimizer.param_groups]
    return LambdaLR(optimizer, [_factor(options, steps_per_epoch, floor) for floor in floors])


def _factor(options, steps_per_epoch, floor):
    """factor(step) of the learning rate, from 0.1 rising to 1 over `warm_epoch` epochs, times:

    step: 0.1 after two thirds of the epochs. cosine: floor + (1 - floor)·(1 + cos(π·t/T))/2 at epoch t of T, from 1 to
    `floor`, which is lr / 100 for every group (Loshchilov and Hutter, SGDR, ICLR 2017, eq. 5, without restarts).
    """
    warm_steps = options.warm_epoch * steps_per_epoch
    drop = max(1, options.total_epoch * 2 // 3)

    def factor(step):
        epoch = step // steps_per_epoch
        warm = min(1.0, 0.1 + 0.9 * step / warm_steps) if warm_steps else 1.0
        if options.cosine:
            return warm * (floor + (1 - floor) * (1 + math.cos(math.pi * epoch / options.total_epoch)) / 2)
        return warm * 0.1 ** (epoch // drop)

    return factor
