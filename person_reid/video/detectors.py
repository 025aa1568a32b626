"""Find people in frames with a detector: a published one, a file, or a custom function.

detector = open_detector(DetectorOptions(detector="people.onnx"), torch.device("cpu"))
boxes, scores = detector(frame)                        # uint8 (H, W, 3), RGB

register_detector("mine", lambda device: my_function)  # then --detector mine
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlparse

import numpy as np
import numpy.typing as npt

from person_reid.arrays import as_float32
from person_reid.config.detector import DETECTOR_NAMES, DetectorOptions
from person_reid.data.video.video_files import Frame, size_of
from person_reid.errors import UserError, first_line
from person_reid.fetching import fetch_file
from person_reid.files import checksum_of
from person_reid.registration import Registry
from person_reid.text import counted, did_you_mean
from person_reid.video.detector_files import DETECTOR_ENDINGS, DetectorFile, thinned

if TYPE_CHECKING:
    import torch

YOLOX_RELEASE = "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0"
# {name: SHA-256 of its file in the release}, as public projects that download the file give it.
YOLOX_DETECTORS = {
    "yolox_nano": "c789161ed43c8269fcd4e67c67eeeb4e80c622da2eb296a20bc6007bd18a0b7d",
    "yolox_tiny": "427cc366d34e27ff7a03e2899b5e3671425c262ea2291f88bb942bc1cc70b0f7",
    "yolox_s": "c5c2d13e59ae883e6af3b45daea64af4833a4951c92d116ec270d9ddbe998063",
}
# {name: torchvision's name}
TORCHVISION_DETECTORS = {
    "ssdlite": "ssdlite320_mobilenet_v3_large",
    "fasterrcnn": "fasterrcnn_resnet50_fpn_v2",
}
COCO_PERSON = 1  # torchvision counts COCO's classes from 1
log = logging.getLogger(__name__)
MOST_BOXES = 1000  # per frame; detectors for COCO give 100 or 300
LEAST_BOX = 2  # the shortest side of a box within the frame, in pixels
WHOLE = 0.95  # a box covers a frame if it spans at least this share of both sides
CUT = 0.01  # share of a tile's width; a box closer than this to a side of the tile is cut off
ONE_PERSON = 0.5  # IoU from which boxes of two tiles show one person
FoundBoxes = npt.NDArray[np.float32]  # (N, 4): left, top, right, bottom in pixels
BoxScores = npt.NDArray[np.float32]  # (N,), from 0 to 1


def open_yolox(name: str, device: torch.device) -> DetectorFile:
    """Return a detector from YOLOX_DETECTORS; its file is downloaded at first use.

    Raises a UserError that names the file and its folder if it cannot be downloaded, or if a
    different file has its name.
    Ge et al., YOLOX: Exceeding YOLO Series in 2021, arXiv:2107.08430.
    """
    import torch

    url, expected = f"{YOLOX_RELEASE}/{name}.onnx", YOLOX_DETECTORS[name]
    file = Path(torch.hub.get_dir(), "checkpoints", f"{name}.onnx")
    if not file.exists():
        log.info("%s: downloading %s into %s", name, url, file.parent)
        try:
            fetch_file(url, file, expected)
        except (OSError, ValueError) as error:
            raise _not_to_be_had(name, file, url, error) from error
    if (found := checksum_of(file)) != expected:
        raise UserError(
            f"{file}: not the file of {url}: its SHA-256 begins with {found[:8]}, expected "
            f"{expected[:8]}. Delete it to download the right one, or use it: detector={file}"
        )
    return DetectorFile(file, device, "yolox")


class TorchvisionDetector:
    """A detector from torchvision; its weights are downloaded at first use.

    name: a key of TORCHVISION_DETECTORS. Raises a UserError that names the file and its folder if
    it cannot be downloaded.

    Howard et al., Searching for MobileNetV3, ICCV 2019; Ren et al., Faster R-CNN, NeurIPS 2015; Li
    et al., Benchmarking Detection Transfer Learning with Vision Transformers, 2021.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        from torchvision.models import get_model, get_model_weights

        known: Any = get_model_weights(TORCHVISION_DETECTORS[name])
        state = _downloaded(name, known.DEFAULT)
        module = get_model(TORCHVISION_DETECTORS[name], weights=None, weights_backbone=None)
        module.load_state_dict(state)
        self.module = module.eval().to(device)
        self.device = device

    def __call__(self, frame: Frame, /) -> tuple[Any, Any]:
        """Return the boxes (N, 4) and scores (N,) of the people in a frame (H, W, 3)."""
        import torch

        with torch.inference_mode():
            picture = torch.from_numpy(np.ascontiguousarray(frame)).to(self.device)
            (found,) = self.module([picture.permute(2, 0, 1).float() / 255])
            people = found["labels"] == COCO_PERSON
            return found["boxes"][people], found["scores"][people]


