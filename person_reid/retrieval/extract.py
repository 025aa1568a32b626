"""From a network and images to the features of query and gallery."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn

from person_reid.arrays import check_kind
from person_reid.data.images.bank import load_bank
from person_reid.data.layout import Split
from person_reid.data.torch_dataset import Dataset
from person_reid.device import usable_device
from person_reid.distributed import World
from person_reid.errors import UserError
from person_reid.models.backbone import PERSON
from person_reid.models.network import Network
from person_reid.models.surgery import evaluation_mode
from person_reid.retrieval.features import extractor, side_rows
from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.similarity import Features


def extract(
    network: torch.nn.Module,
    dataset: Dataset,
    device: str | torch.device | None = None,
    batch_size: int = 256,
    flip: bool | None = None,
    size: tuple[int, int] | None = None,
) -> tuple[FeatureSet, FeatureSet]:
    """Return the features of query and gallery, as test.py extracts them.

    network: from create_model, or any module that in evaluation mode maps images (B, 3, H, W),
        normalised by ImageNet's mean and deviation, to features (B, D).
    device: such as "cpu" or "cuda:1"; by default the first GPU, or else the CPU.
    flip: add the mirrored image's output; by default as the network's authors do.
    size: (height, width) of the images that another module takes; by default 256×128.

    >>> query, gallery = extract(network, read_dataset("data/synthetic/pytorch"))
    >>> print(evaluate(query, gallery).line())
    """
    check_kind(network, nn.Module, "network", "a module, such as create_model returns")
    check_kind(dataset, Dataset, "dataset", "what read_dataset returns")
    sides = 0
    resize = "bicubic"
    flips = True
    if isinstance(network, Network):
        if size not in (None, network.size):
            raise UserError(f"extract: the network takes images of {network.size}, not {size}.")
        size, sides = network.size, network.sides
        resize, flips = network.backbone.resize, network.backbone.flips
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
    """Return the features of a split of a folder that prepare.py laid out.

    features: bank, description=... → features, such as Embedder.features.
    size: (height, width) of the images. name: the split's.
    world: the processes that share the images. The first one decodes them into a file, which the
        others open.
    resize: see fit_image.
    """
    world = world or World()
    with world.main_process_first():
        bank = load_bank(split.paths, *size, Path(folder) / ".cache", name, resize)
    return features_of_bank(features, bank, split, name, world)


def features_of_bank(
    features: Callable[..., Features], bank: torch.Tensor, split: Split, name: str, world: World
) -> FeatureSet:
    """Return the features of a split whose images are in a bank; see extract_split."""
    share = features(world.shard(bank), description=f"features of {name}")
    paths = [path.as_posix() for path in split.paths]
    return FeatureSet(world.gather_shards(share, len(split)), split.labels, split.cameras, paths)
