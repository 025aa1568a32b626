"""Max pooling at full speed in compiled training on a processor.

TorchInductor writes a scalar loop for it, a tenth of OSNet's training step in bfloat16. Behind an operator of its own,
PyTorch's vectorised kernels do the work, with the same values and gradients.
"""

from typing import Any

import torch
from torch import Tensor, nn

aten = torch.ops.aten


class MaxPool(nn.MaxPool2d):
    """nn.MaxPool2d of square windows, without dilation."""

    def forward(self, maps: Tensor) -> Tensor:
        if self.training and maps.device.type == "cpu" and torch.compiler.is_compiling():
            return max_pool(maps, self.kernel_size, self.stride, self.padding)[0]
        return super().forward(maps)


def replace_pools(module: nn.Module) -> None:
    """Make every max pooling in a module a MaxPool, in place; those with other windows stay."""
    for name, layer in list(module.named_modules()):
        if type(layer) is nn.MaxPool2d and layer.dilation == 1 and not layer.ceil_mode:
            window = (layer.kernel_size, layer.stride, layer.padding)
            if all(isinstance(number, int) for number in window):
                module.set_submodule(name, MaxPool(*window))


def _pool(maps: Tensor, kernel: int, stride: int, padding: int) -> tuple[Tensor, Tensor]:
    """Return the largest values (B, C, h, w) of the windows of maps (B, C, H, W), and where they are."""
    pooled, places = aten.max_pool2d_with_indices(maps, [kernel], [stride], [padding])
    return pooled, places


def _gradient(gradient: Tensor, maps: Tensor, places: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """Return the gradient of `maps`, given that of the values that _pool found at `places`."""
    window = ([kernel], [stride], [padding], [1], False)
    return aten.max_pool2d_with_indices_backward(gradient, maps, *window, places)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    maps, *ctx.window = inputs
    ctx.save_for_backward(maps, output[1])
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, gradient: Tensor, _: Any) -> tuple[Any, ...]:
    return max_pool_backward(gradient, *ctx.saved_tensors, *ctx.window), None, None, None


max_pool = torch.library.custom_op("person_reid::max_pool", _pool, mutates_args=())
max_pool_backward = torch.library.custom_op("person_reid::max_pool_backward", _gradient, mutates_args=())
max_pool.register_fake(_pool)  # PyTorch's own operators know the shapes of their results
max_pool_backward.register_fake(_gradient)
max_pool.register_autograd(_backward, setup_context=_keep)
