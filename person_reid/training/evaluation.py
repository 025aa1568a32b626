"""`--eval_every N`: what test.py would say of the network in training."""

from pathlib import Path

from person_reid.data.bank import load_bank
from person_reid.data.layout import read_split
from person_reid.retrieval.features import extract_features, fused_embedding
from person_reid.retrieval.metrics import evaluate, find_pairs
from person_reid.retrieval.results import FeatureSet
from person_reid.training.adversarial import evaluation_mode


class Evaluation:
    """Rank@1 and mAP of a network on query and gallery of a data set, as test.py has them without further flags.

    data_dir: what prepare.py laid out. Raises UserError where it has no query or gallery, or none that can be ranked.
    """

    def __init__(self, data_dir):
        self.data_dir = Path(data_dir)
        self.splits = {name: read_split(data_dir, name) for name in ("query", "gallery")}
        self.banks = {}
        find_pairs(*self.splits.values())

    def decode(self, height, width):
        """Decode the images, or open the caches of those that are decoded."""
        cache = self.data_dir / ".cache"
        self.banks = {name: load_bank(split.paths, height, width, cache, name) for name, split in self.splits.items()}

    def __call__(self, network, device, batch_size, world):
        """{"rank1", "mAP"}, each in [0, 1], the same on every process of the world; each extracts and ranks a share.

        The network stays as it is, each of its modules in its mode.
        """
        with evaluation_mode(network):
            embed = fused_embedding(network, device)
            sets = {}
            for name, split in self.splits.items():
                bank = world.share(self.banks[name])
                features = extract_features(embed, bank, device, batch_size, description=name)
                sets[name] = FeatureSet(world.collect(features, len(split)), split.labels, split.cameras)
        metrics = evaluate(sets["query"], sets["gallery"], workers=world)
        return {"rank1": metrics.rank(1), "mAP": metrics.mAP}
