"""The options of detectors and of the tracker."""

from person_reid.config.option import FRACTION, POSITIVE, WHOLE, Options, Range, option


class TrackerOptions(Options, title="tracker"):
    """The boxes that a tracker links, and the time for which it waits for a hidden person."""

    track_score: float = option(0.5, "least score of a box that is linked first", range=FRACTION)
    new_score: float = option(0.6, "least score of a box that begins a track", range=FRACTION)
    low_score: float = option(
        0.1, "least score of a box that continues a track if no better one does", range=FRACTION
    )
    patience: float = option(
        1.0, "seconds without a box after which a person has left", range=WHOLE
    )
    confirmations: int = option(3, "consecutive boxes that make a track", range=POSITIVE)
    least_seconds: float = option(0.2, "least seconds that these boxes span", range=WHOLE)
    appearance: bool = option(
        False, "also link boxes by appearance, which embeds every box of a frame"
    )


# Detectors that are known by name; register_detector adds others.
DETECTOR_NAMES = ["yolox_nano", "yolox_tiny", "yolox_s", "ssdlite", "fasterrcnn"]
# How a detector in a file expects pictures and returns boxes.
DETECTOR_FORMATS = (
    "yolox",
    "yolox_decoded",
    "yolov8",
    "yolov8_pose",
    "deepstream",
    "yolov10",
    "yolonas",
    "damoyolo",
    "rtdetr",
    "rtdetr_ultralytics",
    "rtdetr_scores",
    "rfdetr",
)
TILES = Range("from 2 to 16, or 0 for none", lambda number: number == 0 or 2 <= number <= 16)


class DetectorOptions(Options, title="detector"):
    """The detector that finds people in a frame."""

    detector: str = option(
        DETECTOR_NAMES[0],
        "a file in ONNX or OpenVINO (.xml) format, or a name",
        names=DETECTOR_NAMES,
        metavar="DETECTOR",
        common=True,
    )
    detector_format: str | None = option(
        None,
        "form of the file's output (default: detected with a grey picture)",
        choices=DETECTOR_FORMATS,
    )
    detector_class: int | None = option(
        None, "class number of people (default: the form's)", range=WHOLE
    )
    detector_score: float = option(
        0.1, "least score of a box that the tracker gets", range=FRACTION
    )
    detector_tiles: int = option(
        0,
        "also search this many parts of a frame, side by side, for small people",
        range=TILES,
    )
