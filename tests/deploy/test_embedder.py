import logging
import os
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest
import torch
from PIL import Image

import person_reid
from person_reid.config.network import NetworkOptions
from person_reid.config.tested import TestConfig
from person_reid.console import parse
from person_reid.data.images.bank import load_bank
from person_reid.deploy.engine import quiet
from person_reid.deploy.export import export
from person_reid.deploy.exported_files import Contents
from person_reid.deploy.find import open_embedder
from person_reid.deploy.interface import Preparation
from person_reid.deploy.load import NetworkToTest
from person_reid.errors import UserError
from person_reid.models.factory import create_model
from person_reid.retrieval.features import extract_features, fused_embedding
from tests.support import ROOT

SIZE = (64, 32)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of several sizes and kinds, and the weights of an untrained network."""
    folder = tmp_path_factory.mktemp("embedder")
    random = np.random.default_rng(0)
    for number, (height, width) in enumerate([(50, 24), (64, 32), (90, 31), (128, 64)]):
        Image.fromarray(random.integers(0, 255, (height, width, 3), np.uint8)).save(
            folder / f"{number}.png"
        )
    Image.open(folder / "0.png").convert("L").save(folder / "grey.png")
    torch.manual_seed(0)
    network = create_model("test_resnet", weights="none", size=SIZE)
    torch.save(network.model.state_dict(), folder / "net.pth")
    export(network, Contents(*SIZE, network.dim), folder / "net.pt", "torchscript")
    return folder


@pytest.fixture(scope="module")
def embedder(folder):
    return person_reid.Embedder("test_resnet", weights=folder / "net.pth", device="cpu", size=SIZE)


@pytest.fixture(scope="module")
def paths(folder):
    return sorted(folder.glob("*.png"))


@pytest.fixture(scope="module")
def expected(folder, paths):
    """The features that test.py would extract."""
    network = create_model("test_resnet", weights=str(folder / "net.pth"), size=SIZE)
    return extract_features(fused_embedding(network, CPU), load_bank(paths, *SIZE), CPU, 32)


def test_paths_pictures_and_arrays_give_the_features_of_test_py(embedder, paths, expected):
    features = embedder(paths)
    assert features.dtype == np.float32
    assert features.shape == (5, embedder.dim)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(features, expected, atol=1e-6)
    pictures = [Image.open(path) for path in paths]
    arrays = [np.asarray(picture.convert("RGB")) for picture in pictures]
    mixed = [str(paths[0]), pictures[1], arrays[2], paths[3], arrays[4]]
    for images in (pictures, arrays, mixed, iter(mixed)):
        np.testing.assert_allclose(embedder(images), expected, atol=1e-6)


def test_arrays_of_opencv_are_read_as_bgr(embedder, paths, expected):
    arrays = [np.asarray(Image.open(path).convert("RGB"))[:, :, ::-1] for path in paths]
    np.testing.assert_allclose(embedder(arrays, bgr=True), expected, atol=1e-6)
    assert np.abs(embedder(arrays)[:4] - expected[:4]).max() > 1e-3
    # Files give the same features as before.
    np.testing.assert_allclose(embedder([paths[0], arrays[1]], bgr=True), expected[:2], atol=1e-6)


def test_many_images_and_none_have_features(embedder, paths, expected, monkeypatch):
    monkeypatch.setattr("person_reid.data.images.image_decoding.AHEAD", 7)
    monkeypatch.setattr("person_reid.deploy.embedder.IMAGES_IN_MEMORY", 9)
    np.testing.assert_allclose(embedder(paths * 4), np.tile(expected, (4, 1)), atol=1e-6)
    empty = embedder([])
    assert empty.shape == (0, embedder.dim)
    assert empty.dtype == np.float32


def test_equal_crops_of_an_array_have_equal_features(embedder, paths):
    crops = np.stack([np.asarray(Image.open(paths[1]))] * 3)
    assert np.ptp(embedder(crops), axis=0).max() < 1e-6


def test_an_exported_file_gives_the_features_of_its_network(folder, paths, expected):
    np.testing.assert_allclose(
        person_reid.Embedder(folder / "net.pt", device="cpu")(paths), expected, atol=1e-6
    )


def test_features_without_the_mirrored_image_differ(folder, paths, expected):
    plain = person_reid.Embedder("test_resnet", folder / "net.pth", "cpu", flip=False, size=SIZE)
    other = person_reid.Embedder(folder / "net.pt", device="cpu", flip=False)
    np.testing.assert_allclose(plain(paths), other(paths), atol=1e-6)
    assert np.abs(plain(paths) - expected).max() > 1e-5


def test_a_network_in_memory_is_taken_as_it_is_now(folder, paths, expected):
    network = create_model(
        "test_resnet", 4, weights=str(folder / "net.pth"), size=SIZE, neck="none"
    )
    embed = person_reid.Embedder(network, device="cpu")
    assert network.training
    with torch.no_grad():
        for weights in network.parameters():
            weights.zero_()  # a later training changes no features
    np.testing.assert_allclose(embed(paths), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("osnet_x0_25", "a network without weights. Pass weights=FILE, or .* osnet_x0_25_"),
        ("osnet_x1_0_msmt", "no published network .* Did you mean 'osnet_x1_0_msmt17'"),
    ],
)
def test_a_source_without_weights_is_answered_with_what_may_be_meant(source, message, here):
    with pytest.raises(UserError, match=message):
        person_reid.Embedder(source)


def test_a_run_that_is_not_there_is_named(here):
    with pytest.raises(UserError, match=r"absent.opts\.yaml: no run of that name"):
        person_reid.Embedder("absent")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ("a.png", r"expected a list of images; for a single one, pass \[image\]"),
        (np.zeros((4, 4, 3), np.uint8), "expected a list of images"),
        ([np.zeros((4, 4, 3))], "an array of float64, not of uint8"),
        (None, "expected a list of images"),
        (["absent.png", "gone.png"], r"(?s)2 of 2 images cannot be read.*absent\.png.*gone\.png"),
    ],
)
def test_mistakes_are_named(embedder, images, message):
    with pytest.raises(UserError, match=message):
        embedder(images)


def test_flags_that_an_exported_file_has_decided_are_refused(folder):
    for flags in (["--height", "64"], ["--ms", "1,1.1"], ["--name", "other"]):
        options = parse(TestConfig, ["--engine", str(folder / "net.pt"), *flags])
        with pytest.raises(
            UserError, match=f"{flags[0][2:]} was decided when the file was written"
        ):
            open_embedder(options)
    with pytest.raises(
        UserError,
        match="its precision was decided when it was written; leave fp16 and bf16 out",
    ):
        open_embedder(parse(TestConfig, ["--engine", str(folder / "net.pt"), "--fp16"]))


def test_no_temporary_folder_is_needed(folder, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(folder / "missing"))
    options = parse(TestConfig, ["--backbone", "test_resnet", "--weights", str(folder / "net.pth")])
    assert open_embedder(options)([Image.new("RGB", SIZE)]).shape[0] == 1


def test_scales_that_the_network_cannot_process_are_refused_before_the_images_are_read():
    message = r"test_vit cannot process images of 70×35 \(.*\)\. Try another ms, or the defaults\."
    with pytest.raises(UserError, match=message):
        person_reid.Embedder("test_vit", weights="none", size=(64, 32), scales=(1.0, 1.1))


def test_a_mirrored_image_inside_the_file_cannot_be_left_out(folder, tmp_path):
    network = create_model("test_resnet", weights="none", size=SIZE)
    export(network, Contents(*SIZE, network.dim, flip=True), tmp_path / "net.pt", "torchscript")
    with pytest.raises(UserError, match=r"the mirrored image is inside the file"):
        person_reid.Embedder(tmp_path / "net.pt", flip=False)


def test_boxes_of_a_frame_are_cut_out_and_clipped(embedder):
    frame = np.random.default_rng(0).integers(0, 256, (100, 80, 3), np.uint8)
    boxes = [
        [9.6, 20, 40.4, 89.7],
        [-5.2, -3, 30.4, 60],
        [50, 50, 500, 500],
        [20, 20, 20, 40],
        [90, 0, 99, 50],
    ]
    boxes += [[0, 0, np.nan, 9], [np.nan, 10, 50, 90], [0, 0, -np.inf, 9]]
    found = embedder.crops(frame, np.array(boxes))
    expected = embedder([frame[20:90, 10:40], frame[:60, :30], frame[50:, 50:]])
    np.testing.assert_array_equal(
        found, np.concatenate([expected, np.zeros((5, embedder.dim), np.float32)])
    )
    np.testing.assert_array_equal(
        embedder.crops(torch.from_numpy(frame), torch.tensor(boxes)), found
    )
    np.testing.assert_array_equal(embedder.crops(frame[:, :, ::-1], boxes, bgr=True), found)
    assert (
        embedder.crops(frame, np.empty((0, 4))).shape
        == embedder.crops(frame, []).shape
        == (0, embedder.dim)
    )


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime", "openvino"])
def test_several_threads_may_ask_at_once(runtime, folder):
    embedder = person_reid.Embedder(
        "test_resnet", folder / "net.pth", "cpu", size=SIZE, runtime=runtime
    )
    frames = [
        np.random.default_rng(seed).integers(0, 256, (90, 60, 3), np.uint8) for seed in range(12)
    ]
    boxes = [[0, 0, 30, 80], [20, 5, 60, 90]]
    expected = [embedder.crops(frame, boxes) for frame in frames]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda frame: embedder.crops(frame, boxes), frames))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_what_nothing_can_be_made_of_is_refused(folder, paths, tmp_path):
    file = folder / "net.pt"
    weights = folder / "net.pth"
    unit = tmp_path / "unit.pt"
    network = NetworkToTest(
        NetworkOptions(backbone="test_resnet", height=SIZE[0], width=SIZE[1]), weights
    )
    small = create_model("test_resnet", size=SIZE)
    export(small, Contents(*SIZE, small.dim, l2=True), unit, "torchscript")
    for settings, words in (
        ({"source": file, "weights": weights}, "weights would be ignored"),
        ({"source": file, "which_epoch": 60}, "which_epoch would be ignored"),
        (
            {"source": "test_resnet", "weights": weights, "which_epoch": 60},
            "which_epoch would be .*net.pth decides",
        ),
        (
            {"source": "test_resnet", "weights": "none", "which_epoch": "average"},
            "which_epoch would be ignored",
        ),
        ({"source": "osnet_x0_25_msmt17", "which_epoch": 60}, "which_epoch would be ignored"),
        ({"source": network, "weights": weights}, "weights would be ignored"),
        ({"source": network, "which_epoch": 60}, "which_epoch would be ignored"),
        (
            {"source": network, "preparation": Preparation()},
            "preparation is for an ONNX or OpenVINO file",
        ),
        (
            {"source": "test_resnet", "weights": weights, "preparation": Preparation()},
            "preparation is for an ONNX",
        ),
        ({"source": file, "runtime": "openvino"}, "runtime=openvino does not run this file"),
        ({"source": file, "dtype": torch.float16}, "its precision was decided when it was written"),
        (
            {"source": unit, "unit_length": False},
            "its features have unit length; leave unit_length=False out",
        ),
        ({"source": file, "size": SIZE, "scales": (1.0, 1.1)}, "size, scales would be ignored"),
    ):
        with pytest.raises(UserError, match=words):
            person_reid.Embedder(**settings, device="cpu")


def test_weights_that_are_not_finite_give_no_features(folder, paths, tmp_path):
    weights = torch.load(folder / "net.pth")
    next(value for value in weights.values() if value.is_floating_point()).fill_(float("nan"))
    torch.save(weights, tmp_path / "net.pth")
    embedder = person_reid.Embedder(
        "test_resnet", weights=tmp_path / "net.pth", device="cpu", size=SIZE
    )
    with pytest.raises(
        UserError, match="5 of 5 features are NaN or infinite, .* Either the weights are"
    ):
        embedder(paths)


def test_a_picture_without_an_area_is_refused(embedder):
    with pytest.raises(UserError, match="an image of 0×30 pixels"):
        embedder([Image.new("RGB", (100, 100)).crop((50, 50, 50, 80))])


def test_boxes_may_be_tensors_of_any_kind_and_ragged_lists_are_refused(embedder):
    frame = np.random.default_rng(0).integers(0, 255, (100, 80, 3), np.uint8)
    expected = embedder.crops(frame, [[0, 0, 20, 40]])
    boxes = torch.tensor([[0.0, 0, 20, 40]], dtype=torch.bfloat16, requires_grad=True)
    assert np.array_equal(embedder.crops(torch.from_numpy(frame), boxes), expected)
    with pytest.raises(UserError, match="boxes: expected an array"):
        embedder.crops(frame, [[0, 0, 20, 40], [0, 0, 20]])


def test_weights_of_no_file_are_the_same_each_time():
    probes = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        probes.append(
            person_reid.Embedder("test_resnet", weights="none", device="cpu", size=SIZE).probe()
        )
    assert np.array_equal(probes[0], probes[1])


def test_opening_a_network_draws_none_of_the_callers_random_numbers(folder):
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    person_reid.Embedder("test_resnet", weights=folder / "net.pth", device="cpu", size=SIZE)
    assert torch.equal(torch.rand(2), expected)


def test_files_opened_by_several_threads_leave_the_programs_log_as_it_is():
    entered = Event()

    def first():
        with quiet():
            entered.set()
            time.sleep(0.1)

    def second():
        entered.wait()
        with quiet():
            time.sleep(0.2)

    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda work: work(), (first, second)))
    assert logging.root.manager.disable == 0


def test_a_program_that_has_silenced_its_log_keeps_it_silent():
    logging.disable(logging.ERROR)
    try:
        with quiet():
            pass
        assert logging.root.manager.disable == logging.ERROR
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        (
            [[0.1, 0.2, 0.5, 0.9], [0, 0, 1, 1]],
            "within 0 to 1. Multiply them by the frame's width 60 and height 50",
        ),
        ([[30, 20, 10, 15], [40, 40, 12, 9]], "run backwards, as left, top, width, height do"),
        ([[30, 20, 31, 40], [4, 4, 5, 5]][1:], "smaller than two pixels"),
        ([[30, 20, 40, 45], [0.1, 0.2, 0.5, 0.9]], ""),
        ([[40, 40, 12, 9], [5, 5, 20, 30]], ""),  # one of them: a tracker's mistake
        (
            [[30, 20, 10, 15], [40, 40, 12, 9], [5, 5, 20, 30], [float("nan")] * 4],
            "most run backwards, as left",
        ),
        ([[float("nan")] * 4], ""),
        ([[0, 0, 0, 0]], ""),
        ([], ""),
    ],
)
def test_boxes_that_are_all_of_another_form_give_one_warning(boxes, words, embedder):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        embedder.crops(np.zeros((50, 60, 3), np.uint8), np.array(boxes, float).reshape(-1, 4))
    found = [str(each.message) for each in caught if "boxes" in str(each.message)]
    assert len(found) == bool(words)
    assert all(words in each for each in found)


def test_boxes_of_whole_numbers_without_a_sign_run_backwards_as_well(embedder):
    with pytest.warns(UserWarning, match="boxes: .* run backwards"):
        embedder.crops(np.zeros((50, 60, 3), np.uint8), np.array([[30, 20, 10, 15]], np.uint16))


FORKED = """
import os, numpy as np, torch
from person_reid import Embedder, UserError

def opened():
    return Embedder("osnet_x0_25", weights="none", device="cpu", size=(64, 32))

image = np.zeros((64, 32, 3), np.uint8)
for threads, again in ((1, False), (2, False), (2, True)):
    torch.set_num_threads(threads)
    embed = opened()
    embed([image])
    if os.fork() == 0:
        try:
            print((opened() if again else embed)([image]).shape, flush=True)
        except UserError as error:
            print(error, flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_an_embedder_in_a_forked_process_answers_or_says_why_not():
    """A process of gunicorn --preload must not wait for ever.

    It did with two threads, and so did an embedder that was made in the new process.
    """
    done = subprocess.run(
        [sys.executable, "-c", FORKED], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    one, two, new = done.stdout.splitlines()
    assert one == "(1, 512)", done.stderr
    for said in (two, new):
        assert "made before this process was forked off" in said
