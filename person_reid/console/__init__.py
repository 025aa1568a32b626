"""Command lines: parsers made from configurations, errors in one line, remarks on the terminal.

argparse ends here. Below this package, functions take configurations and return results.
"""

from person_reid.console.options import command as command
from person_reid.console.options import launched as launched
from person_reid.console.options import parse as parse
from person_reid.console.options import parse_command as parse_command
from person_reid.console.options import share_batch as share_batch
from person_reid.console.options import without_rank as without_rank
from person_reid.console.script import run_script as run_script
