"""Compute the features of query and gallery images with a network.

The outputs of a network are summed over copies of an image, mirrored and resized; the sum is scaled
to unit length.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx.experimental.optimization import fuse
from torch.nn.functional import interpolate, normalize

from person_reid.arrays import Integers
from person_reid.data.images.augment import normalise
from person_reid.data.images.bank import load_bank
from person_reid.data.layout import Split
from person_reid.data.torch_dataset import Dataset
from person_reid.device import autocast, memory_format, usable_device
from person_reid.distributed import World
from person_reid.errors import UserError
from person_reid.models.architecture import PERSON
from person_reid.models.network import Network
from person_reid.models.surgery import evaluation_mode
from person_reid.progress import progress
from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.similarity import Features

log = logging.getLogger(__name__)
# The most images at a time on a CPU: layer outputs of a larger batch do not fit into the cache.
CPU_BATCH = 32


def fused_embedding(
    network: torch.nn.Module, device: torch.device, scales: Sequence[float] = (1.0,)
) -> torch.nn.Module:
    """Return a module that maps images to features, on `device` and in evaluation mode.

    network: a network of this package, or any module images (B, 3, H, W) → features (B, D).
    scales: factors by which the images are resized (bicubic); the features are summed.

    If the network can be traced, each convolution is fused with the batch norm after it, which
    gives the same results faster.
    """
    network.to(device).to(memory_format=memory_format(device, network)).eval()
    if not isinstance(network, Network):
        return _Scaled(_Called(network), scales, 1)
    if network.sides:
        return _Scaled(_SidedEmbedding(network), scales, network.pieces)
    embedding: torch.nn.Module = _Embedding(network)
    # Tracing can fail in many ways; the network then runs unfused.
    with suppress(Exception):
        embedding = fuse(embedding)  # a GraphModule with the same results
    return _Scaled(embedding, scales, network.pieces)


class _Embedding(torch.nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network.embed(images)


class _Called(torch.nn.Module):
    """Wrap another program's module, and check the features that it returns."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module
        self.dtype = next((weight.dtype for weight in module.parameters()), torch.float32)

    def forward(self, images: Tensor) -> Tensor:
        features = self.module(images.to(self.dtype))
        if not isinstance(features, Tensor) or features.ndim != 2:
            shape = tuple(getattr(features, "shape", ()))
            raise UserError(
                f"{type(self.module).__name__} returns {type(features).__name__} {shape or ''} in "
                f"evaluation mode; expected a tensor ({len(images)}, D), a feature of each image."
            )
        return features


class _SidedEmbedding(_Embedding):
    network: Any

    def forward(self, images: Tensor, sides: Tensor | None = None) -> Tensor:
        return self.network.embed(images, sides)


class _Scaled(torch.nn.Module):
    """Σ_scale embed(resize(image, scale)), in float32."""

    def __init__(self, embed: torch.nn.Module, scales: Sequence[float], pieces: int) -> None:
        super().__init__()
        self.embed = embed
        self.scales = scales
        self.pieces = pieces

    def forward(self, images: Tensor, *sides: Tensor) -> Tensor:
        features: list[Tensor] = [
            self.embed(
                images
                if scale == 1
                else interpolate(images, scale_factor=scale, mode="bicubic", align_corners=False),
                *sides,
            ).float()
            for scale in self.scales
        ]
        return sum(features[1:], features[0])


