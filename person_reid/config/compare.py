"""The options of tools/compare.py."""

from person_reid.config.demo import THRESHOLD
from person_reid.config.option import Options, option
from person_reid.config.tested import UsedNetwork


class CompareOptions(Options, title="images"):
    """Which images are compared, and by which threshold."""

    images: tuple[str, ...] = option(
        (), "the two images", several=2, positional=True, metavar="IMAGE", common=True
    )
    threshold: str | None = option(
        None, f"{THRESHOLD} (default: the one of --from, or threshold.json)", common=True
    )


class CompareConfig(UsedNetwork, CompareOptions):
    """All options of tools/compare.py."""
