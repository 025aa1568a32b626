"""Write person_reid/models/networks.txt, the list that `python model.py` prints, by building every
network.

python tools/docs/networks.py
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from person_reid.basics import write_text
from person_reid.models.complexity import table
from person_reid.models.registry import LIST


def main() -> None:
    """Write the list."""
    write_text(LIST, table())


if __name__ == "__main__":
    main()
