"""Call the C functions of this package with tensors."""

import ctypes
from typing import Any

import torch
from torch import Tensor

from person_reid.fused.compiler import library

LANES = 8  # channels come in multiples of it
POINTER = ctypes.c_void_p


def structure(name: str, **fields: str) -> type[ctypes.Structure]:
    """Return the counterpart of a C struct. fields: names by type, in the order of the struct."""
    types = {"long": ctypes.c_long, "float": ctypes.c_float, "pointer": POINTER}
    pairs = [(field, types[kind]) for kind, names in fields.items() for field in names.split()]
    return type(name, (ctypes.Structure,), {"_fields_": pairs})


def call_compiled(function: str, kind: type[ctypes.Structure], **values: Any) -> None:
    """Call a C function with a structure.

    values: numbers, tensors, lists of tensors, and None for a missing one.
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
