"""Count the weights of a network and the multiply-adds of its forward pass.

The count needs neither data nor the values of weights (meta device).

A multiply-add is one multiplication and one addition in a convolution or a matrix product; papers
call the same number MAdds, MACs or FLOPs.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from person_reid.models.factory import create_model, find_architecture
from person_reid.models.heads import heads_of
from person_reid.models.network import Network, unused_classifiers
from person_reid.models.surgery import hooked, shapes_alone


class Stage(NamedTuple):
    """The cost of a layer, a stage or a network.

    shape: the shape of its output for one image. multiply_adds: the number needed for one image.
    """

    name: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


def complexity(network: Network, size: tuple[int, int]) -> Stage:
    """Measure a network without its classifiers, for images of size (height, width)."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.embed(_image(network, size))
    return Stage("all", (network.dim,), used_parameters(network), counter.get_total_flops() // 2)


def stages(network: Network, size: tuple[int, int]) -> list[Stage]:
    """Measure the stages of the backbone and the other parts of a network.

    They are in the order in which they first finish.
    """
    parts = {
        **_parts(network.module),
        **{name: part for name, part in network.named_children() if name != "model"},
    }
    shapes: dict[str, tuple[int, ...]] = {}
    counts = dict.fromkeys(parts, 0)

    def note(name: str, sign: int, part: nn.Module, inputs: Any, output: Any = None) -> None:
        counts[name] += sign * counter.get_total_flops()
        output = output[0] if isinstance(output, list) else output  # HRNet's have several maps
        if isinstance(output, Tensor):
            shapes.setdefault(name, tuple(output.shape[1:]))

    hooks = [
        part.register_forward_pre_hook(partial(note, name, -1)) for name, part in parts.items()
    ]
    hooks += [part.register_forward_hook(partial(note, name, 1)) for name, part in parts.items()]
    with hooked(hooks), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.embed(_image(network, size))
    return [
        Stage(name, shape, used_parameters(parts[name]), counts[name] // 2)
        for name, shape in shapes.items()
    ]


def used_parameters(module: nn.Module) -> int:
    """Count the parameters that a feature depends on: those outside all classifiers."""
    unused: list[nn.Module] = [head.classifier for head in heads_of(module)]
    if isinstance(module, Network):
        unused += unused_classifiers(module)
    return sum(p.numel() for p in module.parameters()) - sum(
        p.numel() for layer in unused for p in layer.parameters()
    )


def layer_table(name: str) -> str:
    """Return a table of a network's layers and stages, with their total in the last line."""
    network, architecture = without_weights(name), find_architecture(name)
    lines = [f"{'':24}{'output':>16}{'parameters':>14}{'multiply-adds':>18}"]
    for stage in (*stages(network, architecture.size), complexity(network, architecture.size)):
        lines.append(
            f"{stage.name:24}{_shape(stage.shape):>16}{stage.parameters:14,}{stage.multiply_adds:18,}"
        )
    lines.append(
        f"{name}: input {_shape(architecture.size)}, "
        f"licence of the ImageNet weights: {architecture.licence()}"
    )
    return "\n".join(lines)


def without_weights(name: str) -> Network:
    """Return a network whose tensors have shapes but no values."""
    import torchvision  # noqa: F401  # PyTorch 2.6 cannot import it on the meta device

    with shapes_alone():
        return create_model(name, weights="none").eval()


def _parts(module: nn.Module, prefix: str = "") -> dict[str, nn.Module]:
    """Return the children of a module by name.

    A ModuleList or ModuleDict never runs: its own children are returned in its place.
    """
    parts: dict[str, nn.Module] = {}
    for name, child in module.named_children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            parts.update(_parts(child, f"{prefix}{name}."))
        else:
            parts[prefix + name] = child
    return parts


def _image(network: Network, size: tuple[int, int]) -> Tensor:
    return torch.zeros(1, 3, *size, device=next(network.parameters()).device)


def _shape(sizes: Iterable[int]) -> str:
    return "×".join(map(str, sizes))
