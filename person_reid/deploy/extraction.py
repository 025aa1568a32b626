"""Compute the features of an Embedder with an exported file or a network.

For each kind of source, a function opens it and returns an Extraction.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from person_reid.config.tested import READABLE
from person_reid.config.zoo import network_names, published_network
from person_reid.deploy.engine import Engine
from person_reid.deploy.interface import Preparation
from person_reid.deploy.load import (
    NetworkToTest,
    load_network,
    network_of_name,
    network_of_run,
    network_of_weights,
)
from person_reid.deploy.pretrained import local_folder, open_pretrained
from person_reid.deploy.runtimes import fast_engine, kind_of_file
from person_reid.errors import UserError
from person_reid.models.architecture import Architecture, list_models
from person_reid.models.factory import find_architecture
from person_reid.models.network import Network
from person_reid.retrieval.features import extractor
from person_reid.retrieval.similarity import Features
from person_reid.run_folder import RunFolder
from person_reid.text import did_you_mean

NetworkSource = str | Path | Network | NetworkToTest


class Extraction(NamedTuple):
    """A function that computes features, and the images that it expects.

    extract: extract(bank, batch_size, flip, unit, description) → features (N, dim).
    size: (height, width) of the images. dim: the dimension of a feature.
    flip: whether to add the mirrored image's output. flips_inside: whether an exported file adds
    it.
    resize: the resizing filter. sides: the number of cameras for which the network has side
    information.
    engine: whether a program other than PyTorch computes the features.
    """

    extract: Callable[..., Features]
    size: tuple[int, int]
    dim: int
    flip: bool
    flips_inside: bool = False
    resize: str = "bicubic"
    sides: int = 0
    engine: bool = True


class FeatureSettings(NamedTuple):
    """The settings for computing features; see Embedder."""

    device: torch.device
    flip: bool | None = None
    dtype: torch.dtype | None = None
    scales: Sequence[float] = (1.0,)
    unit_length: bool = True
    runtime: str | None = None
    preparation: Preparation | None = None
    output: str | None = None


def open_source(
    source: NetworkSource,
    weights: str | Path | None,
    which_epoch: str | int,
    size: tuple[int | None, int | None],
    settings: FeatureSettings,
) -> Extraction:
    """Open an exported file, a network, a run, a published network, or a network and its weights.

    Raises UserError for an argument that the source determines, and as the functions for each kind
    of source do.
    """
    file = Path(source) if isinstance(source, str | Path) else None
    if file and file.suffix.lower() in READABLE:
        resized = {"size": any(size), "scales": list(settings.scales) != [1.0]}
        _refuse_ignored(source, _of_name(weights, which_epoch) | resized)
        return extraction_of_file(file, settings)
    if given := "preparation" if settings.preparation else settings.output and "output":
        raise UserError(
            f"Embedder: {given} is for an ONNX or OpenVINO file, "
            f"and {file or 'the network'} is not one."
        )
    if isinstance(source, Network):
        _refuse_ignored("the network", _of_name(weights, which_epoch) | {"size": any(size)})
        name = type(source).__name__
        return _extraction(
            partial(deepcopy, source), source.architecture, source.size, name, settings
        )
    tested = _network(source, weights, which_epoch, size)
    load = partial(load_network, tested, settings.scales)
    architecture = find_architecture(tested.spec.backbone)
    if entry := published_network(tested.weights):
        architecture = replace(architecture, flips=entry.shared.flip)
    return _extraction(load, architecture, tested.size, str(tested.weights), settings)


def extraction_of_file(file: Path, settings: FeatureSettings) -> Extraction:
    """Open an exported file. Raises UserError for arguments that contradict the file."""
    engine = Engine(
        file,
        settings.device,
        kind_of_file(file, settings.runtime),
        settings.preparation,
        settings.dtype,
        settings.output,
    )
    contents, flip = engine.contents, settings.flip is not False
    if contents.flip and not flip:
        raise UserError(f"{file}: the mirrored image is inside the file; leave no_flip out.")
    if contents.l2 and not settings.unit_length:
        raise UserError(f"{file}: its features have unit length; leave unit_length=False out.")
    return Extraction(engine.features, engine.size, contents.dim, flip, contents.flip)


def _extraction(
    load: Callable[[], Network],
    architecture: Architecture,
    size: tuple[int, int],
    name: str,
    settings: FeatureSettings,
) -> Extraction:
    """Load a network for images of size (height, width), or export it for the requested runtime."""
    device, dtype = settings.device, settings.dtype
    flip = architecture.flips if settings.flip is None else settings.flip
    runtime = settings.runtime or "torch"
    engine = fast_engine(load, name, runtime, device, dtype, settings.scales)
    if engine:
        return Extraction(
            engine.features, engine.size, engine.contents.dim, flip, resize=architecture.resize
        )
    network = load()
    return Extraction(
        extractor(network, device, dtype, settings.scales),
        size,
        network.dim,
        flip,
        resize=architecture.resize,
        sides=network.sides,
        engine=False,
    )


def _network(
    source: str | Path | NetworkToTest,
    weights: str | Path | None,
    which_epoch: str | int,
    size: tuple[int | None, int | None],
) -> NetworkToTest:
    """Return the network that `source` describes, together with `weights` if given."""
    if isinstance(source, NetworkToTest):
        _refuse_ignored("the source", _of_name(weights, which_epoch))
        return source.resized(size)
    if weights is not None:
        _refuse_ignored(weights, _of_name(None, which_epoch))
        return network_of_weights(str(source), weights, size)
    if (folder := local_folder(source)) or published_network(source):
        _refuse_ignored(source, _of_name(None, which_epoch))
        opened = open_pretrained(source) if folder else network_of_name(str(source))
        return opened.resized(size)
    if not RunFolder(str(source)).options_file.exists():
        if str(source) in list_models():
            others = " or ".join(list_models(f"{source}_*", pretrained=True)[:3])
            raise UserError(
                f"Embedder: {source} is a network without weights. Pass weights=FILE"
                f"{f', or name a published one, such as {others}' if others else ''}."
            )
        if near := did_you_mean(source, network_names()):
            raise UserError(f"Embedder: no run and no published network {str(source)!r}.{near}")
    return network_of_run(str(source), which_epoch, size)


def _of_name(weights: str | Path | None, which_epoch: str | int) -> dict[str, bool]:
    """Return, for each argument that requires the name of a network or run, whether it is given."""
    return {"weights": weights is not None, "which_epoch": which_epoch != "last"}


def _refuse_ignored(decides: object, given: dict[str, bool]) -> None:
    """Raise UserError if arguments were given although `decides` determines their values."""
    if names := [name for name, is_given in given.items() if is_given]:
        raise UserError(
            f"Embedder: {', '.join(names)} would be ignored: {decides} decides it. Leave it out."
        )
