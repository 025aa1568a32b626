"""Track files that trackers write themselves, with `-m clients`, are read without a flag.

The frames show a synthetic walk. A detector that knows the truth takes the place of a
network.
"""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from person_reid.data.video.tracked_boxes import read_tracks
from person_reid.synthetic.walks import FPS, draw_walks

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """The folder of a camera."""
    root = tmp_path_factory.mktemp("walks")
    draw_walks(root, workers=1, identities=4, cameras=2, seed=4)
    return root / "cam1"


@pytest.fixture
def place(here, walk):
    """A copy of it, which is the current folder."""
    shutil.copytree(walk, here, dirs_exist_ok=True)
    return here


def truth(place):
    """{frame: boxes (n, 4)} that are perfect, left, top, right and bottom from 0."""
    boxes: dict[int, list] = {}
    for frame, _, left, top, width, height, *_ in np.loadtxt(place / "gt/gt.txt", delimiter=","):
        boxes.setdefault(int(frame), []).append([left, top, left + width, top + height])
    return {frame: np.array(some) - 1 for frame, some in boxes.items()}


def overlap(one, others):
    """The largest IoU of a box with some others."""
    sides = np.minimum(one[2:], others[:, 2:]) - np.maximum(one[:2], others[:, :2])
    common = np.clip(sides, 0, None).prod(1)
    areas = [(box[..., 2:] - box[..., :2]).prod(-1) for box in (one, others)]
    return (common / (areas[0] + areas[1] - common)).max()


def assert_read(path, place, caplog, remarks=0):
    """Most boxes of the truth are there, in their frames and not in those before or after."""
    with Image.open(place / "img1" / "000001.jpg") as image:
        size = image.size
    caplog.clear()
    tracks, boxes = read_tracks(path, FPS, size=size), truth(place)
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == remarks
    found = [
        (frame, box)
        for track in tracks
        for frame, box in zip(track.frames.tolist(), track.boxes, strict=True)
    ]
    medians = [
        np.median([overlap(box, boxes[frame + i]) for frame, box in found if frame + i in boxes])
        for i in (-1, 0, 1)
    ]
    assert np.argmax(medians) == 1
    assert medians[1] > 0.85
    assert len(found) > 0.9 * sum(map(len, boxes.values()))


def test_boxmot_writes_tracks_that_are_read(place, caplog):
    pytest.importorskip("boxmot")
    import torch
    from boxmot.detectors import DetectorCapabilities
    from boxmot.engine.tracking.workflow import run_track
    from boxmot.structures import Boxes, Detections

    boxes = truth(place)

    class Detector:
        capabilities = DetectorCapabilities()

        def predict(self, frames):
            return [self.seen(boxes.get(each.frame_index + 1, []), each) for each in frames]

        def seen(self, some, frame):
            kinds = torch.zeros(len(some), dtype=torch.int64)
            sides = torch.tensor(np.reshape(some, (-1, 4)), dtype=torch.float32)
            return Detections(Boxes(sides), 0.9 + 0.0 * sides[:, 0], kinds, frame.sample_id)

    words = SimpleNamespace(
        source="img1", tracker="bytetrack", reid=None, save_txt=True, project=str(place)
    )
    assert_read(run_track(words, detector=Detector()).mot_path, place, caplog)


@pytest.mark.filterwarnings(
    "ignore:The trackers CLI is in beta", "ignore:.* received a frame argument but does not use it"
)
def test_roboflows_trackers_write_tracks_that_are_read(place, caplog, monkeypatch):
    pytest.importorskip("trackers")
    from trackers.scripts.__main__ import main

    lines = [
        f"{frame},-1,{left},{top},{right - left},{bottom - top},0.9\n"
        for frame, boxes in truth(place).items()
        for left, top, right, bottom in boxes
    ]
    (place / "detections.txt").write_text("".join(lines))
    words = ["track", "--source", "img1", "--detections", "detections.txt", "--tracker", "sort"]
    monkeypatch.setattr("sys.argv", ["trackers", *words, "--mot-output", "found.txt"])
    main()
    assert_read(place / "found.txt", place, caplog, remarks=1)  # it writes -1 until it is sure
    assert "without an identity skipped" in caplog.text


@pytest.mark.parametrize("confidence", [False, True])
@pytest.mark.parametrize("video", [False, True])
def test_ultralytics_writes_tracks_that_are_read(confidence, video, place, caplog, monkeypatch):
    monkeypatch.setenv("YOLO_AUTOINSTALL", "false")
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    pytest.importorskip("ultralytics")
    import torch
    from ultralytics import YOLO
    from ultralytics.engine.results import Results
    from ultralytics.models.yolo.detect import DetectionPredictor

    boxes = truth(place)

    class Predictor(DetectionPredictor):  # type: ignore[misc]
        frame = 0

        def postprocess(self, predictions, images, originals, **settings):
            self.frame += 1
            rows = [(*box, 0.9, 0) for box in boxes.get(self.frame, [])]
            sides = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
            return [Results(originals[0], self.batch[0][0], self.model.names, boxes=sides)]

    source = write_video(place) if video else place / "img1"
    YOLO("yolo11n.yaml").track(
        str(source),
        predictor=Predictor,
        tracker="bytetrack.yaml",
        save_txt=True,
        save_conf=confidence,
        project=str(place),
        name="run",
        device="cpu",
        imgsz=64,
        verbose=False,
    )
    assert_read(place / "run" / "labels", place, caplog)


def write_video(place):
    """The frames as a video."""
    av = pytest.importorskip("av")
    images = [Image.open(path) for path in sorted((place / "img1").iterdir())]
    with av.open(str(place / "walk.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height = images[0].size
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())
    return place / "walk.mp4"
