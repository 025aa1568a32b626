"""How large a network is and how much it computes, found without data and without weights (on the meta device).

A multiply-add is one multiplication and one addition of a convolution or a matrix product; papers call the same number
MAdds, MACs, or FLOPs.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from reid.models.backbones import build_backbone, find_backbone


@dataclass(frozen=True)
class Complexity:
    """parameters and multiply_adds of one image through a network; dim: width of its feature."""

    parameters: int
    multiply_adds: int
    dim: int


@dataclass(frozen=True)
class Stage:
    """One child of a network: its name, the shape of its output for one image, its parameters and multiply-adds."""

    name: str
    shape: tuple
    parameters: int
    multiply_adds: int


def backbone_complexity(name, size=None, stride=2):
    """The Complexity of the backbone `name`, of images of size (height, width), by default its own."""
    with torch.device("meta"):
        module, entry = build_backbone(name, stride=stride, size=size)
        images = torch.zeros(1, 3, *(size or entry.size))
    return complexity(module.eval(), lambda: entry.feature(module, images))


def complexity(module, run):
    """The Complexity of a module in eval mode; run: run() → its features (1, dim)."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        features = run()
    return Complexity(used_parameters(module), counter.get_total_flops() // 2, features.shape[1])


def stages(module, run):
    """The Stages of a module, one for each child that runs, in the order in which they first finish; run: see above."""
    children = dict(module.named_children())
    shapes: dict[str, tuple] = {}
    counts: dict[str, int] = {}

    def watch(name, sign):
        def note(child, inputs, output=None):
            counts[name] = counts.get(name, 0) + sign * counter.get_total_flops()
            if isinstance(output, torch.Tensor):
                shapes.setdefault(name, tuple(output.shape))

        return note

    hooks = [child.register_forward_pre_hook(watch(name, -1)) for name, child in children.items()]
    hooks += [child.register_forward_hook(watch(name, 1)) for name, child in children.items()]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    for hook in hooks:
        hook.remove()
    return [Stage(name, shape, used_parameters(children[name]), counts[name] // 2) for name, shape in shapes.items()]


def used_parameters(module):
    """Number of parameters, without those of an ImageNet classifier that published checkpoints carry along."""
    unused = [layer for layer in module.modules() if isinstance(layer, nn.Linear) and layer.out_features == 1000]
    return sum(p.numel() for p in module.parameters()) - sum(p.numel() for layer in unused for p in layer.parameters())


def listing(names):
    """The table of `python model.py`: a line for each backbone name, yielded as it is known."""
    yield f"{'':18}{'parameters':>12}{'multiply-adds':>15}{'feature':>9}{'input':>10}   licence of the weights"
    for name in names:
        size = "{}×{}".format(*find_backbone(name).size)
        found = backbone_complexity(name)
        numbers = f"{found.parameters / 1e6:10.2f} M{found.multiply_adds / 1e9:13.2f} G{found.dim:9}{size:>10}"
        yield f"{name:18}{numbers}   {find_backbone(name).licence()}"


def summary(name):
    """The text of `python model.py NAME`: the network's children one by one, and all together."""
    with torch.device("meta"):
        module, entry = build_backbone(name)
        images = torch.zeros(1, 3, *entry.size)
    module.eval()

    def run():
        return entry.feature(module, images)

    lines = [f"{'':18}{'output':>20}{'parameters':>14}{'multiply-adds':>16}"]
    for stage in stages(module, run):
        shape = "×".join(map(str, stage.shape[1:]))
        lines.append(f"{stage.name:18}{shape:>20}{stage.parameters:14,}{stage.multiply_adds:16,}")
    total = complexity(module, run)
    lines.append(f"{'all':18}{total.dim:20}{total.parameters:14,}{total.multiply_adds:16,}")
    lines.append(f"{name}: input {entry.size[0]}×{entry.size[1]}, licence of the ImageNet weights {entry.licence()}")
    return "\n".join(lines)
