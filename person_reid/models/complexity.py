"""How large a network is and how much it computes, found without data and without weights (on the meta device).

A multiply-add is one multiplication and one addition of a convolution or a matrix product; papers call the same number
MAdds, MACs, or FLOPs.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

HEADER = f"{'':18}{'parameters':>12}{'multiply-adds':>15}{'feature':>9}{'input':>10}   licence of the weights"


@dataclass(frozen=True)
class Complexity:
    """parameters and multiply_adds of one image on its way to its feature."""

    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Stage:
    """One layer or stage: its name, the shape of its output for one image, its parameters and multiply-adds."""

    name: str
    shape: tuple
    parameters: int
    multiply_adds: int


def complexity(network, size):
    """The Complexity of a Network at test, in eval mode and without classifiers, for images of size (height, width)."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.embed(_image(network, size))
    return Complexity(used_parameters(network), counter.get_total_flops() // 2)


def stages(network, size):
    """The Stages of a Network, those of its backbone one by one, in the order in which they first finish."""
    parts = {**_parts(network.model), **{name: part for name, part in network.named_children() if name != "model"}}
    shapes: dict[str, tuple] = {}
    counts = dict.fromkeys(parts, 0)

    def watch(name, sign):
        def note(part, inputs, output=None):
            counts[name] += sign * counter.get_total_flops()
            if isinstance(output, torch.Tensor):
                shapes.setdefault(name, tuple(output.shape[1:]))

        return note

    hooks = [part.register_forward_pre_hook(watch(name, -1)) for name, part in parts.items()]
    hooks += [part.register_forward_hook(watch(name, 1)) for name, part in parts.items()]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.embed(_image(network, size))
    for hook in hooks:
        hook.remove()
    return [Stage(name, shape, used_parameters(parts[name]), counts[name] // 2) for name, shape in shapes.items()]


def used_parameters(module):
    """Number of parameters, without those of an ImageNet classifier that published checkpoints carry along."""
    unused = [layer for layer in module.modules() if isinstance(layer, nn.Linear) and layer.out_features == 1000]
    return sum(p.numel() for p in module.parameters()) - sum(p.numel() for layer in unused for p in layer.parameters())


def table_line(name, network, entry):
    """A network's line under HEADER."""
    found = complexity(network, entry.size)
    numbers = f"{found.parameters / 1e6:10.2f} M{found.multiply_adds / 1e9:13.2f} G{network.dim:9}"
    return f"{name:18}{numbers}{_shape(entry.size):>10}   {entry.licence()}"


def summary(name, network, entry):
    """A network's layers and stages one by one, and all together, as text."""
    lines = [f"{'':24}{'output':>16}{'parameters':>14}{'multiply-adds':>18}"]
    for stage in stages(network, entry.size):
        lines.append(f"{stage.name:24}{_shape(stage.shape):>16}{stage.parameters:14,}{stage.multiply_adds:18,}")
    total = complexity(network, entry.size)
    lines.append(f"{'all':24}{network.dim:16}{total.parameters:14,}{total.multiply_adds:18,}")
    lines.append(f"{name}: input {_shape(entry.size)}, licence of the ImageNet weights: {entry.licence()}")
    return "\n".join(lines)


def _parts(module, prefix=""):
    """The children of a module under their names; a list of modules, which never runs itself, gives its own."""
    parts = {}
    for name, child in module.named_children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            parts.update(_parts(child, f"{prefix}{name}."))
        else:
            parts[prefix + name] = child
    return parts


def _image(network, size):
    return torch.zeros(1, 3, *size, device=next(network.parameters()).device)


def _shape(sizes):
    return "×".join(map(str, sizes))
