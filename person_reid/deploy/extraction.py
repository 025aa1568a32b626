"""What computes the features of an Embedder: an exported file, or a network.

Each kind of source has a function that opens it and returns an Extraction.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from person_reid.config.option import OptionError
from person_reid.deploy.interface import Preparation
from person_reid.deploy.load import NetworkToTest, load_network
from person_reid.deploy.run import Engine
from person_reid.deploy.runtimes import fast_engine, kind_of_file
from person_reid.errors import UserError
from person_reid.models.registry import find_backbone
from person_reid.retrieval.features import extractor
from person_reid.retrieval.similarity import Features


class Extraction(NamedTuple):
    """A function that computes features, and what it expects of images.

    extract: extract(bank, batch_size, flip, unit, description) → features (N, dim).
    size: (height, width) of the images. dim: numbers of a feature.
    flip: whether to add the mirrored image's output. flips_inside: whether an exported file does.
    resize: the filter. sides: cameras that the network has side information on.
    engine: whether another program than PyTorch computes.
    """

    extract: Callable[..., Features]
    size: tuple[int, int]
    dim: int
    flip: bool
    flips_inside: bool = False
    resize: str = "bicubic"
    sides: int = 0
    engine: bool = True


def extraction_of_file(
    file: Path,
    device: torch.device,
    flip: bool | None = None,
    dtype: torch.dtype | None = None,
    unit_length: bool = True,
    runtime: str | None = None,
    preparation: Preparation | None = None,
    output: str | None = None,
) -> Extraction:
    """Open an exported file. Raises UserError for what the file has decided otherwise."""
    engine = Engine(file, device, kind_of_file(file, runtime), preparation, dtype, output)
    contents = engine.contents
    if contents.flip and flip is False:
        raise OptionError(f"{file}: the mirrored image is inside the file; leave {{no_flip}} out.")
    if contents.l2 and not unit_length:
        raise UserError(f"{file}: its features have unit length; leave unit_length=False out.")
    return Extraction(engine.features, engine.size, contents.dim, flip is not False, contents.flip)


def extraction_of_network(
    tested: NetworkToTest,
    device: torch.device,
    flip: bool | None = None,
    dtype: torch.dtype | None = None,
    scales: Sequence[float] = (1.0,),
    runtime: str | None = None,
) -> Extraction:
    """Load a network, or export it to the runtime that is asked for."""
    load = partial(load_network, tested, scales)
    backbone = find_backbone(tested.spec.backbone)
    flip = backbone.flips if flip is None else flip
    engine = fast_engine(load, str(tested.weights), runtime or "torch", device, dtype, scales)
    if engine:
        size, dim = engine.size, engine.contents.dim
        return Extraction(engine.features, size, dim, flip, resize=backbone.resize)
    network = load()
    return Extraction(
        extractor(network, device, dtype, scales),
        tested.size,
        network.dim,
        flip,
        resize=backbone.resize,
        sides=network.sides,
        engine=False,
    )
