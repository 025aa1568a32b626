"""Detectors by name, from files in the forms of several programs, and of one's own."""

import hashlib

import numpy as np
import pytest
import torch

import person_reid as reid
from person_reid.config.detector import DETECTOR_FORMATS, DETECTOR_NAMES
from person_reid.errors import UserError
from person_reid.video.detector_formats import FORMATS_OF_DETECTORS
from person_reid.video.detectors import (
    DETECTORS,
    LEAST_BOX,
    MOST_BOXES,
    YOLOX_DETECTORS,
    CheckedDetector,
)
from tests.support.tiny_detectors import (
    FORMS,
    PERSON,
    SCORES,
    SURE,
    rtdetr,
    write_detector,
    write_openvino,
    yolov8,
)

FRAME = np.full((64, 128, 3), (200, 100, 30), np.uint8)


def opened(path, **options):
    return reid.open_detector(
        reid.DetectorOptions(detector=str(path), **options), torch.device("cpu")
    )


def assert_finds_the_person(detector, frame=FRAME):
    boxes, scores = detector(frame)
    np.testing.assert_allclose(boxes, [PERSON], atol=1e-3)
    np.testing.assert_allclose(scores, [SURE], atol=1e-3)


def test_every_form_has_a_name_and_a_tiny_detector():
    assert [*FORMATS_OF_DETECTORS] == [*DETECTOR_FORMATS] == [*FORMS]


@pytest.mark.parametrize("form", FORMS)
def test_outputs_show_the_form_and_lead_to_boxes_in_pixels_of_the_frame(form, tmp_path, caplog):
    """The tiny detectors also give other classes, the same person again, and what is unlikely."""
    caplog.set_level("INFO", "person_reid")
    assert_finds_the_person(opened(write_detector(tmp_path / "tiny.onnx", form)))
    assert f"a detector of the form {form};" in caplog.text


@pytest.mark.parametrize(
    ("form", "first"),
    [
        ("yolox", (30 + 114) / 2 / 255),  # half of the picture is empty
        ("yolov8", (200 + 114) / 2 / 255),
        ("yolov10", (200 + 114) / 2 / 255),
        ("rtdetr", 200 / 255),
        ("rfdetr", (200 / 255 - 0.485) / 0.229),
    ],
)
def test_pictures_have_the_colours_and_values_of_the_form(form, first, tmp_path):
    path = write_detector(tmp_path / "tiny.onnx", form, measured=True)
    _, scores = opened(path)(FRAME)
    expected = 1 / (1 + np.exp(-first)) if "detr" in form else first
    assert scores[:1] == pytest.approx([expected], abs=1e-4)
    assert form in SCORES


@pytest.mark.parametrize("form", ["yolov8", "yolov8_pose"])
def test_a_table_may_lie_on_its_side(form, tmp_path):
    (name, values), *_ = FORMS[form]().items()
    turned = {name: values.transpose(0, 2, 1)}
    path = write_detector(tmp_path / "turned.onnx", form, turned)
    if form == "yolov8":  # (1, 84, 4 + 2) may also be YOLOX's, with one class
        with pytest.raises(UserError, match=r"may be yolox_decoded and yolov8\. Say which"):
            opened(path)
    assert_finds_the_person(opened(path, detector_format=form))


def test_a_file_that_takes_bytes_scales_them_itself(tmp_path):
    path = write_detector(tmp_path / "bytes.onnx", "yolov8", measured=True, bytes=True)
    _, scores = opened(path)(FRAME)
    assert scores[:1] == pytest.approx([(200 + 114) / 2 / 255], abs=1e-2)


def test_rfdetr_of_ones_own_classes_is_told_by_the_names_of_its_outputs(tmp_path, caplog):
    caplog.set_level("INFO", "person_reid")
    found = rtdetr(3, 1)
    outputs = {"dets": found["pred_boxes"], "labels": found["logits"]}
    assert_finds_the_person(opened(write_detector(tmp_path / "own.onnx", "rfdetr", outputs)))
    assert "of the form rfdetr; class 1" in caplog.text
    renamed = {"a_box": found["pred_boxes"], "b": found["logits"]}
    path = write_detector(tmp_path / "renamed.onnx", "rfdetr", renamed)
    assert_finds_the_person(opened(path, detector_format="rfdetr"))


@pytest.mark.parametrize("form", ["yolov8", "rtdetr"])
def test_openvino_reads_its_own_files(form, tmp_path):
    assert_finds_the_person(opened(write_openvino(tmp_path / "tiny.xml", form)))


def test_a_picture_may_have_its_colours_last(tmp_path):
    path = write_detector(tmp_path / "last.onnx", "rtdetr", measured=True, last=True)
    _, scores = opened(path)(FRAME)
    assert scores[:1] == pytest.approx([1 / (1 + np.exp(-200 / 255))], abs=1e-4)


