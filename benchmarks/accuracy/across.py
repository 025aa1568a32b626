# PYTHON_ARGCOMPLETE_OK
"""Measure how well tracks are linked across cameras, and what each part contributes.

    python benchmarks/accuracy/across.py --walks data/walks --from demo
    python benchmarks/accuracy/across.py --walks data/walks --from osnet_x0_25 \\
      --weights osnet_msmt17.pth
    python benchmarks/accuracy/across.py --result market.mat --draws 120

prepare.py --synthetic --walks draws the walks. --result is a file of features that test.py wrote,
from images with Market-1501's names; the images of one person, camera and sequence form a track.
Prints rows of Markdown. IDF1 counts boxes (for Market-1501, images). The last row for walks shows
tracks that were cut where the person changes.

For walks, a further table shows how often people in one camera are named correctly from an image
taken by another. --draws sets how often random people and cameras are drawn and linked: 10 to 200
people and 2 to 6 cameras, if there are that many; in every fourth draw, one camera sees different
people from the rest. A table shows how often the range of a count contained the true number, and
how wide the range was.
"""

import csv
import itertools
import re
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.support.measure import machine
from benchmarks.support.parser import Parser, positive
from person_reid.console import run_script
from person_reid.data.video.crops import choose_boxes, cut_boxes, number_and_frame
from person_reid.data.video.frames import FrameFolder
from person_reid.data.video.tracked_boxes import read_tracks
from person_reid.errors import UserError
from person_reid.gallery.indexed_tracks import IndexedTrack
from person_reid.gallery.metadata import About
from person_reid.gallery.track_pieces import split_indexed
from person_reid.gallery.track_records import TrackRecord
from person_reid.retrieval.association import link_tracks, read_travel
from person_reid.retrieval.identities import identity_f1, listed_boxes, matching_boxes
from person_reid.retrieval.results import load_result
from person_reid.retrieval.track_features import track_features
from person_reid.text import markdown_table

HEADER = ["identities", "IDF1"]
RANGES_HEADER = ["counts of", "ranges", "held", "width / people"]
NAMES_HEADER = ["names by one photograph: right", "found"]
THRESHOLDS = np.arange(0.6, 0.92, 0.02).round(2).tolist()
KNOWN, DRAWS = 10, 4  # people who have a photograph, and how often they are drawn
MARKET = re.compile(r"(\d+)_c(\d+)s(\d+)_(\d+)")
RATE = 25  # frames per second in Market-1501
APART = 1e6  # seconds between two sequences of Market-1501


class Scene(NamedTuple):
    """The true and computed boxes from several cameras.

    people: (N,), the person in each true box. tracks: (M,), the track of each computed box. pairs:
    (P, 2), the true and the computed boxes that match. spans: {track: (camera, first, last)}, in
    seconds. features: (C, D), of crops. shown: the track of each crop. travel: see link_tracks.
    """

    people: np.ndarray
    tracks: np.ndarray
    pairs: np.ndarray
    spans: dict
    features: np.ndarray
    shown: list
    travel: dict | None = None


def main(argv=None):
    """Print a table for the walks or for the result file."""
    parser = Parser(__doc__)
    parser.add_argument("--walks", type=Path, help="folder of prepare.py --synthetic --walks")
    parser.add_argument("--from", dest="source", help="run, network or exported file, for --walks")
    parser.add_argument("--weights", type=Path, help="weight file of a network")
    parser.add_argument("--per_track", type=positive(int), default=8, help="images per track")
    parser.add_argument("--result", type=Path, help="result file, in place of --walks")
    parser.add_argument("--draws", type=positive(int), help="draw people, and check the ranges")
    options = parser.parse_args(argv)
    if bool(options.walks) == bool(options.result) or bool(options.walks) != bool(options.source):
        raise UserError("Give --walks FOLDER with --from NETWORK, or --result FILE.")
    scene, pieces = walked(options) if options.walks else (stored(options.result), None)
    found = [*rows(scene)]
    if pieces:
        found.append(["cut, linked", idf1(pieces, *linked(pieces))])
    print(machine(), "", markdown_table(HEADER, found), sep="\n")
    if scene.travel:
        print("", markdown_table(NAMES_HEADER, [names_given(scene)]), sep="\n")
    if options.draws:
        counts = markdown_table(RANGES_HEADER, [*ranges(pieces or scene, options.draws)])
        print("", counts, sep="\n")


