"""Command lines: parsers made from configurations, one-line errors, remarks on the terminal.

Only this package uses argparse. The functions that it calls take configurations and return results.
"""

from person_reid.console.options import (
    launched,
    parse,
    parse_command,
    share_batch,
    without_rank,
)
from person_reid.console.script import run_script

__all__ = [
    "launched", "parse", "parse_command", "run_script", "share_batch",
    "without_rank",
]  # fmt: skip
