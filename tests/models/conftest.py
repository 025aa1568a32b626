"""Networks without numbers, on the device meta, take half the time; numbers are drawn once."""

from functools import cache

import pytest
import torch

from benchmarks.support.filled_networks import filled


def without_numbers(draw):
    """A function that fills a tensor with random numbers, unless it is on meta.

    PyTorch has nothing to fill there, but checks the shapes in slow Python.
    """

    def drawn(tensor, *words, **named):
        return tensor if tensor.is_meta else draw(tensor, *words, **named)

    return drawn


torch.Tensor.normal_ = without_numbers(torch.Tensor.normal_)  # type: ignore[method-assign]
torch.Tensor.uniform_ = without_numbers(torch.Tensor.uniform_)  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def drawn():
    """Values of a weight by its name and shape, which the variants of a network share."""
    return cache(filled)
