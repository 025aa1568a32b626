"""Remove the channels of a network that are zero for every image: it computes the same in less time.

Adam with weight decay drives filters that the loss hardly needs to zero. A filter of zeros gets no gradient: it learns
nothing more, and costs as much as the others. More than half of the filters are zero in the OSNet x1.0 that its authors
trained on MSMT17.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from person_reid.models.network import Network
from person_reid.models.osnet import ConvNorm, LiteConv3x3, OmniScaleBlock, OSNet
from person_reid.models.osnet_ain import AdaptiveBlock, OSNetAIN

STEP = 8  # a multiple of it is kept: processors compute with as many channels at once
ZERO = 1e-12  # the largest weight of a dead filter: decay leaves the smallest numbers that float32 has
SILENT = 1e-5  # the largest output of a dead filter, which the norm after it decides


@dataclass
class Channels:
    """The channels of a map, or of maps that are added, behind a ReLU.

    writers: the layers that make them, each as its convolutions and the norm after them. readers: the convolutions that
    see the map. others: further convolutions with an output for each channel.
    """

    writers: list[tuple[list[nn.Conv2d], nn.Module]] = field(default_factory=list)
    readers: list[nn.Conv2d] = field(default_factory=list)
    others: list[nn.Conv2d] = field(default_factory=list)

    def write(self, *layers: Any) -> "Channels":
        """Add layers, ConvNorm or LiteConv3x3, to the writers."""
        for layer in layers:
            convolutions = [layer.conv1, layer.conv2] if isinstance(layer, LiteConv3x3) else [layer.conv]
            self.writers.append((convolutions, layer.bn))
        return self

    def __len__(self) -> int:
        return len(self.readers[0].weight[0])

    def alive(self) -> Tensor:
        """Return the indices (K,) of the channels to keep: all that are not dead, and more up to a multiple of STEP."""
        dead = torch.stack([_is_dead(*writer) for writer in self.writers]).all(0)
        count = -(-max(1, int((~dead).sum())) // STEP) * STEP
        return dead.int().argsort(stable=True)[:count].sort().values

    def keep(self, kept: Tensor) -> None:
        """Leave the layers only the channels `kept` (K,)."""
        for convolutions, norm in self.writers:
            for layer in (*convolutions, norm):
                _select(layer, kept, 0)
        for layer in self.others:
            _select(layer, kept, 0)
        for layer in self.readers:
            _select(layer, kept, 1)


def prune(network: nn.Module) -> int:
    """Remove the dead channels of every OSNet in a network, in place; return how many there were.

    A channel is dead if its filter is zero in every map that is added to it, and what the norms make of it is not
    positive. The feature keeps its width. Other networks are left as they are, and so is an OSNet with layers that are
    not its own.
    """
    found = [channels for osnet in _osnets(network) for channels in maps_of(osnet)]
    kept = [channels.alive() for channels in found]
    removed = 0
    for channels, indices in zip(found, kept, strict=True):
        if fewer := len(channels) - len(indices):
            channels.keep(indices)
            removed += fewer
    return removed


def pruned(network: Network) -> Network:
    """Return a copy of a network without its dead channels, or the network itself if it has none."""
    copy = deepcopy(network) if _osnets(network) else network
    return copy if prune(copy) else network


def complete(network: nn.Module) -> dict[str, Tensor]:
    """Return the state dict of a network, or of its average, as before `prune`: with zeros for what was removed."""
    state: dict[str, Tensor] = network.state_dict()
    for name, layer in network.named_modules():
        for key, shape in getattr(layer, "shapes_before", {}).items():
            rest = state[f"{name}.{key}"]
            state[f"{name}.{key}"] = rest.new_zeros(shape)
            state[f"{name}.{key}"][tuple(map(slice, rest.shape))] = rest
    return state


def narrow(network: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    """Give a network the widths of the state dict of one that was pruned, in place; its weights are lost."""
    for name, layer in network.named_modules():
        weight = state_dict.get(f"{name}.weight")
        if isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.InstanceNorm2d) and weight is not None:
            for dim, size in enumerate(weight.shape[:2]):
                if size < layer.weight.shape[dim]:
                    _select(layer, torch.arange(size), dim)


def maps_of(osnet: Any) -> Iterator[Channels]:
    """Yield the channels of every map of an OSNet, except the last, which is the feature."""
    first, *parts = _parts(osnet)
    trunk = Channels().write(first)  # the map between blocks
    for part in parts:
        if isinstance(part, ConvNorm):
            trunk.readers.append(part.conv)
            yield trunk
            trunk = Channels().write(part)
            continue
        yield from _maps_in(part)
        trunk.readers.append(part.conv1.conv)
        if isinstance(part.downsample, ConvNorm):
            trunk.readers.append(part.downsample.conv)
            yield trunk
            trunk = Channels().write(part.downsample)
        trunk.write(part.conv3)
        if not isinstance(part.IN, nn.Identity):
            trunk.writers.append(([], part.IN))


def _maps_in(block: Any) -> Iterator[Channels]:
    """Yield the channels of the maps within a block: of its input, of each stream, and of the streams' sum."""
    streams = [[layer for layer in stream.modules() if isinstance(layer, LiteConv3x3)] for stream in block.streams]
    yield Channels(readers=[stream[0].conv1 for stream in streams]).write(block.conv1)
    for stream in streams:
        for layer, following in pairwise(stream):
            yield Channels(readers=[following.conv1]).write(layer)
    gate = block.gate
    yield Channels(readers=[block.conv3.conv, gate.fc1], others=[gate.fc2]).write(*(stream[-1] for stream in streams))


