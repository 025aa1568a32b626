"""Check a network between epochs: its loss on `val`, and whether it is finite."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch.optim.swa_utils import update_bn

from person_reid.data.images.augment import normalise, scale
from person_reid.device import autocast, seeded
from person_reid.models.surgery import evaluation_mode
from person_reid.progress import progress
from person_reid.training.criterion import predicted
from person_reid.training.step import TrainingStep


def validate(step: TrainingStep) -> dict[str, float]:
    """Return "val_loss", the classifier's loss without margin or smoothing, and top-1 "val_error".

    The modules keep their modes. Without images in `val`, the result is empty. The images are not
    augmented, and have the size of the epoch, because a network trained at 128×64 first fails at
    256×128.
    """
    # The batch-norm statistics of the first process are evaluated, because they are saved.
    step.world.broadcast_(step.network.buffers())
    if step.images.validation is None:
        return {}
    bank, targets = step.images.validation
    totals = torch.zeros(2, device=step.device)
    mine = step.world.shard(torch.arange(len(bank)))
    batches = mine.split(step.images.options.batchsize) if len(mine) else ()
    with evaluation_mode(step.module), torch.inference_mode():
        for indices in progress(batches, desc="validation"):
            labels, images = targets[indices].to(step.device), bank[indices].to(step.device)
            images = scale(normalise(images), step.images.size_of(step.epoch))
            with autocast(step.device, step.dtype):
                _, logits = step.network.outputs(images)
            loss = step.criterion.classify(logits, labels) * len(labels)
            totals += torch.stack([loss, (predicted(logits) != labels).sum()])
    loss, error = (step.world.sum(totals) / len(bank)).tolist()
    return {"val_loss": loss, "val_error": error}


def diverged(step: TrainingStep, figures: Mapping[str, float], last: bool) -> str:
    """Return what the last update has made infinite or NaN, such as "weights are", or "".

    The losses were computed before that update. figures: from `validate`. last: whether no later
    step would notice that the network's output is not finite.
    """
    tensors = (value for value in step.network.state_dict().values() if value.is_floating_point())
    if not torch.stack([tensor.isfinite().all() for tensor in tensors]).all():
        return "weights are"
    finite = not last or all(map(math.isfinite, figures.values()))
    if last and finite and "val_loss" not in figures:  # else the images of `val` have shown it
        with evaluation_mode(step.network), torch.inference_mode():
            outputs = step.network.outputs(step.images.example_batch().to(step.device))
        finite = all(output.isfinite().all() for output in outputs)
    return "" if finite else "network's output is"


def statistics_of_average(step: TrainingStep) -> dict[str, Any]:
    """Return the averaged network's state dict, with its own batch-norm statistics.

    Another pass over the images gives the statistics. They are means over the batches of all
    processes, as one process with smaller batches would compute them.
    """
    assert step.average is not None, "only --wa averages"
    epoch = step.options.total_epoch
    inputs = (batch.images for batch in step.images.epoch(epoch))
    bar = progress(inputs, desc="batch-norm statistics", total=len(step.images))
    with seeded(step.images.seed_of(epoch, 0), step.device):  # dropout draws
        update_bn(bar, step.average)
    for name, statistic in step.average.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            statistic.copy_(step.world.sum(statistic) / step.world.size)
    return step.average.state_dict()
