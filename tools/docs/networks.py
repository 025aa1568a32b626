"""Write the list of networks, and the tables of published networks for the docs.

The list is person_reid/models/networks.txt, which `python model.py` prints. The tables are in
docs/published-networks.md. Every network in the list is built to count its parameters and
multiply-adds.

python tools/docs/networks.py
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from person_reid.config.zoo import FAMILIES_OF_ZOO, cells, facts, of_family, place
from person_reid.files import write_text
from person_reid.models.architecture import LIST
from person_reid.models.complexity import complexity, without_weights
from person_reid.models.factory import ARCHITECTURES
from person_reid.text import markdown_table
from tools.docs.results import put

NETWORKS_HEADER = (
    f"{'':18}{'parameters':>12}{'multiply-adds':>15}{'feature':>9}{'input':>10}   "
    "licence of the weights"
)
PUBLISHED_PAGE = ROOT / "docs" / "published-networks.md"
PUBLISHED_MARKS = "<!-- published -->", "<!-- its end -->"


def main() -> None:
    """Write the list and the tables."""
    write_text(LIST, table())
    put(PUBLISHED_PAGE, *PUBLISHED_MARKS, published_tables())


def published_tables() -> str:
    """Return the tables of published networks, one for each family."""
    head = ["network", "input", "trained on", "Rank@1 / mAP", "file"]
    parts = []
    for family, about in FAMILIES_OF_ZOO.items():
        rows = [
            [f"`{each.name}`", *cells(each)[:3], each.note or f"[{place(each)}]({each.where})"]
            for each in of_family(family)
        ]
        parts += [f"### {family}\n", f"[Their page]({about.page}). {facts(about)}\n"]
        parts += [markdown_table(head, rows)]
    return "\n".join(parts).rstrip()


def table() -> str:
    """Return the list of all networks, with their size, cost, feature, input and licence."""
    lines = [NETWORKS_HEADER, *map(line, ARCHITECTURES)]
    return "\n".join([*lines, "and every network of timm and torchvision, by its name there.\n"])


def line(name: str) -> str:
    """Return the line for a network."""
    entry, network = ARCHITECTURES[name], without_weights(name)
    found = complexity(network, entry.size)
    return (
        f"{name:18}{found.parameters / 1e6:10.2f} M{found.multiply_adds / 1e9:13.2f} G"
        f"{network.dim:9}{'{}×{}'.format(*entry.size):>10}   {entry.licence()}"
    )


if __name__ == "__main__":
    main()
