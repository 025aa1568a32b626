# PYTHON_ARGCOMPLETE_OK
"""Compare the tracks of our tracker, and of Roboflow's if installed, with the true tracks.

    python benchmarks/accuracy/tracker.py --walks data/walks
    python benchmarks/accuracy/tracker.py --truth TUD-Campus/gt.txt --boxes TUD-Campus/det.txt \\
      --fps 25
    python benchmarks/accuracy/tracker.py --truth truth/till.txt --video till.mp4 \\
      --detector yolox_nano.onnx --every 2

prepare.py --synthetic --walks draws the walks. Their boxes are the true ones with the errors of a
detector: 5 % are missed, and more if people are hidden; the sides are off by 3 % of the box's size;
hidden people have low scores; a false box appears in every fifth frame. --truth and --boxes are
files in MOTChallenge's format; --video uses the boxes that a detector finds there. --from NETWORK
adds rows with appearance. Prints a table in Markdown. Roboflow's rows need `pip install trackers`.
"""

import csv
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

import person_reid as reid
from benchmarks.support.measure import machine
from benchmarks.support.parser import Parser, positive
from person_reid.console import run_script
from person_reid.data.video.frames import open_frames
from person_reid.errors import UserError
from person_reid.retrieval.identities import identity_f1, matching_boxes
from person_reid.text import markdown_table
from person_reid.video.tracked_video import features_of_boxes
from person_reid.video.tracker import Tracker

HEADER = ["boxes", "tracker", "IDF1", "identities"]
FRAME, TRACK = 0, 1  # columns of MOTChallenge
SCORE, VISIBLE = 6, 8
ROBOFLOW = ("ByteTrack", "BoTSORT", "OCSORT")


def main(argv=None):
    """Print a row for each sequence and tracker."""
    parser = Parser(__doc__)
    parser.add_argument("--walks", type=Path, help="folder of prepare.py --synthetic --walks")
    parser.add_argument("--truth", type=Path, help="true tracks, in place of --walks")
    parser.add_argument("--boxes", type=Path, help="a detector's boxes of the same frames")
    parser.add_argument("--video", type=Path, help="video of the true tracks, in place of --boxes")
    parser.add_argument("--detector", default="yolox_nano", help="name or file, for --video")
    parser.add_argument("--detector_tiles", type=int, default=0, help="for --video")
    parser.add_argument("--fps", type=float, default=25, help="their frame rate")
    parser.add_argument(
        "--every", type=positive(int), default=1, help="frames from one to the next"
    )
    parser.add_argument("--from", dest="source", help="run, network or exported file")
    parser.add_argument("--weights", type=Path, help="weight file of a network")
    options = parser.parse_args(argv)
    given = bool(options.boxes) + bool(options.video)
    if bool(options.walks) == bool(options.truth) or bool(options.truth) != given:
        raise UserError("Give --walks FOLDER, or --truth FILE with --boxes FILE or --video FILE.")
    rows = []
    embed = options.source and reid.Embedder(options.source, weights=options.weights)
    for name, truth, boxes, fps in sequences(options):
        trackers = {"this": tracked}
        trackers |= {name: partial(tracked_by_roboflow, name=name) for name in ROBOFLOW}
        if embed:
            frames = options.video or options.walks / name / "img1"
            features = features_of_rows(embed, frames, boxes)
            trackers["this, with appearance"] = partial(tracked, features=features)
        for tracker, track in trackers.items():
            found = track(boxes, fps, options.every)
            if found is not None:
                kept = truth[(truth[:, FRAME] - 1) % options.every == 0]
                rows.append([name, tracker, *figures(kept, found)])
    print(machine(), "", markdown_table(HEADER, rows), sep="\n")


def sequences(options):
    """Yield each sequence's name, true boxes, detected boxes and frame rate.

    A box is a row in MOTChallenge's format.
    """
    if options.video:
        boxes, fps = found_in(options)
        yield options.video.stem, read_rows(options.truth), boxes, fps
        return
    if options.truth:
        truth, boxes = read_rows(options.truth), read_rows(options.boxes)
        yield options.truth.parent.name, truth, boxes, options.fps
        return
    with (options.walks / "cameras.csv").open(newline="") as file:
        for number, clock in enumerate(csv.DictReader(file)):
            truth = read_rows(options.walks / clock["camera"] / "gt" / "gt.txt")
            yield clock["camera"], truth, detected(truth, number), float(clock["fps"])


def found_in(options):
    """Return the boxes that a detector finds in the frames of a video, and the frame rate."""
    names = "detector", "detector_tiles"
    detector = reid.open_detector(
        reid.DetectorOptions(**{name: getattr(options, name) for name in names}),
        reid.select_device("-1"),
    )
    frames, found = open_frames(options.video), [np.zeros((0, 9))]
    for number, frame in frames.read(frames.numbers[:: options.every]):
        assert frame is not None, f"{options.video}: frame {number} cannot be decoded"
        boxes, scores = detector(frame)
        rest = np.ones((len(boxes), 2))
        found.append(np.column_stack([np.tile([number, -1], (len(boxes), 1)), boxes, scores, rest]))
    return np.concatenate(found), frames.fps


