"""Functions that look into a network leave it as it was, also after an error."""

import pytest
import torch
from torch import nn

from person_reid.models.factory import create_model
from person_reid.models.surgery import evaluation_mode, hooked, shapes_alone


@pytest.fixture
def network():
    return nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.Dropout()), nn.Linear(2, 2))


def test_modes_come_back_after_an_error(network):
    network[1].eval()
    with pytest.raises(ValueError), evaluation_mode(network):
        assert not any(module.training for module in network.modules())
        raise ValueError
    assert network.training
    assert network[0].training
    assert not network[1].training


def test_hooks_stay_until_an_error(network):
    called: list[nn.Module] = []
    hooks = (
        layer.register_forward_hook(lambda layer, *_: called.append(layer)) for layer in network
    )
    with pytest.raises(ValueError), hooked(hooks):
        network(torch.zeros(1, 2))
        raise ValueError
    network(torch.zeros(1, 2))
    assert called == list(network)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "osnet_x0_25", "resnet18"])
def test_shapes_alone_are_those_of_the_network(name):
    whole = create_model(name)
    with shapes_alone():
        outline = create_model(name)
    assert all(tensor.is_meta for tensor in outline.state_dict().values())
    assert [(key, tensor.shape) for key, tensor in outline.state_dict().items()] == [
        (key, tensor.shape) for key, tensor in whole.state_dict().items()
    ]
    assert torch.ones(2).add_(1).tolist() == [2, 2]
