"""`--balance`: convolutions of one scale. The network computes the same; its layers learn alike."""

import math

import torch
from torch import Tensor, nn

from person_reid.config.option import OptionError
from person_reid.models.modes_and_hooks import traced
from person_reid.models.network import Network

Chain = tuple[nn.Conv2d, ...]
SCALE_TOLERANCE = 1e-3  # relative to the features' scale


def balance(network: Network, scale: float, size: tuple[int, int]) -> None:
    """Give every convolution in front of a batch norm weights whose root mean square is `scale`.

    A batch norm takes the scale s of its input out again. With s · w, s · mean and s² · variance it
    gives the same, but for eps, γ x / √(s² variance + eps), which a factor of γ makes up for.

    What changes is how the network learns. At each step Adam changes a weight by about the learning
    rate, however large it is. Weights that were trained for long differ in scale from layer to
    layer, by a factor of two hundred in OSNet: some of its layers turn at once, others hardly at
    all.

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
        raise OptionError(
            "{balance}: this network has no convolution in front of a batch norm. Leave it out."
        )
    if not deviation < SCALE_TOLERANCE:
        raise OptionError(
            f"{{balance}}: the features of this network would change by {deviation:.0%}. "
            "Leave it out."
        )


def convolutions_before_norms(network: Network, images: Tensor) -> dict[nn.BatchNorm2d, Chain]:
    """Return the convolutions without biases that lead to each batch norm, one after another."""
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
    """Adapt a norm to an input that is `factor` times as large: its output stays what it was."""
    mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    before = variance + norm.eps
    mean.mul_(factor)
    variance.mul_(factor**2)
    norm.weight.mul_(((variance + norm.eps) / before).sqrt() / factor)
