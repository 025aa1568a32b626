"""Run a network on the CPU with OpenVINO or ONNX Runtime: PyTorch's features, but faster.

    engine = fast_engine(load, "osnet", "auto", device)    # None means PyTorch
    features = engine.features(bank)

The network is exported each time, which takes seconds; tools/export.py writes a permanent file.
"""

import logging
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from person_reid.config.tested import READABLE
from person_reid.deploy.engine import Engine
from person_reid.deploy.export import TOLERANCE_OF_DTYPE, deviation, export, references
from person_reid.deploy.exported_files import Contents, import_runtime
from person_reid.device import computed_in
from person_reid.errors import UserError
from person_reid.models.network import Network
from person_reid.retrieval.features import extractor, fused_embedding, side_rows
from person_reid.retrieval.similarity import Features

log = logging.getLogger(__name__)
# {runtime: kind of Engine}, the fastest first (docs/benchmarks.md)
ENGINE_KINDS = {"openvino": "openvino", "onnxruntime": "onnx"}


def kind_of_file(path: Path, runtime: str | None) -> str:
    """Return the kind of Engine that runs an exported file.

    Raises UserError for a runtime that cannot read it.
    """
    kind = READABLE[path.suffix.lower()]
    runs = {"onnx": ("onnxruntime", "openvino"), "openvino": ("openvino",)}.get(kind, ("torch",))
    if runtime not in (None, *runs):
        raise UserError(
            f"{path}: runtime={runtime} does not run this file; {' or '.join(runs)} does."
        )
    return ENGINE_KINDS.get(runtime or "", kind)


def fast_engine(
    load: Callable[[], Network],
    source: str,
    runtime: str,
    device: torch.device,
    dtype: torch.dtype | None = None,
    scales: Sequence[float] = (1.0,),
    level: int = logging.INFO,
) -> Engine | None:
    """Return an Engine that computes a network's features on the CPU, or None to use PyTorch.

    load: returns the network, to which the Engine keeps no reference.
    source: a description of its name and weights.
    runtime: torch, onnxruntime, openvino, or auto, the fastest installed runtime that agrees with
        PyTorch.
    device: where the network would run; runtimes other than torch are only for the CPU.
    dtype: the type in which to compute; None is float32, which auto also uses instead of a type
        that PyTorch would emulate.
    scales: see fused_embedding.
    level: the level of the log message that names the runtime.

    An Engine is used only if its features deviate from PyTorch's float32 features by at most the
    TOLERANCE_OF_DTYPE of its precision, which is 1e-4 of their scale in float32. For auto, any
    other outcome means PyTorch, and the log gives the reason. Raises UserError or OSError if
    another requested runtime is unknown, is not installed, does not agree, or cannot be used.
    """
    if runtime == "torch":
        return None
    if runtime == "auto" and device.type == "cpu":
        dtype = computed_in(device, dtype)
    try:
        names = _usable(runtime, device, dtype)
        log.log(level, "Exporting the network. tools/export.py would do so once for all commands.")
        network = load()
        side_rows(None, network.sides)  # a file takes only images
        contents = Contents(*network.size, network.dim, network.pieces, source, normalised=True)
        engine, known = _first_agreeing(names, network, contents, dtype, scales)
    except (UserError, OSError) as error:
        if runtime != "auto":
            raise
        log.info(f"--runtime auto: PyTorch, because {error}")
        return None
    log.log(level, f"Features by {known}.")
    return engine


def check_runtime(runtime: str, device: torch.device) -> None:
    """Raise UserError, before any work, for a runtime that present_extractor could not use."""
    if runtime not in ("torch", "auto"):
        _usable(runtime, device)


def present_extractor(
    network: Network,
    device: torch.device,
    runtime: str = "torch",
    dtype: torch.dtype | None = None,
) -> Callable[..., Features]:
    """Return a function like extract_features for a network's current weights, in evaluation mode.

    runtime: as in fast_engine; the network is exported anew, and the file is deleted afterwards.
    dtype: see extract_features; runtimes other than PyTorch compute in float32.
    """
    copy = partial(deepcopy, network)  # the network itself continues to be trained
    engine = fast_engine(copy, type(network).__name__, runtime, device, level=logging.DEBUG)
    return engine.features if engine else extractor(network, device, dtype)


def _usable(runtime: str, device: torch.device, dtype: torch.dtype | None = None) -> list[str]:
    """Return the runtimes to try, the fastest first. Raises UserError if none can be used."""
    if runtime not in ("auto", *ENGINE_KINDS):
        raise UserError(f"runtime {runtime!r}: expected torch, auto, {', '.join(ENGINE_KINDS)}.")
    if device.type != "cpu":
        raise UserError(
            f"the network runs on {device}, which only PyTorch can do here. Leave runtime out."
        )
    kinds = ENGINE_KINDS if dtype is None else ("openvino",)
    if runtime not in ("auto", *kinds):
        raise UserError(
            f"runtime={runtime} computes in float32; fp16 and bf16 are for torch and openvino."
        )
    usable = [name for name in kinds if find_spec(name)] if runtime == "auto" else [runtime]
    if not usable:
        raise UserError(
            "no other runtime is installed: "
            "python -m pip install onnx onnxscript onnxruntime openvino"
        )
    for name in usable:
        import_runtime(name)
    return usable


def _first_agreeing(
    names: list[str],
    network: Network,
    contents: Contents,
    dtype: torch.dtype | None,
    scales: Sequence[float],
) -> tuple[Engine, str]:
    """Return the Engine of the first runtime that agrees with PyTorch, and its deviation.

    The network is exported to a temporary file. Raises UserError if no Engine agrees.
    """
    cpu, precision = torch.device("cpu"), str(dtype or torch.float32).removeprefix("torch.")
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # Windows keeps files in use
        file = Path(folder) / "network.onnx"
        exported = export(network, contents, file, "onnx", scales=scales)
        for name in names:
            engine = Engine(file, kind=ENGINE_KINDS[name], dtype=dtype)
            found = exported  # as measured with ONNX Runtime
            if name != "onnxruntime":
                embedding = fused_embedding(network, cpu, scales)
                found = deviation(engine, references(embedding, contents))
            known = f"{name} {version(name)}" + (f" in {precision}" if dtype else "")
            far = f"deviate from PyTorch's by {found:.0e} of their scale"
            if found <= TOLERANCE_OF_DTYPE[precision]:
                return engine, f"{known}; they {far}"
            log.warning(f"{known}: its features {far}: not used.")
    raise UserError(f"the features of {' and '.join(names)} do not agree with PyTorch's.")
