"""Networks named by a single string: a run, a file, or a file followed by flags of test.py.

Reading the string needs no torch.
"""

import shlex
import sys
from pathlib import Path

from person_reid.config.option import as_flag
from person_reid.config.tested import CONFIG_FILE, READABLE, FittedFeatures, TestConfig, TestFiles
from person_reid.config.zoo import packaged, published_network
from person_reid.console.options import parse_words
from person_reid.errors import UserError

# Options of test.py that concern the test and not the network. The text may come from a file, so it
# must not name code to run.
OF_TESTS = (*TestFiles.declared(), *FittedFeatures.declared(), "plugin")


def network_named(text: str, option: str, gpu_ids: str | None = None) -> TestConfig:
    """Return the test.py options for the network that `text` names.

    text: a run, a folder from save_pretrained, an exported file, BACKBONE=FILE for a weight file,
    or a network in this package or a published one; further flags of test.py may follow it.
    option: the option that holds the text. gpu_ids: the GPUs to use unless the text names others;
    None if the text must not name any.

    Raises UserError for flags that would be ignored.
    """
    try:
        # On Windows, a backslash separates folders and quotes nothing.
        escaped = text.replace("\\", r"\\") if sys.platform == "win32" else text
        named, *further = shlex.split(escaped)
    except ValueError as error:  # no text, or an unmatched quotation mark
        raise UserError(
            f"{text!r}: expected a network, and perhaps flags of test.py ({error})."
        ) from None
    backbone, _, weights = named.partition("=")
    if Path(named).suffix.lower() in READABLE:
        words = ["--engine", named]
    elif (Path(named) / CONFIG_FILE).exists():
        words = ["--from", named]
    elif weights:
        words = ["--backbone", backbone, "--weights", weights]
    elif packaged(named) or published_network(named):
        words = ["--weights", named]
    else:
        words = ["--name", named]
    placed = [] if gpu_ids is None else ["--gpu_ids", gpu_ids]
    network = parse_words(TestConfig, [*words, *placed, *further])
    unused = OF_TESTS if placed else (*OF_TESTS, "gpu_ids")
    if ignored := network.not_default(unused):
        flags = ", ".join(as_flag(name) for name in ignored)
        raise UserError(f"--{option} {text}: {flags} would be ignored; leave it out.")
    return network
