"""Record a training step once on a GPU, and replay it: the processor then launches one graph and not a thousand kernels.

A step of a small network keeps the processor busier than the GPU: OSNet's takes as long at 128×64 as at 256×128. NVIDIA's
graphs hold all its kernels and their addresses (torch.cuda.make_graphed_callables). The numbers are those of the step
that was recorded.
"""

import logging
from typing import Any

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)


class Recorded:
    """Call an Objective, recorded for images of one shape; another shape, which begins with an epoch, replaces it.

    An objective that cannot be recorded, because the host reads a number of the GPU in it or because the memory does
    not suffice, is called as it is.

    module: on the GPU, in training mode, with the parameters that learn; make a new Recorded when these change.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module, self.call = module, module
        self.shape: torch.Size | None = None

    def __call__(self, images: Tensor, targets: Tensor) -> Any:
        """Return what the module returns. The next call overwrites these tensors."""
        if images.shape != self.shape:
            self.call = self.module  # the earlier recording's memory is free for the new one
            self.shape = images.shape
            try:
                self.call = record(self.module, images, targets)
            except RuntimeError as error:
                log.info("The steps are launched one by one: %s", str(error).splitlines()[0])
        return self.call(images, targets)


def record(module: nn.Module, images: Tensor, targets: Tensor) -> nn.Module:
    """Return a module that replays module(images, targets) and its gradients, for other images of the same shape.

    Recording runs the module several times; its statistics and the state of the random numbers are put back.
    """
    before = [buffer.clone() for buffer in module.buffers()]
    caches = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)  # a cached weight would not follow the optimiser
    try:
        with torch.random.fork_rng([images.device]):
            call: nn.Module = torch.cuda.make_graphed_callables(
                _Call(module), (images.clone(), targets.clone()), allow_unused_input=True
            )
    finally:
        torch.set_autocast_cache_enabled(caches)
        for buffer, values in zip(module.buffers(), before, strict=True):
            buffer.copy_(values)
    return call


class _Call(nn.Module):
    """Call a module; what is recorded replaces this forward and not the module's own."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor, targets: Tensor) -> Any:
        return self.module(images, targets)
