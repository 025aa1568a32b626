"""Look into a network, and leave it as it was: its modes come back, and its hooks are removed.

Or build one that has shapes alone, to look at these.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

# What draws or changes initial values in place.
INITIAL_VALUES = frozenset(
    ("add_", "clamp_", "copy_", "div_", "erfinv_", "fill_", "mul_", "normal_", "uniform_", "zero_")
)


class _Undrawn(TorchFunctionMode):
    """Initial values of tensors that have none are not computed, which takes seconds."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = [*args, *(kwargs or {}).values()]
        if getattr(function, "__name__", "") in INITIAL_VALUES and given[0].is_meta:
            return given[0]
        return function(*args, **(kwargs or {}))


@contextmanager
def shapes_alone() -> Iterator[None]:
    """Build modules whose tensors have shapes but no values, on the meta device."""
    with torch.device("meta"), _Undrawn():
        yield


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Switch a network to evaluation mode; afterwards, give each of its modules its own back."""
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

    hooks: what register_forward_hook and its like return.
    """
    with ExitStack() as stack:
        for hook in hooks:
            stack.enter_context(hook)
        yield


def traced(layers: Mapping[str, nn.Module], run: Callable[[], Any]) -> list[tuple[str, Any, Any]]:
    """Call `run`; return the name, inputs and output of each layer that it called, in that order.

    layers: by name. A layer that is called twice is listed twice.
    """
    calls: list[tuple[str, Any, Any]] = []

    def note(name: str, layer: nn.Module, inputs: Any, output: Any) -> None:
        calls.append((name, inputs, output))

    hooks = (layer.register_forward_hook(partial(note, name)) for name, layer in layers.items())
    with hooked(hooks):
        run()
    return calls
