"""The files of `tools/export.py --for`, run as each client runs them.

With `-m clients` the clients themselves run them.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch.nn.functional import interpolate

from benchmarks.support.people import draw_people
from person_reid.data.images.augment import MEAN, STD
from person_reid.deploy.clients import CLIENTS, contents_for, lines_for
from person_reid.deploy.embedder import Embedder
from person_reid.deploy.exported_files import import_runtime
from person_reid.errors import UserError
from person_reid.models.factory import create_model
from tests.support.scripts import run
from tools import export
from tools.export import PROGRAMS

SIZE = (256, 128)
NETWORK = [
    "--backbone",
    "test_resnet",
    "--weights",
    "none",
    "--height",
    "256",
    "--width",
    "128",
    "--gpu_ids",
    "-1",
]


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A frame of four people, uint8 (300, 640, 3) RGB, and their boxes (4, 4)."""
    folder = draw_people(tmp_path_factory.mktemp("people"), 6, tested=4)
    frame = np.full((300, 640, 3), (120, 110, 90), np.uint8)
    boxes = np.array(
        [[20, 30, 120, 270], [170, 20, 290, 280], [330, 60, 430, 250], [480, 40, 600, 290]]
    )
    people = sorted((folder / "gallery").glob("*/*"))[::4][:4]
    for (left, top, right, bottom), file in zip(boxes, people, strict=True):
        person = Image.open(file).convert("RGB").resize((right - left, bottom - top))
        frame[top:bottom, left:right] = np.asarray(person)
    return frame, boxes


@pytest.fixture(scope="module")
def ours():
    """Our features of a single view."""
    return Embedder("test_resnet", weights="none", device="cpu", flip=False, size=SIZE)


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    """A function that writes the file for a client once.

    It returns the file's path and what the command printed.
    """
    done = {}

    def written(client):
        pytest.importorskip("onnxruntime")
        if client == "openvino":
            pytest.importorskip("openvino")
        if client not in done:
            folder = tmp_path_factory.mktemp(client)
            printed = run("export", *NETWORK, "--for", client, cwd=folder)
            name = f"test_resnet_{client}{CLIENTS[client].ending}"
            assert {path.name for path in folder.iterdir()} == {name, name.replace(".xml", ".bin")}
            done[client] = str(folder / name), printed
        return done[client]

    return written


def cut(frame, boxes, height, width):
    """The people as clients resize them: float32 (N, 3, height, width), 0 to 255.

    The scaling is bilinear without antialiasing.
    """
    crops = [
        torch.from_numpy(frame[top:bottom, left:right].copy()) for left, top, right, bottom in boxes
    ]
    resized = [
        interpolate(crop.permute(2, 0, 1)[None].float(), (height, width), mode="bilinear")
        for crop in crops
    ]
    return torch.cat(resized).round().numpy()


def run_onnx(name, images):
    import onnxruntime

    session = onnxruntime.InferenceSession(name, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]


def as_boxmot(name, frame, boxes):
    statistics = [np.array(values, np.float32)[:, None, None] for values in (MEAN, STD)]
    return run_onnx(name, (cut(frame, boxes, *SIZE) / 255 - statistics[0]) / statistics[1])


def as_ultralytics(name, frame, boxes):
    return run_onnx(name, cut(frame, boxes, *SIZE) / 255)


def as_deepsort(name, frame, boxes):
    return Embedder(name, device="cpu").crops(frame[..., ::-1], boxes, bgr=True)


def as_deepstream(name, frame, boxes):
    return run_onnx(name, cut(frame, boxes, *SIZE))


