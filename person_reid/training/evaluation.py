"""Evaluate the network in training as test.py would: `--eval_every N`."""

from pathlib import Path

import torch

from person_reid.data.bank import load_bank
from person_reid.data.layout import read_split
from person_reid.deploy.runtimes import features_of
from person_reid.distributed import World
from person_reid.models.contexts import evaluation_mode
from person_reid.models.network import Network
from person_reid.retrieval.metrics import check_cameras, evaluate, remark_unmatched
from person_reid.retrieval.results import FeatureSet


class Evaluation:
    """Measure Rank@1 and mAP of a network on query and gallery of a data set, as test.py does without further flags.

    data_dir: laid out by prepare.py. runtime: see deploy.runtimes. Raises UserError if there is no query or gallery, or
    none that can be ranked.
    """

    def __init__(self, data_dir: str | Path, runtime: str = "torch") -> None:
        self.data_dir, self.runtime = Path(data_dir), runtime
        self.splits = {name: read_split(data_dir, name) for name in ("query", "gallery")}
        self.banks: dict[str, torch.Tensor] = {}
        # labels and cameras suffice
        check_cameras(self.splits["query"], self.splits["gallery"])  # type: ignore[arg-type]
        remark_unmatched(self.splits["query"], self.splits["gallery"])  # type: ignore[arg-type]

    def decode(self, height: int, width: int) -> None:
        """Decode the images, or open their caches."""
        cache = self.data_dir / ".cache"
        self.banks = {name: load_bank(split.paths, height, width, cache, name) for name, split in self.splits.items()}

    def __call__(self, network: Network, device: torch.device, batch_size: int, world: World) -> dict[str, float]:
        """Return {"rank1", "mAP"} in [0, 1], the same on every process of the world; each extracts and ranks a share.

        The network is left unchanged, with each module in its own mode.
        """
        with evaluation_mode(network):
            shares = {name: world.share(bank) for name, bank in self.banks.items()}
            found = features_of(network, shares, device, batch_size, self.runtime)
        sets = {
            name: FeatureSet(world.collect(found[name], len(split)), split.labels, split.cameras)
            for name, split in self.splits.items()
        }
        metrics = evaluate(sets["query"], sets["gallery"], world=world)
        return {"rank1": metrics.rank(1), "mAP": metrics.mAP}
