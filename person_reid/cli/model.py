"""List the networks with their sizes and licences, or describe one layer by layer.

python model.py                          # list the networks
python model.py osnet_x0_25              # build one, run it, print its stages
"""

from person_reid.cli.parser import Parser
from person_reid.models.registry import LIST


def main(argv: list[str] | None = None) -> None:
    """Print the list, which needs no PyTorch, or the description."""
    parser = Parser(__doc__)
    parser.add_argument(
        "backbone", nargs="?", help="network to describe; without one, all are listed"
    )
    name = parser.parse_args(argv).backbone
    if not name:
        print(LIST.read_text(encoding="utf-8"), end="")
        return
    from person_reid.models.complexity import summary

    print(summary(name))
