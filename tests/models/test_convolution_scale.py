"""--balance: convolutions in front of norms get one scale, and the network computes the same."""

import pytest
import torch
from torch import nn

from person_reid.config.network import NetworkOptions
from person_reid.errors import UserError
from person_reid.models.factory import create_model, find_architecture
from person_reid.models.network import Network
from person_reid.models.surgery import balance, convolutions_before_norms

SIZE = (64, 32)
NETWORKS = [
    "osnet_x0_25",
    "osnet_ibn_x1_0",
    "osnet_ain_x0_25",
    "resnet18",
    "resnet50_ibn_a",
    "mobilenetv3_small",
]


class Small(Network):
    """A chain of convolutions, a norm, and a convolution with a bias.

    `aside` adds what a norm does not see.
    """

    def __init__(self, aside=False):
        super().__init__(nn.Module(), find_architecture("osnet_x0_25"), NetworkOptions())
        self.first = nn.Conv2d(3, 8, 1, bias=False)
        self.second = nn.Conv2d(8, 8, 3, groups=8, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.last = nn.Conv2d(8, 4, 1)
        self.last_norm = nn.BatchNorm2d(4)
        self.aside = aside

    def embed(self, images):
        maps = self.first(images)
        maps = self.norm(self.second(maps)) + maps[:, :, 1:-1, 1:-1] * self.aside
        return self.last_norm(self.last(maps)).flatten(1)


def trained_for_long(network):
    """Scale the convolutions as training may.

    The variance in front of some norms becomes as small as their eps.
    """
    generator = torch.Generator().manual_seed(0)
    for norm, chain in chains(network).items():
        for layer in chain:
            layer.weight.data.mul_(10 ** torch.empty(1).uniform_(-2, 1, generator=generator).item())
        norm.momentum = 1.0
    with torch.no_grad():
        network.train().embed(torch.randn(8, 3, *SIZE, generator=generator))
    return network


def chains(network):
    with torch.no_grad():
        return convolutions_before_norms(network.eval(), torch.randn(2, 3, *SIZE))


def size_of(layer):
    return layer.weight.detach().square().mean().sqrt().item()


def features(network):
    with torch.no_grad():
        return network.eval().embed(
            torch.randn(4, 3, *SIZE, generator=torch.Generator().manual_seed(1))
        )


@pytest.mark.parametrize("name", NETWORKS)
def test_a_balanced_network_computes_the_same(name):
    network = trained_for_long(create_model(name, weights="none", size=SIZE))
    before = features(network)
    balance(network, 0.1, SIZE)
    torch.testing.assert_close(
        features(network), before, rtol=0, atol=1e-3 * before.abs().max().item()
    )
    sizes = [size_of(layer) for chain in chains(network).values() for layer in chain]
    assert len(sizes) > 15
    assert sizes == pytest.approx([0.1] * len(sizes))


def test_the_convolutions_are_those_whose_scale_a_norm_takes_out():
    network = Small()
    assert chains(network) == {network.norm: (network.first, network.second), network.last_norm: ()}
    before = network.last.weight.clone()
    balance(network, 0.5, SIZE)
    assert torch.equal(network.last.weight, before)
    assert size_of(network.first) == pytest.approx(0.5)


def test_the_statistics_are_those_of_the_scaled_maps():
    network = trained_for_long(Small())
    means, variances = network.norm.running_mean.clone(), network.norm.running_var.clone()
    factor = 0.5**2 / (size_of(network.first) * size_of(network.second))
    balance(network, 0.5, SIZE)
    torch.testing.assert_close(network.norm.running_mean, factor * means)
    torch.testing.assert_close(network.norm.running_var, factor**2 * variances)


def test_filters_of_zeros_stay_zero():
    network = Small()
    nn.init.zeros_(network.first.weight)
    balance(network, 0.5, SIZE)
    assert not network.first.weight.any()
    assert size_of(network.second) == pytest.approx(0.5)


def test_features_of_zeros_stay_zero():
    network = Small()
    nn.init.zeros_(network.last_norm.weight)
    balance(network, 0.5, SIZE)
    assert not features(network).any()
    assert size_of(network.first) == pytest.approx(0.5)


def test_a_network_that_would_compute_something_else_is_refused():
    with pytest.raises(UserError, match="balance: the features of this network would change"):
        balance(Small(aside=True), 0.5, SIZE)


def test_a_network_without_such_convolutions_is_refused():
    network = create_model("vit_small", weights="none", size=SIZE)
    with pytest.raises(
        UserError, match="balance: this network has no convolution in front of a batch norm"
    ):
        balance(network, 0.5, SIZE)
