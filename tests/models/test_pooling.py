"""Poolings against loops over positions."""

import math

import pytest
import torch
from torch.nn import functional

from person_reid.config.network import POOL_NAMES
from person_reid.models.heads import POOLINGS, GeneralizedMeanPool, build_pooling, pool_stripes


def slow(name, values):
    """The definition, for the values of one channel, in float64."""
    if name == "avg":
        return sum(values) / len(values)
    if name == "max":
        return max(values)
    if name == "avgmax":
        return (slow("avg", values) + slow("max", values)) / 2
    return (sum(max(value, 1e-6) ** 3 for value in values) / len(values)) ** (1 / 3)


def test_every_flag_has_its_pooling():
    assert tuple(POOLINGS) == POOL_NAMES


@pytest.mark.parametrize("name", POOL_NAMES)
def test_a_pooling_is_its_definition(name):
    maps = torch.randn(2, 3, 4, 5)
    expected = [[slow(name, channel.flatten().tolist()) for channel in image] for image in maps]
    torch.testing.assert_close(build_pooling(name)(maps), torch.tensor(expected))


@pytest.mark.parametrize("name", POOL_NAMES)
@pytest.mark.parametrize(
    "maps", [torch.zeros(2, 3, 4, 2), torch.full((2, 3, 4, 2), 1e4), -torch.ones(2, 3, 4, 2)]
)
def test_gradients_stay_finite(name, maps):
    pooling = build_pooling(name)
    maps = maps.clone().requires_grad_()
    pooling(maps).sum().backward()
    assert maps.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in pooling.parameters())


@pytest.mark.parametrize("name", POOL_NAMES)
def test_half_precision_is_pooled_in_float32(name):
    maps = torch.rand(2, 3, 16, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = build_pooling(name)(maps.bfloat16())
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled, build_pooling(name)(maps.bfloat16().float()))


def test_the_gradient_of_gem_is_that_of_its_formula():
    maps = torch.rand(2, 3, 4, 2, dtype=torch.float64).requires_grad_()
    power = torch.tensor([3.0], dtype=torch.float64, requires_grad=True)
    expected = torch.autograd.grad(maps.pow(power).mean((2, 3)).pow(1 / power).sum(), [maps, power])
    pooling = GeneralizedMeanPool(learn=True)
    copy = maps.detach().float().requires_grad_()
    gradients = torch.autograd.grad(pooling(copy).sum(), [copy, *pooling.parameters()])
    torch.testing.assert_close(
        [gradient.double() for gradient in gradients], list(expected), rtol=1e-4, atol=1e-6
    )


def test_gem_lies_between_the_mean_and_the_largest_value():
    maps = torch.rand(1, 1, 6, 6)
    values = [GeneralizedMeanPool(p)(maps).item() for p in (1, 3, 10, 200)]
    assert values == sorted(values)
    assert math.isclose(values[0], maps.mean().item(), rel_tol=1e-5)
    assert math.isclose(values[-1], maps.max().item(), rel_tol=0.02)


def test_only_gemp_learns_its_power():
    assert [len(list(build_pooling(name).parameters())) for name in POOL_NAMES] == [0, 0, 0, 0, 1]


@pytest.mark.parametrize("height", [24, 16, 6, 3])
def test_stripes_are_those_of_adaptive_pooling(height):
    maps = torch.randn(2, 3, height, 5)
    expected = functional.adaptive_avg_pool2d(maps, (6, 1)).squeeze(3)
    torch.testing.assert_close(
        torch.stack(pool_stripes(maps, 6, build_pooling("avg")), dim=2), expected
    )
    expected = functional.adaptive_max_pool2d(maps, (6, 1)).squeeze(3)
    torch.testing.assert_close(
        torch.stack(pool_stripes(maps, 6, build_pooling("max")), dim=2), expected
    )
