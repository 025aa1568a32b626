"""Recognise a detector's exporter by its outputs for a grey picture, and read its outputs.

Most formats are tables of boxes with scores. The shapes show how a table can be read, and the
values show which of these readings is right.

To add a format, add an entry to FORMATS_OF_DETECTORS, and its name to DETECTOR_FORMATS in
config/detector.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

STRIDES = (8, 16, 32)  # pixels between adjacent cells, on each of YOLO's grids
COCO = 80  # classes
COCO_CLASSES = range(90, 93)  # classes if numbered as in the data set, where 1 is a person
Values = npt.NDArray[Any]
Outputs = Mapping[str, Values]  # {name: values}
Size = tuple[int, int]  # (width, height) of the picture


class Detections(NamedTuple):
    """The boxes (N, 4), in fractions of a picture, with their scores (N,) and classes (N,)."""

    boxes: Values
    scores: Values
    classes: Values


@dataclass(frozen=True)
class DetectorFormat:
    """The input and output format of a program's detectors.

    fits: returns whether outputs for a picture of a given size can be read in this format. read:
    reads them. shows: returns whether outputs that fit also have the values of this format. person:
    the class of people. letterbox: where a frame that keeps its shape is padded: "end", "both", or
    "" for a stretched frame. bgr: whether the colours are in the order blue, green, red. scale: the
    divisor of a picture's values.
    normalize: whether the values are then normalised by ImageNet's mean and deviation. overlapping:
    whether several boxes of one person still have to be suppressed.
    """

    fits: Callable[[Outputs, Size], bool]
    read: Callable[[Outputs, Size], Detections]
    shows: Callable[[Outputs, Size], bool] = lambda outputs, size: True
    person: int = 0
    letterbox: str = ""
    bgr: bool = False
    scale: float = 1.0
    normalize: bool = False
    overlapping: bool = False


def _cells(size: Size) -> Values:
    """Return the position and stride (A, 3), in pixels, of each cell of YOLO's grids."""
    found = []
    for stride in STRIDES:
        across, down = (side // stride for side in size)
        x, y = np.meshgrid(np.arange(across), np.arange(down))
        places = np.stack([x, y], 2).reshape(-1, 2) * stride
        found.append(np.hstack([places, np.full((len(places), 1), stride)]))
    return np.concatenate(found)


class Table(NamedTuple):
    """The boxes (N, 4) in a picture, and further values (N, C) for each box.

    laid: the layout. "cells": one row for each of YOLO's cells; "rows" or "columns": one for each
    box; "boxes first" or "boxes last": the boxes and the rest are two outputs.
    """

    laid: str
    boxes: Values
    rest: Values

    def boxes_are(self, size: Size) -> str:
        """Return what a box's four numbers mean. size: the size of the grey picture."""
        if self.laid == "cells" and not _beyond_cells(self.boxes, size):
            return "offsets in cells"
        corners = (self.boxes[:, 2:] >= self.boxes[:, :2]).all()  # never true for middles and sides
        # All are 0 if nothing is found.
        pixels = self.boxes.max() > 2 or not self.boxes.any()
        return f"{'corners' if corners else 'middles'} in {'pixels' if pixels else 'fractions'}"

    def rest_is(self, size: Size) -> str:
        """Return what the numbers after a box mean. size: the size of the grey picture."""
        first, others = self.rest[:, 0], self.rest[:, 1:]
        if self.rest.shape[1] == 2 and _are_shares(first) and not (others % 1).any():
            return "score, class"
        if _are_shares(self.rest):
            return "scores"
        points = others.size and _are_shares(first) and _beyond_cells(others[:, 0], size)
        return "score, points" if points else "logits"

    def in_words(self, size: Size) -> str:
        """Describe the layout and the values for a message."""
        return f"{self.laid}: {self.boxes_are(size)}; {self.rest_is(size)}"


def _are_shares(values: Values) -> bool:
    return bool(values.min() >= 0 and values.max() <= 1)


def _beyond_cells(values: Values, size: Size) -> bool:
    """Return whether values must be pixels, because no offset spans so many cells."""
    return bool(np.abs(values).max() > max(size) / STRIDES[0])


def table_of(outputs: Outputs, size: Size) -> Table | None:
    """Return the table in a detector's outputs, or None if they contain none."""
    if len(outputs) == 2:
        return _table_of_two(outputs)
    values = next(iter(outputs.values()))
    if len(outputs) != 1 or values.ndim != 3 or len(values) != 1:
        return None
    rows, laid = values[0], "cells" if values.shape[1] == len(_cells(size)) else "rows"
    if laid == "rows" and len(rows) <= rows.shape[1] != 6:
        rows, laid = rows.T, "columns"
    return Table(laid, rows[:, :4], rows[:, 4:]) if rows.size and rows.shape[1] > 4 else None


def _table_of_two(outputs: Outputs) -> Table | None:
    named = sorted(outputs, key=lambda name: "box" not in name and "det" not in name)
    boxes = [name for name in named if outputs[name].ndim == 3 and outputs[name].shape[2] == 4]
    if not boxes:
        return None
    (other,) = (name for name in outputs if name != boxes[0])
    found, rest = outputs[boxes[0]], outputs[other]
    if rest.ndim != 3 or found.shape[:2] != rest.shape[:2] or not rest.size:
        return None
    return Table("boxes last" if other == next(iter(outputs)) else "boxes first", found[0], rest[0])


def _read_table(boxes_are: str, rest_is: str, outputs: Outputs, size: Size) -> Detections:
    """Read the detections in a table, given the kinds of its values."""
    table = table_of(outputs, size)
    assert table, "the form was checked"
    _, boxes, rest = table
    if boxes_are == "offsets in cells":  # with logarithms of sides
        cells = _cells(size)
        middles = boxes[:, :2] * cells[:, 2:] + cells[:, :2]
        boxes = np.hstack([middles, np.exp(np.minimum(boxes[:, 2:], 20)) * cells[:, 2:]])
    if not boxes_are.startswith("corners"):
        boxes = _corners(boxes[:, :2], boxes[:, 2:])
    if not boxes_are.endswith("fractions"):
        boxes = boxes / np.tile(size, 2)
    if rest_is == "score, class":
        return Detections(boxes, rest[:, 0], rest[:, 1])
    if rest_is == "object, scores":
        rest = rest[:, :1] * rest[:, 1:]
    elif rest_is == "score, points":
        rest = rest[:, :1]
    elif rest_is == "logits":
        rest = 1 / (1 + np.exp(-rest.clip(-50, 50)))
    return Detections(boxes, rest.max(1), rest.argmax(1))


def _corners(centres: Values, sizes: Values) -> Values:
    """Return boxes (N, 4) as left, top, right, bottom, from their centres and sizes (N, 2)."""
    return np.hstack([centres - sizes / 2, centres + sizes / 2])


def _table(
    laid: tuple[str, ...],
    boxes_are: str,
    rest_is: str,
    only: Callable[[Table, Outputs, Size], bool] = lambda table, outputs, size: True,
    **how: Any,
) -> DetectorFormat:
    """Return the format of detectors whose output is a table.

    laid, boxes_are, rest_is: see Table; the values of "object, scores" and "scores" look alike.
    only: a further test, which excludes formats with similar values. how: further arguments of
    DetectorFormat.
    """
    paired = laid[0].startswith("boxes")

    def fits(outputs: Outputs, size: Size) -> bool:
        if (table := table_of(outputs, size)) is None or table.laid.startswith("boxes") != paired:
            return False
        columns = table.rest.shape[1]
        if (rest_is == "score, class" and columns != 2) or columns < 1 + ("," in rest_is):
            return False
        return table.laid == "cells" or boxes_are != "offsets in cells"

    def shows(outputs: Outputs, size: Size) -> bool:
        table = table_of(outputs, size)
        assert table, "it fits"
        seen = table.boxes_are(size), table.rest_is(size)
        alike = seen == (boxes_are, rest_is.removeprefix("object, "))
        return table.laid in laid and alike and only(table, outputs, size)

    return DetectorFormat(fits, partial(_read_table, boxes_are, rest_is), shows, **how)


def _may_be_yolox(table: Table, outputs: Outputs, size: Size) -> bool:
    return table.rest.shape[1] != COCO


def _may_be_yolov8(table: Table, outputs: Outputs, size: Size) -> bool:
    objects = table.laid == "cells" and table.rest.shape[1] == 1 + COCO
    return not objects and len(table.boxes) != 3 * len(_cells(size))  # as in YOLOv5


def _is_rfdetr(table: Table, outputs: Outputs, size: Size) -> bool:
    return "dets" in outputs or table.rest.shape[1] in COCO_CLASSES


def _is_rtdetr(table: Table, outputs: Outputs, size: Size) -> bool:
    return not _is_rfdetr(table, outputs, size)


CELLS, ROWS, ANY_WAY = ("cells",), ("rows",), ("cells", "rows", "columns")
PAIR = ("boxes first", "boxes last")
YOLOX: dict[str, Any] = {"letterbox": "end", "bgr": True, "overlapping": True}
YOLOV8: dict[str, Any] = {"letterbox": "both", "scale": 255.0, "overlapping": True}
# The formats; DETECTOR_FORMATS lists their names.
FORMATS_OF_DETECTORS = {
    # Ge et al., YOLOX: Exceeding YOLO Series in 2021, arXiv:2107.08430; decoded or not.
    "yolox": _table(CELLS, "offsets in cells", "object, scores", **YOLOX),
    "yolox_decoded": _table(CELLS, "middles in pixels", "object, scores", _may_be_yolox, **YOLOX),
    # Ultralytics from version 8 on, and programs with the same output; exports by DeepStream-Yolo.
    "yolov8": _table(ANY_WAY, "middles in pixels", "scores", _may_be_yolov8, **YOLOV8),
    "yolov8_pose": _table(ANY_WAY, "middles in pixels", "score, points", **YOLOV8),
    "deepstream": _table(CELLS, "corners in pixels", "score, class", **YOLOV8),
    # YOLOv10, YOLO26, and exports that suppress overlapping boxes themselves.
    "yolov10": _table(ROWS, "corners in pixels", "score, class", letterbox="both", scale=255),
    "yolonas": _table(
        PAIR[:1],
        "corners in pixels",
        "scores",
        letterbox="end",
        scale=255,
        overlapping=True,
    ),
    "damoyolo": _table(PAIR[1:], "corners in pixels", "scores", overlapping=True),
    # RT-DETR and D-FINE as exported by Hugging Face's transformers, then by Ultralytics since 2026
    # and before.
    "rtdetr": _table(PAIR, "middles in fractions", "logits", _is_rtdetr, scale=255),
    "rtdetr_ultralytics": _table(ROWS, "middles in fractions", "score, class", scale=255),
    "rtdetr_scores": _table(ROWS, "middles in fractions", "scores", scale=255),
    "rfdetr": _table(
        PAIR, "middles in fractions", "logits", _is_rfdetr, person=1, scale=255, normalize=True
    ),
}
