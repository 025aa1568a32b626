"""The device, precision, seed and threads of a process.

torch is imported inside the functions that use it: evaluate.py reads this file and starts in a
fraction of the time that importing torch alone would take.
"""

from __future__ import annotations

import ctypes
import logging
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING

from person_reid.errors import UserError, first_line

if TYPE_CHECKING:
    import torch

    from person_reid.config.train import PrecisionOptions

QUOTA = Path("/sys/fs/cgroup/cpu.max")  # microseconds of processor time, and of the period
FLAG_OF_DTYPE = {"torch.float16": "fp16", "torch.bfloat16": "bf16"}
# PyTorch has one generator for all threads, and dropout accepts no other.
DRAWING = RLock()
log = logging.getLogger(__name__)


def seed_everything(seed: int) -> None:
    """Seed torch's generators on every device.

    NumPy's generators are passed explicitly to the code that uses them.
    """
    import torch

    torch.manual_seed(seed)


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Seed torch's generators for a with block; afterwards they continue as before.

    Threads that draw in such a block take turns, so that each draws what it would draw alone.
    device: the GPU on which the block also draws, if any.
    """
    import torch

    gpus = [device] if device is not None and device.type == "cuda" else []
    with DRAWING, torch.random.fork_rng(gpus):
        torch.manual_seed(seed)
        yield


def available_cores() -> int:
    """Return the number of cores that this process may use; a container may withhold some.

    https://docs.kernel.org/admin-guide/cgroup-v2.html, cpu.max
    """
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    try:
        quota, period = QUOTA.read_text(encoding="ascii").split()
        return max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no container, or its limit is "max"
        return cores


def prepare_training(device: torch.device, tf32: bool) -> None:
    """Choose how this process trains on a device. tf32: see --no_tf32.

    On a CPU, it keeps freed memory as keep_memory does. On a GPU, convolutions are repeatable.
    """
    if device.type == "cpu":
        keep_memory()
    choose_backends(device, tf32)


def choose_backends(device: torch.device, tf32: bool) -> None:
    """Choose a GPU's precision, and repeatable convolutions, as prepare_training does."""
    import torch

    if device.type == "cuda":  # on tensor cores, with ten bits of mantissa instead of 23
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.deterministic = True  # the same command gives the same weights


@contextmanager
def process_as_it_was() -> Iterator[None]:
    """Restore the number of threads and the settings of choose_backends after a with block."""
    import torch

    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    settings = [(cudnn, "deterministic"), (matmul, "allow_tf32"), (cudnn, "allow_tf32")]
    kinds = (matmul, getattr(cudnn, "conv", None), getattr(cudnn, "rnn", None))  # since 2.9
    before, threads = [], torch.get_num_threads()
    for place, name in [*settings, *((kind, "fp32_precision") for kind in kinds)]:
        # PyTorch does not read allow_tf32 once a program has set fp32_precision.
        with suppress(AttributeError, RuntimeError):
            before.append((place, name, getattr(place, name)))
    try:
        yield
    finally:
        for place, name, value in before:
            setattr(place, name, value)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def keep_memory() -> None:
    """Have the GNU C library keep freed memory for the next allocation, as PyTorch does on a GPU.

    By default it returns every block of more than 32 MB to the kernel, which clears the pages anew
    in each training step. This applies to the whole process, and other C libraries ignore it.
    """
    if sys.platform == "linux":
        trim_threshold, mmap_max = -1, -4  # the parameters' numbers in malloc.h
        with suppress(AttributeError):
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(trim_threshold, -1)
            mallopt(mmap_max, 0)


def select_device(gpu_ids: str | int = "0") -> torch.device:
    """Return the device for a `--gpu_ids` value: that GPU, else Apple's GPU, else the CPU.

    "-1" always means the CPU. Raises UserError if the value is not a single whole number, and if
    this machine has GPUs but not that one.
    """
    import torch

    try:
        number = int(gpu_ids)
        if number < -1:
            raise ValueError
    except ValueError:
        raise UserError(
            f"gpu_ids={gpu_ids}: expected the number of one GPU, such as 0, or -1 for the CPU."
        ) from None
    if number == -1:
        return _cpu()
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        if number >= count:
            raise UserError(f"gpu_ids={gpu_ids}: this machine has {count} GPU(s), numbered from 0.")
        return torch.device("cuda", number)
    return torch.device("mps") if torch.backends.mps.is_available() else _cpu()


