"""A layer of a network as PyTorch sees it: a function of tensors, with a gradient."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from person_reid.fused.calls import LANES, call_compiled, layers_fit, structure

MOST_FUSED_WEIGHTS = 2**16  # weights of a pointwise convolution; with more, oneDNN's is faster

Layer = structure(
    "Layer",
    long="threads images height width inputs channels activates",
    float="epsilon momentum",
    pointer="x pointwise depthwise residual gamma beta running_mean running_variance u y "
    "statistics y_gradient x_gradient pointwise_gradient depthwise_gradient residual_gradient "
    "gamma_gradient beta_gradient",
)


def layer(
    x: Tensor,
    norm: nn.Module,
    activates: bool,
    convolution: nn.Conv2d | None = None,
    depthwise: nn.Conv2d | None = None,
    residual: Tensor | None = None,
) -> Tensor:
    """Compute ReLU(norm(depthwise(convolution(x))) + residual), (B, C, H, W).

    activates: whether there is a ReLU. Convolutions have no biases; a depthwise one is 3×3, of
    stride 1, and follows another. A batch norm in training is fused with what follows it, and with
    the convolutions before it if the first is pointwise. PyTorch computes the rest.
    """
    learns = _follows_batches(norm)
    if convolution is not None and not (
        learns and _is_small_pointwise(convolution) and layers_fit(x)
    ):
        x, convolution = convolution(x), None
        if depthwise is not None:
            x, depthwise = depthwise(x), None
    values = x.numel() // x.shape[1]  # in each channel; PyTorch refuses to normalise a single one
    if learns and values > 1 and layers_fit(x):
        if residual is not None:
            residual = residual.contiguous(memory_format=torch.channels_last)
        norm.get_buffer("num_batches_tracked").add_(1)
        weights = [None if conv is None else conv.weight for conv in (convolution, depthwise)]
        y = _Layer.apply(x, *weights, residual, norm.weight, norm.bias, norm, activates)
    else:
        y = norm(x)
        y = y if residual is None else y + residual
        y = functional.relu(y, inplace=True) if activates else y
    return y


def _is_small_pointwise(convolution: nn.Conv2d) -> bool:
    """Return whether the fused layer can compute a convolution as fast as oneDNN."""
    inputs, outputs = convolution.in_channels, convolution.out_channels
    plain = convolution.kernel_size == convolution.stride == (1, 1) and convolution.groups == 1
    return (
        plain
        and convolution.bias is None
        and outputs % LANES == 0
        and inputs * outputs < MOST_FUSED_WEIGHTS
    )


def _follows_batches(norm: nn.Module) -> bool:
    """Return whether a layer is a batch norm that uses and averages batch statistics."""
    if not (isinstance(norm, nn.BatchNorm2d) and norm.training and norm.affine):
        return False
    return bool(norm.track_running_stats) and norm.momentum is not None


class _Layer(torch.autograd.Function):
    """The layer that layer.c computes and describes."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        pointwise: Tensor | None,
        depthwise: Tensor | None,
        residual: Tensor | None,
        gamma: Tensor,
        beta: Tensor,
        norm: nn.BatchNorm2d,
        activates: bool,
    ) -> Tensor:
        images, inputs, height, width = x.shape
        y = torch.empty((images, len(gamma), height, width), memory_format=torch.channels_last)
        u = x if pointwise is None else torch.empty_like(y)
        statistics = x.new_empty(4, len(gamma))
        ctx.sizes = {
            "images": images, "height": height, "width": width, "inputs": inputs,
            "channels": len(gamma), "activates": activates,
        }  # fmt: skip
        call_compiled(
            "layer_forward", Layer, **ctx.sizes, epsilon=norm.eps, momentum=norm.momentum, x=x,
            pointwise=pointwise, depthwise=depthwise, residual=residual, gamma=gamma, beta=beta,
            running_mean=norm.running_mean, running_variance=norm.running_var, u=u, y=y,
            statistics=statistics,
        )  # fmt: skip
        signs = None if residual is None else y  # without a residual, u has them
        ctx.save_for_backward(x, pointwise, depthwise, gamma, u, signs, statistics)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, pointwise, depthwise, gamma, u, y, statistics = ctx.saved_tensors
        y_gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        found = {
            "x_gradient": torch.empty_like(x),
            "pointwise_gradient": None if pointwise is None else torch.empty_like(pointwise),
            "depthwise_gradient": None if depthwise is None else torch.empty_like(depthwise),
            "residual_gradient": None if y is None else torch.empty_like(y),
            "gamma_gradient": torch.empty_like(gamma),
            "beta_gradient": torch.empty_like(gamma),
        }
        call_compiled(
            "layer_backward", Layer, **ctx.sizes, x=x, pointwise=pointwise, depthwise=depthwise,
            gamma=gamma, u=u, y=y, statistics=statistics, y_gradient=y_gradient, **found,
        )  # fmt: skip
        return *found.values(), None, None