def test_a_picture_of_any_size_is_as_large_as_640_pixels(tmp_path):
    """Of 128×64 pixels, the frame becomes 640×320."""
    shape = [1, 3, "height", "width"]
    assert_finds_the_person(opened(write_detector(tmp_path / "a.onnx", "rtdetr", shape=shape)))


def test_a_form_and_a_class_that_are_named_count(tmp_path, caplog):
    caplog.set_level("INFO", "person_reid")
    path = write_detector(tmp_path / "tiny.onnx", "rtdetr")
    _, scores = opened(path, detector_class=1)(FRAME)
    assert scores == pytest.approx([SURE], abs=1e-3)
    assert "class 1 is a person" in caplog.text
    with pytest.raises(UserError, match=r"logits \[1, 3, 80\].*not the form yolov8"):
        opened(path, detector_format="yolov8")


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ({"feature": np.zeros((1, 512))}, r"its outputs are feature \[1, 512\]"),
        ({"a": np.zeros((1, 9, 4)), "b": np.zeros((1, 8, 3))}, "its outputs are a"),
        ({"output0": yolov8()["output0"] / 64}, "look like columns: middles in fractions; scores"),
        ({"output0": yolov8()["output0"] - 1}, "columns: middles in pixels; logits"),
    ],
)
def test_outputs_of_no_known_form_are_named(outputs, said, tmp_path):
    with pytest.raises(UserError, match=said):
        opened(write_detector(tmp_path / "other.onnx", "rtdetr", outputs))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("walk.mp4", b"...", "expected a detector in ONNX"),
        ("yolo11n.pt", b"PK", "yolo export"),
        ("empty.onnx", b"", "cannot be opened as a detector"),
        ("text.onnx", b"a text\n", "cannot be opened as a detector"),
        ("text.xml", b"<xml></xml>", "weights are in text.bin|cannot be opened as a detector"),
        ("gone.onnx", None, "no such detector file"),
        ("ssdlit", None, "Did you mean 'ssdlite'"),
    ],
)
def test_a_file_that_is_no_detector_is_refused(name, content, said, tmp_path):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=said):
        opened(name if "." not in name else path)


def test_inputs_that_are_no_picture_in_colour_are_refused(tmp_path):
    sized = write_detector(tmp_path / "sized.onnx", "rtdetr", further=["orig_target_sizes"])
    with pytest.raises(UserError, match="takes picture, orig_target_sizes"):
        opened(sized)
    grey = write_detector(tmp_path / "grey.onnx", "rtdetr", shape=[1, 1, 64, 64])
    with pytest.raises(UserError, match=r"its input is \(1, 1, 64, 64\)"):
        opened(grey)


def given(boxes, scores):
    """A detector that gives these in every frame."""
    return CheckedDetector(lambda frame: (boxes, scores), "mine")


def test_what_a_tracker_cannot_use_is_left_out_and_counted():
    boxes = [PERSON, [np.nan, 0, 9, 9], [0, 0, np.inf, 9], [5, 5, 5 + LEAST_BOX / 2, 60]]
    boxes += [[200, 0, 240, 60], [40, 20, 30, 10], [-5, -5, 300, 300]]
    scores = [0.5, 0.9, 0.9, 0.9, 0.9, 0.9, np.nan]
    detector = given(boxes, scores)
    found, sure = detector(FRAME)
    assert found[sure == np.float32(0.5)].tolist() == [PERSON]
    assert [0, 0, 128, 9] in found.tolist()
    assert detector.left_out().startswith("mine: left out 5 boxes that lie outside")


def test_boxes_beyond_the_most_of_a_frame_are_counted():
    random = np.random.default_rng(0)
    scores = random.random(10_000)
    detector = given(np.tile(PERSON, (10_000, 1)), scores)
    _, kept = detector(FRAME)
    assert kept.tolist() == sorted(scores.astype(np.float32).tolist(), reverse=True)[:MOST_BOXES]
    assert "9,000 boxes beyond the 1000" in detector.left_out()


def test_boxes_that_cover_the_frame_are_said_once():
    whole = [1, 1, 127, 63]
    for boxes, said in [([whole, PERSON, whole], True), ([whole, PERSON], False)]:
        detector = given(boxes, [0.5] * len(boxes))
        detector(FRAME)
        assert ("2 of 3 boxes cover the whole frame" in detector.left_out()) == said
        assert detector.left_out() == ""


def test_nobody_is_no_fault():
    nothing: list = [[], np.zeros((0, 4)), torch.zeros(0, 4)]
    for boxes in nothing:
        detector = given(boxes, [])
        found, scores = detector(FRAME)
        assert found.shape == (0, 4)
        assert scores.shape == (0,)
        assert detector.left_out() == ""


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, "found NoneType"),
        (([PERSON], [0.5, 0.5]), r"found \(1, 4\) and \(2,\)"),
        (([PERSON], []), r"found \(1, 4\) and \(0,\)"),
        (([PERSON[:3]], [0.5]), r"found \(1, 3\) and \(1,\)"),
        (([["left", 1, 2, 3]], [0.5]), "boxes: expected real numbers"),
    ],
)
def test_a_detector_of_other_results_is_named(found, said):
    with pytest.raises(UserError, match=f"^mine: .*{said}"):
        CheckedDetector(lambda frame: found, "mine")(FRAME)


