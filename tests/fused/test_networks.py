"""Networks with fused layers, against themselves without."""

import copy

import pytest
import torch

from person_reid.fused.layers import FUSED, fuse, library
from person_reid.models import osnet
from person_reid.models.osnet import OSNet, OSNetAIN
from person_reid.models.osnet_lct import ContextGate, OSNetLCT

needs_compiler = pytest.mark.skipif(library() is None, reason="no C compiler with OpenMP")
NETWORKS = {
    "plain": OSNet(0.25),
    "ibn": OSNet(0.25, ibn=True),
    "ain": OSNetAIN(0.25),
    "lct": OSNetLCT(0.25),
}


def fused_copy(network):
    network = copy.deepcopy(network)
    assert fuse(network)
    return network


def images():
    return torch.randn(6, 3, 96, 48).to(memory_format=torch.channels_last)


@needs_compiler
@pytest.mark.parametrize("name", NETWORKS)
def test_a_fused_network_is_the_same_network(name):
    network = NETWORKS[name].to(memory_format=torch.channels_last)
    exact = copy.deepcopy(network).double()
    plain = copy.deepcopy(network)
    fused = fused_copy(network)
    assert plain.state_dict().keys() == fused.state_dict().keys()
    x = images()
    found = []
    for each in (exact, plain, fused):
        maps = each.forward_features(x.to(next(each.parameters()).dtype))
        (maps * torch.arange(maps.numel()).view_as(maps).sin()).sum().backward()
        gradients = torch.cat(
            [weight.grad.flatten() for weight in each.parameters() if weight.grad is not None]
        )
        buffers = torch.cat([buffer.flatten() for buffer in each.buffers()])
        found.append([maps.detach().double(), buffers.double(), gradients.double()])
    for value, other, of_fused in zip(*[each[:2] for each in found], strict=True):
        assert (of_fused - value).norm() <= 3 * (other - value).norm() + 1e-5 * value.norm()
    exactly, _, of_fused = (each[2] for each in found)
    # Rounding switches ReLUs, with and without fused layers.
    assert (of_fused - exactly).norm() < 0.2 * exactly.norm()


@needs_compiler
def test_a_fused_network_in_testing_gives_the_same_bits():
    network = OSNet(0.25).eval()
    x = images()
    with torch.inference_mode():
        assert torch.equal(fused_copy(network)(x), network(x))


@needs_compiler
@pytest.mark.parametrize("kind", [osnet.Gate, ContextGate])
def test_a_gate_mixes_as_the_paper_says(kind):
    torch.manual_seed(0)
    gate = kind(32)
    for parameter in gate.parameters():
        torch.nn.init.normal_(parameter)
    exact, fused = copy.deepcopy(gate).double(), fused_copy(torch.nn.Sequential(gate))[0]
    assert type(fused) is FUSED[kind]
    streams = [torch.randn(3, 32, 5, 7).to(memory_format=torch.channels_last) for _ in range(4)]
    found = []
    for each, dtype in ((exact, torch.float64), (fused, torch.float32)):
        tensors = [stream.to(dtype).requires_grad_() for stream in streams]
        mixed = each(tensors)
        (mixed * torch.arange(mixed.numel(), dtype=dtype).view_as(mixed).sin()).sum().backward()
        found.append([mixed.detach(), *(tensor.grad for tensor in [*tensors, *each.parameters()])])
    assert "_Mixture" in str(mixed.grad_fn)
    for exactly, nearly in zip(*found, strict=True):
        torch.testing.assert_close(nearly.double(), exactly, rtol=1e-4, atol=1e-5)


@needs_compiler
def test_a_gate_that_does_not_learn_passes_the_gradient_on():
    gate = fused_copy(torch.nn.Sequential(osnet.Gate(16)))[0].requires_grad_(False)
    streams = [
        torch.randn(2, 16, 3, 3).to(memory_format=torch.channels_last).requires_grad_()
        for _ in range(4)
    ]
    gate(streams).sum().backward()
    assert all(stream.grad.abs().sum() > 0 for stream in streams)
    assert gate.fc1.weight.grad is None


@needs_compiler
@pytest.mark.parametrize("name, count", [("plain", 4), ("lct", 5)])
def test_every_layer_of_osnet_is_fused(name, count):
    kinds = {type(module) for module in fused_copy(NETWORKS[name]).modules()}
    assert not kinds & FUSED.keys()
    assert len(kinds & set(FUSED.values())) == count


def test_networks_without_such_layers_stay():
    network = torch.nn.Sequential(torch.nn.Conv2d(8, 8, 1), torch.nn.BatchNorm2d(8))
    assert not fuse(network)


@pytest.mark.parametrize(
    "name, remark", [("false", False), ("no-such-compiler", True), ("cc -no-such-flag", True)]
)
def test_without_a_compiler_the_layers_are_pytorchs(monkeypatch, caplog, name, remark):
    monkeypatch.setenv("CC", name)
    monkeypatch.setattr("person_reid.fused.layers.library", library.__wrapped__)
    network = OSNet(0.25)
    with caplog.at_level("INFO"):
        assert not fuse(network)
    assert ("no C compiler works" in caplog.text) == remark
    assert {type(module) for module in network.modules()} & FUSED.keys()