def as_openvino(name, frame, boxes):
    compiled = (
        import_runtime("openvino")
        .Core()
        .compile_model(name, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    )
    return compiled(np.ascontiguousarray(cut(frame, boxes, *SIZE)[:, ::-1]))[0]


def assert_alike(found, expected):
    """Cosines are at least 0.99, or 0.9 without what all people share.

    Swapped colours do not reach that.
    """
    found = found / np.linalg.norm(found, axis=1, keepdims=True)
    assert (found * expected).sum(1).min() >= 0.99
    found, expected = found - expected.mean(0), expected - expected.mean(0)
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    assert ((found * expected).sum(1) / lengths).min() >= 0.9


SIMILAR = {"deepsort", "deepstream", "ultralytics"}  # their files are like those of the others


@pytest.mark.parametrize(
    "client",
    [pytest.param(name, marks=pytest.mark.slow) if name in SIMILAR else name for name in CLIENTS],
)
def test_a_client_gets_our_features(client, scene, ours, write):
    frame, boxes = scene
    found = globals()[f"as_{client}"](write(client)[0], frame, boxes)
    assert_alike(found, ours.crops(frame, boxes))


def test_every_client_can_be_asked_for():
    assert tuple(CLIENTS) == PROGRAMS


def test_swapped_colours_are_noticed(scene, ours, write):
    frame, boxes = scene
    with pytest.raises(AssertionError):
        assert_alike(
            as_boxmot(write("boxmot")[0], frame[..., ::-1], boxes), ours.crops(frame, boxes)
        )


@pytest.mark.parametrize("client", ["ultralytics", "openvino"])
def test_a_file_for_a_client_describes_itself(client, scene, ours, write):
    frame, boxes = scene
    assert_alike(
        Embedder(write(client)[0], device="cpu").crops(frame, boxes), ours.crops(frame, boxes)
    )


def test_the_lines_to_type_are_printed(write):
    path, output = write("ultralytics")
    name = Path(path).name
    assert f"{name}: float32 (B, 3, 256, 128), RGB 0..1 → (B, 96)" in output
    assert output.endswith(f"botsort.yaml:\n  with_reid: True\n  model: {name}\n")


def test_deepstream_is_told_what_the_file_takes():
    """DeepStream's name for NCHW as input order is 0, and so is that for RGB as colour format.

    People are stretched to the size, as ours are.
    """
    network = create_model("test_resnet", weights="none", size=SIZE)
    lines = lines_for(
        "deepstream", contents_for("deepstream", SIZE, network, "test_resnet"), "net.onnx"
    ).splitlines()
    assert lines[0] == "In the tracker's configuration, section ReID:"
    assert yaml.safe_load("\n".join(lines[1:])) == {
        "onnxFile": "net.onnx", "reidFeatureSize": network.dim, "inferDims": [3, 256, 128],
        "inputOrder": 0, "colorFormat": 0, "netScaleFactor": 1.0, "offsets": [0, 0, 0],
        "keepAspc": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["boxmot", "--flip", "--l2"], "for=boxmot decides flip, l2: leave that out"),
        (["ultralytics", "--normalise_input"], "for=ultralytics decides normalise_input"),
        (["openvino", "--format", "onnx", "--fp16"], "for=openvino decides format, fp16"),
        (
            ["deepstream", "--int8", "--calibrate", "x", "--tensorrt"],
            "decides int8, calibrate, tensorrt",
        ),
        (
            ["openvino", "--output", "net.onnx"],
            "output=net.onnx: expected a name that ends in .xml, for openvino",
        ),
    ],
)
def test_flags_that_a_client_decides_are_refused(flags, message, here):
    with pytest.raises(UserError, match=message):
        export.main([*NETWORK, "--for", *flags])
    assert not list(here.iterdir())


@pytest.mark.clients
class TestRealClients:
    """The clients themselves, if they are installed. Frames are in OpenCV's channel order."""

    def test_boxmot_gets_our_features(self, scene, ours, write):
        pytest.importorskip("boxmot")
        from boxmot import BotSort
        from boxmot.reid.core.runtime import ReID

        frame, boxes = scene
        (name, _), bgr = write("boxmot"), np.ascontiguousarray(frame[..., ::-1])
        assert_alike(ReID(name)(bgr, boxes), ours.crops(frame, boxes))
        found = np.column_stack([boxes, np.full(len(boxes), 0.9), np.zeros(len(boxes))])
        assert len(BotSort(reid_weights=name).update(found, bgr)) == len(boxes)

    def test_ultralytics_gets_our_features(self, scene, ours, write, monkeypatch):
        monkeypatch.setenv("YOLO_AUTOINSTALL", "false")
        monkeypatch.setenv("YOLO_OFFLINE", "true")
        pytest.importorskip("ultralytics")
        from ultralytics.trackers.utils.reid import ReID

        frame, boxes = scene
        middle, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
        bgr = np.ascontiguousarray(frame[..., ::-1])
        found = ReID(write("ultralytics")[0], device="cpu")(
            bgr, np.hstack([middle, size]).astype(np.float32)
        )
        size = 1.02 * size + 10  # it cuts people out with a margin
        wider = np.trunc(np.hstack([middle - size / 2, middle + size / 2]))
        assert_alike(np.stack(found), ours.crops(frame, wider))

    def test_deep_sort_realtime_gets_our_features(self, scene, ours, write):
        pytest.importorskip("deep_sort_realtime")
        from deep_sort_realtime.deepsort_tracker import DeepSort

        frame, boxes = scene
        embed, bgr = Embedder(write("deepsort")[0], device="cpu"), frame[..., ::-1]
        detections = [
            ((left, top, right - left, bottom - top), 0.9, "person")
            for left, top, right, bottom in boxes
        ]
        tracks = DeepSort(embedder=None).update_tracks(
            detections, embeds=embed.crops(bgr, boxes, bgr=True)
        )
        assert_alike(np.stack([track.features[-1] for track in tracks]), ours.crops(frame, boxes))
