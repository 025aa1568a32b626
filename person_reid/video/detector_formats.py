"""Tell from the shapes of its outputs which program exported a detector, and read them.

To add a form, add an entry to the table, and its name to DETECTOR_FORMATS in config/detector.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

STRIDES = (8, 16, 32)  # pixels from one cell of a YOLO to the next, on each of its grids
COCO_CLASSES = range(90, 93)  # with the numbers of the data set, where 1 is a person
Values = npt.NDArray[Any]
Outputs = Mapping[str, Values]  # by their names
Size = tuple[int, int]  # (width, height) of the picture


class Detections(NamedTuple):
    """The boxes (N, 4) of a picture, in fractions of it, their scores (N,) and classes (N,)."""

    boxes: Values
    scores: Values
    classes: Values


@dataclass(frozen=True)
class DetectorFormat:
    """How the detectors of a program take pictures and give boxes.

    fits: whether outputs are of this form, for a picture of a size. read: returns what they say.
    person: the class of people. letterbox: a frame keeps its shape, and the place of what it leaves
    free: "end", "both", or "" for a frame that is stretched. bgr: the order of colours. scale:
    what the values of a picture are divided by. normalize: whether ImageNet's mean and deviation
    are then removed. overlapping: whether boxes of one person are left to be thinned out.
    """

    fits: Callable[[Outputs, Size], bool]
    read: Callable[[Outputs, Size], Detections]
    person: int
    letterbox: str = ""
    bgr: bool = False
    scale: float = 1.0
    normalize: bool = False
    overlapping: bool = False


def _shapes(outputs: Outputs) -> list[tuple[int, ...]]:
    return [each.shape for each in outputs.values()]


def _only(outputs: Outputs) -> Values:
    (values,) = outputs.values()
    return values


def _of_best_class(boxes: Values, scores: Values) -> Detections:
    """Return boxes (N, 4) with the best of the scores (N, C) of each."""
    return Detections(boxes, scores.max(1), scores.argmax(1))


def _is_ssd(outputs: Outputs, size: Size) -> bool:
    return len(outputs) == 1 and _only(outputs).ndim == 4 and _only(outputs).shape[3] == 7


def _read_ssd(outputs: Outputs, size: Size) -> Detections:
    """Read rows of (picture, class, score, left, top, right, bottom); -1 ends them."""
    rows = _only(outputs).reshape(-1, 7)
    ended = rows[:, 0] < 0
    rows = rows[: ended.argmax()] if ended.any() else rows
    return Detections(rows[:, 3:], rows[:, 2], rows[:, 1])


def _is_tensorflow(outputs: Outputs, size: Size) -> bool:
    shapes = sorted(_shapes(outputs), key=len)
    return (
        [len(shape) for shape in shapes] == [1, 2, 2, 3]
        and shapes[3] == (1, shapes[1][1], 4)
        and len([*filter(_names_classes, outputs)]) == 1
    )


def _names_classes(name: str) -> bool:
    return "class" in name or "label" in name


def _read_tensorflow(outputs: Outputs, size: Size) -> Detections:
    """Read TensorFlow's Object Detection API: boxes are top, left, bottom, right."""
    (boxes,) = (each[0] for each in outputs.values() if each.ndim == 3)
    (count,) = (int(each[0]) for each in outputs.values() if each.ndim == 1)
    (classes,) = (each[0] for name, each in outputs.items() if _names_classes(name))
    (scores,) = (
        each[0] for name, each in outputs.items() if each.ndim == 2 and not _names_classes(name)
    )
    return Detections(boxes[:count, [1, 0, 3, 2]], scores[:count], classes[:count])


