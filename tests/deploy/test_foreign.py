"""Files of other programs give the features of their network, whatever pixels they expect."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from person_reid import Embedder, UserError
from person_reid.config.tested import TestConfig
from person_reid.console import parse
from person_reid.deploy.engine import Engine, quiet
from person_reid.deploy.exported_files import file_size, import_runtime
from person_reid.deploy.find import open_embedder
from person_reid.deploy.interface import Preparation
from tests.support import REAL_DATA

SIZE = (32, 16)
BANK = torch.randint(
    0, 256, (11, *SIZE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Foreign(nn.Module):
    """A network of a convolution, which tells the channels and their scale apart."""

    def __init__(self, channels_last=False, whole_numbers=False, spatial=False):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, 5, 3)
        self.channels_last = channels_last
        self.whole_numbers = whole_numbers
        self.spatial = spatial

    def forward(self, images):
        images = images.permute(0, 3, 1, 2) if self.channels_last else images
        images = images.float() / 255 if self.whole_numbers else images
        return self.layer(images).mean((2, 3), keepdim=self.spatial)


def write(path, network, batch=None, size=SIZE, dtype=torch.float32):
    """Write a network to ONNX or OpenVINO.

    The batch is free if `batch` is None, and the sides are free if `size` is.
    """
    sides = size or SIZE
    shape = (*sides, 3) if network.channels_last else (3, *sides)
    example = torch.zeros(batch or 2, *shape).to(dtype)
    free = {0: "batch"} if batch is None else {}
    free |= {2: "height", 3: "width"} if size is None else {}
    onnx = path.with_suffix(".onnx")
    with quiet():
        torch.onnx.export(
            network.eval(),
            (example,),
            str(onnx),
            dynamo=False,
            input_names=["images"],
            dynamic_axes={"images": free},
        )
    if path.suffix == ".xml":
        openvino = import_runtime("openvino")
        openvino.save_model(openvino.Core().read_model(onnx), path, compress_to_fp16=False)
    return path


@torch.inference_mode()
def expected(network, mean=MEAN, std=STD, up_to=1, bgr=False):
    """The unit-length features by the definition, one image at a time."""
    rows = []
    for pixels in BANK.double():
        image = (pixels.flip(2) if bgr else pixels) * up_to / 255
        image = (image - torch.tensor(mean)) / torch.tensor(std)
        image = image if network.channels_last else image.permute(2, 0, 1)
        rows.append(network(image[None].float()).flatten())
    found = torch.stack(rows).numpy()
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
@pytest.mark.parametrize("batch", [None, 1, 4])
def test_batches_of_any_size_and_of_a_fixed_one_are_run(suffix, batch, tmp_path):
    network = Foreign(spatial=batch == 1)
    engine = Engine(write(tmp_path / f"net{suffix}", network, batch))
    assert engine.size == SIZE
    assert engine.contents.dim == 5
    np.testing.assert_allclose(engine.features(BANK, 4, flip=False), expected(network), atol=1e-5)


@pytest.mark.parametrize(
    ("words", "as_defined"),
    [
        ("", {}),
        ("--bgr", {"bgr": True, "mean": MEAN[::-1], "std": STD[::-1]}),
        ("--range 0..255", {"up_to": 255, "mean": (0, 0, 0), "std": (1, 1, 1)}),
        (
            "--range 0..255 --bgr --mean 104,117,123",
            {"up_to": 255, "bgr": True, "mean": (104, 117, 123), "std": (1, 1, 1)},
        ),
        ("--mean 0.5,0.5,0.5 --std 0.5,0.5,0.5", {"mean": (0.5,) * 3, "std": (0.5,) * 3}),
    ],
)
def test_pixels_become_what_the_flags_say(words, as_defined, tmp_path, caplog):
    network = Foreign()
    file = write(tmp_path / "net.onnx", network)
    options = parse(
        TestConfig, ["--engine", str(file), "--gpu_ids", "-1", "--no_flip", *words.split()]
    )
    np.testing.assert_allclose(
        open_embedder(options).features(BANK), expected(network, **as_defined), atol=1e-5
    )
    assert "not written by tools/export.py. Assumed: images of 32×16" in caplog.text
    assert ("BGR" in caplog.text) == ("--bgr" in words)


def test_channels_last_and_whole_numbers(tmp_path):
    network = Foreign(channels_last=True, whole_numbers=True)
    file = write(tmp_path / "net.onnx", network, dtype=torch.uint8)
    found = Engine(file, preparation=Preparation(up_to=255)).features(BANK, flip=False)
    np.testing.assert_allclose(found, expected(network, (0, 0, 0), (1, 1, 1), 255), atol=1e-5)
    bank = BANK[:1].clamp(min=1)
    exactly, nearly = (
        Engine(file, preparation=Preparation((mean,) * 3, up_to=255)).features(bank, flip=False)
        for mean in (0, 0.4)
    )
    np.testing.assert_array_equal(nearly, exactly)  # rounded to the same numbers


def test_the_mirrored_image_is_added(tmp_path):
    engine = Engine(write(tmp_path / "net.onnx", Foreign()))
    both = engine(BANK) + engine(BANK.flip(2))
    np.testing.assert_allclose(engine.features(BANK), nn.functional.normalize(both), atol=1e-6)


def test_sides_that_the_file_leaves_open(tmp_path, caplog):
    file = write(tmp_path / "net.onnx", Foreign(), size=None)
    assert Engine(file).size == (256, 128)
    assert Engine(file, preparation=Preparation(size=SIZE)).size == SIZE
    network = Foreign()
    with pytest.raises(
        UserError, match=r"net2\.onnx: takes images of 32×16; leave height and width out"
    ):
        Engine(write(tmp_path / "net2.onnx", network), preparation=Preparation(size=(64, None)))


class Vector(nn.Module):
    channels_last = False

    def forward(self, images):
        return images.mean((2, 3))[:, :2]


def test_what_takes_no_images_is_refused(tmp_path):
    with quiet():
        torch.onnx.export(
            nn.Linear(4, 2), (torch.zeros(1, 4),), str(tmp_path / "net.onnx"), dynamo=False
        )
    with pytest.raises(
        UserError, match=r"net\.onnx: takes \(1, 4\); expected a batch of colour images"
    ):
        Engine(tmp_path / "net.onnx")
    with quiet():
        torch.onnx.export(
            Vector(), (torch.zeros(1, 4, 8, 8),), str(tmp_path / "four.onnx"), dynamo=False
        )
    with pytest.raises(UserError, match=r"four\.onnx: takes \(1, 4, 8, 8\)"):
        Engine(tmp_path / "four.onnx")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--bgr", "--backbone", "resnet18", "--weights", "none"],
            "bgr would be ignored without engine",
        ),
        (
            ["--engine", "net.onnx", "--std", "1,0,1"],
            "--std 1.0,0.0,1.0: expected three numbers, those of std not 0",
        ),
    ],
)
def test_flags_that_make_no_sense_are_refused(words, message):
    with pytest.raises(UserError, match=message):
        open_embedder(parse(TestConfig, [*words, "--gpu_ids", "-1"]))


def test_a_preparation_of_a_network_of_ours_is_refused():
    with pytest.raises(UserError, match="preparation is for an ONNX or OpenVINO file"):
        Embedder("resnet18", weights="none", device="cpu", preparation=Preparation())


def test_intels_network_gives_the_features_that_openvino_gives():
    folder = REAL_DATA / "weights" / "intel-0277"
    file = folder / "person-reidentification-retail-0277.xml"
    if not file.is_file():
        pytest.skip(f"no network of another program at {file}")
    pixels = torch.randint(
        0, 256, (2, 256, 128, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    found = Engine(file, preparation=Preparation(bgr=True, up_to=255)).features(pixels, flip=False)
    openvino = import_runtime("openvino")
    compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for pixel, feature in zip(pixels, found, strict=True):
        plain = compiled(pixel.flip(2).permute(2, 0, 1)[None].float().numpy())[0].ravel()
        np.testing.assert_allclose(feature, plain / np.linalg.norm(plain), atol=1e-5)


class Several(nn.Module):
    """A network that gives class scores, a map and a feature, in this order."""

    def __init__(self, width, classes):
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Conv2d(3, width, 3)
        self.classes = nn.Linear(width, classes)

    def forward(self, images):
        maps = self.features(images)
        feature = maps.mean((2, 3))
        return self.classes(feature), maps, feature


def write_several(path, names, width=64, classes=751):
    """Write it with names for its three outputs, and return the network."""
    network = Several(width, classes).eval()
    free = {name: {0: "batch"} for name in ("images", *names)}
    with quiet():
        torch.onnx.export(
            network,
            (torch.zeros(2, 3, *SIZE),),
            str(path),
            dynamo=False,
            input_names=["images"],
            output_names=list(names),
            dynamic_axes=free,
        )
    return network


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    ("names", "width", "classes"),
    [
        (("logits", "maps", "features"), 64, 751),
        # It is found by its name, although 40 is not a usual width.
        (("output", "output_1", "embedding"), 40, 1041),
        (("class_scores", "prob_maps", "output"), 64, 768),  # by the names of the others
        (("output", "feature_map", "output_1"), 64, 751),  # a map is not a feature
        (("logits", "maps", "pre_logits"), 40, 1024),
    ],
)
def test_of_several_outputs_the_embedding_is_taken_and_said(
    names, width, classes, runtime, tmp_path, caplog
):
    network = write_several(tmp_path / "net.onnx", names, width, classes)
    embedder = Embedder(tmp_path / "net.onnx", device="cpu", flip=False, runtime=runtime)
    assert embedder.dim == width
    assert f"{names[2]} is taken for the feature; --output NAME chooses." in caplog.text
    assert f"{names[0]} ({classes})" in caplog.text
    images = ((BANK / 255 - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        feature = nn.functional.normalize(network(images)[2]).numpy()
    np.testing.assert_allclose(embedder.features(BANK), feature, atol=1e-5)


def test_an_output_can_be_named_and_one_that_is_not_there_is_refused(tmp_path, caplog):
    write_several(tmp_path / "net.onnx", ("logits", "maps", "features"))
    chosen = Embedder(tmp_path / "net.onnx", device="cpu", output="logits")
    assert chosen.dim == 751
    assert "is taken for the feature" not in caplog.text
    with pytest.raises(
        UserError,
        match=r"output=other: no such output. There are: logits \(751\), .*features \(64\)",
    ):
        Embedder(tmp_path / "net.onnx", device="cpu", output="other")
    options = parse(TestConfig, ["--engine", str(tmp_path / "net.onnx"), "--output", "logits"])
    assert open_embedder(options).dim == 751


def test_outputs_without_names_are_chosen_by_their_numbers(tmp_path, caplog):
    write_several(tmp_path / "net.onnx", ("logits", "maps", "features"))
    openvino = import_runtime("openvino")
    model = openvino.Core().read_model(tmp_path / "net.onnx")
    for port in model.outputs:
        port.set_names(set())
    openvino.save_model(model, tmp_path / "net.xml", compress_to_fp16=False)
    assert Embedder(tmp_path / "net.xml", device="cpu").dim == 64
    assert "its outputs are 0 (751), 1 (26880), 2 (64). 2 is taken for the feature" in caplog.text
    assert Embedder(tmp_path / "net.xml", device="cpu", output="0").dim == 751


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_weights_beside_a_file_are_found_from_any_folder(runtime, tmp_path, monkeypatch):
    """PyTorch 2.9 and newer write net.onnx.data beside net.onnx."""
    network = Foreign()
    file = write_in_two(tmp_path, network)
    monkeypatch.chdir(tmp_path)
    embedder = Embedder("folder/net.onnx", device="cpu", flip=False, runtime=runtime)
    np.testing.assert_allclose(embedder.features(BANK), expected(network), atol=1e-5)
    assert file_size(file) > file.stat().st_size


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_file_is_read_once(runtime, tmp_path, monkeypatch):
    file, read = write(tmp_path / "net.onnx", Foreign()), []

    def read_bytes(path, whole=Path.read_bytes):
        read.append(path)
        return whole(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    Embedder(file, device="cpu", runtime=runtime)
    assert read == [file]


@pytest.mark.skipif(os.name == "nt", reason="links need a permission there")
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_network_is_found_behind_links_as_the_hub_keeps_it(runtime, tmp_path):
    network = Foreign()
    file = write_in_two(tmp_path, network)
    (tmp_path / "hub").mkdir()
    for number, each in enumerate(file.parent.iterdir()):
        each.rename(tmp_path / f"blob{number}")
        (tmp_path / "hub" / each.name).symlink_to(tmp_path / f"blob{number}")
    embedder = Embedder(tmp_path / "hub" / "net.onnx", device="cpu", flip=False, runtime=runtime)
    np.testing.assert_allclose(embedder.features(BANK), expected(network), atol=1e-5)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_weights_that_are_missing_beside_a_file_are_named(runtime, tmp_path):
    file = write_in_two(tmp_path, Foreign(), "weights.bin")
    file.with_name("weights.bin").unlink()
    with pytest.raises(
        UserError, match=r"net\.onnx: its weights are in weights\.bin, to be copied into"
    ):
        Embedder(file, device="cpu", runtime=runtime)


def write_in_two(folder, network, weights="net.onnx.data"):
    """Write a network to folder/net.onnx and its weights to a file beside it."""
    import onnx

    (folder / "folder").mkdir()
    whole, file = write(folder / "net.onnx", network), folder / "folder" / "net.onnx"
    onnx.save_model(
        onnx.load(whole), file, save_as_external_data=True, location=weights, size_threshold=0
    )
    return file


def test_while_a_file_opens_errors_are_heard_and_no_warnings(caplog):
    def warn(words):
        logging.getLogger("service").warning(words)

    with quiet():
        warn("of the library")
        logging.getLogger("service").error("failed")
    warn("afterwards")
    assert caplog.messages == ["failed", "afterwards"]