def _downloaded(name: str, weights: Any) -> Any:
    """Return the tensors in a weights file, from torch.hub's folder or the internet."""
    import torch

    file = Path(urlparse(weights.url).path).name
    folder = Path(torch.hub.get_dir(), "checkpoints")
    if not (folder / file).exists():
        log.info("%s: downloading %s into %s", name, weights.url, folder)
    try:
        return weights.get_state_dict(progress=False, check_hash=True)
    except Exception as error:  # no internet, a full disk, a damaged file: different exceptions
        raise _not_to_be_had(name, folder / file, weights.url, error) from error


def _not_to_be_had(name: str, file: Path, url: str, error: Exception) -> UserError:
    """Return the error to raise for a detector whose file cannot be downloaded."""
    return UserError(
        f"detector={name}: its weights cannot be downloaded ({first_line(error)}). Put {file.name} "
        f"from {url} into {file.parent}, or name the file of another detector."
    )


class Detector(Protocol):
    """A function that finds people in a frame."""

    def __call__(self, frame: Frame, /) -> tuple[Any, Any]:
        """Return boxes (N, 4) as left, top, right, bottom in pixels, and scores (N,).

        frame: uint8 (H, W, 3), RGB.
        """


OpenDetector = Callable[["torch.device"], Detector]
DETECTORS: Registry[OpenDetector] = Registry(
    "detector",
    {name: partial(open_yolox, name) for name in YOLOX_DETECTORS}
    | {name: partial(TorchvisionDetector, name) for name in TORCHVISION_DETECTORS},
    DETECTOR_NAMES,
)


def register_detector(name: str, open_one: OpenDetector) -> None:
    """Register a detector under a name for --detector.

    open_one: returns the detector for a torch.device. Raises UserError for a name that is taken.
    """
    DETECTORS.register(name, open_one)


def open_detector(options: DetectorOptions, device: torch.device) -> CheckedDetector:
    """Return the detector that the options name.

    Raises UserError for an unknown name, for missing weights or a missing file, and for options
    that only a detector file accepts.
    """
    detector, least = _opened(options, device), options.detector_score
    if isinstance(detector, DetectorFile):
        detector.least = least
    return CheckedDetector(detector, options.detector, least, options.detector_tiles)


def _opened(options: DetectorOptions, device: torch.device) -> Detector:
    """Return the detector for a name or a file."""
    name, path = options.detector, Path(options.detector)
    if name in DETECTORS:
        if given := options.not_default(("detector_format", "detector_class")):
            raise UserError(
                f"{' and '.join(given)} would be ignored: a file needs it, and detector={name} "
                "is not one."
            )
        return DETECTORS[name](device)
    if not path.exists() and path.suffix.lower() not in DETECTOR_ENDINGS:
        raise UserError(
            f"detector={name}: no such file, and no detector of that name."
            f"{did_you_mean(name, DETECTORS)} There are: {', '.join(DETECTORS)}."
        )
    return DetectorFile(path, device, options.detector_format, options.detector_class)


