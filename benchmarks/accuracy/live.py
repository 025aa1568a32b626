# PYTHON_ARGCOMPLETE_OK
"""Measure how well people are linked live, compared with the same tracks linked at once.

    python prepare.py --synthetic --walks --data_dir walks
    python benchmarks/accuracy/live.py --walks walks --from osnet_x0_25 --weights osnet_msmt17.pth

LivePeople gets the frames of all cameras in order of time, with the boxes of the walks' tracker
as its detector. IDF1 counts boxes, and the F1 of pairs counts tracks. "As first said" uses the
first person reported for each track, "as corrected" the last one. "Linked at once" is link_tracks
with the same features and, if given, the same threshold. The best thresholds are chosen by the
truth, each separately.
"""

import csv
import heapq
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.accuracy.across import HEADER, Scene, row, true_people
from benchmarks.support.measure import machine
from benchmarks.support.parser import Parser, positive
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

THRESHOLDS = np.arange(0.3, 0.86, 0.05)


def main(argv=None):
    """Print a table."""
    parser = Parser(__doc__)
    parser.add_argument("--walks", type=Path, required=True, help="folder of prepare.py --walks")
    parser.add_argument("--from", dest="source", required=True, help="run, network or file")
    parser.add_argument("--weights", type=Path, help="weight file of a network")
    parser.add_argument(
        "--step", type=positive(int), default=1, help="try every Nth of the thresholds"
    )
    options = parser.parse_args(argv)
    walks = Walks(options.walks, Embedder(options.source, weights=options.weights))
    print(machine(), "", sep="\n")
    rows = []
    for words, settings in {
        "": {"travel": walks.travel},
        ", without `travel`": {},
    }.items():
        rows += walks.rows(words, settings, THRESHOLDS[:: options.step])
    print(markdown_table([*HEADER, "corrections"], rows))


class Walks:
    """The frames, boxes and people of synthetic walks, and the features that were computed."""

    def __init__(self, folder, embedder):
        with (folder / "cameras.csv").open(newline="") as file:
            clocks = list(csv.DictReader(file))
        self.travel = read_travel(folder / "travel.csv", [each["camera"] for each in clocks])
        self.truth: list[tuple] = []
        self.boxes: dict[tuple, list] = defaultdict(list)
        self.frames: list[list] = []
        self._embedder, self._features = embedder, {}
        for clock in clocks:
            camera, fps = clock["camera"], float(clock["fps"])
            start = (parsed(clock["start"]) - EPOCH).total_seconds()
            true = read_tracks(folder / camera / "gt" / "gt.txt", fps, clock["start"])
            self.truth += [(camera, str(track.number), track) for track in true]
            for track in read_tracks(folder / camera / "tracks.txt", fps, clock["start"]):
                for frame, box in zip(track.frames.tolist(), track.boxes, strict=True):
                    self.boxes[camera, frame].append(box)
            images = FrameFolder(folder / camera / "img1")
            self.frames.append(
                [
                    (start + seconds, camera, number, image)
                    for (number, image), seconds in zip(
                        images.read(images.numbers), images.seconds(images.numbers), strict=True
                    )
                ]
            )

    def embed(self, crops):
        """Return the features of images, each of which is computed once."""
        keys = [(crop.size, crop.tobytes()) for crop in crops]
        both = zip(keys, crops, strict=True)
        new = {key: crop for key, crop in both if key not in self._features}
        if new:
            found = self._embedder([*new.values()], description="")
            self._features |= dict(zip(new, found, strict=True))
        return np.stack([self._features[key] for key in keys])

    def live(self, **settings):
        """Return the output of LivePeople for the walks: boxes, first and last people of tracks."""
        shown: list[list] = []

        def detect(_):
            boxes = np.array(shown[-1] or np.zeros((0, 4)))
            return boxes, np.full(len(boxes), 0.9)

        live = LivePeople(detect, self.embed, most=10**6, **settings)
        first: dict[str, int] = {}
        last: dict[str, int] = {}
        places: list[str] = []
        tracks: list[str] = []
        sides: list[np.ndarray] = []
        corrections = 0
        for seconds, camera, number, image in heapq.merge(*self.frames, key=lambda each: each[:2]):
            assert image is not None, f"{camera}: frame {number} cannot be decoded"
            shown[:] = [self.boxes[camera, number]]
            looked = live.feed(image, seconds, camera)
            kept = looked.tracks >= 0
            places += [f"{camera} {number}"] * kept.sum()
            tracks += [f"{camera} {track}" for track in looked.tracks[kept]]
            sides.append(looked.boxes[kept].astype(float))
            corrections += note(looked.said, first, last)
        for looked in live.end():
            corrections += note(looked.said, first, last)
        return (
            live.links,
            first,
            last,
            (np.array(places), tracks, np.concatenate(sides)),
            corrections,
        )

    def rows(self, words, settings, thresholds):
        """Yield rows for the measured threshold, and for the ones that are best."""
        links, first, last, boxes, corrections = self.live(**settings)
        scene = self.scene(links, boxes)
        truth = true_people(scene)

        def described(said, people, threshold, changes=""):
            found = [str(people[name]) for name in scene.shown]
            return [*row(said + words, scene, truth, scene.shown, found, threshold), changes]

        def at_once(threshold):
            spans = [scene.spans[name] for name in scene.shown]
            cameras, starts, ends = zip(*spans, strict=True)
            travel = settings.get("travel")
            labels = link_tracks(scene.features, cameras, starts, ends, threshold, travel)
            return dict(zip(scene.shown, labels.labels.tolist(), strict=True))

        used = links.used_threshold
        yield described("as first said", first, used)
        yield described("as corrected", last, used, str(corrections))
        yield described("linked at once", at_once(used), used)
        tried = {limit: self.live(threshold=limit, **settings) for limit in thresholds}
        for said, place in (("as first said", 1), ("as corrected", 2)):
            found = [
                described(f"{said}, best threshold", each[place], limit, str(each[-1]))
                for limit, each in tried.items()
            ]
            yield max(found, key=lambda each: float(each[1]))
        found = [
            described("linked at once, best threshold", at_once(limit), limit) for limit in tried
        ]
        yield max(found, key=lambda each: float(each[1]))

    def scene(self, links, boxes):
        """Return the scene of the tracks that the live tracker made."""
        (places, people, true) = listed_boxes(self.truth)
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


def note(said, first, last):
    """Record whom tracks show, and return how many were corrected."""
    for each in said:
        name = f"{each.camera} {each.track}"
        first.setdefault(name, each.person)
        last[name] = each.person
    return sum(each.corrected_from is not None for each in said)


if __name__ == "__main__":
    run_script(main)
