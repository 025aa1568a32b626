"""Watch the layers of a network while it runs."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from torch.utils.hooks import RemovableHandle


@contextmanager
def hooked(hooks: Iterable[RemovableHandle]) -> Iterator[None]:
    """Keep hooks on layers for the length of a with block, also when it raises.

    hooks: what register_forward_hook and its like return, as in
    `with hooked(layer.register_forward_hook(note) for layer in network.modules()): network(images)`.
    """
    with ExitStack() as stack:
        for hook in hooks:
            stack.enter_context(hook)
        yield
