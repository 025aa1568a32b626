"""Max pooling in compiled training, against PyTorch's own."""

import copy

import pytest
import torch
from torch import nn

from person_reid.training.compiled_pooling import MaxPool, max_pool, max_pool_backward, replace_pools


@pytest.mark.parametrize("kernel, stride, padding", [(3, 2, 1), (3, 1, 1), (2, 2, 0)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_equals_max_pooling_compiled_or_not(kernel, stride, padding, layout, kind):
    pool = MaxPool(kernel, stride, padding)
    images = torch.randn(2, 8, 13, 10).round().to(kind).to(memory_format=layout)  # rounded, so that values are equal
    torch.compiler.reset()
    pools = [nn.MaxPool2d(kernel, stride, padding), pool, torch.compile(pool, backend="aot_eager", fullgraph=True)]
    expected, eager, compiled = (_values_and_gradient(each, images) for each in pools)
    assert all(map(torch.equal, eager, expected))
    assert all(map(torch.equal, compiled, expected))


def _values_and_gradient(pool, images):
    images = images.clone(memory_format=torch.preserve_format).requires_grad_()
    pooled = pool(images)
    pooled.float().square().sum().backward()
    return pooled, images.grad


def test_the_operator_is_used_in_compiled_training_alone():
    graphs: list[str] = []

    def look(graph, examples):
        graphs.append(graph.code)
        return graph

    torch.compiler.reset()
    pool = MaxPool(3, 2, 1)
    for training in (True, False):
        torch.compile(copy.deepcopy(pool).train(training), backend=look)(torch.randn(1, 2, 8, 8))
    assert ["person_reid" in code for code in graphs] == [True, False]


def test_the_operators_keep_their_promises():
    maps = torch.randn(2, 3, 8, 6, requires_grad=True)
    torch.library.opcheck(max_pool, (maps, 3, 2, 1))
    pooled, places = max_pool(maps.detach(), 3, 2, 1)
    torch.library.opcheck(max_pool_backward, (pooled, maps.detach(), places, 3, 2, 1))


def test_poolings_of_square_windows_are_replaced():
    kept = [nn.MaxPool2d((3, 2)), nn.MaxPool2d(3, dilation=2), nn.MaxPool2d(3, ceil_mode=True), nn.AvgPool2d(2)]
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.MaxPool2d(3, 2, 1)), *kept)
    keys = network.state_dict().keys()
    replace_pools(network)
    assert type(network[1][0]) is MaxPool and list(network[2:]) == kept
    assert network.state_dict().keys() == keys
    assert network.eval()(torch.randn(1, 3, 128, 128)).shape[1] == 4
