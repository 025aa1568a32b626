# PYTHON_ARGCOMPLETE_OK
"""Measure how long adaptation to tracks' crops takes and what it gains, by number of people.

    python benchmarks/accuracy/adaptation.py --data_dir ../Market/pytorch \\
      --backbone osnet_x0_25 --weights osnet_x0_25_msmt17.pth --people 19 136 750
    python benchmarks/accuracy/adaptation.py --data_dir ../Market/pytorch --people 136 \\
      --weights osnet_x0_25_msmt17.pth --flags "--lr 3.5e-4"

People are drawn from query and gallery. The images of one person, camera and sequence form a track,
which keeps at most eight of them, as for videos. `adapt.py` learns from them without labels. Prints
rows of Markdown, before and after: the IDF1 of the tracks as across.py links them, the mAP of the
crops among themselves, and the mAP of 100 unseen people from the training images.
"""

import os
import sys
import time
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.accuracy.across import MARKET, idf1, linked, photographed
from benchmarks.support.measure import machine
from benchmarks.support.parser import Parser, positive
from person_reid import Embedder
from person_reid.console import run_script
from person_reid.data.layout import read_split
from person_reid.retrieval.clusters import report_clusters
from person_reid.run_folder import RunFolder
from tools import adapt

HEADER = ["people", "tracks", "crops", "", "IDF1", "own mAP", "other people's mAP", "epochs"]
HEADER += ["minutes", "CPU minutes"]
PER_TRACK = 8
OTHERS = 100


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument("--data_dir", type=Path, required=True, help="layout of prepare.py")
    parser.add_argument("--backbone", default="osnet_x0_25", help="network")
    parser.add_argument("--weights", type=Path, required=True, help="weight file")
    parser.add_argument(
        "--people", type=positive(int), nargs="+", default=[19, 136, 750], help="how many"
    )
    parser.add_argument("--flags", help="further flags of adapt.py")
    options = parser.parse_args(argv)
    options.weights = options.weights.resolve()
    splits = [read_split(options.data_dir, name) for name in ("query", "gallery")]
    every = [Path(path).resolve() for split in splits for path in split.paths]
    others = [Path(path) for path in read_split(options.data_dir, "train_all").paths]
    others = drawn(others, OTHERS)
    print(machine(), "", "| " + " | ".join(HEADER) + " |", "|" + " --- |" * len(HEADER), sep="\n")
    for people in options.people:
        with TemporaryDirectory() as folder:
            os.chdir(folder)
            crops = shortened(drawn(every, people))
            lay_out(crops, Path("crops"))
            wall, used = time.perf_counter(), time.process_time()
            start = ["--backbone", options.backbone, "--weights", str(options.weights)]
            where = ["--data_dir", "crops", "--cameras", "folders", "--name", "adapted"]
            adapt.main([*where, *start, *(options.flags or "").split()])
            spent = [(time.perf_counter() - wall) / 60, (time.process_time() - used) / 60]
            run = RunFolder("adapted")
            epochs = [str(len(run.history())), *(f"{minutes:.1f}" for minutes in spent)]
            for words, weights, more in (
                ("before", options.weights, [""] * 3),
                ("adapted", run.path / "net_last.pth", epochs),
            ):
                embed = Embedder(options.backbone, weights=weights, flip=False)
                figures = measured(embed, crops, others)
                print(f"| {people} | {' | '.join([*figures[:2], words, *figures[2:], *more])} |")
                sys.stdout.flush()


def drawn(paths, people):
    """Return the images of people drawn at random, the same in every run."""
    of = defaultdict(list)
    for path in sorted(paths):
        if (found := MARKET.match(path.name)) and int(found[1]) > 0:
            of[found[1]].append(path)
    names = np.random.default_rng(0).permutation(sorted(of))[:people]
    return [path for name in names for path in of[name]]


def shortened(paths):
    """Return some images of each track, in chronological order."""
    tracks = defaultdict(list)
    for path in sorted(paths):
        tracks[of_name(path)[:3]].append(path)
    places = {
        key: np.linspace(0, len(some) - 1, min(len(some), PER_TRACK))
        for key, some in tracks.items()
    }
    return [tracks[key][round(place)] for key, every in places.items() for place in every]


def lay_out(paths, folder):
    """Link images into a folder for each camera, under names like those of crops from tracks."""
    numbers: dict[tuple, int] = {}
    for path in paths:
        person, camera, sequence, frame = of_name(path)
        box = path.name.split("_")[3][:2]  # one frame may have several boxes
        track = numbers.setdefault((person, camera, sequence), len(numbers) + 1)
        name = f"{track:06d}_{sequence}{frame}{box}.jpg"
        (folder / camera).mkdir(parents=True, exist_ok=True)
        (folder / camera / name).symlink_to(path)


def measured(embed, crops, others):
    """Return the numbers of tracks and crops, and a network's metrics on them."""
    features = embed(crops)
    people, cameras = of_names(crops)
    scene = photographed(crops, people, features)
    own = report_clusters(features, people, cameras, people)["own_mAP"]
    strangers, places = of_names(others)
    strange = report_clusters(embed(others), strangers, places, strangers)["own_mAP"]
    sizes = [str(len(scene.spans)), str(len(crops))]
    return [*sizes, idf1(scene, *linked(scene)), f"{100 * own:.1f}", f"{100 * strange:.1f}"]


def of_names(paths):
    """Return the person and camera in each image's name, both (N,)."""
    found = np.array([of_name(path)[:2] for path in paths]).astype(np.int64)
    return found[:, 0], found[:, 1]


def of_name(path):
    """Return the person, camera, sequence and frame in an image's name."""
    return MARKET.findall(path.name)[0]


if __name__ == "__main__":
    run_script(main)
