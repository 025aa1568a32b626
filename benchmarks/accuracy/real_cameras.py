# PYTHON_ARGCOMPLETE_OK
"""Measure how well tools/people.py identifies the people in videos from real cameras.

    python benchmarks/accuracy/real_cameras.py till.mp4 aisle.mp4 --truth truth \\
      --detector yolox_nano.onnx --weights osnet_x0_25_msmt17.pth --backbone osnet_x0_25

--truth has a file for each video, such as till.txt, in MOTChallenge's format; an identity is the
same person in all files. A track shows the person in most of its boxes; a track that matches no
true box forms no pairs. Further flags are passed to tools/people.py. The videos are processed in
five ways: with the defaults, in every frame, with tiles, live, and live in real time. Live, their
frames arrive in order of time, as fast as the machine can process them, and none is dropped. In
real time, frames are dropped if the machine is too slow; the output of people.py says how many.

Prints tables in Markdown. A pair of linked tracks is right if both show the same person, and wrong
otherwise. A pair that shows the same person but is not linked is missed.
"""

import sys
from collections import Counter, defaultdict
from contextlib import redirect_stdout
from heapq import merge
from itertools import combinations
from pathlib import Path
from tempfile import mkdtemp

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

import person_reid as reid
from benchmarks.support.measure import machine
from benchmarks.support.parser import Parser
from person_reid.config.times import parsed
from person_reid.console import run_script
from person_reid.data.video.frames import open_frames
from person_reid.data.video.streams import Streams, read_frames
from person_reid.data.video.tracked_boxes import Track, read_tracks
from person_reid.gallery.linked_tracks import LinkedTracks
from person_reid.gallery.people_folder import count_people
from person_reid.retrieval.identities import listed_boxes, matching_boxes
from person_reid.text import markdown_table
from tools import people

WAYS = {
    "defaults": [],
    "every frame": ["--every", "1"],
    "tiles": ["--detector_tiles", "2"],
    "live": ["--live"],
    "in real time": ["--live"],
}
START = "2026-01-05T09:00:00Z"  # when live cameras start
HEADER = ["", "right", "wrong", "missed", "F1"]


def main(argv=None):
    """Print the scores for each way of processing the videos."""
    parser = Parser(__doc__)
    parser.add_argument("videos", nargs="+", type=Path, help="videos of one or more cameras")
    parser.add_argument("--truth", type=Path, required=True, help="folder of VIDEO.txt")
    parser.add_argument("--keep", type=Path, help="folder for what tools/people.py writes")
    options, words = parser.parse_known_args(argv)
    fps = {video.stem: open_frames(video).fps or 0.0 for video in options.videos}
    truth = [
        (name, str(track.number), track)
        for name, rate in fps.items()
        for track in read_tracks(options.truth / f"{name}.txt", rate)
    ]
    keep = options.keep or Path(mkdtemp())
    seen = [{who for name, who, _ in truth if name in cameras} for cameras in (fps, *zip(fps))]
    rows, counts = [], [["truth", *(str(len(each)) for each in seen)]]
    for way, flags in WAYS.items():
        folder = ["--save", str(keep / way.replace(" ", "-"))]
        streams = Streams if way == "in real time" else Played
        linked = find_people(options.videos, [*words, *flags, *folder], streams)
        rows.append([way, *figures(linked, truth, fps)])
        counts.append([way, *counts_of(linked, fps)])
    print(machine(), "", markdown_table(HEADER, rows), "", sep="\n")
    print(markdown_table(["people", "all", *fps], counts))


def find_people(videos, words, streams):
    """Return the links that tools/people.py finds. streams: the class that reads live cameras."""
    found: list[LinkedTracks] = []

    def noted(*given):
        found.append(usual[0](*given))
        return found[-1]

    usual = people.link_indexed, reid.Streams
    start = ["--start", START] if "--live" in words else []
    try:
        people.link_indexed = noted
        vars(reid)["Streams"] = streams
        with redirect_stdout(sys.stderr):
            people.main([*map(str, videos), *start, *words])
    finally:
        people.link_indexed, vars(reid)["Streams"] = usual
    return found[-1]


class Played(Streams):
    """Videos whose frames arrive in chronological order, each as soon as it is requested."""

    def __enter__(self):
        return self

    def __iter__(self):
        parts = [self._timed(camera, address) for camera, address in self.addresses.items()]
        yield from merge(*parts, key=lambda each: each[2])

    def _timed(self, camera, address):
        for frame, seconds in read_frames(address, self._every):
            assert seconds is not None
            yield camera, frame, self._starts[camera] + seconds


def figures(linked, truth, fps):
    """Return the cells of a row under HEADER."""
    found = []
    for number, each in enumerate(linked.tracks):
        frames, camera = each.track.frames, each.record.camera
        if each.record.start:  # live
            begun = (parsed(each.record.start) - parsed(START)).total_seconds()
            frames = 1 + np.round((begun + (frames - 1) / each.record.fps) * fps[camera]).astype(
                int
            )
        found.append((camera, str(number), Track(number, frames, each.track.boxes, 0, 0)))
    frames, who, boxes = listed_boxes(truth)
    places, numbers, sides = listed_boxes(found)
    pairs = matching_boxes(frames, boxes, places, sides)
    votes: dict[int, Counter[str]] = defaultdict(Counter)
    for true, computed in pairs:
        votes[int(numbers[computed])][who[true]] += 1
    shown = {number: each.most_common(1)[0][0] for number, each in votes.items()}
    person = [stay.person for stay in linked.stays]
    both = Counter(
        (shown[i] == shown[j], person[i] == person[j]) for i, j in combinations(shown, 2)
    )
    right, wrong, missed = both[True, True], both[False, True], both[True, False]
    f1 = 2 * right / max(2 * right + wrong + missed, 1)
    return [*map(str, (right, wrong, missed)), f"{f1:.2f}"]


def counts_of(linked, fps):
    """Return the number of people in all cameras together and in each, with its range if known."""
    cells = defaultdict(lambda: "0")
    for each in count_people(linked):
        ends = [each.fewest, each.most]
        cells[each.camera] = str(each.people) + (
            " ({} to {})".format(*ends) if None not in ends else ""
        )
    return [cells[camera] for camera in ("", *fps)]


if __name__ == "__main__":
    run_script(main)
