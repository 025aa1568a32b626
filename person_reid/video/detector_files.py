"""Run detectors exported by other programs, in ONNX or OpenVINO format.

detector = DetectorFile(Path("yolox_nano.onnx"), torch.device("cpu"))
boxes, scores = detector(frame)

A detector first runs on a grey picture. The outputs show which program exported it, and therefore
how to prepare pictures and how to read the outputs of the detector.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from person_reid.data.video.tracked_boxes import contained
from person_reid.data.video.video_files import Frame, size_of
from person_reid.deploy.engine import providers, quiet
from person_reid.deploy.exported_files import onnx_session, openvino_model
from person_reid.device import available_cores
from person_reid.errors import UserError, first_line
from person_reid.files import TENSORS, regular_file
from person_reid.video.detector_formats import FORMATS_OF_DETECTORS, Size, Values, table_of

if TYPE_CHECKING:
    import torch

DETECTOR_ENDINGS = (".onnx", ".xml")
FREE_SIZE = (640, 640)  # pixels: the size of the input if a file leaves it open
EMPTY = 114  # the grey with which YOLO pads a frame
OVERLAP = 0.7  # IoU above which the weaker of two YOLO boxes is skipped
INSIDE = 0.9  # share of a box inside another box from which both show one person
# ImageNet's mean and standard deviation, for formats that normalise
MEAN_COLOUR = (0.485, 0.456, 0.406)
COLOUR_DEVIATION = (0.229, 0.224, 0.225)
log = logging.getLogger(__name__)


class OpenedDetector(NamedTuple):
    """A detector file, opened by the library that reads it.

    sides: the dimensions of its input, None where they are variable. dtype: the NumPy type of the
    input.
    run: returns the outputs {name: values} for a picture.
    """

    sides: list[int | None]
    dtype: Any
    run: Callable[[Values], dict[str, Values]]


class DetectorFile:
    """A detector in a file.

    device: the device on which ONNX Runtime runs it. form: a key of FORMATS_OF_DETECTORS that fits
    the shapes of the outputs; by default, the outputs decide, and the format is logged. person: the
    class of people.
    least: the lowest score of a box to return; boxes with lower scores, often thousands, are never
    compared. Raises UserError if the file is not a detector, or has an unknown format.
    """

    def __init__(
        self, path: Path, device: torch.device, form: str | None = None, person: int | None = None
    ) -> None:
        self.path, self.least = path, 0.0
        with self._named_errors("cannot be opened as a detector. Is it whole?"):
            self.opened = _opened(path, device)
        self.colours_last = self._order()
        size = self._size(FREE_SIZE)
        grey = np.full((size[1], size[0], 3), EMPTY, np.float32)
        outputs = self._run(grey if self._takes_bytes() else grey / 255)
        name = form or self._form_of(outputs, size)
        if not FORMATS_OF_DETECTORS[name].fits(outputs, size):
            raise self._strange(outputs, size, f"is not the form {name}")
        self.form = FORMATS_OF_DETECTORS[name]
        self.person = self.form.person if person is None else person
        log.info("%s: a detector of the form %s; class %d is a person.", path, name, self.person)

    def _form_of(self, outputs: dict[str, Values], size: Size) -> str:
        """Return the name of the format that the outputs for a grey picture have."""
        fitting = [
            name
            for name, form in FORMATS_OF_DETECTORS.items()
            if form.fits(outputs, size) and form.shows(outputs, size)
        ]
        if not fitting:
            raise self._strange(outputs, size, "is not a known form")
        if len(fitting) > 1:
            raise UserError(
                f"{self.path}: its outputs may be {' and '.join(fitting)}. Say which: "
                f"detector_format={fitting[0]}"
            )
        return fitting[0]

    def _strange(self, outputs: dict[str, Values], size: Size, said: str) -> UserError:
        """Return the error to raise for outputs in an unexpected format."""
        shown = ", ".join(
            f"{name} {list(each.shape)} with values from {each.min():.3g} to {each.max():.3g}"
            for name, each in outputs.items()
        )
        table = table_of(outputs, size)
        looks = f", which look like {table.in_words(size)}" if table else ""
        return UserError(
            f"{self.path}: its outputs are {shown}{looks}, for a grey picture of "
            f"{size[0]}×{size[1]} pixels. That {said}. There are: "
            f"{', '.join(FORMATS_OF_DETECTORS)}."
        )

    def _takes_bytes(self) -> bool:
        """Return whether the input takes integers, which the detector scales itself."""
        return bool(np.issubdtype(self.opened.dtype, np.integer))

    def __call__(self, frame: Frame, /) -> tuple[Values, Values]:
        """Return the boxes (N, 4) and scores (N,) of the people in a frame (H, W, 3)."""
        picture, scale, offset = self._fitted(frame)
        size = size_of(picture)
        found = self.form.read(self._run(self._prepared(picture)), size)
        people = (found.classes == self.person) & ~(found.scores < self.least)
        boxes = (found.boxes[people] * np.tile(size, 2) - np.tile(offset, 2)) / np.tile(scale, 2)
        scores = found.scores[people]
        if self.form.overlapping:
            kept = thinned(boxes, scores, OVERLAP)
            boxes, scores = boxes[kept], scores[kept]
        return boxes, scores

    def _order(self) -> bool:
        """Return whether colour is last in the input, not second. Raises UserError if neither."""
        sides = self.opened.sides
        if len(sides) == 4 and sides[0] in (1, None) and 3 in (sides[1], sides[3]):
            return sides[3] == 3
        shown = ", ".join(str(side or "any") for side in sides)
        raise UserError(f"{self.path}: its input is ({shown}); expected one picture in colour.")

    def _size(self, free: Size) -> Size:
        """Return the input size. free: the size to use where the file leaves it open."""
        height, width = self.opened.sides[1:3] if self.colours_last else self.opened.sides[2:4]
        return width or free[0], height or free[1]

    def _fitted(self, frame: Frame) -> tuple[Values, Values, Values]:
        """Return a frame fitted to the input (h, w, 3), with its scale (2,) and offset (2,)."""
        whole = np.array(size_of(frame))
        if not self.form.letterbox:
            free = np.maximum(np.round(whole * max(FREE_SIZE) / whole.max() / 32), 1) * 32
            size = self._size((int(free[0]), int(free[1])))
            return _resized(frame, size), size / whole, np.zeros(2)

        size = self._size(FREE_SIZE)
        scale = np.min(size / whole)
        width, height = np.maximum(np.round(whole * scale), 1).astype(int).tolist()
        left, top = 0, 0
        if self.form.letterbox == "both":
            left, top = (size[0] - width) // 2, (size[1] - height) // 2
        picture = np.full((size[1], size[0], 3), EMPTY, np.uint8)
        picture[top : top + height, left : left + width] = _resized(frame, (width, height))
        return picture, np.full(2, scale), np.array([left, top])

    def _prepared(self, picture: Values) -> Values:
        """Return a picture with its values converted to those that the format expects."""
        values = picture[..., ::-1] if self.form.bgr else picture
        if self.form.scale == 1 or self._takes_bytes():
            return values
        scaled = values.astype(np.float32) / self.form.scale
        return (scaled - MEAN_COLOUR) / COLOUR_DEVIATION if self.form.normalize else scaled

    def _run(self, values: Values) -> dict[str, Values]:
        """Return the outputs for a picture's values (h, w, 3)."""
        ordered = values if self.colours_last else values.transpose(2, 0, 1)
        with self._named_errors("fails on a picture"):
            return self.opened.run(np.ascontiguousarray(ordered[None], self.opened.dtype))

    @contextmanager
    def _named_errors(self, said: str) -> Iterator[None]:
        """Replace a library's own errors in a block with UserError."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{self.path}: {said} ({first_line(error)}).") from error


def _resized(frame: Frame, size: Size) -> Values:
    """Resize a frame (H, W, 3) to a size (width, height)."""
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR))


def thinned(boxes: Values, scores: Values, overlap: float) -> Values:
    """Return the indices of the boxes (N, 4) to keep: one per person, highest score first.

    Two boxes show one person if their IoU is above `overlap`, or if the smaller box is inside the
    other, as a box around half a body is.
    """
    import torch
    from torchvision.ops import nms

    values = (torch.from_numpy(np.ascontiguousarray(each, np.float32)) for each in (boxes, scores))
    left, kept = np.asarray(nms(*values, overlap)), []
    while len(left):
        strongest, left = left[0], left[1:]
        kept.append(strongest)
        left = left[contained(boxes[strongest], boxes[left]) <= INSIDE]
    return np.array(kept, np.intp)


def _opened(path: Path, device: torch.device) -> OpenedDetector:
    """Open a file with the library that reads it."""
    ending = path.suffix.lower()
    if not path.exists():
        raise UserError(f"{path}: no such detector file.")
    if ending not in DETECTOR_ENDINGS:
        raise UserError(
            f"{path}: expected a detector in ONNX or OpenVINO form, a file "
            f"whose name ends in {', '.join(DETECTOR_ENDINGS)}. Export it, as with `yolo export "
            "model=yolo11n.pt format=onnx`."
        )
    regular_file(path, TENSORS, "a detector")
    with quiet():
        return _open_in_onnx(path, device) if ending == ".onnx" else _open_in_openvino(path)


def _open_in_onnx(path: Path, device: torch.device) -> OpenedDetector:
    session = onnx_session(path, available_cores(), providers(device))
    taken = _one_input(path, {each.name: each for each in session.get_inputs()})
    sides = [side if isinstance(side, int) else None for side in taken.shape]
    dtype = {"tensor(float16)": np.float16, "tensor(uint8)": np.uint8}.get(taken.type, np.float32)
    names = [each.name for each in session.get_outputs()]

    def run(picture: Values) -> dict[str, Values]:
        return dict(zip(names, session.run(names, {taken.name: picture}), strict=True))

    return OpenedDetector(sides, dtype, run)


def _open_in_openvino(path: Path) -> OpenedDetector:
    core, model = openvino_model(path)
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": available_cores()}
    taken = _one_input(path, {"/".join(port.get_names()): port for port in model.inputs})
    sides = [side.get_length() if side.is_static else None for side in taken.get_partial_shape()]
    names = [" ".join(sorted(port.get_names())) or str(i) for i, port in enumerate(model.outputs)]
    request = core.compile_model(model, "CPU", settings).create_infer_request()

    def run(picture: Values) -> dict[str, Values]:
        found = request.infer([picture])
        return {name: np.array(found[i]) for i, name in enumerate(names)}

    return OpenedDetector(sides, taken.get_element_type().to_dtype(), run)


def _one_input(path: Path, inputs: Mapping[str, Any]) -> Any:
    """Return the only input of a detector. Raises UserError if there are several."""
    if len(inputs) > 1:
        raise UserError(
            f"{path}: takes {', '.join(inputs)}; expected a picture alone. Export the detector "
            "without its other inputs."
        )
    return next(iter(inputs.values()))