def rows(scene):
    """Yield rows for the tracker, for links with and without --travel, and for the best threshold.

    The best threshold is sought without travel times.
    """
    yield ["each track alone", idf1(scene, [], [])]
    if scene.travel:
        yield ["linked, with --travel", idf1(scene, *linked(scene, travel=scene.travel))]
    yield ["linked", idf1(scene, *linked(scene))]
    found = [idf1(scene, *linked(scene, threshold=limit)) for limit in THRESHOLDS]
    yield ["by the best threshold", max(found, key=float)]


def linked(scene, **settings):
    """Return the names of the tracks with features, and the person that each is linked to."""
    names, features = track_features(scene.features, scene.shown)
    cameras, starts, ends = zip(*(scene.spans[name] for name in names), strict=True)
    return names, link_tracks(features, cameras, starts, ends, **settings).labels.astype(str)


def ranges(scene, draws):
    """Yield rows on how often a range held the true number of people, in all cameras and in one."""
    truth = true_people(scene)
    names, features = track_features(scene.features, scene.shown)
    who = np.array([truth[name] for name in names])
    cameras, starts, ends = map(np.array, zip(*(scene.spans[n] for n in names), strict=True))
    found = defaultdict(list)
    for seed in range(draws):
        chosen = np.flatnonzero(drawn(who, cameras, np.random.default_rng(seed), seed % 4 == 3))
        views = cameras[chosen]
        people = link_tracks(features[chosen], views, starts[chosen], ends[chosen])
        for place in (None, *np.unique(views)):
            here = (views == place) | (place is None)
            true = len({*who[chosen][here]})
            known = replace(people, measured=True)  # which this benchmark measures
            count = known.count(here, 1 if place else len({*views.tolist()}))
            kind = "one camera" if place else "all cameras"
            found[kind].append((true, *count))
    for kind, counts in found.items():
        true, _, fewest, most = np.array(counts, float).T
        printed = np.isfinite(most)
        held = (fewest <= true) & (true <= most)
        width = np.median((most - fewest)[printed] / true[printed])
        yield [kind, str(printed.sum()), f"{100 * held[printed].mean():.0f} %", f"{width:.2f}"]