def _osnets(network: nn.Module) -> list[nn.Module]:
    """Return the OSNets in a network whose layers are all their own: others, as of --attention, see channels, too."""

    def is_whole(osnet: Any) -> bool:
        own = {weight for layer in (*_parts(osnet), osnet.fc) for weight in layer.parameters()}
        return own == set(osnet.parameters())

    return [module for module in network.modules() if isinstance(module, OSNet | OSNetAIN) and is_whole(module)]


def _parts(osnet: nn.Module) -> list[Any]:
    """Return the convolutions and blocks of an OSNet, in the order in which they compute."""
    parts = [layer for layer in osnet.modules() if isinstance(layer, ConvNorm | OmniScaleBlock | AdaptiveBlock)]
    inner = {layer for part in parts for layer in part.modules() if layer is not part}
    return [part for part in parts if part not in inner]


@torch.no_grad()
def _is_dead(convolutions: list[nn.Conv2d], norm: Any) -> Tensor:
    """Say of each output of convolutions and a norm whether it is zero, or negative, for every image: (C,) bool."""
    outputs = [torch.zeros_like(convolutions[0].weight[:, 0, 0, 0]) if isinstance(norm, nn.Identity) else norm.bias]
    if isinstance(norm, nn.BatchNorm2d):  # in evaluation; in training the mean is that of the batch, zero
        mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
        outputs.append(norm.bias - norm.weight * mean / (variance + norm.eps).sqrt())
    dead = torch.stack(outputs).amax(0) <= SILENT
    if convolutions:
        filters = torch.stack([layer.weight.abs().flatten(1).amax(1) for layer in convolutions])
        dead = dead & (filters <= ZERO).any(0)
    return dead


def _select(layer: Any, kept: Tensor, dim: int) -> None:
    """Leave a convolution or a norm the outputs (dim 0) or the inputs (dim 1) `kept`, in place."""
    tensors = dict([*layer.named_parameters(), *layer.named_buffers()])
    before = {name: tensor.shape for name, tensor in tensors.items()}
    layer.shapes_before = getattr(layer, "shapes_before", before)
    for tensor in tensors.values():
        if tensor.ndim > dim:  # a norm's counter has no dimension, and its statistics follow its outputs
            tensor.data = tensor.data.index_select(dim, kept.to(tensor.device))
    if isinstance(layer, nn.Conv2d):
        layer.out_channels = len(layer.weight)
        layer.groups = 1 if layer.groups == 1 else layer.out_channels
        layer.in_channels = layer.weight.shape[1] * layer.groups
    elif tensors:
        layer.num_features = len(layer.weight)