def _cells(size: Size) -> Values:
    """Return the place and stride (A, 3) of each cell of the grids of a YOLO, in pixels."""
    found = []
    for stride in STRIDES:
        across, down = (side // stride for side in size)
        x, y = np.meshgrid(np.arange(across), np.arange(down))
        places = np.stack([x, y], 2).reshape(-1, 2) * stride
        found.append(np.hstack([places, np.full((len(places), 1), stride)]))
    return np.concatenate(found)


def _is_yolox(outputs: Outputs, size: Size) -> bool:
    shapes = _shapes(outputs)
    return len(shapes) == 1 and shapes[0][:2] == (1, len(_cells(size))) and shapes[0][2:] > (5,)


def _read_yolox(outputs: Outputs, size: Size) -> Detections:
    """Read the offset and the logarithm of the size of boxes, in cells, and their scores.

    Ge et al., YOLOX: Exceeding YOLO Series in 2021, arXiv:2107.08430, as its export writes them.
    """
    values = _only(outputs)[0]
    cells = _cells(size)
    middles = values[:, :2] * cells[:, 2:] + cells[:, :2]
    sides = np.exp(np.minimum(values[:, 2:4], 20)) * cells[:, 2:]
    boxes = _corners(middles, sides) / np.tile(size, 2)
    return _of_best_class(boxes, values[:, 4:5] * values[:, 5:])


def _is_yolov8(outputs: Outputs, size: Size) -> bool:
    shapes = _shapes(outputs)
    return (
        len(shapes) == 1
        and len(shapes[0]) == 3
        and shapes[0][0] == 1
        and 4 < shapes[0][1] < shapes[0][2]
        and not _is_yolox(outputs, size)
    )


def _read_yolov8(outputs: Outputs, size: Size) -> Detections:
    """Read middle, size and scores of boxes, which are columns, in pixels of the picture."""
    values = _only(outputs)[0].T
    boxes = _corners(values[:, :2], values[:, 2:4])
    return _of_best_class(boxes / np.tile(size, 2), values[:, 4:])


def _is_yolov10(outputs: Outputs, size: Size) -> bool:
    shapes = _shapes(outputs)
    alike = len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][::2] == (1, 6)
    return alike and not _is_yolox(outputs, size)


def _read_yolov10(outputs: Outputs, size: Size) -> Detections:
    """Read rows of (left, top, right, bottom, score, class), in pixels of the picture."""
    rows = _only(outputs)[0]
    return Detections(rows[:, :4] / np.tile(size, 2), rows[:, 4], rows[:, 5])


def _boxes_and_logits(outputs: Outputs) -> tuple[Values, Values] | None:
    """Return the boxes (Q, 4) and the logits (Q, C) of a DETR, or None for another detector."""
    named = sorted(outputs, key=lambda name: "box" not in name and "det" not in name)
    boxes = [name for name in named if outputs[name].ndim == 3 and outputs[name].shape[2] == 4]
    others = [name for name in outputs if boxes and name != boxes[0]]
    if len(outputs) != 2 or not boxes or outputs[others[0]].ndim != 3:
        return None
    found = outputs[boxes[0]], outputs[others[0]]
    return (found[0][0], found[1][0]) if found[0].shape[:2] == found[1].shape[:2] else None


def _is_rtdetr(outputs: Outputs, size: Size) -> bool:
    found = _boxes_and_logits(outputs)
    return found is not None and found[1].shape[1] not in COCO_CLASSES


def _is_rfdetr(outputs: Outputs, size: Size) -> bool:
    found = _boxes_and_logits(outputs)
    return found is not None and found[1].shape[1] in COCO_CLASSES


def _read_detr(outputs: Outputs, size: Size) -> Detections:
    """Read middle and size of boxes, in fractions of the picture, and the logits of classes."""
    found = _boxes_and_logits(outputs)
    assert found, "the form was checked"
    boxes, logits = found
    scores = 1 / (1 + np.exp(-logits.clip(-50, 50)))
    return _of_best_class(_corners(boxes[:, :2], boxes[:, 2:]), scores)


def _corners(middles: Values, sides: Values) -> Values:
    """Return left, top, right, bottom (N, 4) of boxes by their middles and sides (N, 2)."""
    return np.hstack([middles - sides / 2, middles + sides / 2])


# The forms, in the order in which outputs are compared with them; DETECTOR_FORMATS has the names.
FORMATS_OF_DETECTORS = {
    # OpenVINO's own detectors, and Caffe's.
    "ssd": DetectorFormat(_is_ssd, _read_ssd, person=1, bgr=True),
    "tensorflow": DetectorFormat(_is_tensorflow, _read_tensorflow, person=1),
    "yolox": DetectorFormat(
        _is_yolox, _read_yolox, person=0, letterbox="end", bgr=True, overlapping=True
    ),
    # Ultralytics' from version 8 on, and those with the same output.
    "yolov8": DetectorFormat(
        _is_yolov8, _read_yolov8, person=0, letterbox="both", scale=255, overlapping=True
    ),
    # YOLOv10, YOLO26, and exports that thin their boxes out themselves.
    "yolov10": DetectorFormat(_is_yolov10, _read_yolov10, person=0, letterbox="both", scale=255),
    # RT-DETR and D-FINE, as Hugging Face's transformers export them.
    "rtdetr": DetectorFormat(_is_rtdetr, _read_detr, person=0, scale=255),
    "rfdetr": DetectorFormat(_is_rfdetr, _read_detr, person=1, scale=255, normalize=True),
}