def drawn(who, cameras, random, apart):
    """Return which tracks belong to randomly drawn people and cameras.

    apart: whether the first camera sees different people from the rest.
    """
    places = random.permutation(np.unique(cameras))[: random.integers(2, 7)]
    here = np.isin(cameras, places)
    people = random.permutation(np.unique(who[here]))
    people = people[: int(np.exp(random.uniform(np.log(10), np.log(201))))]
    if not apart:
        return here & np.isin(who, people)
    first, others = np.array_split(people, [len(people) // len(places)])
    return (cameras == places[0]) & np.isin(who, first) | here & (cameras != places[0]) & np.isin(
        who, others
    )


def names_given(scene):
    """Return how often a name is right, and how often a known person's track gets the right one.

    There is one image per known person, from the first camera, which is not used otherwise.
    """
    truth, first = true_people(scene), min(camera for camera, *_ in scene.spans.values())
    names, features = track_features(scene.features, scene.shown)
    rows = [i for i, name in enumerate(names) if scene.spans[name][0] != first]
    who = np.array([truth[names[i]] for i in rows])
    cameras, starts, ends = map(list, zip(*(scene.spans[names[i]] for i in rows), strict=True))
    travel = {two: time for two, time in scene.travel.items() if first not in two}
    right = given = wanted = 0
    for seed in range(DRAWS):
        random = np.random.default_rng(seed)
        crops: dict[str, int] = {}
        for crop in random.permutation(len(scene.shown)).tolist():
            if scene.spans[scene.shown[crop]][0] == first:
                crops.setdefault(truth[scene.shown[crop]], crop)
        known = random.choice(sorted(crops.keys() & {*who}), KNOWN, replace=False).tolist()
        never = [np.nan] * KNOWN
        people = link_tracks(
            np.concatenate([features[rows], scene.features[[crops[name] for name in known]]]),
            [*cameras, *[""] * KNOWN],
            [*starts, *never],
            [*ends, *never],
            travel=travel,
            different=itertools.combinations(range(len(rows), len(rows) + KNOWN), 2),
        )
        recognized = dict(zip(people.labels[len(rows) :].tolist(), known, strict=True))
        called = np.array([recognized.get(each, "") for each in people.labels[: len(rows)]])
        right += int((called == who).sum())
        given += int((called != "").sum())
        wanted += int(np.isin(who, known).sum())
    return [f"{100 * right / each:.0f} %" for each in (given, wanted)]


def idf1(scene, names, people):
    """Return the IDF1, in per cent, of tracks linked as `people`; other tracks stay unlinked."""
    who = {name: name for name in scene.spans} | dict(zip(names, people, strict=True))
    said = [who[track] for track in scene.tracks]
    return f"{100 * identity_f1(scene.people, said, scene.pairs).f1:.1f}"


def true_people(scene):
    """Return {track: the person that most of its boxes show}.

    A track that matches no person counts as its own person.
    """
    seen = defaultdict(list)
    for box, computed in scene.pairs:
        seen[scene.tracks[computed]].append(scene.people[box])
    return {name: max(seen[name], key=seen[name].count, default=name) for name in scene.spans}


def walked(options):
    """Return the scene of the synthetic walks, and a scene with their tracks cut into pieces."""
    from person_reid import Embedder

    embed = Embedder(options.source, weights=options.weights)
    with (options.walks / "cameras.csv").open(newline="") as file:
        clocks = list(csv.DictReader(file))
    truth: list[tuple] = []
    found: list[IndexedTrack] = []
    for clock in clocks:
        camera = clock["camera"]
        rate, start = float(clock["fps"]), clock["start"]
        folder = options.walks / camera
        true = read_tracks(folder / "gt" / "gt.txt", rate, start)
        truth += [(camera, str(track.number), track) for track in true]
        frames = FrameFolder(folder / "img1")
        record = TrackRecord(camera, "", "", camera, "", rate, start, *frames.size, None)
        tracks = read_tracks(folder / "tracks.txt", rate, start)
        with TemporaryDirectory() as place:
            crops = Path(place)
            cut_boxes(frames, choose_boxes(tracks, frames.size, options.per_track, crops), crops)
            images = sorted(crops.iterdir())
            features = embed(images)
        of = np.array([number_and_frame(image)[0] for image in images])
        for track in tracks:
            own = np.flatnonzero(of == track.number)
            some = [(images[i], About()) for i in own]
            found.append(IndexedTrack(record, track, some, features[own]).in_order())
    travel = read_travel(options.walks / "travel.csv", [clock["camera"] for clock in clocks])
    seen = [each for each in found if each.images]
    pieces, _ = split_indexed(seen)
    pieces += [each for each in found if not each.images]
    return scene_of(found, truth, travel), scene_of(pieces, truth, travel)


def scene_of(tracks, truth, travel):
    """Return the scene of `tracks`, which may be pieces of tracks."""
    names = [f"{each.record.camera} {each.name}" for each in tracks]
    every = [*zip(names, tracks, strict=True)]
    spans = {name: (each.record.camera, each.track.first, each.track.last) for name, each in every}
    found = [(each.record.camera, name, each.track) for name, each in every]
    (places, people, boxes), (others, of, sides) = listed_boxes(truth), listed_boxes(found)
    pairs = matching_boxes(places, boxes, others, sides)
    features = np.concatenate([each.features for each in tracks])
    shown = [name for name, each in every for _ in each.images]
    return Scene(people, of, pairs, spans, features, shown, travel)


def stored(file):
    """Return the scene of a result file, in which every image is a box that matches itself."""
    sets = load_result(file, paths=True)
    features = np.concatenate([each.features for each in sets])
    labels = np.concatenate([each.labels for each in sets])
    return photographed([path for each in sets for path in each.paths or []], labels, features)


def photographed(paths, labels, features):
    """Return the scene of the photographs at N paths, with their people and features."""
    names = [Path(path).name for path in paths]
    found = {i: match for i, name in enumerate(names) if (match := MARKET.match(name))}
    if not found:
        raise UserError("No image with a name such as 0002_c1s1_000451_01.jpg.")
    known = [i for i in found if labels[i] > 0]
    times, names = defaultdict(list), []
    for i in known:
        person, camera, sequence, frame = found[i].groups()
        names.append(f"{person} {camera} {sequence}")
        times[names[-1]].append(APART * int(sequence) + int(frame) / RATE)
    spans = {name: (name.split()[1], min(some), max(some)) for name, some in times.items()}
    people, same = labels[known].astype(str), np.arange(len(known))
    pairs = np.stack([same, same], axis=1)
    return Scene(people, np.array(names), pairs, spans, features[known], names)


if __name__ == "__main__":
    run_script(main)
