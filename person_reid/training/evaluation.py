"""Evaluate the network during training, as test.py would: `--eval_every N`."""

from functools import partial

import torch

from person_reid.config import TrainConfig
from person_reid.data.images.bank import load_bank
from person_reid.data.layout import read_split
from person_reid.deploy.runtimes import present_extractor
from person_reid.distributed import World
from person_reid.models.network import Network
from person_reid.models.surgery import evaluation_mode
from person_reid.retrieval.features import features_of_bank
from person_reid.retrieval.matches import check_cameras
from person_reid.retrieval.metrics import evaluate
from person_reid.retrieval.remarks import remark_unmatched


class Evaluation:
    """Measure a network's Rank@1 and mAP on a data set, as test.py does by default.

    config: the configuration of the run. Raises UserError if the query or gallery is missing or
    cannot be ranked.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config, self.data_dir = config, config.roots[0]
        self.splits = {name: read_split(self.data_dir, name) for name in ("query", "gallery")}
        self.banks: dict[str, torch.Tensor] = {}
        # Labels and cameras suffice here.
        check_cameras(self.splits["query"], self.splits["gallery"])  # type: ignore[arg-type]
        remark_unmatched(self.splits["query"], self.splits["gallery"])  # type: ignore[arg-type]

    def decode(self, network: Network) -> None:
        """Decode the images for a network, or open their caches."""
        cache, resize = self.data_dir / ".cache", network.architecture.resize
        self.banks = {
            name: load_bank(split.paths, *network.size, cache, name, resize)
            for name, split in self.splits.items()
        }

    def due(self, epoch: int) -> bool:
        """Return whether an evaluation is due after an epoch, counted from 0.

        It is due every --eval_every epochs and after the last.
        """
        return (epoch + 1) % self.config.eval_every == 0 or epoch + 1 == self.config.total_epoch

    def __call__(self, network: Network, device: torch.device, world: World) -> dict[str, float]:
        """Return {"rank1", "mAP"}, each from 0 to 1 and the same in every process.

        Each process extracts and ranks a share. The network does not change, nor do the modes of
        its modules.
        """
        with evaluation_mode(network):
            extract = partial(
                present_extractor(network, device, self.config.runtime or "torch"),
                batch_size=self.config.batchsize,
                flip=network.architecture.flips,
            )
            query, gallery = (
                features_of_bank(extract, self.banks[name], split, name, world)
                for name, split in self.splits.items()
            )
        metrics = evaluate(query, gallery, world=world)
        return {"rank1": metrics.rank(1), "mAP": metrics.mAP}
