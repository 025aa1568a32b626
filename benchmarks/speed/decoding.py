# PYTHON_ARGCOMPLETE_OK
"""Compare the ways to decode and resize image files: one after the other, and in threads.

    python benchmarks/speed/decoding.py --data_dir ../Market/pytorch
    python benchmarks/speed/decoding.py --data_dir ../Market/pytorch --images 20000 --height 384 \\
      --width 192
    python benchmarks/speed/decoding.py --data_dir ../Market/pytorch --images 1000 --wait 5

Prints rows of a Markdown table: images per second, medians. --wait stands for a slow disk or a
drive in a network.
"""

import statistics
import sys
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.support.measure import machine
from benchmarks.support.parser import Parser
from person_reid.console import run_script
from person_reid.data.images import decoding
from person_reid.data.images.image_files import load_image
from person_reid.data.layout import read_split


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument(
        "--data_dir", default="../Market/pytorch", help="the folder that prepare.py laid out"
    )
    parser.add_argument("--split", default="train_all", help="the images to decode")
    parser.add_argument("--images", type=int, default=5000, help="how many of them")
    parser.add_argument("--height", type=int, default=256, help="height of the decoded images")
    parser.add_argument("--width", type=int, default=128, help="width of the decoded images")
    parser.add_argument(
        "--wait", type=float, default=0, help="milliseconds that every file takes to arrive"
    )
    parser.add_argument("--runs", type=int, default=3, help="the median is printed")
    options = parser.parse_args(argv)
    paths = read_split(options.data_dir, options.split).paths[: options.images]
    load = partial(load_image, height=options.height, width=options.width)
    if options.wait:
        load = partial(late, options.wait / 1000, load)
    ways = {
        "one after the other": lambda: map(load, paths),
        f"{decoding.THREADS} threads": lambda: decoding.decode(paths, load),
    }
    print(
        f"{machine()}; "
        f"{len(paths)} images at {options.height}×{options.width}, {options.wait:g} ms late\n"
    )
    print("| | images/s | times |\n| --- | --- | --- |")
    first = None
    for name, way in ways.items():
        seconds = statistics.median(timed(way) for _ in range(options.runs))
        first = first or seconds
        print(f"| {name} | {len(paths) / seconds:.0f} | {first / seconds:.2f} |")


def late(wait, load, path):
    """Return load(path) after a wait of so many seconds."""
    time.sleep(wait)
    return load(path)


def timed(way):
    """Return the seconds in which the images of way() were decoded."""
    began = time.perf_counter()
    for _ in way():
        pass
    return time.perf_counter() - began


if __name__ == "__main__":
    run_script(main)
