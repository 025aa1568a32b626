"""Run a network on the CPU by OpenVINO or ONNX Runtime instead of PyTorch: the same features,
sooner.

    engine = fast_engine(tested, "auto")    # an Engine, or None: PyTorch it is
    features = engine.features(bank)

The network is exported each time, which takes seconds; tools/export.py writes a file that lasts.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from person_reid.basics import UserError, describe
from person_reid.deploy.export import TOLERANCE, deviation, export, references
from person_reid.deploy.interface import Contents
from person_reid.deploy.load import TestedNetwork, load_network
from person_reid.deploy.run import READABLE, Engine, import_runtime
from person_reid.device import computed_in
from person_reid.models.network import Network
from person_reid.retrieval.features import extract_features, fused_embedding
from person_reid.retrieval.similarity import Features

log = logging.getLogger(__name__)
# by runtime; the fastest first (docs/benchmarks.md)
ENGINE_KINDS = {"openvino": "openvino", "onnxruntime": "onnx"}


def kind_of_file(path: Path, runtime: str | None) -> str:
    """Return the kind of Engine that runs an exported file.

    Raises UserError for a runtime that cannot read it.
    """
    kind = READABLE[path.suffix.lower()]
    runs = {"onnx": ("onnxruntime", "openvino"), "openvino": ("openvino",)}.get(kind, ("torch",))
    if runtime not in (None, *runs):
        raise UserError(
            f"{path}: --runtime {runtime} does not run this file; {' or '.join(runs)} does."
        )
    return ENGINE_KINDS.get(runtime or "", kind)


def fast_engine(
    tested: TestedNetwork,
    runtime: str,
    obstacle: str = "",
    dtype: torch.dtype | None = None,
    scales: Sequence[float] = (1.0,),
) -> Engine | None:
    """Return an Engine that gives the features of a network on the CPU, or None if PyTorch should
    compute them.

    runtime: torch, onnxruntime, openvino, or auto: the fastest of those installed that agrees with
        PyTorch.
    obstacle: why only PyTorch can do what is asked for, in words.
    dtype: in which to compute; None is float32, which auto also takes in place of a type that
        PyTorch would emulate.
    scales: see fused_embedding.

    An Engine is used only if its features deviate from PyTorch's in float32 by at most the
    TOLERANCE of its precision, 1e-4 of their scale in float32. For auto, every other outcome means
    PyTorch, and the log says why. Raises UserError or OSError if another runtime that was asked for
    is not installed, does not agree, or cannot be used; also for an unknown one.
    """
    if runtime == "auto" and not obstacle:
        dtype = computed_in(torch.device("cpu"), dtype)

    def first_agreeing(names: list[str]) -> Engine:
        log.info("Exporting the network. tools/export.py would do so once for all commands.")
        network, size = load_network(tested, scales), tested.size
        contents = _contents(network, size, f"{tested.weights}")
        engine, near = _exported(network, contents, names, dtype, scales)
        log.info(f"Features by {near}.")
        return engine

    return _engine(first_agreeing, runtime, obstacle, dtype)


def check_runtime(runtime: str, device: torch.device) -> None:
    """Raise UserError, before the work, for a runtime that
    `features_of` could not use on a device.
    """
    if runtime not in ("torch", "auto"):
        _wanted(runtime, obstacle_of(device))


def features_of(
    network: Network,
    banks: Mapping[str, torch.Tensor],
    device: torch.device,
    batch_size: int,
    runtime: str = "torch",
    flip: bool = True,
    dtype: torch.dtype | None = None,
) -> dict[str, Features]:
    """Return {name: features (N, D)} of {name: bank (N, H, W, 3)} from the present weights of a
    network.

    network: in evaluation mode. runtime: as in fast_engine; the network is exported anew, and
    nothing of it stays on the disk. flip, dtype: see extract_features; another runtime than PyTorch
    computes in float32.
    """
    height, width = next(iter(banks.values())).shape[1:3]
    contents = _contents(network, (height, width), type(network).__name__)
    engine = _engine(  # of a copy, since the network's parameters go on being trained
        lambda names: _exported(deepcopy(network), contents, names)[0], runtime, obstacle_of(device)
    )
    if engine:
        return {name: engine.features(bank, batch_size, flip, name) for name, bank in banks.items()}
    embed = fused_embedding(network, device)
    return {
        name: extract_features(
            embed, bank, device, batch_size, flip=flip, dtype=dtype, description=name
        )
        for name, bank in banks.items()
    }


def obstacle_of(device: torch.device) -> str:
    """Return why no exported file can do what is asked of a network, in words; "" if one can."""
    return "" if device.type == "cpu" else f"the network runs on {device}"


def _contents(network: Network, size: tuple[int, int], source: str) -> Contents:
    return Contents(*size, network.dim, network.pieces, source, normalised=True)


def _wanted(runtime: str, obstacle: str, dtype: torch.dtype | None = None) -> list[str]:
    """Return the runtimes to try, the fastest first. Raises UserError if there is none."""
    if runtime not in ("auto", *ENGINE_KINDS):
        raise UserError(f"runtime {runtime!r}: expected torch, auto, {', '.join(ENGINE_KINDS)}.")
    if obstacle:
        raise UserError(
            f"{obstacle}, which only PyTorch can do here. Leave --runtime {runtime} out"
        )
    kinds = ENGINE_KINDS if dtype is None else ("openvino",)
    if runtime not in ("auto", *kinds):
        raise UserError(
            f"--runtime {runtime} computes in float32; --fp16 and "
            "--bf16 are for torch and openvino."
        )
    wanted = [name for name in kinds if find_spec(name)] if runtime == "auto" else [runtime]
    if not wanted:
        raise UserError(
            "no other runtime is installed: python -m pip install onnx "
            "onnxscript onnxruntime openvino"
        )
    for name in wanted:
        import_runtime(name)
    return wanted


def _engine(
    agreeing: Callable[[list[str]], Engine],
    runtime: str,
    obstacle: str,
    dtype: torch.dtype | None = None,
) -> Engine | None:
    """Return the Engine of the first agreeing one of some runtimes, or None
    for PyTorch, as in fast_engine.
    """
    if runtime == "torch":
        return None
    try:
        return agreeing(_wanted(runtime, obstacle, dtype))
    except (UserError, OSError) as error:
        if runtime != "auto":
            raise
        log.info(f"--runtime auto: PyTorch, because {describe(error)}")
        return None


def _exported(
    network: Network,
    contents: Contents,
    names: list[str],
    dtype: torch.dtype | None = None,
    scales: Sequence[float] = (1.0,),
) -> tuple[Engine, str]:
    """Export a network, and return the first Engine that agrees with it and how near it is.

    Its file is gone again. Raises UserError if no Engine agrees.
    """
    cpu, precision = torch.device("cpu"), str(dtype or torch.float32).removeprefix("torch.")
    # Windows keeps files that are in use
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        file = Path(folder) / "network.onnx"
        exported = export(network, contents, file, "onnx", scales=scales)
        for name in names:
            engine = Engine(file, kind=ENGINE_KINDS[name], dtype=dtype)
            found = exported  # measured by ONNX Runtime
            if name != "onnxruntime":
                found = deviation(
                    engine, references(fused_embedding(network, cpu, scales), contents)
                )
            known = f"{name} {version(name)}" + (f" in {precision}" if dtype else "")
            far = f"deviate from PyTorch's by {found:.0e} of their scale"
            if found <= TOLERANCE[precision]:
                return engine, f"{known}; they {far}"
            log.warning(f"{known}: its features {far}: not used.")
    raise UserError(f"the features of {' and '.join(names)} do not agree with PyTorch's.")
