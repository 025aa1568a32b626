# PYTHON_ARGCOMPLETE_OK
"""Measure how well people are linked live, compared with the same tracks linked at once.

    python prepare.py --synthetic --walks --data_dir walks
    python benchmarks/accuracy/live.py --walks walks --from osnet_x0_25 --weights osnet_msmt17.pth

LivePeople gets the frames of all cameras in order of time. Instead of a detector, it gets the boxes
of the walks' tracks. "As first said" uses the first person reported for each track, "as corrected"
the last. "Linked at once" is link_tracks with the same features and threshold. Prints rows of
Markdown.
"""

import csv
import heapq
import sys
from collections import defaultdict
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.accuracy.across import HEADER, Scene, row, true_people
from benchmarks.support.measure import machine
from benchmarks.support.parser import Parser
from person_reid import Embedder
from person_reid.config.times import EPOCH, parsed
from person_reid.console import run_script
from person_reid.data.video.frames import FrameFolder
from person_reid.data.video.tracked_boxes import read_tracks
from person_reid.retrieval.association import link_tracks, read_travel
from person_reid.retrieval.identities import listed_boxes, matching_boxes
from person_reid.retrieval.similarity import unit_rows
from person_reid.text import markdown_table
from person_reid.video.live import LivePeople


def main(argv=None):
    """Print a table."""
    parser = Parser(__doc__)
    parser.add_argument("--walks", type=Path, required=True, help="folder of prepare.py --walks")
    parser.add_argument("--from", dest="source", required=True, help="run, network or file")
    parser.add_argument("--weights", type=Path, help="weight file of a network")
    options = parser.parse_args(argv)
    embedder = Embedder(options.source, weights=options.weights)
    rows = Walks(options.walks).rows(partial(embedder, description=""))
    print(machine(), "", markdown_table([*HEADER, "corrections"], rows), sep="\n")


class Walks:
    """The frames, boxes and people of synthetic walks."""

    def __init__(self, folder):
        with (folder / "cameras.csv").open(newline="") as file:
            clocks = list(csv.DictReader(file))
        self.travel = read_travel(folder / "travel.csv", [each["camera"] for each in clocks])
        self.truth: list[tuple] = []
        self.boxes: dict[tuple, list] = defaultdict(list)
        self.frames: list[list] = []
        for clock in clocks:
            camera, fps, begins = clock["camera"], float(clock["fps"]), clock["start"]
            start = (parsed(begins) - EPOCH).total_seconds()
            true = read_tracks(folder / camera / "gt" / "gt.txt", fps, begins)
            self.truth += [(camera, str(track.number), track) for track in true]
            for track in read_tracks(folder / camera / "tracks.txt", fps, begins):
                for frame, box in zip(track.frames.tolist(), track.boxes, strict=True):
                    self.boxes[camera, frame].append(box)
            images = FrameFolder(folder / camera / "img1")
            every = zip(images.read(images.numbers), images.seconds(images.numbers), strict=True)
            self.frames.append([(start + at, camera, *numbered) for numbered, at in every])

    def rows(self, embed):
        """Yield a row for the people reported first, those reported last, and the links at once."""
        links, first, last, boxes, corrections = self.live(embed)
        scene = self.scene(links, boxes)
        cameras, starts, ends = zip(*(scene.spans[name] for name in scene.shown), strict=True)
        threshold = links.used_threshold
        at_once = link_tracks(scene.features, cameras, starts, ends, threshold, self.travel)
        ways = {
            "as first said": [first[name] for name in scene.shown],
            "as corrected": [last[name] for name in scene.shown],
            "linked at once": at_once.labels.tolist(),
        }
        truth = true_people(scene)
        for words, people in ways.items():
            said = [*map(str, people)]
            cells = row(words, scene, truth, scene.shown, said, threshold)
            yield [*cells, str(corrections) if words == "as corrected" else ""]

    def live(self, embed):
        """Return LivePeople's links, each track's first and last person, boxes and corrections."""
        shown: list[list] = []

        def detect(_):
            boxes = np.array(shown[-1] or np.zeros((0, 4)))
            return boxes, np.full(len(boxes), 0.9)

        live = LivePeople(detect, embed, travel=self.travel, most=10**6)
        first: dict[str, int] = {}
        last: dict[str, int] = {}
        places, tracks, sides, said = [], [], [], []
        for seconds, camera, number, image in heapq.merge(*self.frames, key=lambda each: each[:2]):
            assert image is not None, f"{camera}: frame {number} cannot be decoded"
            shown[:] = [self.boxes[camera, number]]
            looked = live.feed(image, seconds, camera)
            kept = looked.tracks >= 0
            places += [f"{camera} {number}"] * kept.sum()
            tracks += [f"{camera} {track}" for track in looked.tracks[kept]]
            sides.append(looked.boxes[kept].astype(float))
            said += looked.said
        said += [each for looked in live.end() for each in looked.said]
        for each in said:
            name = f"{each.camera} {each.track}"
            first.setdefault(name, each.person)
            last[name] = each.person
        corrections = sum(each.corrected_from is not None for each in said)
        boxes = np.array(places), tracks, np.concatenate(sides)
        return live.links, first, last, boxes, corrections

    def scene(self, links, boxes):
        """Return the scene of the tracks that the live tracker made."""
        places, people, true = listed_boxes(self.truth)
        others, names, sides = boxes
        pairs = matching_boxes(places, true, others, sides)
        shown = [f"{camera} {number}" for camera, number in links.tracks]
        known = links.tracks.values()
        spans = {
            name: (each.camera, each.start, each.end)
            for name, each in zip(shown, known, strict=True)
        }
        unseen = {name: (name.split()[0], np.nan, np.nan) for name in names if name not in spans}
        features = unit_rows(np.stack([each.total for each in known]))
        where = np.array([place.split()[0] for place in places])
        of = people, where, np.array(names), pairs
        return Scene(*of, spans | unseen, features, shown, self.travel)


if __name__ == "__main__":
    run_script(main)
