"""Write person_reid/models/networks.txt, the list that `python model.py` prints.

Every network is built to count its parameters and multiply-adds.

python tools/docs/networks.py
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from person_reid.basics import write_text
from person_reid.models.complexity import complexity, without_weights
from person_reid.models.registry import BACKBONES, LIST

HEADER = (
    f"{'':18}{'parameters':>12}{'multiply-adds':>15}{'feature':>9}{'input':>10}   "
    "licence of the weights"
)


def main() -> None:
    """Write the list."""
    write_text(LIST, table())


def table() -> str:
    """Return the list of all networks: their size, computations, feature, input and licence."""
    lines = [HEADER, *map(line, BACKBONES)]
    return "\n".join([*lines, "and every network of timm and torchvision, by its name there.\n"])


def line(name: str) -> str:
    """Return the line of a network."""
    entry, network = BACKBONES[name], without_weights(name)
    found = complexity(network, entry.size)
    return (
        f"{name:18}{found.parameters / 1e6:10.2f} M{found.multiply_adds / 1e9:13.2f} G"
        f"{network.dim:9}{'{}×{}'.format(*entry.size):>10}   {entry.licence()}"
    )


if __name__ == "__main__":
    main()
