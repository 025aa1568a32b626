"""Inspect a network, find its layers, and change some in place; all keep their names."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from person_reid.errors import UserError
from person_reid.text import as_command, did_you_mean

# The functions that draw or change initial values in place.
INITIAL_VALUES = frozenset(
    ("add_", "clamp_", "copy_", "div_", "erfinv_", "fill_", "mul_", "normal_", "uniform_", "zero_")
)


class _Undrawn(TorchFunctionMode):
    """Skip the computation of initial values, which takes seconds."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = [*args, *(kwargs or {}).values()]
        if getattr(function, "__name__", "") in INITIAL_VALUES and given[0].is_meta:
            return given[0]
        return function(*args, **(kwargs or {}))


@contextmanager
def shapes_alone() -> Iterator[None]:
    """Have modules built on the meta device: their tensors have shapes but no values."""
    with torch.device("meta"), _Undrawn():
        yield


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Switch a network to evaluation mode; afterwards, restore the mode of each module."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def hooked(hooks: Iterable[RemovableHandle]) -> Iterator[None]:
    """Remove hooks from layers after a with block, even if the block raises.

    hooks: what register_forward_hook and similar methods return.
    """
    with ExitStack() as stack:
        for hook in hooks:
            stack.enter_context(hook)
        yield


def traced(layers: Mapping[str, nn.Module], run: Callable[[], Any]) -> list[tuple[str, Any, Any]]:
    """Call `run`, and return each layer's name, inputs and output, in the order of the calls.

    layers: {name: layer}. A layer that is called twice is listed twice.
    """
    calls: list[tuple[str, Any, Any]] = []

    def note(name: str, layer: nn.Module, inputs: Any, output: Any) -> None:
        calls.append((name, inputs, output))

    hooks = (layer.register_forward_hook(partial(note, name)) for name, layer in layers.items())
    with hooked(hooks):
        run()
    return calls


def layers_named(network: nn.Module, text: str | None) -> list[nn.Module | nn.Parameter]:
    """Return the modules and weights of a network that are named in a comma-separated list.

    Their names are those in the state dict, without `.weight` and the like; `model.`, the backbone,
    may be omitted. Raises UserError for a name that the network does not have.

    >>> layers_named(create_model("resnet18"), "conv1")
    [Conv2d(3, 64, kernel_size=(7, 7), stride=(2, 2), padding=(3, 3), bias=False)]
    """
    found: list[nn.Module | nn.Parameter] = []
    known = {**dict(network.named_parameters()), **dict(network.named_modules())}
    del known[""]  # the network itself
    for name in text.split(",") if text else ():
        layer = known.get(name) or known.get(f"model.{name}")
        if layer is None:
            raise UserError(
                f"freeze_layers={text}: this network has no layer {name!r}."
                f"{did_you_mean(name, known)} `{as_command('model.py')} NETWORK` shows its stages."
            )
        found.append(layer)
    return found


STRIDED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


def keep_last_resolution(
    module: nn.Module, maps: Callable[[nn.Module, Tensor], Tensor], size: tuple[int, int]
) -> None:
    """`--stride 1`: undo a convolutional network's last halving of the resolution, in place.

    Sun, Zheng, Yang, Tian, Wang: Beyond Part Models: Person Retrieval with Refined Part Pooling,
    ECCV 2018, section 3.1: the feature map is twice as large in both directions, with the same
    weights and without dilation. Every convolution and pooling that halves the resolution to the
    last map's, in the path and in the shortcuts, gets stride 1; a 2×2 pooling is removed.

    maps: maps(module, images) → (B, C, h, w), the last map. size: (height, width) of the images.
    Raises UserError if that does not double the map: for a network with several resolutions at
    once, or without convolutions.
    """
    images = torch.zeros(1, 3, *size, device=next(module.parameters()).device)
    height, layers = _trace(module, maps, images)
    for name, before, after in layers:
        if after == height and before >= 2 * height - 1 > after:
            _stop_halving(module, name)
    try:
        now, _ = _trace(module, maps, images)
    except (RuntimeError, AssertionError):  # maps of two resolutions that no longer match
        now = height
    if now < 2 * height - 1 or now == height:
        raise UserError(
            "stride=1, which PCB implies, has no meaning for this network with images of "
            f"{size[0]}×{size[1]}: it has no single last halving. "
            "Leave it out, or try larger images."
        )