@torch.inference_mode()
def extract_features(
    embed: Callable[..., Tensor],
    bank: Tensor,
    device: torch.device,
    batch_size: int,
    flip: bool = True,
    dtype: torch.dtype | None = None,
    description: str = "features",
    unit: bool = True,
    prepare: Callable[[Tensor], Tensor] = normalise,
    sides: Tensor | None = None,
) -> Features:
    """Return the features, float32 (N, D), of a bank of N images, uint8 (N, H, W, 3).

    embed: (B, 3, H, W) → (B, D), as from fused_embedding. If it has an attribute `pieces`, each
    piece is normalised separately.
    flip: add the mirrored image's output.
    dtype: torch.float16 or torch.bfloat16 for autocast; None computes in float32.
    unit: L2-normalise the features; otherwise they keep the length that the network gives them.
    prepare: (B, H, W, 3) → what `embed` takes.
    sides: (N,), the rows of the network's side information; see side_rows.

        feature = Σ_{image, mirrored} embed(image), divided by its length
    """
    if device.type == "cpu":
        batch_size = min(batch_size, CPU_BATCH)

    rows = repeat(()) if sides is None else zip(sides.to(device).split(batch_size))

    def features_of(chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        # the next batch reuses the memory of a generator's tensors
        for chunk, side in zip(chunks, rows, strict=False):
            views = [prepare(view) for view in ([chunk, chunk.flip(2)] if flip else [chunk])]
            with autocast(device, dtype):
                features = [embed(view, *side).float() for view in views]
            total = sum(features[1:], features[0])
            yield (unit_pieces(total, getattr(embed, "pieces", 1)) if unit else total).cpu()

    found = []
    with progress(total=len(bank), desc=description, unit=" images") as bar:
        for features in features_of(on_device(bank.split(batch_size), device)):
            found.append(features)
            bar.update(len(features))
    return torch.cat(found).numpy()


def extractor(
    network: torch.nn.Module,
    device: torch.device,
    dtype: torch.dtype | None = None,
    scales: Sequence[float] = (1.0,),
) -> Callable[..., Features]:
    """Return extract_features bound to a network on a device: bank, batch_size=... → features.

    scales: see fused_embedding.
    """
    embed = fused_embedding(network, device, scales)
    return partial(extract_features, embed, device=device, dtype=dtype)


def side_rows(cameras: Integers | Sequence[int] | None, sides: int) -> Tensor | None:
    """Return each image's row of side information, (N,), in a network with `sides` cameras.

    cameras: (N,) as written in the file names, from 1. Returns None, which means the average of all
    cameras, if the cameras are unknown or are not the training cameras; the log reports this.
    """
    if not sides:
        return None
    if cameras is None or not all(1 <= camera <= sides for camera in np.unique(cameras)):
        found = "not given" if cameras is None else f"{min(cameras)} to {max(cameras)}"
        log.warning(
            "The network knows the cameras 1 to %d, and those of the images are %s. "
            "The mean of its cameras is taken.",
            sides,
            found,
        )
        return None
    return torch.from_numpy(np.asarray(cameras) - 1)


def on_device(chunks: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
    """Yield each chunk on the device.

    While the device computes, a thread reads the next chunk into memory that a GPU can access.
    """
    if device.type != "cuda":
        yield from (chunk.to(device) for chunk in chunks)
        return
    pinned = (chunk.pin_memory() for chunk in chunks)
    with ThreadPoolExecutor(1) as reader:
        reading = reader.submit(next, pinned, None)
        while (chunk := reading.result()) is not None:
            reading = reader.submit(next, pinned, None)
            yield chunk.to(device, non_blocking=True)


def unit_pieces(features: Tensor, pieces: int = 1) -> Tensor:
    """Scale features (B, D) to length 1.

    With several pieces, each piece of the flattened (B, D / pieces, pieces) is scaled to 1/√pieces.
    """
    return normalize(torch.unflatten(features, 1, (-1, pieces)), dim=1).flatten(1) / pieces**0.5


def scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return the (height, width) of images of `size` after resizing by a factor."""
    return int(size[0] * scale), int(size[1] * scale)


def extract(
    network: torch.nn.Module,
    dataset: Dataset,
    device: str | torch.device | None = None,
    batch_size: int = 256,
    flip: bool | None = None,
    size: tuple[int, int] | None = None,
) -> tuple[FeatureSet, FeatureSet]:
    """Return the features of query and gallery images, extracted as in test.py.

    network: from create_model, or any module that in evaluation mode maps images (B, 3, H, W),
        normalised by ImageNet's mean and deviation, to features (B, D).
    device: such as "cpu" or "cuda:1"; by default the first GPU, or else the CPU.
    flip: add the mirrored image's output; by default, as the network's authors do.
    size: (height, width) of the images for a module that is not from this package; by default,
        256×128.

    >>> query, gallery = extract(network, read_dataset("data/synthetic/pytorch"))
    >>> print(evaluate(query, gallery).line())
    """
    sides = 0
    resize = "bicubic"
    flips = True
    if isinstance(network, Network):
        if size not in (None, network.size):
            raise UserError(f"extract: the network takes images of {network.size}, not {size}.")
        size, sides = network.size, network.sides
        resize, flips = network.architecture.resize, network.architecture.flips
    place, splits = usable_device(device), {"query": dataset.query, "gallery": dataset.gallery}
    with evaluation_mode(network):
        features = partial(
            extractor(network, place), batch_size=batch_size, flip=flips if flip is None else flip
        )
        query, gallery = (
            extract_split(
                partial(features, sides=side_rows(split.cameras, sides)),
                size or PERSON,
                split,
                dataset.folder,
                name,
                resize=resize,
            )
            for name, split in splits.items()
        )
    return query, gallery


def extract_split(
    features: Callable[..., Features],
    size: tuple[int, int],
    split: Split,
    folder: str | Path,
    name: str,
    world: World | None = None,
    resize: str = "bicubic",
) -> FeatureSet:
    """Return the features of a split in a folder that prepare.py laid out.

    features: bank, description=... → features, such as Embedder.features.
    size: (height, width) of the images. name: the name of the split.
    world: the processes that share the images. The first process decodes them into a file, which
    the others open.
    resize: see fit_image.
    """
    world = world or World()
    with world.main_process_first():
        bank = load_bank(split.paths, *size, Path(folder) / ".cache", name, resize)
    return features_of_bank(features, bank, split, name, world)


def features_of_bank(
    features: Callable[..., Features], bank: torch.Tensor, split: Split, name: str, world: World
) -> FeatureSet:
    """Return the features of a split, given its images in a bank; see extract_split."""
    share = features(world.shard(bank), description=f"features of {name}")
    paths = [path.as_posix() for path in split.paths]
    return FeatureSet(world.gather_shards(share, len(split)), split.labels, split.cameras, paths)
