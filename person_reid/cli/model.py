"""List the networks with their sizes and licences, or describe one layer by layer.

python model.py                          # list the networks
python model.py osnet_x0_25              # build one, run it, print its stages
"""

import torch

from person_reid.cli.parser import Parser
from person_reid.models.complexity import HEADER, summary, table_line
from person_reid.models.factory import create_model
from person_reid.models.network import Network
from person_reid.models.registry import BACKBONES, find_backbone


def main(argv: list[str] | None = None) -> None:
    """Print the list, or the description."""
    parser = Parser(__doc__)
    parser.add_argument("backbone", nargs="?", help="network to describe; without one, all are listed")
    name = parser.parse_args(argv).backbone
    if name:
        print(summary(name, _without_weights(name), find_backbone(name)))
        return
    print(HEADER)
    for name, entry in BACKBONES.items():
        print(table_line(name, _without_weights(name), entry), flush=True)
    print("and every network of timm and torchvision, by its name there.")


def _without_weights(name: str) -> Network:
    """Return a Network whose tensors have shapes but no values."""
    import torchvision  # noqa: F401  # PyTorch 2.6 cannot import it on the meta device

    with torch.device("meta"):
        return create_model(name, weights="none").eval()
