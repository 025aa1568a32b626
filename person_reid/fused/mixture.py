"""A mixture of maps as PyTorch sees it: a function of tensors, with a gradient."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from person_reid.fused.calls import call_compiled, structure

Mixture = structure(
    "Mixture",
    long="threads images pixels channels streams",
    pointer="x weights y sums y_gradient sums_gradient x_gradient",
)


def mixture(
    streams: Sequence[Tensor], gate: nn.Module, weights: Callable[[Tensor], Tensor]
) -> Tensor:
    """Compute Σ_t weights(averages)_t x_t of T streams x_t (B, C, H, W), which layers_fit accepts.

    weights: makes weights (T, B, C) from the averages over the pixels, (T, B, C), with the
    parameters of `gate`.
    """
    return _Mixture.apply(weights, len(streams), *streams, *gate.parameters())


class _Mixture(torch.autograd.Function):
    """The mixture that mixture.c computes. The weights, tiny tensors, have their own graph."""

    @staticmethod
    def forward(
        ctx: Any, weights: Callable[[Tensor], Tensor], count: int, *tensors: Tensor
    ) -> Tensor:
        streams = list(tensors[:count])
        parameters = tensors[count:]
        images, channels, height, width = streams[0].shape
        ctx.sizes = {
            "images": images,
            "pixels": height * width,
            "channels": channels,
            "streams": count,
        }
        sums = streams[0].new_empty(count, images, channels)
        call_compiled("mixture_sums", Mixture, **ctx.sizes, x=streams, sums=sums)
        with torch.enable_grad():
            ctx.weights = weights(sums.requires_grad_() / (height * width))
        y = torch.empty_like(streams[0])
        call_compiled("mixture_forward", Mixture, **ctx.sizes, x=streams, weights=ctx.weights, y=y)
        ctx.sums = sums
        ctx.learning = [parameter for parameter in parameters if parameter.requires_grad]
        ctx.save_for_backward(*streams)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        streams = list(ctx.saved_tensors)
        y_gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        of_weights = torch.empty_like(ctx.weights)
        call_compiled(
            "mixture_sums", Mixture, **ctx.sizes, x=streams, y_gradient=y_gradient, sums=of_weights
        )
        of_sums, *of_learning = torch.autograd.grad(
            ctx.weights, [ctx.sums, *ctx.learning], of_weights
        )
        found = [torch.empty_like(stream) for stream in streams]
        call_compiled(
            "mixture_backward", Mixture, **ctx.sizes, weights=ctx.weights, y_gradient=y_gradient,
            sums_gradient=of_sums.contiguous(), x_gradient=found,
        )  # fmt: skip
        learnt = iter(of_learning)
        needed = ctx.needs_input_grad[2 + len(streams) :]
        of_parameters = (next(learnt) if needs else None for needs in needed)
        return None, None, *found, *of_parameters
