"""Batch norms fitted to the images of a test, without a label."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from person_reid.data.images.augment import normalise
from person_reid.deploy.find import reestimate_batch_norms
from person_reid.errors import UserError

CPU = torch.device("cpu")


class Small(nn.Module):
    """A convolution, a batch norm and dropout, which must not blur the statistics."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))

    def embed(self, images):
        return self.layers(images).mean((2, 3))


def images(count):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 6, 4, 3), np.uint8))


@pytest.mark.parametrize("count", [2, 64])
def test_statistics_are_those_of_the_images(count):
    network: Any = Small()
    bank = images(count)
    weights = network.layers[1].weight.clone()
    reestimate_batch_norms(network, bank, CPU)
    with torch.no_grad():
        maps = network.layers[1](normalise(bank)).transpose(0, 1).flatten(1)
    norm = network.layers[2]
    torch.testing.assert_close(norm.running_mean, maps.mean(1))
    torch.testing.assert_close(norm.running_var, maps.var(1))
    assert torch.equal(network.layers[1].weight, weights)
    assert norm.momentum == 0.1
    assert not any(module.training for module in network.modules())


def test_statistics_of_several_batches_are_their_mean():
    """The statistics of 65 images in two batches are not those of one batch.

    No batch has a single image either.
    """
    network: Any = Small()
    bank = images(65)
    reestimate_batch_norms(network, bank, CPU)
    order = torch.randperm(65, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps = [
            network.layers[1](normalise(bank[part])).transpose(0, 1).flatten(1)
            for part in order.tensor_split(2)
        ]
    torch.testing.assert_close(network.layers[2].running_var, (maps[0].var(1) + maps[1].var(1)) / 2)


def test_networks_and_images_without_statistics_are_refused():
    network: Any = Small()
    with pytest.raises(UserError, match="single image"):
        reestimate_batch_norms(network, images(1), CPU)
    del network.layers[2]
    with pytest.raises(UserError, match="no batch norm"):
        reestimate_batch_norms(network, images(8), CPU)
