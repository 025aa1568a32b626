"""Run a network on the CPU by OpenVINO or ONNX Runtime instead of PyTorch: the same features, sooner.

    engine = fast_engine(tested, "auto")    # an Engine, or None: PyTorch it is
    features = engine.features(bank)

The network is exported once, into a folder of the user's cache that can be deleted at any time. One that is being
trained is exported each time.
"""

import hashlib
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from person_reid.basics import UserError, check_target, describe, only_writer, parse_json, write_json
from person_reid.deploy.contents import Contents
from person_reid.deploy.export import TOLERANCE, check_onnx, deviation, export, references
from person_reid.deploy.exported import READABLE, Engine
from person_reid.deploy.load import TestedNetwork, load_network
from person_reid.deploy.openers import import_onnxruntime, import_openvino
from person_reid.device import computed_in
from person_reid.models.network import Network
from person_reid.retrieval.features import extract_features, fused_embedding
from person_reid.retrieval.similarity import Features
from person_reid.versions import PACKAGES

log = logging.getLogger(__name__)
UNUSED = 30  # days that an exported network is kept after its last use
ENGINE_KINDS = {"openvino": "openvino", "onnxruntime": "onnx"}  # by runtime; the fastest first (docs/benchmarks.md)
IMPORTS = {"openvino": import_openvino, "onnxruntime": import_onnxruntime}
CODE = ("models", "deploy", "retrieval/features.py", "data/augment.py")  # what an exported file depends on


def kind_of_file(path: Path, runtime: str | None) -> str:
    """Return the kind of Engine that runs an exported file. Raises UserError for a runtime that cannot read it."""
    kind = READABLE[path.suffix.lower()]
    runs = {"onnx": ("onnxruntime", "openvino"), "openvino": ("openvino",)}.get(kind, ("torch",))
    if runtime not in (None, *runs):
        raise UserError(f"{path}: --runtime {runtime} does not run this file; {' or '.join(runs)} does.")
    return ENGINE_KINDS.get(runtime or "", kind)


def fast_engine(
    tested: TestedNetwork,
    runtime: str,
    obstacle: str = "",
    dtype: torch.dtype | None = None,
    scales: Sequence[float] = (1.0,),
) -> Engine | None:
    """Return an Engine that gives the features of a network on the CPU, or None if PyTorch should compute them.

    runtime: torch, onnxruntime, openvino, or auto: the fastest of those installed that agrees with PyTorch.
    obstacle: why only PyTorch can do what is asked for, in words.
    dtype: in which to compute; None is float32, which auto also takes in place of a type that PyTorch would emulate.
    scales: see fused_embedding.

    An Engine is used only if its features deviate from PyTorch's in float32 by at most the TOLERANCE of its precision,
    1e-4 of their scale in float32. For auto, every other outcome means PyTorch, and the log says why. Raises UserError
    or OSError if another runtime that was asked for is not installed, does not agree, or cannot be used; also for an
    unknown one.
    """
    if runtime == "auto" and not obstacle:
        dtype = computed_in(torch.device("cpu"), dtype)
    return _engine(lambda names: _cached_engine(tested, names, dtype, scales), runtime, obstacle, dtype)


def check_runtime(runtime: str, device: torch.device) -> None:
    """Raise UserError, before the work, for a runtime that `features_of` could not use on a device."""
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
    """Return {name: features (N, D)} of {name: bank (N, H, W, 3)} from the present weights of a network.

    network: in evaluation mode. runtime: as in fast_engine; the network is exported anew, and nothing of it stays on
    the disk. flip, dtype: see extract_features; another runtime than PyTorch computes in float32.
    """
    height, width = next(iter(banks.values())).shape[1:3]
    engine = _engine(lambda names: _new_engine(network, (height, width), names), runtime, obstacle_of(device))
    if engine:
        return {name: engine.features(bank, batch_size, flip, name) for name, bank in banks.items()}
    embed = fused_embedding(network, device)
    return {
        name: extract_features(embed, bank, device, batch_size, flip=flip, dtype=dtype, description=name)
        for name, bank in banks.items()
    }


def obstacle_of(device: torch.device) -> str:
    """Return why no exported file can do what is asked of a network, in words; "" if one can."""
    return "" if device.type == "cpu" else f"the network runs on {device}"


def _wanted(runtime: str, obstacle: str, dtype: torch.dtype | None = None) -> list[str]:
    """Return the runtimes to try, the fastest first. Raises UserError if there is none."""
    if runtime not in ("auto", *ENGINE_KINDS):
        raise UserError(f"runtime {runtime!r}: expected torch, auto, {', '.join(ENGINE_KINDS)}.")
    if obstacle:
        raise UserError(f"{obstacle}, which only PyTorch can do here. Leave --runtime {runtime} out")
    kinds = ENGINE_KINDS if dtype is None else ("openvino",)
    if runtime not in ("auto", *kinds):
        raise UserError(f"--runtime {runtime} computes in float32; --fp16 and --bf16 are for torch and openvino.")
    wanted = [name for name in kinds if find_spec(name)] if runtime == "auto" else [runtime]
    if not wanted:
        raise UserError("no other runtime is installed: python -m pip install onnx onnxscript onnxruntime openvino")
    for name in wanted:
        IMPORTS[name]()
    return wanted


def _engine(
    agreeing: Callable[[list[str]], Engine], runtime: str, obstacle: str, dtype: torch.dtype | None = None
) -> Engine | None:
    """Return the Engine of the first agreeing one of some runtimes, or None for PyTorch, as in fast_engine."""
    if runtime == "torch":
        return None
    try:
        return agreeing(_wanted(runtime, obstacle, dtype))
    except (UserError, OSError) as error:
        if runtime != "auto":
            raise
        log.info(f"--runtime auto: PyTorch, because {describe(error)}")
        return None