class CheckedDetector:
    """A detector whose boxes a tracker can use: finite, within the frame, not too many.

    detector: the detector to check. name: its name, for messages. least: the lowest score of the
    boxes to return.

    tiles: see whole_and_tiles; 0 to use only the whole frame.
    found, covering: how many boxes are usable, and how many of these cover the frame. unusable,
    surplus: how many boxes were skipped because they are unusable or too many.
    """

    def __init__(self, detector: Detector, name: str, least: float = 0.0, tiles: int = 0) -> None:
        self.detector = detector
        self.name = name
        self.least = least
        self.tiles = tiles
        self.found = self.covering = self.unusable = self.surplus = 0

    def __call__(self, frame: Frame, /) -> tuple[FoundBoxes, BoxScores]:
        """Return the boxes (N, 4) and scores (N,) in a frame, highest score first.

        Boxes are clipped to the frame. Raises UserError if the detector returns anything but boxes
        and scores.
        """
        if self.tiles and frame.shape[1] > self.tiles:
            return whole_and_tiles(self._checked, self.tiles, frame)
        return self._checked(frame)

    def _checked(self, frame: Frame) -> tuple[FoundBoxes, BoxScores]:
        """Return the boxes that a tracker can use, and their scores."""
        if frame.ndim != 3 or frame.dtype != np.uint8:
            raise UserError(
                f"{self.name}: detectors read frames of 8 bits in colour, and these have more "
                "bits. Convert them, or give the tracks of another program: --tracks FILE."
            )
        boxes, scores = self._given(frame)
        boxes = np.clip(boxes, 0, np.tile(size_of(frame), 2).astype(np.float32))
        sides = boxes[:, 2:] - boxes[:, :2]  # comparisons with NaN are False
        usable = (sides >= LEAST_BOX).all(1) & (scores >= 0) & (scores <= 1)
        counts = ~(scores < self.least)  # NaN counts, so that it is noticed
        self.unusable += int((counts & ~usable).sum())

        self.found += int((usable & counts).sum())
        covers = (sides >= WHOLE * np.array(size_of(frame))).all(1)
        self.covering += int((usable & counts & covers).sum())

        places = np.flatnonzero(usable & counts)
        places = places[np.argsort(-scores[places], kind="stable")]
        self.surplus += max(len(places) - MOST_BOXES, 0)
        return boxes[places[:MOST_BOXES]], scores[places[:MOST_BOXES]]

    def _given(self, frame: Frame) -> tuple[FoundBoxes, BoxScores]:
        """Return the detector's output as arrays with the right shapes."""
        found: Any = self.detector(frame)
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise UserError(
                f"{self.name}: expected (boxes, scores) for a frame, found {type(found).__name__}."
            )
        boxes = as_float32(found[0], f"{self.name}: boxes")
        scores = as_float32(found[1], f"{self.name}: scores")
        if not boxes.size and not scores.size:
            return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
            raise UserError(
                f"{self.name}: expected boxes (N, 4) and scores (N,) for a frame, found "
                f"{boxes.shape} and {scores.shape}."
            )
        return boxes, scores

    def left_out(self) -> str:
        """Describe the irregularities since the last call, or return "" if there were none."""
        words = [
            (
                self.unusable,
                "that lie outside the frame or are not finite, or whose score is not from 0 to 1",
            ),
            (self.surplus, f"beyond the {MOST_BOXES} with the highest scores of a frame"),
        ]
        found = [f"{counted(count, 'box', 'boxes')} {which}" for count, which in words if count]
        said = [f"left out {' and '.join(found)}"] if found else []
        if self.covering > self.found / 2:
            said.append(
                f"{self.covering:,} of {self.found:,} boxes cover the whole frame. Is the output "
                "in another format? --detector_format"
            )
        self.found = self.covering = self.unusable = self.surplus = 0
        return f"{self.name}: {'; '.join(said)}" if said else ""


def whole_and_tiles(detector: Detector, tiles: int, frame: Frame) -> tuple[FoundBoxes, BoxScores]:
    """Return the boxes (N, 4) and scores (N,) that a detector finds in a frame and in its tiles.

    The tiles are as high as the frame and side by side, and each overlaps the next by half. Boxes
    that are cut off at the side of a tile are skipped, because the next tile contains the whole
    person.
    """
    width = frame.shape[1]
    wide = 2 * width // (tiles + 1)
    boxes, scores = (list(each) for each in zip(detector(frame), strict=True))
    for left in np.linspace(0, width - wide, tiles).round().astype(int).tolist():
        found, sure = detector(np.ascontiguousarray(frame[:, left : left + wide]))
        whole = (found[:, 0] > CUT * wide) | (left == 0)
        whole &= (found[:, 2] < (1 - CUT) * wide) | (left + wide == width)
        boxes.append(found[whole] + np.array([left, 0, left, 0], np.float32))
        scores.append(sure[whole])
    every, sure = np.concatenate(boxes), np.concatenate(scores)
    kept = thinned(every, sure, ONE_PERSON)
    return every[kept], sure[kept]
