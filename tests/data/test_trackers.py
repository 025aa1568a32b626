"""Track files that trackers write themselves, with `-m clients`, are read without a flag.

A detector that knows the truth takes the place of a network.
"""

from types import SimpleNamespace

import numpy as np
import pytest

from person_reid.data.tracks import read_tracks
from tests.support.walks import COLOURS, FRAMES, SIZE, sides, write_frames, write_tracks

pytestmark = pytest.mark.clients


@pytest.fixture
def frames(here):
    """The frames of a walk."""
    return write_frames(here / "frames")


def assert_read(path, caplog, remarks=0):
    """Both people have one track each, with their boxes, which begins when a tracker is sure."""
    caplog.clear()
    first, second = read_tracks(path, fps=10, size=SIZE)
    people = list(COLOURS) if first.boxes[0, 0] < second.boxes[0, 0] else list(COLOURS)[::-1]
    for track, person in zip((first, second), people, strict=True):
        assert track.frames[0] <= 3 and track.frames[-1] == FRAMES
        truth = np.array([sides(person, frame) for frame in track.frames.tolist()])
        assert np.abs(track.boxes - np.clip(truth, 0, 96)).max() < 2.1
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == remarks


def test_boxmot(frames, here, caplog):
    pytest.importorskip("boxmot")
    import torch
    from boxmot.detectors import DetectorCapabilities
    from boxmot.engine.tracking.workflow import run_track
    from boxmot.structures import Boxes, Detections

    class Detector:
        capabilities = DetectorCapabilities()

        def predict(self, frames):
            return [self.truth(each.frame_index + 1, each.sample_id) for each in frames]

        def truth(self, frame, name):
            boxes = torch.tensor([sides(person, frame) for person in COLOURS]).float()
            return Detections(Boxes(boxes), torch.tensor([0.9, 0.8]), torch.tensor([0, 0]), name)

    words = SimpleNamespace(
        source=str(frames), tracker="bytetrack", reid=None, save_txt=True, project=str(here)
    )
    assert_read(run_track(words, detector=Detector()).mot_path, caplog)


def test_roboflows_trackers(frames, here, caplog, monkeypatch):
    pytest.importorskip("trackers")
    from trackers.scripts.__main__ import main

    found = write_tracks(here / "detections.txt").read_text().splitlines()
    found = [",".join([line.split(",")[0], "-1", *line.split(",")[2:]]) for line in found]
    (here / "detections.txt").write_text("\n".join(found))
    words = ["track", "--source", "frames", "--detections", "detections.txt", "--tracker", "sort"]
    monkeypatch.setattr("sys.argv", ["trackers", *words, "--mot-output", "tracks.txt"])
    main()
    assert_read(here / "tracks.txt", caplog, remarks=1)  # it writes -1 until it is sure
    assert "without an identity left out" in caplog.text


@pytest.mark.parametrize("confidence", [False, True])
@pytest.mark.parametrize("video", [False, True])
def test_ultralytics(confidence, video, frames, here, caplog, monkeypatch):
    monkeypatch.setenv("YOLO_AUTOINSTALL", "false")
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    pytest.importorskip("ultralytics")
    import torch
    from ultralytics import YOLO
    from ultralytics.engine.results import Results
    from ultralytics.models.yolo.detect import DetectionPredictor

    class Predictor(DetectionPredictor):  # type: ignore[misc]
        shown = 0

        def postprocess(self, predictions, images, originals, **settings):
            self.shown += 1
            rows = [(*sides(person, self.shown), 0.9, 0) for person in COLOURS]
            (original,), (path, *_) = originals, self.batch[0]
            return [Results(original, path, self.model.names, boxes=torch.tensor(rows).float())]

    source = frames
    if video:
        pytest.importorskip("av")
        from tests.support.walks import write_video

        source = write_video(here / "walk.mp4")
    YOLO("yolo11n.yaml").track(
        str(source), predictor=Predictor, tracker="bytetrack.yaml", save_txt=True,
        save_conf=confidence, project=str(here), name="run", device="cpu", imgsz=64, verbose=False,
    )  # fmt: skip
    assert_read(here / "run" / "labels", caplog)
