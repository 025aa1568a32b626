"""Write the table of data sets in docs/datasets.md from the table in the code.

python tools/docs/datasets.py
"""

import sys
from pathlib import Path
from urllib.parse import urlparse

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from person_reid.config.prepare import DATA_SET_NAMES
from person_reid.data.datasets import DATA_SETS, KnownDataSet
from person_reid.text import markdown_table
from tools.docs.results import put

DATA_SETS_PAGE = ROOT / "docs" / "datasets.md"
DATA_SETS_MARKS = "<!-- data sets -->", "<!-- its end -->"
DATA_SETS_HEAD = ["`--dataset`", "name", "folder", "published counts", "source", "terms"]


def data_set_table() -> str:
    """Return a table of the suite's data sets, one row for each."""
    rows = [data_set_row(name, DATA_SETS[name]) for name in DATA_SET_NAMES]
    return markdown_table(DATA_SETS_HEAD, rows).rstrip()


def data_set_row(name: str, data_set: KnownDataSet) -> list[str]:
    """Return the table row for a data set."""
    counts = [
        f"{split} {' / '.join('-' if number is None else f'{number:,}' for number in numbers)}"
        for split, numbers in data_set.published.items()
    ]
    folders = " or ".join(f"`{location}`" for location in data_set.locations) or "any"
    site = urlparse(data_set.source).netloc
    source = f"[{site}]({data_set.source})" if site else data_set.source
    if source.startswith("python "):
        source = f"`{source}`"
    return [f"`{name}`", data_set.name, folders, "; ".join(counts), source, data_set.licence]


if __name__ == "__main__":
    put(DATA_SETS_PAGE, *DATA_SETS_MARKS, data_set_table())