def read_rows(file):
    """Return a file's rows (N, 9), with right and bottom in place of width and height."""
    rows = np.loadtxt(file, delimiter=",", ndmin=2)[:, :9]
    rows[:, 4:6] += rows[:, 2:4]
    return rows


def detected(truth, seed):
    """Return the true boxes, with the errors of a detector added."""
    rng = np.random.default_rng(seed)
    visible = truth[:, VISIBLE]
    rows = truth[rng.random(len(truth)) >= 0.05 + 0.3 * (1 - visible)].copy()
    size = np.tile(rows[:, 4:6] - rows[:, 2:4], 2)
    rows[:, 2:6] += rng.normal(0, 0.03, size.shape) * size
    rows[:, SCORE] = rng.normal(0.35 + 0.55 * rows[:, VISIBLE], 0.12).clip(0.05, 0.99)
    false = rng.integers(1, truth[:, FRAME].max() + 1, int(truth[:, FRAME].max()) // 5)
    corners = rng.uniform(0, [400, 150], (len(false), 2))
    scores = rng.normal(0.35, 0.15, len(false)).clip(0.05, 0.9)
    columns = [false, -np.ones(len(false)), corners, corners + np.array([40, 110]), scores]
    added = np.column_stack([*columns, np.zeros((len(false), 2))])
    return np.concatenate([rows, added])


def frames_of(boxes, every):
    """Yield the number and the rows of each processed frame."""
    for frame in range(1, int(boxes[:, FRAME].max()) + 1, every):
        yield frame, boxes[boxes[:, FRAME] == frame]


def features_of_rows(embed, video, boxes):
    """Return the features (N, D) of boxes in the frames of a video."""
    frames = open_frames(video)
    parts = {}
    for number, frame in frames.read(frames.numbers):
        assert frame is not None, f"{video}: frame {number} cannot be decoded"
        rows = np.flatnonzero(boxes[:, FRAME] == number)
        some = boxes[rows]
        found = features_of_boxes(embed, frame, some[:, 2:6], some[:, SCORE], Tracker())
        parts.update({} if found is None else dict(zip(rows.tolist(), found, strict=True)))
    nothing = np.zeros_like(next(iter(parts.values())))
    return np.stack([parts.get(row, nothing) for row in range(len(boxes))])


def tracked(boxes, fps, every, features=None):
    """Return the rows that belong to the tracks confirmed by the tracker, with identities."""
    tracker = Tracker()
    found: list[np.ndarray] = []
    known: dict[float, int] = {}
    for frame, rows in frames_of(boxes, every):
        looks = None if features is None else features[boxes[:, FRAME] == frame]
        identities = tracker.update(rows[:, 2:6], rows[:, SCORE], every / fps, looks)
        known |= dict(
            zip(tracker.numbers[identities >= 0], identities[identities >= 0], strict=True)
        )
        found.append(np.column_stack([rows[:, FRAME], tracker.numbers, rows[:, 2:]]))
    every_row = np.concatenate(found)
    every_row[:, TRACK] = [known.get(number, -1) for number in every_row[:, TRACK]]
    return every_row[every_row[:, TRACK] >= 0]


def tracked_by_roboflow(boxes, fps, every, name):
    """Return the rows from one of Roboflow's trackers, or None if its packages are missing."""
    try:
        import supervision
        import trackers
    except ImportError:
        return None
    settings = {"enable_cmc": False} if name == "BoTSORT" else {}
    tracker = getattr(trackers, f"{name}Tracker")(frame_rate=fps / every, **settings)
    found = []
    for frame, rows in frames_of(boxes, every):
        seen = supervision.Detections(xyxy=rows[:, 2:6], confidence=rows[:, SCORE])
        seen = tracker.update(seen if len(rows) else supervision.Detections.empty())
        for box, identity in zip(seen.xyxy, seen.tracker_id, strict=True):
            found.append([frame, identity, *box, 1, 1, 1])
    every_row = np.array(found)
    return every_row[every_row[:, TRACK] >= 0]


def figures(truth, found):
    """Return IDF1 in per cent, and the number of identities."""
    pairs = matching_boxes(truth[:, FRAME], truth[:, 2:6], found[:, FRAME], found[:, 2:6])
    idf1 = identity_f1(truth[:, TRACK], found[:, TRACK], pairs).f1
    return [f"{100 * idf1:.1f}", str(len({*found[:, TRACK].tolist()}))]


if __name__ == "__main__":
    run_script(main)
