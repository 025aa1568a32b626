"""Networks without numbers, on the device meta, are built in half the time."""

import torch


def without_numbers(draw):
    """A function that fills a tensor with random numbers, unless it is on meta.

    PyTorch has nothing to fill there, but checks the shapes in slow Python.
    """

    def drawn(tensor, *words, **named):
        return tensor if tensor.is_meta else draw(tensor, *words, **named)

    return drawn


torch.Tensor.normal_ = without_numbers(torch.Tensor.normal_)  # type: ignore[method-assign]
torch.Tensor.uniform_ = without_numbers(torch.Tensor.uniform_)  # type: ignore[method-assign]
