"""Channels that are zero for every image are removed: the network computes the same, and its file stays the same."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.flop_counter import FlopCounterMode

from person_reid.models.osnet import LiteConv3x3
from person_reid.models.pruning import complete, narrow, prune, pruned
from person_reid.retrieval.features import fused_embedding
from tests.support.networks import SIZE, layers, network, with_dead_filters

OSNETS = ["osnet_x0_25", "osnet_ibn_x1_0", "osnet_ain_x0_25"]


def images(count=4):
    return torch.randn(count, 3, *SIZE, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def features(built):
    return built.eval().embed(images().to(next(built.parameters()).dtype))


def multiply_adds(built):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        built.eval().embed(images(1))
    return counter.get_total_flops() / 2


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5 * expected.abs().max().item())


@pytest.mark.parametrize("name", OSNETS)
def test_a_pruned_network_computes_the_same_from_less(name):
    whole = with_dead_filters(name)
    small = copy.deepcopy(whole)
    removed = prune(small)
    widths = {len(layer.bn.weight) for layer in layers(small) if isinstance(layer, LiteConv3x3)}
    assert removed and all(width % 8 == 0 for width in widths)
    close(features(small), features(whole))
    assert multiply_adds(small) < 0.7 * multiply_adds(whole)
    assert small.dim == whole.dim and prune(small) == 0


@pytest.mark.parametrize("name", OSNETS)
def test_a_network_is_pruned_on_its_own_device(name):
    here, elsewhere = with_dead_filters(name), with_dead_filters(name)
    with torch.device("meta"):  # where a new tensor would be that does not follow the network
        assert prune(elsewhere) == prune(here)
    assert torch.equal(features(elsewhere), features(here))


@pytest.mark.parametrize("name", OSNETS)
def test_a_pruned_network_learns_the_same(name):
    whole = with_dead_filters(name).double()
    small = copy.deepcopy(whole)
    prune(small)
    before, learnt = features(whole), []
    for built in (whole, small):
        optimizer = torch.optim.SGD(built.parameters(), lr=0.01)
        for _ in range(2):
            built.train()(images(8).double())[1].square().sum().backward()
            optimizer.step()
        learnt.append(features(built))
    assert not torch.allclose(learnt[0], before, rtol=0.01)
    torch.testing.assert_close(*learnt, rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", OSNETS)
def test_the_state_dict_is_that_of_the_whole_network(name):
    whole = with_dead_filters(name)
    small = copy.deepcopy(whole)
    prune(small)
    average = AveragedModel(small)
    for saved in (complete(small), {key.removeprefix("module."): value for key, value in complete(average).items()}):
        saved.pop("n_averaged", None)
        again = network(name)
        again.load_state_dict(saved)
        torch.testing.assert_close(features(again), features(small))


def test_a_network_takes_the_widths_of_one_that_was_pruned():
    small = with_dead_filters("osnet_ain_x0_25")
    prune(small)
    other = network("osnet_ain_x0_25")
    narrow(other, small.state_dict())
    other.load_state_dict(small.state_dict())
    assert torch.equal(features(other), features(small))
    whole, again = complete(small), complete(other)
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_the_widths_of_another_network_change_nothing_that_could_not_be_loaded():
    built = network()
    narrow(built, network("osnet_x1_0").state_dict())
    assert all(torch.equal(value, built.state_dict()[name]) for name, value in network().state_dict().items())


def trunk(built):
    """The first block of an OSNet: its shortcut and its residual are added."""
    return built.model.conv2[0].downsample, built.model.conv2[0].conv3


@pytest.mark.parametrize("norm", ["bias", "running_mean"])
def test_a_channel_that_is_constant_but_not_zero_stays(norm):
    built = network()
    layer = built.model.conv2[0].conv2b[0]
    layer.conv2.weight.data[8:] = 0
    layer.bn.bias.data[8:] = -1
    copied = copy.deepcopy(built)
    assert prune(copied) == 8 and copied.model.conv2[0].conv2b[1].conv1.in_channels == 8
    layer.bn.get_parameter("bias").data[8:] = 1e-3 if norm == "bias" else -1
    layer.bn.running_mean[8:] = -100 if norm == "running_mean" else 0
    expected = features(built)
    assert prune(built) == 0 and torch.equal(features(built), expected)


def test_a_channel_that_one_of_two_added_maps_has_stays():
    built = network()
    for layer in trunk(built):
        layer.conv.weight.data[:40] = 0
        layer.bn.bias.data[:40] = layer.bn.running_mean[:40] = 0
    following = built.model.conv2[1].conv3  # is added to the same channels
    assert prune(copy.deepcopy(built)) == 0
    following.conv.weight.data[:16] = 0
    following.bn.bias.data[:16] = following.bn.running_mean[:16] = 0
    expected = features(built)
    assert prune(built) == 16 and trunk(built)[0].conv.out_channels == 48
    close(features(built), expected)


def test_a_constant_that_a_relu_makes_zero_of_does_not_keep_a_channel():
    built = network()
    for layer in (*trunk(built), built.model.conv2[1].conv3):
        layer.conv.weight.data[:16] = 0
        layer.bn.bias.data[:16] = -1
        layer.bn.running_mean[:16] = 0
    expected = features(built)
    assert prune(built) == 16
    close(features(built), expected)


def test_a_map_of_zeros_alone_keeps_some_channels():
    built = network()
    layer = built.model.conv2[0].conv2b[0]
    layer.conv1.weight.data.zero_()
    layer.bn.bias.data.zero_()
    layer.bn.running_mean.zero_()
    expected = features(built)
    assert prune(built) == 8
    close(features(built), expected)


def test_a_small_filter_is_not_one_of_zeros():
    """The norm after it may make it as large as the others."""
    built = network()
    layer = built.model.conv2[0].conv2b[0]
    layer.conv2.weight.data[8:] *= 1e-6
    layer.bn.bias.data[8:] = layer.bn.running_mean[8:] = 0
    assert prune(built) == 0


def test_layers_that_see_channels_keep_a_network_as_it_is():
    built = with_dead_filters(attention="se:conv3")
    assert prune(built) == 0 and pruned(built) is built
    assert pruned(plain := network("resnet18")) is plain


def test_features_are_computed_without_them_and_the_network_keeps_them():
    built = with_dead_filters("osnet_x0_25")
    before = {name: value.clone() for name, value in built.state_dict().items()}
    embed = fused_embedding(built, torch.device("cpu"))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        embed(images(1))
    assert counter.get_total_flops() / 2 < 0.7 * multiply_adds(built)
    with torch.no_grad():
        close(embed(images()), features(built))
    assert all(torch.equal(value, before[name]) for name, value in built.state_dict().items())
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in embed.modules())
