"""Look into a network, and leave it as it was."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from torch import nn
from torch.utils.hooks import RemovableHandle


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Switch a network to evaluation mode, and each of its modules
    back to its own mode afterwards.
    """
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def hooked(hooks: Iterable[RemovableHandle]) -> Iterator[None]:
    """Keep hooks on layers for the length of a with block, also when it raises.

    hooks: what register_forward_hook and its like return, as in `with
    hooked(layer.register_forward_hook(note) for layer in network.modules()): network(images)`.
    """
    with ExitStack() as stack:
        for hook in hooks:
            stack.enter_context(hook)
        yield
