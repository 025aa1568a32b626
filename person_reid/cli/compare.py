"""Decide whether two images show the same person, and print the similarity and the threshold.

    python tools/compare.py a.jpg b.jpg --name ft_ResNet50
    python tools/compare.py a.jpg b.jpg --backbone osnet_x0_25 --weights osnet.pth --threshold 0.7

The threshold and its bound, if any, come from tools/threshold.py, which measures them on a test
set. If its features came from test.py --no_flip or --ms, the two images are compared in the same
way.
"""

import re
from pathlib import Path

from person_reid.basics import printable
from person_reid.cli.flags import add_tested_network
from person_reid.cli.parser import Parser
from person_reid.cli.tested import network_name, own_threshold, tested_network
from person_reid.config.demo import THRESHOLD
from person_reid.deploy.embedder import Embedder
from person_reid.device import select_device
from person_reid.retrieval.features import parse_scales
from person_reid.retrieval.results import PLAIN
from person_reid.retrieval.thresholds import (
    DIGITS,
    accepts,
    load_threshold,
    measured_flags,
    with_promise,
)

# Flags of test.py, as a result notes them, that mean something to a single image.
OF_AN_IMAGE = re.compile("(--ms (?P<ms>[^ ]+))? ?(?P<no_flip>--no_flip)?")


def main(argv: list[str] | None = None) -> None:
    """Compare two images and print the verdict."""
    parser = Parser(__doc__)
    parser.add_argument("images", type=Path, nargs=2, metavar="IMAGE", help="the two images")
    parser.add_argument(
        "--threshold", help=f"{THRESHOLD} (default: that of --from, or threshold.json)"
    )
    add_tested_network(parser)
    options = parser.parse_args(argv)
    tested = tested_network(options)
    options.threshold = options.threshold or own_threshold(options) or "threshold.json"
    flags = measured_flags(options.threshold)
    views = OF_AN_IMAGE.fullmatch(flags)
    threshold = load_threshold(
        options.threshold, network_name(options), flags if flags and views else PLAIN
    )
    flip, scales = not (views and views["no_flip"]), parse_scales((views and views["ms"]) or "1")
    embed = Embedder(tested, device=select_device(options.gpu_ids), flip=flip, scales=scales)
    first, second = embed(options.images)
    similarity = float(first @ second)
    verdict, sign = (
        ("same person", "≥") if accepts(threshold, similarity) else ("different people", "<")
    )
    compared = f"similarity {similarity:.{DIGITS}f} {sign} threshold {threshold:.{DIGITS}f}"
    print(printable(f"{verdict}: {compared} ({with_promise(options.threshold)})"))