def test_frames_of_more_bits_are_refused():
    with pytest.raises(UserError, match="frames of 8 bits in colour"):
        given([PERSON], [0.5])(np.zeros((64, 128), np.uint16))


def test_tiles_find_who_is_small_and_count_nobody_twice():
    """The detector sees who fills a fifth of a picture's width; tiles may cut the person off."""

    def find(frame):
        bright = np.flatnonzero(frame[32].max(1) > 128)
        if not len(bright) or len(bright) < frame.shape[1] / 5:
            return [], []
        return [[bright[0], 16, bright[-1] + 1, 48]], [0.9]

    frame = np.zeros((64, 256, 3), np.uint8)
    frame[:, 100:140] = 255
    assert not len(CheckedDetector(find, "near")(frame)[0])
    boxes, _ = CheckedDetector(find, "near", tiles=3)(frame)
    assert boxes.tolist() == [[100, 16, 140, 48]]


@pytest.mark.parametrize(("second", "people"), [((100, 8, 140, 30), 1), ((116, 8, 156, 56), 2)])
@pytest.mark.parametrize("score", [0.7, 0.8])
def test_half_a_body_is_no_second_person(second, people, score):
    """A tile shows a body, and the frame half of it, or somebody of whom 40 % are free."""

    def find(frame):
        whole = frame.shape[1] == 256
        left = int(np.flatnonzero(frame[0, :, 0])[0]) if frame[0].any() else None
        body = [] if left is None else [(left, 8, left + 40, 56)]
        return ([second], [score]) if whole else (body, [0.75] * len(body))

    frame = np.zeros((64, 256, 3), np.uint8)
    frame[0, 100] = 1
    boxes, scores = CheckedDetector(find, "halves", tiles=3)(frame)
    assert len(boxes) == people
    assert scores[0] == pytest.approx(max(score, 0.75))


@pytest.fixture
def mine():
    reid.register_detector("mine", lambda device: lambda frame: ([PERSON], [SURE]))
    yield "mine"
    del DETECTORS["mine"]
    DETECTOR_NAMES.remove("mine")


def test_a_detector_of_ones_own_has_a_name(mine):
    assert_finds_the_person(opened(mine))
    with pytest.raises(UserError, match="There is a detector 'mine' already"):
        reid.register_detector(mine, lambda device: lambda frame: ([], []))
    with pytest.raises(UserError, match="detector_class would be ignored"):
        opened(mine, detector_class=0)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A folder of torch.hub's, which is empty."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    return tmp_path / "checkpoints"


def test_without_internet_the_file_and_its_place_are_named(cache, monkeypatch):
    def fail(*words, **settings):
        raise OSError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    files = {
        "ssdlite": "ssdlite320_mobilenet_v3_large_coco-a79551df.pth",
        "yolox_nano": "yolox_nano.onnx",
    }
    for name, file in files.items():
        with pytest.raises(UserError, match="Name or service not known.*Put") as raised:
            opened(name)
        assert f"Put {file} from https://" in str(raised.value)
        assert f"into {cache}" in str(raised.value)


def test_the_default_is_yolox_nano_if_its_file_has_the_known_checksum(cache, monkeypatch):
    cache.mkdir()
    file = write_detector(cache / "yolox_nano.onnx", "yolox")
    with pytest.raises(UserError, match="not the file of https.*yolox_nano.onnx.*SHA-256"):
        opened(reid.DetectorOptions().detector)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setitem(YOLOX_DETECTORS, "yolox_nano", digest)
    assert_finds_the_person(opened(reid.DetectorOptions().detector))


def test_ssdlite_is_torchvisions_with_the_weights_of_its_file(cache):
    from torchvision.models import get_model

    torch.manual_seed(0)
    network = get_model("ssdlite320_mobilenet_v3_large", weights=None, weights_backbone=None).eval()
    cache.mkdir()
    torch.save(network.state_dict(), cache / "ssdlite320_mobilenet_v3_large_coco-a79551df.pth")
    detector = opened("ssdlite", detector_score=0.0)
    boxes, scores = detector(FRAME)
    with torch.inference_mode():
        (expected,) = network([torch.from_numpy(FRAME).permute(2, 0, 1) / 255])
    people = expected["labels"] == 1
    sure = expected["scores"][people].sort(descending=True).values.numpy()
    assert boxes.shape == (len(scores), 4)
    assert set(scores.tolist()) <= set(sure.tolist())
