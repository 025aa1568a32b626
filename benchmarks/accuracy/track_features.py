# PYTHON_ARGCOMPLETE_OK
"""Compare ways to make one feature of the images of a track.

    python benchmarks/accuracy/track_features.py --weights osnet_x0_25_msmt17.pth

The gallery of a layout in Market-1501's format becomes tracks: the images of a person from one
camera and sequence whose frames follow each other by at most ten seconds. Every track then searches
the tracks of the other cameras. Prints a Markdown table of Rank@1 and stepwise mAP.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from PIL import Image

from benchmarks.support.measure import machine
from benchmarks.support.parser import Parser
from person_reid.console import run_script
from person_reid.data.layout import read_split
from person_reid.data.video.crops import sharpness
from person_reid.retrieval.track_features import track_features

NAME = re.compile(r"(\d+)_c(\d+)s(\d+)_(\d+)")
GAP = 250  # frames
DRAWS = 5  # draws of one image for each track


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument("--data_dir", default="../Market/pytorch", help="layout of prepare.py")
    parser.add_argument("--backbone", default="osnet_x0_25", help="network")
    parser.add_argument("--weights", default="none", help="its weight file, or none")
    options = parser.parse_args(argv)
    from person_reid.deploy.embedder import Embedder

    gallery = read_split(options.data_dir, "gallery")
    paths = [Path(path) for path in gallery.paths]
    paths = [path for path in paths if re.match(r"\d*[1-9]\d*_", path.name)]  # a person
    tracks = tracks_of(paths)
    embed = Embedder(options.backbone, weights=options.weights, unit_length=False)
    features = embed(paths)
    norms = np.linalg.norm(features, axis=1)
    sharp = np.array([sharpness(Image.open(path)) for path in paths])
    names, means = track_features(features, tracks)
    places = {name: place for place, name in enumerate(names)}
    alike = (features / norms[:, None] * means[[places[track] for track in tracks]]).sum(1)
    random = np.random.default_rng(0)
    print(f"{machine()}; {len(paths)} images, {len(names)} tracks\n")
    print("| weights | Rank@1 | mAP |\n| --- | --- | --- |")
    drawn = [
        score(features, tracks, alone(tracks, random.random(len(paths)))) for _ in range(DRAWS)
    ]
    rows = {"one image, drawn (mean of five)": np.mean(drawn, axis=0)}
    for name, weights in {
        "one image, the sharpest": alone(tracks, sharp),
        "all the same": np.ones(len(paths)),
        "norm of the feature": norms,
        "sharpness": sharp,
        "cosine to the mean": alike,
        "fourth power of that cosine": alike**4,
    }.items():
        rows[name] = score(features, tracks, weights)
    for name, (rank_1, average_precision) in rows.items():
        print(f"| {name} | {100 * rank_1:.1f} | {100 * average_precision:.1f} |")


def tracks_of(paths):
    """Return (person, camera, number) of the track of each image."""
    keys = [[int(part) for part in NAME.findall(path.name)[0]] for path in paths]
    found = {}
    number = 0
    before = [0, 0, 0, 0]
    for place in sorted(range(len(keys)), key=keys.__getitem__):
        key = keys[place]
        number += key[:3] != before[:3] or key[3] - before[3] > GAP
        found[place], before = (*key[:2], number), key
    return [found[place] for place in range(len(keys))]


def alone(tracks, scores):
    """Return weights of 1 for the image of each track that scores highest, and 0 for the others."""
    best: dict[tuple, int] = {}
    for place, track in enumerate(tracks):
        if track not in best or scores[place] > scores[best[track]]:
            best[track] = place
    weights = np.zeros(len(tracks))
    weights[list(best.values())] = 1
    return weights


def score(features, tracks, weights):
    """Return Rank@1 and mAP of tracks that search the tracks of other cameras."""
    names, means = track_features(features, tracks, weights)
    people, cameras, _ = np.array(names).T
    first, precisions = [], []
    for place, similarities in enumerate(means @ means.T):
        searched = (people != people[place]) | (cameras != cameras[place])
        order = np.argsort(-similarities[searched], kind="stable")
        ranks = np.flatnonzero(people[searched][order] == people[place])
        if len(ranks):
            first.append(ranks[0] == 0)
            precisions.append(((np.arange(len(ranks)) + 1) / (ranks + 1)).mean())
    return np.mean(first), np.mean(precisions)


if __name__ == "__main__":
    run_script(main)
