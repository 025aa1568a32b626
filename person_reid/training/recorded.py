"""Record a training step once on a GPU, and replay it.

The processor then launches two graphs and not a thousand kernels.

Launching takes longer than computing unless the network is large: a step of OSNet takes as long at
128×64 as at 256×128. NVIDIA's graphs hold all its kernels and their addresses
(torch.cuda.make_graphed_callables). The numbers are the same as in a step that is not recorded.
"""

import logging
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from person_reid.errors import first_line

log = logging.getLogger(__name__)


class Recorded:
    """Call an Objective, recorded for images of one shape.

    Another shape, which begins with an epoch, replaces it.

    An objective that cannot be recorded, because the host reads a number of the GPU in it or
    because the memory does not suffice, is called as it is.

    module: on the GPU, in training mode, with the parameters that learn; make a new Recorded when
    these change.
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
                self.call = recorded_step(self.module, images, targets)
            except RuntimeError as error:
                log.info("The steps are launched one by one: %s", first_line(error))
        return self.call(images, targets)


def recorded_step(module: nn.Module, images: Tensor, targets: Tensor) -> nn.Module:
    """Return a module that replays module(images, targets) and its gradients.

    It serves other images of the same shape.

    The module runs inside the autocast that is active now. Recording runs it several times; its
    statistics and the state of the random numbers are put back. Raises RuntimeError if it cannot be
    recorded.
    """
    before = [buffer.clone() for buffer in module.buffers()]
    generator = torch.cuda.default_generators[images.get_device()]
    random = generator.clone_state()
    call = _Call(module)
    # It is so in every recording: gradients are added up on the stream that recorded them.
    warnings.filterwarnings("ignore", "The AccumulateGrad node's stream does not match")
    try:
        # The backward pass has no autocast.
        with torch.random.fork_rng([images.device]), torch.autocast("cuda", enabled=False):
            torch.cuda.make_graphed_callables(
                call, (images.clone(), targets.clone()), allow_unused_input=True
            )
    except RuntimeError:
        generator.graphsafe_set_state(random)  # the generator believes that it is still recorded
        raise
    finally:
        for buffer, values in zip(module.buffers(), before, strict=True):
            buffer.copy_(values)
    return call


class _Call(nn.Module):
    """Call a module in the autocast that is active when this is made.

    The cache of weights is off, because the weights change.

    What is recorded replaces this forward and not the module's own.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.enabled = torch.is_autocast_enabled("cuda")
        self.dtype = torch.get_autocast_dtype("cuda")

    def forward(self, images: Tensor, targets: Tensor) -> Any:
        with torch.autocast("cuda", self.dtype, self.enabled, cache_enabled=False):
            return self.module(images, targets)
