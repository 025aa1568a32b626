import json

import numpy as np
import pytest
from PIL import Image

from person_reid import Embedder
from person_reid.config.tested import TestConfig
from person_reid.console import parse
from person_reid.deploy.find import own_threshold
from person_reid.errors import UserError
from tests.support.weights import write_weights
from tools import compare


@pytest.fixture
def folder(here):
    """Two images, one of them twice, and the weights of an untrained network."""
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        Image.fromarray(random.integers(0, 255, (64, 32, 3), np.uint8)).resize((24, 50)).save(
            f"{name}.png"
        )
    write_weights("net.pth")
    return here


def said(capsys, first, second, threshold, *flags):
    network = [
        "--backbone",
        "test_resnet",
        "--weights",
        "net.pth",
        "--height",
        "64",
        "--width",
        "32",
    ]
    compare.main([first, second, *network, "--threshold", threshold, *flags])
    return capsys.readouterr().out.splitlines()[-1]


def test_an_image_is_the_same_person_as_itself(folder, capsys):
    assert (
        said(capsys, "a.png", "a.png", "0.999")
        == "same person: similarity 1.0000 ≥ threshold 0.9990 (0.999)"
    )


def test_the_verdict_agrees_with_the_digits(folder, capsys):
    for name in ("a.png", "b.png"):
        assert (
            said(capsys, name, name, "1") == "same person: similarity 1.0000 ≥ threshold 1.0000 (1)"
        )


def test_below_the_threshold_are_different_people(folder, capsys):
    (folder / "threshold.json").write_text('{"threshold": 0.99999}')
    assert said(capsys, "a.png", "b.png", "threshold.json").startswith(
        "different people: similarity 0."
    )


def test_a_threshold_measured_on_another_network_is_remarked(folder, capsys, caplog):
    for network, remarks in ((f"test_resnet {folder.name}/net.pth", 0), ("ft_ResNet50 net_60", 1)):
        (folder / "threshold.json").write_text(
            json.dumps({"threshold": 0.5, "measured_on": network})
        )
        said(capsys, "a.png", "a.png", "threshold.json")
        assert caplog.text.count("was measured on") == remarks


@pytest.mark.parametrize(
    ("flags", "settings"), [("--no_flip", {"flip": False}), ("--ms 1,1.21", {"scales": (1, 1.1)})]
)
def test_a_threshold_of_other_features_compares_such_features(flags, settings, folder, capsys):
    (folder / "threshold.json").write_text(json.dumps({"threshold": 0.5, "flags": flags}))
    embed = Embedder("test_resnet", weights="net.pth", device="cpu", size=(64, 32), **settings)
    first, second = embed(["a.png", "b.png"])
    assert f"similarity {first @ second:.4f} ≥ threshold 0.5000" in said(
        capsys, "a.png", "b.png", "threshold.json"
    )
    for of_sets in ("--camera_norm center", "--no_flip --whiten", "--help", "'"):
        (folder / "threshold.json").write_text(json.dumps({"threshold": 0.5, "flags": of_sets}))
        with pytest.raises(UserError, match=f"measured on features of .python test.py {of_sets}"):
            said(capsys, "a.png", "b.png", "threshold.json")


def test_the_bound_of_the_threshold_is_repeated(folder, capsys):
    promise = {"threshold": 0.9, "rate": 0.01, "confidence": 0.95, "people": 60, "gallery_size": 90}
    (folder / "threshold.json").write_text(json.dumps({"threshold": 0.9, "promise": promise}))
    assert said(capsys, "a.png", "a.png", "threshold.json").endswith(
        "(threshold.json: accepts at most 0.01 of searches among 90 images of strangers "
        "from other cameras (confidence 0.95, 60 people))"
    )


def test_the_threshold_of_a_folder_is_for_images_of_its_own_size(tmp_path):
    (tmp_path / "config.json").write_text('{"threshold": 0.7}')
    words = ["--from", str(tmp_path)]
    assert own_threshold(parse(TestConfig, words)) == str(tmp_path / "config.json")
    for flag in ("--height", "--width"):
        assert own_threshold(parse(TestConfig, [*words, flag, "128"])) is None


def test_mistakes_are_named(folder, capsys):
    with pytest.raises(UserError, match=r"absent\.png: No such file"):
        said(capsys, "a.png", "absent.png", "0.5")
    with pytest.raises(UserError, match=r"python tools/threshold\.py writes one"):
        said(capsys, "a.png", "b.png", "threshold.json")