def usable_device(device: str | torch.device | None = None) -> torch.device:
    """Return a device that this machine can compute on; None means the first GPU, or the CPU.

    Raises UserError if the machine cannot.
    """
    import torch

    if device is None:
        return select_device()
    try:
        torch.zeros(1, device=device).cpu()
        return torch.device(device)
    except Exception as error:  # each kind of device fails in its own way
        raise UserError(
            f"device {device!r} cannot be used here ({first_line(error)}); the CPU is 'cpu'."
        ) from error


def _cpu() -> torch.device:
    """Return the CPU, with a thread for each core that this process may use.

    The number of threads never depends on the load, because it decides how sums are rounded.
    """
    import torch

    if "OMP_NUM_THREADS" not in os.environ and available_cores() < torch.get_num_threads():
        torch.set_num_threads(available_cores())  # beyond a container's quota, threads are stopped
    return torch.device("cpu")


def memory_format(device: torch.device, network: torch.nn.Module) -> torch.memory_format:
    """Return the memory format of weights and images: channels_last, the faster one, if it works.

    In channels_last, PyTorch computes wrong gradients without an error: of batch norm and pooling
    on Apple's GPU (https://github.com/pytorch/pytorch/issues/175189 and 175190), and of average
    pooling with padding on NVIDIA's GPUs before PyTorch 2.14 (188344).
    """
    import torch

    padded = any(
        isinstance(layer, torch.nn.AvgPool2d) and layer.padding not in (0, (0, 0))
        for layer in network.modules()
    )
    wrong = device.type == "mps" or (
        device.type == "cuda" and padded and torch.__version__ < "2.14"
    )
    return torch.contiguous_format if wrong else torch.channels_last


def dtype_of(options: PrecisionOptions) -> torch.dtype | None:
    """Return autocast's dtype for mixed precision, or None for float32."""
    import torch

    names = (name for name, flag in FLAG_OF_DTYPE.items() if getattr(options, flag))
    chosen = next(names, "")
    return getattr(torch, chosen.removeprefix("torch.")) if chosen else None


def autocast(device: torch.device, dtype: torch.dtype | None) -> torch.autocast:
    """Return torch.autocast on `device` with torch.float16 or torch.bfloat16.

    It computes in float32 for None, and on a processor without instructions for the type: see
    `computed_in`.
    """
    import torch

    dtype = computed_in(device, dtype)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


def computed_in(device: torch.device, dtype: torch.dtype | None) -> torch.dtype | None:
    """Return the type to compute in if `dtype` is requested.

    None means float32, both as the argument and as the result.

    PyTorch would emulate a type that a processor lacks, and take ten times as long as in float32.
    float32 therefore takes its place, and the log reports this once.
    """
    if dtype is None or not emulates(device, dtype):
        return dtype
    _tell_of_float32(dtype)
    return None


@cache
def emulates(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether PyTorch emulates torch.float16 or torch.bfloat16 on a device.

    Only CPUs lack these types.
    """
    import torch

    if device.type != "cpu":
        return False
    # There is no such function without oneDNN.
    computes = getattr(torch.ops.mkldnn, f"_is_mkldnn_{FLAG_OF_DTYPE[str(dtype)]}_supported", None)
    return not (computes and computes())


@cache
def _tell_of_float32(dtype: torch.dtype) -> None:
    log.warning(
        "--%s: PyTorch would emulate %s on this processor, so float32 takes its place.",
        FLAG_OF_DTYPE[str(dtype)],
        dtype,
    )


def peak_memory(device: torch.device) -> str:
    """Describe the peak memory of this process, and of its GPU.

    Returns an empty string where the system does not report it.
    """
    used = []
    if sys.platform != "win32":
        import resource

        unit = 1 if sys.platform == "darwin" else 1024  # bytes per unit of ru_maxrss
        used.append(f"{unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9:.1f} GB")
    if device.type == "cuda":
        import torch

        used.append(f"{torch.cuda.max_memory_allocated(device) / 1e9:.1f} GB of {device}")
    return " and ".join(used)
