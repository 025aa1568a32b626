"""int8 with measured ranges: what the file holds, how near its features are, what goes wrong."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from person_reid.deploy import export as module
from person_reid.deploy.engine import Engine
from person_reid.deploy.export import export, read_calibration
from person_reid.deploy.exported_files import Contents
from person_reid.errors import UserError
from person_reid.models.factory import create_model
from person_reid.retrieval.features import extract_features, fused_embedding
from tests.support import ROOT
from tests.support.flags import ON_THE_PROCESSOR
from tools import export as command

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
SIZE = (64, 32)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """A folder of 24 blurred images in two folders."""
    folder, random = tmp_path_factory.mktemp("people"), np.random.default_rng(0)
    for number in range(24):
        place = folder / f"{number % 2}"
        place.mkdir(exist_ok=True)
        small = Image.fromarray(random.integers(0, 255, (6, 3, 3), np.uint8))
        small.resize((32, 64)).save(place / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return create_model("test_resnet", weights="none", size=SIZE).eval()


@pytest.fixture(scope="module")
def file(network, people, tmp_path_factory):
    """The network in int8."""
    path = tmp_path_factory.mktemp("int8") / "net.onnx"
    contents = Contents(
        *SIZE, network.dim, network.pieces, "a test", normalised=True, precision="int8"
    )
    export(network, contents, path, "onnx", read_calibration(people, *SIZE))
    return path


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_the_features_are_near_those_of_float32(network, file, people, kind):
    pytest.importorskip({"onnx": "onnxruntime"}.get(kind, kind))
    bank = read_calibration(people, *SIZE)
    expected = extract_features(fused_embedding(network, CPU), bank, CPU, 32)
    engine = Engine(file, kind=kind)
    cosines = (engine.features(bank) * expected).sum(1)
    assert cosines.min() > 0.98
    assert np.abs(1 - cosines).max() > 1e-6
    assert engine.contents.precision == "int8"
    assert engine.contents.normalised


def test_all_layers_are_quantised_and_weights_have_a_scale_for_each_channel(file):
    graph = onnx.load(file).graph
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    pairs = [node for node in graph.node if node.op_type == "DequantizeLinear"]
    weights = [
        node for node in pairs if node.input[0] in values and values[node.input[0]].ndim == 4
    ]
    assert len(weights) == sum(node.op_type == "Conv" for node in graph.node)
    assert all(values[node.input[0]].dtype == np.int8 for node in weights)
    assert all(values[node.input[1]].shape == values[node.input[0]].shape[:1] for node in weights)
    largest = max(np.abs(values[node.input[0]].astype(int)).max() for node in weights)
    assert largest <= 64  # without VNNI, more overflows


def test_the_choice_of_images_is_even_and_always_the_same(people, monkeypatch):
    every = read_calibration(people, *SIZE)
    assert len(every) == 24
    monkeypatch.setattr(module, "MOST_IMAGES", 6)
    assert torch.equal(read_calibration(people, *SIZE), every[::4])


def test_no_image_that_measures_the_result_measures_the_ranges():
    images = np.arange(9)
    measured, held_out = map(list, module._parted(images))
    assert held_out == [0, 4, 8]
    assert measured == [1, 2, 3, 5, 6, 7]
    assert list(module._parted(images[:3])[0]) == [0, 1, 2]


def test_the_page_says_how_many_images_are_taken():
    page = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    assert f"The export takes up to {module.MOST_IMAGES} of these images" in " ".join(page.split())


class TestMistakes:
    def test_a_folder_without_images_is_refused(self, tmp_path):
        for folder in (tmp_path, tmp_path / "absent"):
            with pytest.raises(UserError, match=f"{folder}: no images there; expected a folder"):
                read_calibration(folder, *SIZE)

    def test_calibrate_without_int8_is_refused(self):
        with pytest.raises(UserError, match="calibrate=people would be ignored without int8"):
            command.main(
                ["--backbone", "test_resnet", "--weights", "none", "--calibrate", "people"]
            )


def test_the_command_says_how_near_the_features_are(people, here, capsys):
    flags = ["--int8", "--calibrate", str(people), "--normalise_input", "--l2"]
    command.main([*ON_THE_PROCESSOR, *flags])
    printed = capsys.readouterr().out
    assert re.search(
        r"int8: the features' mean cosine to float32 is 0\.9[89]\d+ on 6 images", printed
    )
    # A comparison would be on noise.
    assert "without --calibrate" not in printed
    assert "against PyTorch" not in printed
    assert [path.name for path in here.iterdir()] == ["test_resnet.onnx"]