def _first_agreeing(
    file: Path, names: list[str], deviation_of: Callable[[str, Engine], float], dtype: torch.dtype | None = None
) -> Engine:
    """Return the first Engine for a file whose deviation is small enough. Raises UserError if there is none."""
    for name in names:
        engine = Engine(file, kind=ENGINE_KINDS[name], dtype=dtype)
        known = f"{name} {version(name)}" + (f" in {_name(dtype)}" if dtype else "")
        found = deviation_of(known, engine)
        if found <= TOLERANCE[_name(dtype)]:
            return engine
        log.warning(f"{known}: its features deviate from PyTorch's by {found:.0e} of their scale: not used.")
    raise UserError(f"the features of {' and '.join(names)} do not agree with PyTorch's.")


def _name(dtype: torch.dtype | None) -> str:
    return str(dtype or torch.float32).removeprefix("torch.")


def _new_engine(network: Network, size: tuple[int, int], names: list[str]) -> Engine:
    """Return the first Engine that agrees with a network, whose file is gone again."""
    network = deepcopy(network)  # its parameters go on being trained
    contents = Contents(*size, network.dim, network.pieces, type(network).__name__, normalised=True)
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # Windows keeps files that are in use
        file = Path(folder) / "network.onnx"
        exported = export(network, contents, file, "onnx")

        def deviation_of(known: str, engine: Engine) -> float:
            if known == _checked_by_export():
                return exported
            return deviation(engine, references(fused_embedding(network, torch.device("cpu")), contents))

        return _first_agreeing(file, names, deviation_of)


def _cached_engine(
    tested: TestedNetwork, names: list[str], dtype: torch.dtype | None, scales: Sequence[float]
) -> Engine:
    """Return the first Engine that agrees with PyTorch, from the cached file if there is one."""
    file = cache_folder() / f"{Path(tested.spec.backbone or '').name}_{fingerprint(tested, scales)}.onnx"
    with only_writer(file.with_suffix(".lock"), str(file), wait=True):
        about = _about(file) or _write(tested, file, scales)
        file.touch()
        deviations = about["deviations"]

        def deviation_of(known: str, engine: Engine) -> float:
            if known not in deviations:
                embedding = fused_embedding(load_network(tested, scales), torch.device("cpu"), scales)
                deviations[known] = deviation(engine, references(embedding, engine.contents))
                write_json(file.with_suffix(".json"), about)
            found = float(deviations[known])
            if found <= TOLERANCE[_name(dtype)]:
                log.info(f"Features by {known}; they deviate from PyTorch's by {found:.0e} of their scale.")
            return found

        return _first_agreeing(file, names, deviation_of, dtype)


def _checked_by_export() -> str:
    """Return the runtime by which `export` checks an ONNX file, with its version."""
    return f"onnxruntime {version('onnxruntime')}"


def cache_folder() -> Path:
    """Return the folder of the exported networks, in the user's cache folder. Raises UserError if none can be written.

    In a container, the user may have no home folder, or one that cannot be written to.
    """
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "person-reid"
        check_target(folder / "network.onnx")
        return folder
    except (OSError, RuntimeError) as error:  # the latter from pathlib, for a user without a home
        raise UserError(
            f"the exported network cannot be kept ({describe(error).rstrip('.')}). Name a folder that can be written "
            "to in XDG_CACHE_HOME"
        ) from error


def fingerprint(tested: TestedNetwork, scales: Sequence[float] = (1.0,)) -> str:
    """Return 16 hexadecimal digits that depend on weights, layers and scales, and on the code that computes them."""
    digest = hashlib.sha256()
    described = [tested.spec, tested.num_classes, tested.seed, *map(float, scales)]
    digest.update(repr([*described, *map(version, PACKAGES)]).encode())
    package = Path(__file__).parent.parent
    for place in CODE:
        for file in sorted(package.glob(f"{place}/*.py")) or [package / place]:
            digest.update(file.read_bytes())
    digest.update(Path(tested.weights).read_bytes() if tested.from_file else str(tested.weights).encode())
    return digest.hexdigest()[:16]


def _write(tested: TestedNetwork, file: Path, scales: Sequence[float]) -> dict[str, Any]:
    """Export a network to `file`, with what is known about it beside it. Returns that."""
    check_onnx()
    log.info(f"{file}: exporting the network, once.")
    network, (height, width) = load_network(tested, scales), tested.size
    contents = Contents(height, width, network.dim, network.pieces, f"{tested.weights}", normalised=True)
    found = export(network, contents, file, "onnx", scales=scales)
    about = {"sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "deviations": {_checked_by_export(): found}}
    write_json(file.with_suffix(".json"), about)
    _remove_unused(file.parent)
    return about


def _remove_unused(folder: Path) -> None:
    """Remove the exported networks that no command has used for UNUSED days."""
    for file in folder.glob("*.onnx"):
        with suppress(OSError):  # another process was quicker; on Windows, one uses the file
            if file.stat().st_mtime < time.time() - UNUSED * 24 * 3600:
                for ending in (".onnx", ".json", ".lock"):
                    file.with_suffix(ending).unlink(missing_ok=True)


def _about(file: Path) -> dict[str, Any] | None:
    """Return what is known about a file of _write, or None if the file is missing or damaged."""
    try:
        about: dict[str, Any] = parse_json(file.with_suffix(".json").read_bytes())
        whole = about["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
        return about if whole and all(float(found) >= 0 for found in about["deviations"].values()) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
