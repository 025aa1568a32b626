"""The fused layer, against PyTorch's layers in double precision."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from person_reid.fused import layers
from person_reid.fused.layers import layer, library

pytestmark = pytest.mark.skipif(library() is None, reason="no C compiler with OpenMP")
PARTS = ["norm", "pointwise", "depthwise"]


class Layer(nn.Module):
    """The layer as it is written in PyTorch, and fused."""

    def __init__(self, parts, inputs, channels, activates):
        super().__init__()
        self.pointwise = nn.Conv2d(inputs, channels, 1, bias=False) if parts != "norm" else None
        self.depthwise = None
        if parts == "depthwise":
            self.depthwise = nn.Conv2d(
                channels, channels, 3, padding=1, groups=channels, bias=False
            )
        self.norm = nn.BatchNorm2d(channels, eps=1e-3, momentum=0.3)
        self.activates = activates
        nn.init.normal_(self.norm.weight)
        nn.init.normal_(self.norm.bias)

    def forward(self, x, residual=None):
        for convolution in filter(None, (self.pointwise, self.depthwise)):
            x = convolution(x)
        x = self.norm(x)
        x = x if residual is None else x + residual
        return functional.relu(x) if self.activates else x

    def fused(self, x, residual=None):
        return layer(x, self.norm, self.activates, self.pointwise, self.depthwise, residual)


def maps(*shape, dtype=torch.float32):
    return torch.randn(shape, dtype=dtype).to(memory_format=torch.channels_last)


def results(module, forward, tensors):
    """Output, gradients of tensors and weights, and buffers of a module."""
    tensors = [tensor.detach().requires_grad_() for tensor in tensors]
    y = forward(*tensors)
    weight = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).sin().view_as(y)
    (y * weight + y.square() * weight.roll(1)).sum().backward()
    return [y.detach(), *(t.grad for t in [*tensors, *module.parameters()]), *module.buffers()]


def assert_fused_is_exact(module, tensors):
    """Assert that the fused layer is as near to float64 as PyTorch's float32 layers are."""
    exact, plain = copy.deepcopy(module).double(), copy.deepcopy(module)
    truth = results(exact, exact, [tensor.double() for tensor in tensors])
    usual = results(plain, plain, tensors)
    for found, other, value in zip(
        results(module, module.fused, tensors), usual, truth, strict=True
    ):
        value = value.double()
        limit = 4 * (other - value).norm() + 1e-5 * (1 + value.norm())
        assert found.shape == value.shape
        assert (found - value).norm() <= limit


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("activates", [True, False])
@pytest.mark.parametrize("shortcut", [True, False])
def test_a_fused_layer_equals_the_layers_of_pytorch(parts, activates, shortcut):
    torch.manual_seed(0)
    inputs = 24 if parts == "norm" else 40
    tensors = [maps(5, inputs, 11, 7) * 3 + 50, *([maps(5, 24, 11, 7)] if shortcut else [])]
    module = Layer(parts, inputs, 24, activates)
    assert "_Layer" in str(module.fused(*[tensor.requires_grad_() for tensor in tensors]).grad_fn)
    module.norm.reset_running_stats()
    assert_fused_is_exact(module, tensors)


@given(
    parts=st.sampled_from(PARTS), images=st.integers(1, 4), height=st.integers(1, 9),
    width=st.integers(1, 15), inputs=st.integers(1, 5), channels=st.integers(1, 9),
    shortcut=st.booleans(), threads=st.integers(1, 3),
)  # fmt: skip
def test_a_fused_layer_equals_them_for_any_size(
    parts, images, height, width, inputs, channels, shortcut, threads
):
    torch.manual_seed(images)
    channels, inputs = 8 * channels, 8 * (channels if parts == "norm" else inputs)
    tensors = [maps(images, c, height, width) for c in (inputs, channels)][: 1 + shortcut]
    if images * height * width < 8:  # a variance of few values is ill-conditioned
        return
    usual = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert_fused_is_exact(Layer(parts, inputs, channels, activates=False), tensors)
    finally:
        torch.set_num_threads(usual)


def test_the_same_input_gives_the_same_bits():
    module = Layer("depthwise", 16, 32, True)
    x = maps(6, 16, 12, 6)
    first, second = (
        results(copy.deepcopy(module), each.fused, [x]) for each in [copy.deepcopy(module)] * 2
    )
    assert torch.equal(first[0], second[0])


def test_what_is_not_a_number_stays_so():
    x = maps(2, 8, 4, 3)
    x[1, 3, 2, 1] = float("nan")
    y = Layer("norm", 8, 8, True).fused(x)
    assert y[:, 3].isnan().all()
    assert not y[:, :3].isnan().any()
    y = Layer("depthwise", 8, 8, True).fused(x)
    assert y.isnan().all()


@pytest.fixture
def nothing_compiled(monkeypatch):
    """The library seems to be there, and a call of any of its functions fails."""
    monkeypatch.setattr(layers, "library", object)


def changed(module, **attributes):
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


@pytest.mark.parametrize(
    "change",
    [
        lambda module, x: (module, x.to(memory_format=torch.contiguous_format)),
        lambda module, x: (module.double(), x.double()),
        lambda module, x: (module.eval(), x),
        lambda module, x: (Layer("depthwise", 16, 12, True), x),
        lambda module, x: (changed(module, norm=nn.BatchNorm2d(24, momentum=None)), x),
        lambda module, x: (changed(module, norm=nn.BatchNorm2d(24, affine=False)), x),
        lambda module, x: (changed(module, norm=nn.BatchNorm2d(24, track_running_stats=False)), x),
        lambda module, x: (changed(module, norm=nn.InstanceNorm2d(24)), x),
    ],
    ids=[
        "order",
        "double",
        "testing",
        "channels",
        "momentum",
        "affine",
        "statistics",
        "instance norm",
    ],
)
def test_the_rest_is_left_to_pytorch(change, nothing_compiled):
    module, x = change(Layer("depthwise", 16, 24, True), maps(3, 16, 6, 5))
    with torch.no_grad():
        expected = copy.deepcopy(module)(x)
        assert torch.equal(module.fused(x), expected)


def test_convolutions_that_are_not_pointwise_are_left_to_pytorch():
    x = maps(3, 16, 6, 5)
    for convolution in (
        nn.Conv2d(16, 24, 3, bias=False),
        nn.Conv2d(16, 24, 1),
        nn.Conv2d(16, 24, 1, stride=2, bias=False),
        nn.Conv2d(16, 8, 1, groups=2, bias=False),
    ):
        norm = nn.BatchNorm2d(convolution.out_channels)
        expected = functional.relu(
            copy.deepcopy(norm)(convolution.to(memory_format=torch.channels_last)(x))
        )
        torch.testing.assert_close(
            layer(x, norm, True, convolution), expected, rtol=1e-5, atol=1e-5
        )


def test_half_precision_is_left_to_pytorch(nothing_compiled):
    module, x = Layer("pointwise", 16, 24, True), maps(3, 16, 6, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(copy.deepcopy(module).fused(x), module(x))


def test_a_single_value_is_refused_as_by_pytorch():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        Layer("pointwise", 8, 8, True).fused(maps(1, 8, 1, 1))