def _trace(
    module: nn.Module, maps: Callable[..., Tensor], images: Tensor
) -> tuple[int, list[tuple[str, int, int]]]:
    """Return the last map's height, and the heights around each layer that can halve it."""
    layers = {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, STRIDED) and layer.stride not in (1, (1, 1))
    }
    heights: list[int] = []
    with evaluation_mode(module), torch.inference_mode():
        # a feature (B, D) has no height
        calls = traced(layers, lambda: heights.append((*maps(module, images).shape, 1)[2]))
    return heights[0], [
        (name, inputs[0].shape[-2], output.shape[-2]) for name, inputs, output in calls
    ]


def _stop_halving(module: nn.Module, name: str) -> None:
    """Give one layer stride 1.

    With an even kernel, which has no middle, the map would lose a row and a column: such a pooling
    is removed, and such a convolution pads more on one side.
    """
    layer: Any = module.get_submodule(name)
    even = layer.kernel_size in (2, (2, 2))
    if isinstance(layer, nn.Conv2d):
        layer.stride = (1, 1)
        layer.padding = "same" if even else layer.padding
    elif even:
        module.set_submodule(name, nn.Identity())
    else:
        layer.stride = 1


Chain = tuple[nn.Conv2d, ...]
SCALE_TOLERANCE = 1e-3  # relative to the features' scale


def balance(network: Any, scale: float, size: tuple[int, int]) -> None:
    """Scale the weights of each convolution before a batch norm to a root mean square of `scale`.

    A batch norm removes the scale s of its input. With s · w, s · mean and s² · variance, its
    output is the same except for eps, γ x / √(s² variance + eps), which a factor of γ compensates.

    What changes is how the network learns. At each step, Adam changes a weight by about the
    learning rate, however large the weight is. After long training, weights differ in scale
    between layers, by a factor of two hundred in OSNet: some of its layers change at once, others
    hardly at all.

    scale: positive. size: (height, width) of images that the network can process.
    Raises UserError if the network has no such convolution, or if its features would change.
    """
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    network.eval()
    with torch.no_grad():
        features = network.embed(images)
        chains = convolutions_before_norms(network, images)
        scales = {
            layer: layer.weight.square().mean().sqrt().item()
            for chain in chains.values()
            for layer in chain
        }
        factors = {layer: scale / before for layer, before in scales.items() if before > 0}
        for layer, factor in factors.items():
            layer.weight.mul_(factor)
        for norm, chain in chains.items():
            _follow(norm, math.prod(factors.get(layer, 1.0) for layer in chain))
        largest = features.abs().max().clamp_min(torch.finfo(features.dtype).tiny)  # may be zero
        deviation = (network.embed(images) - features).abs().max() / largest
    if not factors:
        raise UserError(
            "balance: this network has no convolution in front of a batch norm. Leave it out."
        )
    if not deviation < SCALE_TOLERANCE:
        raise UserError(
            f"balance: the features of this network would change by {deviation:.0%}. Leave it out."
        )


def convolutions_before_norms(network: Any, images: Tensor) -> dict[nn.BatchNorm2d, Chain]:
    """Return, for each batch norm, the chain of bias-free convolutions that leads to it."""
    kinds = nn.Conv2d | nn.BatchNorm2d
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, kinds)}
    chains: dict[Tensor, Chain] = {}  # by their output
    found: dict[nn.BatchNorm2d, Chain] = {}
    for name, inputs, output in traced(layers, lambda: network.embed(images)):
        layer, chain = layers[name], chains.get(inputs[0], ())
        if isinstance(layer, nn.BatchNorm2d):
            found[layer] = chain
        elif isinstance(layer, nn.Conv2d) and layer.bias is None:
            chains[output] = (*chain, layer)
    return found


def _follow(norm: nn.BatchNorm2d, factor: float) -> None:
    """Adapt a norm to inputs that are `factor` times as large, keeping its output."""
    mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    before = variance + norm.eps
    mean.mul_(factor)
    variance.mul_(factor**2)
    norm.weight.mul_(((variance + norm.eps) / before).sqrt() / factor)
