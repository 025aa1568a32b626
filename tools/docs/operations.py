"""Write the table of HTTP operations in docs/service.md from the service's own table.

python tools/docs/operations.py
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from person_reid.serve.call import Operation
from person_reid.serve.operations import ALL_OPERATIONS
from person_reid.serve.parameters import FILTER_NAMES
from person_reid.text import markdown_table
from tools.docs.results import put

SERVICE_PAGE = ROOT / "docs" / "service.md"
OPERATION_MARKS = "<!-- operations -->", "<!-- their end -->"
SENT = {"images": "images", "features": "images or features"}
OPERATION_HEAD = ["operation", "role", "takes", "what it does"]


def operation_table() -> str:
    """Return a table of the service's operations, one row for each."""
    rows = [
        [f"`{each.method} {each.path}`", each.role or "none", taken(each), each.summary]
        for each in ALL_OPERATIONS
    ]
    return markdown_table(OPERATION_HEAD, rows).rstrip()


def taken(operation: Operation) -> str:
    """Describe what a client sends: images or an object, and parameters."""
    names = [*operation.takes]
    if {*FILTER_NAMES} <= {*names}:
        names = [name for name in names if name not in FILTER_NAMES]
    found = [f"`{name}`" for name in names]
    if len(names) < len(operation.takes):
        found.append("filters")
    if isinstance(operation.sends, str):
        found.insert(0, SENT[operation.sends])
    elif operation.sends:
        found.append(f"JSON with {', '.join(f'`{key}`' for key in operation.sends)}")
    return ", ".join(found)


if __name__ == "__main__":
    put(SERVICE_PAGE, *OPERATION_MARKS, operation_table())
