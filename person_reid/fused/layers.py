"""OSNet's layers as PyTorch functions that run C code compiled on this machine.

Each function has a gradient. `fuse` replaces the classes of a network's layers by those at the end
of this file; names and weights do not change, and results are equal up to rounding.
"""

import ctypes
import logging
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from person_reid.models import osnet
from person_reid.models.osnet_lct import ContextGate

LANES = 8  # channels come in multiples of it
POINTER = ctypes.c_void_p
MOST_FUSED_WEIGHTS = 2**16  # weights of a pointwise convolution; with more, oneDNN's is faster
C_SOURCES = ("layer.c", "mixture.c")
# For speed, errno and floating-point traps are given up: nothing here reads them, and no result
# depends on them.
COMPILER_FLAGS = (
    "-O3",
    "-march=native",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fopenmp",
    "-fPIC",
    "-shared",
)

log = logging.getLogger(__name__)


@cache
def library() -> ctypes.CDLL | None:
    """Compile the C layers, which takes a second, and load them.

    If that fails, the log gives the reason and None is returned.

    The compiler is `cc`, or the compiler that the variable CC names, and must support OpenMP;
    CC=false compiles nothing. Only on Linux does PyTorch's copy of OpenMP have the name that
    compilers link to, so that both share their threads.
    """
    compiler = shlex.split(os.environ.get("CC") or "cc")
    if sys.platform != "linux" or compiler == ["false"]:
        return None
    folder = Path(__file__).parent
    with tempfile.TemporaryDirectory() as place:
        target = Path(place) / "layers.so"
        sources = [str(folder / name) for name in C_SOURCES]
        command = [*compiler, *COMPILER_FLAGS, "-o", str(target), *sources, "-lm"]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
            return ctypes.CDLL(str(target))
        except (OSError, subprocess.SubprocessError) as error:
            reason = str(getattr(error, "stderr", None) or error).strip().partition("\n")[0]
            log.info(
                "No fused layers, because no C compiler works (%s): OSNet trains more slowly.",
                reason,
            )
            return None


def structure(name: str, **fields: str) -> type[ctypes.Structure]:
    """Return the counterpart of a C struct. fields: {type: field names}, in the struct's order."""
    types = {"long": ctypes.c_long, "float": ctypes.c_float, "pointer": POINTER}
    pairs = [(field, types[kind]) for kind, names in fields.items() for field in names.split()]
    return type(name, (ctypes.Structure,), {"_fields_": pairs})


def call_compiled(function: str, kind: type[ctypes.Structure], **values: Any) -> None:
    """Call a C function with a structure filled with `values`.

    values: numbers, tensors, lists of tensors, and None for a missing value.
    """
    fields = {name: _pointer(value) for name, value in values.items() if value is not None}
    filled = kind(threads=torch.get_num_threads(), **fields)
    getattr(library(), function)(ctypes.byref(filled))


def _pointer(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.data_ptr()
    if isinstance(value, list):
        pointers = (POINTER * len(value))(*(tensor.data_ptr() for tensor in value))
        return ctypes.cast(pointers, POINTER)
    return value


def layers_fit(*maps: Tensor) -> bool:
    """Return whether the fused layers can compute with these maps (B, C, H, W)."""
    return (
        all(map(_fits, maps))
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and library() is not None
    )


def _fits(x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.shape[1] % LANES == 0
        and x.is_contiguous(memory_format=torch.channels_last)
    )


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

    activates: whether there is a ReLU. Convolutions have no biases; a depthwise convolution is 3×3
    with stride 1, and follows another convolution. A batch norm in training is fused with what
    follows it, and with the convolutions before it if the first is pointwise. PyTorch computes the
    rest.
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
    """Return whether a layer is a batch norm that uses, and keeps averages of, batch statistics."""
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


Mixture = structure(
    "Mixture",
    long="threads images pixels channels streams",
    pointer="x weights y sums y_gradient sums_gradient x_gradient",
)


def mixture(
    streams: Sequence[Tensor], gate: nn.Module, weights: Callable[[Tensor], Tensor]
) -> Tensor:
    """Compute Σ_t weights(averages)_t x_t for T streams x_t (B, C, H, W) that layers_fit accepts.

    weights: makes weights (T, B, C) from the averages over the pixels, (T, B, C), with the
    parameters of `gate`.
    """
    return _Mixture.apply(weights, len(streams), *streams, *gate.parameters())


class _Mixture(torch.autograd.Function):
    """The mixture that mixture.c computes; its weights, tiny tensors, have their own graph."""

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


class FusedConvNorm(osnet.ConvNorm):
    """Convolution, norm and ReLU.

    A residual is added after the norm; a ReLU always follows.
    """

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        activates = residual is not None or isinstance(self.relu, nn.ReLU)
        return layer(x, self.bn, activates, self.conv, residual=residual)


class FusedLiteConv3x3(osnet.LiteConv3x3):
    """Pointwise and depthwise convolution, norm and ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        return layer(x, self.bn, True, self.conv1, self.conv2)


class _Mixing(osnet.StreamGate):
    """Compute the averages of the streams, and their mixture."""

    def forward(self, streams: Sequence[Tensor]) -> Tensor:
        if self.training and layers_fit(*streams):
            return mixture(streams, self, self.weights)
        return super().forward(streams)


class FusedGate(_Mixing, osnet.Gate):
    """OSNet's gate, with a fused mixture."""


class FusedContextGate(_Mixing, ContextGate):
    """The gate of OSNet-LCT, with a fused mixture."""


class _Block(nn.Module):
    """A block whose last layer is fused with the shortcut.

    If a norm comes between them or follows their sum, PyTorch computes the block.
    """

    def forward(self: Any, x: Tensor) -> Tensor:
        fused = isinstance(self.IN, nn.Identity)
        return self.conv3(self.mixed(x), self.downsample(x)) if fused else super().forward(x)


class FusedOmniScaleBlock(_Block, osnet.OmniScaleBlock):
    """OSNet's block, with fused layers."""


class FusedAdaptiveBlock(_Block, osnet.AdaptiveBlock):
    """OSNet-AIN's block, with fused layers."""


FUSED: dict[type[nn.Module], type[nn.Module]] = {
    osnet.ConvNorm: FusedConvNorm,
    osnet.LiteConv3x3: FusedLiteConv3x3,
    osnet.Gate: FusedGate,
    ContextGate: FusedContextGate,
    osnet.OmniScaleBlock: FusedOmniScaleBlock,
    osnet.AdaptiveBlock: FusedAdaptiveBlock,
}


def unfuse(network: nn.Module) -> None:
    """Restore the original classes of a network's fused layers, in place."""
    plain = {fused: before for before, fused in FUSED.items()}
    for module in network.modules():
        if type(module) in plain:
            module.__class__ = plain[type(module)]


def is_fused(network: nn.Module) -> bool:
    """Return whether a network has fused layers."""
    return any(type(module) in FUSED.values() for module in network.modules())


def fuse(network: nn.Module) -> bool:
    """Fuse the layers of a network, in place, and return whether any were fused.

    Without such layers, or without a compiler, the network does not change.
    """
    found = [module for module in network.modules() if type(module) in FUSED]
    if not found or library() is None:
        return False
    for module in found:
        module.__class__ = FUSED[type(module)]
    return True
