# PYTHON_ARGCOMPLETE_OK
"""Measure how well tools/people.py finds out who is in several videos, from pixels to people.

    python prepare.py --synthetic --walks --seed 7 --data_dir walks
    python benchmarks/accuracy/from_pixels.py --walks walks --detector frozen_inference_graph.pb \\
      --detector_tiles 3 --track_score 0.3 --new_score 0.3 --backbone osnet_x0_25 \\
      --weights osnet_x0_25_msmt17.pth

Further flags go to tools/people.py. Prints two tables in Markdown: the detector and the tracker of
each camera, and the people across cameras, also with the threshold that the truth would choose.
"""

import csv
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.support.measure import machine
from benchmarks.support.parser import Parser, positive
from person_reid.config.people import VideosConfig
from person_reid.console import parse, run_script
from person_reid.data.video.frames import open_frames
from person_reid.device import select_device
from person_reid.gallery.gallery import open_gallery
from person_reid.gallery.indexed_tracks import (
    cameras_of,
    features_of,
    indexed_tracks,
    read_truth,
    score_people,
    spans,
)
from person_reid.gallery.linked_tracks import link_indexed
from person_reid.retrieval.association import link_tracks, read_travel
from person_reid.retrieval.identities import identity_f1, listed_boxes, matching_boxes
from person_reid.text import markdown_table
from person_reid.video.detectors import open_detector
from tools import people

THRESHOLDS = np.arange(0.2, 0.96, 0.02)  # of which the truth chooses one


def main(argv=None):
    """Find the people of the walks, and print how good each part is."""
    parser = Parser(__doc__)
    parser.add_argument("--walks", type=Path, required=True, help="folder of prepare.py --walks")
    parser.add_argument(
        "--sample", type=positive(int), default=10, help="detect in every Nth frame"
    )
    options, words = parser.parse_known_args(argv)
    with (options.walks / "cameras.csv").open(newline="") as file:
        clocks = {row["camera"]: row["start"] for row in csv.DictReader(file)}
    videos = {camera: options.walks / camera / "img1" for camera in clocks}
    words += ["--camera", *(f"{camera}={video}" for camera, video in videos.items())]
    words += ["--start", *(f"{video}={clocks[camera]}" for camera, video in videos.items())]
    words += ["--travel", str(options.walks / "travel.csv")]
    people.main(words)

    config = parse(VideosConfig, words)
    index = open_gallery(config.gallery, new=False)
    tracks, features = indexed_tracks(index)
    tracks = tracks[: len(features)]
    truth = read_truth(options.walks, tracks)
    print(machine(), "", sep="\n")
    head = ["camera", "true boxes", "recall", "precision", "tracks", "IDF1 of the tracker"]
    rows = [
        camera_row(config, name, videos[name], tracks, truth, options.sample) for name in clocks
    ]
    print(markdown_table(head, rows), "", sep="\n")
    head = ["identities", "IDF1 across cameras", "people", "threshold"]
    print(markdown_table(head, [*linked_rows(config, index, tracks, features, truth)]))


def camera_row(config, camera, video, tracks, truth, sample):
    """Return a row about the detector and the tracker of a camera."""
    true = [each for each in truth if each[0] == camera]
    found = [
        (camera, str(each.track.number), each.track)
        for each in tracks
        if each.record.camera == camera
    ]
    frames, who, boxes = listed_boxes(true)
    places, numbers, sides = listed_boxes(found)
    idf1 = identity_f1(who, numbers, matching_boxes(frames, boxes, places, sides)).f1

    seen, boxes_seen = detected(config, camera, video, sample)
    looked = np.isin(frames, [f"{camera} {n}" for n in open_frames(video).numbers[::sample]])
    pairs = matching_boxes(frames[looked], boxes[looked], seen, boxes_seen)
    recall = len(np.unique(pairs[:, 0])) / looked.sum()
    precision = len(np.unique(pairs[:, 1])) / max(len(seen), 1)
    shares = [f"{100 * share:.1f}" for share in (recall, precision)]
    return [camera, str(len(boxes)), *shares, str(len(found)), f"{100 * idf1:.1f}"]


def detected(config, camera, video, sample):
    """Return the frames (N,) and boxes (N, 4) that the tracker would link first."""
    detector = open_detector(config, select_device(config.gpu_ids))
    frames = open_frames(video)
    places: list[str] = []
    boxes = [np.zeros((0, 4))]
    for number, frame in frames.read(frames.numbers[::sample]):
        assert frame is not None, f"{video}: frame {number} cannot be decoded"
        found, scores = detector(frame)
        sure = found[scores >= config.track_score]
        places += [f"{camera} {number}"] * len(sure)
        boxes.append(sure.astype(float))
    return np.array(places), np.concatenate(boxes)


def linked_rows(config, index, tracks, features, truth):
    """Yield rows about the people: the tracker alone, as linked, and the best that could be."""
    travel = read_travel(Path(config.travel), cameras_of(tracks))

    def row(words, tracks, labels, threshold=""):
        f1 = score_people(tracks, labels, truth).f1
        return [words, f"{100 * f1:.1f}", str(len({*labels})), threshold]

    yield row("each track alone", tracks, range(len(tracks)))
    whole = link_tracks(features, cameras_of(tracks), *spans(tracks), travel=travel)
    yield row("without cuts", tracks, whole.labels.tolist(), f"{whole.threshold:.2f}")
    linked = link_indexed(index, tracks, config)
    pieces = linked.tracks
    people = [stay.person for stay in linked.stays]
    limit = f"{linked.found.threshold:.2f}"
    yield row("as tools/people.py links them", pieces, people, limit)
    times = cameras_of(pieces), *spans(pieces)
    tried = [link_tracks(features_of(pieces), *times, limit, travel) for limit in THRESHOLDS]
    best = max(tried, key=lambda each: score_people(pieces, each.labels, truth).f1)
    yield row(
        "with the threshold that is best by the truth",
        pieces,
        best.labels.tolist(),
        f"{best.threshold:.2f}",
    )
    most = "each {} linked to the person it mostly shows"
    yield row(most.format("track"), tracks, mostly(tracks, truth))
    yield row(most.format("piece"), pieces, mostly(pieces, truth))


def mostly(tracks, truth):
    """Return the person that most boxes of each track show, or the track's own number."""
    frames, who, boxes = listed_boxes(truth)
    found = [(each.record.camera, str(i), each.track) for i, each in enumerate(tracks)]
    places, numbers, sides = listed_boxes(found)
    shown: dict[str, list] = {str(i): [] for i in range(len(tracks))}
    for true, computed in matching_boxes(frames, boxes, places, sides):
        shown[numbers[computed]].append(who[true])
    return [max(each, key=each.count, default=f"track {i}") for i, each in shown.items()]


if __name__ == "__main__":
    run_script(main)
