# PYTHON_ARGCOMPLETE_OK
"""Decide whether two images show the same person, and print the similarity and the threshold.

    python tools/compare.py a.jpg b.jpg --name ft_ResNet50
    python tools/compare.py a.jpg b.jpg --backbone osnet_x0_25 --weights osnet.pth --threshold 0.7

tools/threshold.py measures the threshold, and its bound if it has one, on a test set. If the
features of that set were extracted with test.py --no_flip or --ms, the images are compared in the
same way.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import person_reid as reid
from person_reid.config.look import THRESHOLD
from person_reid.config.option import Options, option
from person_reid.config.tested import UsedNetwork, parse_scales
from person_reid.console import parse, run_script
from person_reid.deploy.find import own_threshold, tested_network
from person_reid.retrieval.results import PLAIN
from person_reid.retrieval.thresholds import DIGITS, accepts, measured_flags, with_bound
from person_reid.text import printable


class CompareOptions(Options, title="images"):
    """The images to compare, and the threshold."""

    images: tuple[str, ...] = option(
        (), "the two images", several=2, positional=True, metavar="IMAGE", common=True
    )
    threshold: str | None = option(
        None, f"{THRESHOLD} (default: the one of --from, or threshold.json)", common=True
    )


class CompareConfig(UsedNetwork, CompareOptions):
    """All options of tools/compare.py."""


# Flags of test.py, as a result file stores them, that apply to a single image.
OF_AN_IMAGE = re.compile("(--ms (?P<ms>[^ ]+))? ?(?P<no_flip>--no_flip)?")


def main(argv: list[str] | None = None) -> None:
    """Compare two images and print the verdict."""
    config = parse(CompareConfig, argv, __doc__).or_packaged()
    network = tested_network(config)
    measured = config.threshold or own_threshold(config) or "threshold.json"
    flags = measured_flags(measured)
    views = OF_AN_IMAGE.fullmatch(flags)
    alike = flags if flags and views else PLAIN
    threshold = reid.load_threshold(measured, reid.network_name(config), alike)

    flip = False if views and views["no_flip"] else None
    scales = parse_scales((views and views["ms"]) or "1")
    device = reid.select_device(config.gpu_ids)
    embed = reid.Embedder(network, device=device, flip=flip, scales=scales)
    first, second = embed(config.images)
    similarity = float(first @ second)

    same = accepts(threshold, similarity)
    verdict, sign = ("same person", "≥") if same else ("different people", "<")
    compared = f"similarity {similarity:.{DIGITS}f} {sign} threshold {threshold:.{DIGITS}f}"
    print(printable(f"{verdict}: {compared} ({with_bound(measured)})"))


if __name__ == "__main__":
    run_script(main)
