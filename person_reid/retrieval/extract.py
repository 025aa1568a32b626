"""From a network and a data set to the features of query and gallery."""

import torch

from person_reid.data.bank import load_bank
from person_reid.data.layout import Dataset
from person_reid.device import usable_device
from person_reid.models.modes_and_hooks import evaluation_mode
from person_reid.models.network import Network
from person_reid.retrieval.features import extract_features, fused_embedding
from person_reid.retrieval.results import FeatureSet


def extract(
    network: Network,
    dataset: Dataset,
    device: str | torch.device | None = None,
    batch_size: int = 256,
    flip: bool = True,
) -> tuple[FeatureSet, FeatureSet]:
    """Return the features of query and gallery, as test.py extracts them.

    device: such as "cpu" or "cuda:1"; by default the first GPU, or else the CPU.
    flip: add the mirrored image's output.

    >>> query, gallery = extract(network, read_dataset("data/synthetic/pytorch"))
    >>> print(evaluate(query, gallery).line())
    """
    place, cache = usable_device(device), dataset.folder / ".cache"
    sets = []
    with evaluation_mode(network):
        embed = fused_embedding(network, place)
        for name, split in (("query", dataset.query), ("gallery", dataset.gallery)):
            bank = load_bank(split.paths, *network.size, cache, name)
            features = extract_features(embed, bank, place, batch_size, flip, description=name)
            paths = [path.as_posix() for path in split.paths]
            sets.append(FeatureSet(features, split.labels, split.cameras, paths))
    return sets[0], sets[1]
