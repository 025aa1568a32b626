"""Evaluation shared out over the processes of torchrun."""

import os
from contextlib import contextmanager

import torch
from torch import distributed


class Workers:
    """The processes that torchrun started, as metrics.evaluate wants them: rank, size and sum(array)."""

    def __init__(self):
        self.rank, self.size = distributed.get_rank(), distributed.get_world_size()
        self.local_rank = os.environ["LOCAL_RANK"]

    def sum(self, array):
        """The sum over all processes of an integer array, the same on each."""
        total = torch.from_numpy(array)
        distributed.all_reduce(total)
        return total.numpy()


@contextmanager
def torchrun_workers():
    """Join the other processes and yield Workers; yield None where torchrun started nothing.

    What they exchange are ranks of matches, on the CPU and a few hundred kilobytes, so gloo serves every machine.
    """
    if "LOCAL_RANK" not in os.environ:
        yield None
        return
    distributed.init_process_group("gloo")
    try:
        yield Workers()
    finally:
        distributed.destroy_process_group()
