"""A network's folder: what is written is what is read, and nothing else is read."""

import errno
import json
import pickle
import platform
import re
import shutil
from functools import partial
from pathlib import Path
from re import escape
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.support.people import draw_people
from person_reid import Embedder, UserError
from person_reid.config import zoo
from person_reid.config.tested import TestConfig
from person_reid.config.train import TrainConfig
from person_reid.config.zoo import PACKAGED, PACKAGED_NETWORK
from person_reid.console import parse
from person_reid.deploy import pretrained, publish
from person_reid.deploy.find import open_embedder, tested_network
from person_reid.deploy.load import network_of_run
from person_reid.deploy.network_names import run_of
from person_reid.deploy.pretrained import open_pretrained
from person_reid.deploy.publish import about_data, save_pretrained
from person_reid.models.factory import create_model
from person_reid.models.weights import load_weights
from person_reid.retrieval.bound import Bound
from person_reid.retrieval.thresholds import load_bound, load_threshold
from person_reid.text import quoted
from tests.deploy import test_load
from tools import compare
from tools import save_pretrained as command

pytestmark = pytest.mark.usefixtures("here")
save_run = partial(test_load.save_run, backbone="test_resnet")
CROPS = [np.random.default_rng(seed).integers(0, 256, (70, 30, 3), np.uint8) for seed in range(3)]


@pytest.fixture
def folder(here):
    """The folder of a run's network."""
    save_run()
    return save_pretrained(network_of_run("run"), "folder")


@pytest.mark.parametrize(
    "flags", [[], ["--PCB"], ["--neck", "bnneck", "--pool", "gem", "--stride", "1"]], ids=" ".join
)
def test_the_features_of_a_folder_are_those_of_the_run(flags):
    save_run(*flags)
    save_pretrained(network_of_run("run"), "folder")
    expected = Embedder("run", device="cpu")(CROPS)
    found = Embedder.from_pretrained("folder", device="cpu")
    np.testing.assert_array_equal(found(CROPS), expected)
    assert found.size == (64, 32)
    by_flags = parse(TestConfig, ["--from", "folder", "--gpu_ids", "-1"])
    np.testing.assert_array_equal(open_embedder(by_flags)(CROPS), expected)


def test_the_flag_of_a_folder_takes_a_run_too_and_a_folder_comes_first(folder):
    by_run = parse(TestConfig, ["--from", "run", "--which_epoch", "last", "--gpu_ids", "-1"])
    by_name = parse(TestConfig, ["--name", "run", "--gpu_ids", "-1"])
    assert tested_network(by_run) == tested_network(by_name)
    Path("folder").rename("run")
    assert run_of(parse(TestConfig, ["--from", "run"])) is None
    with pytest.raises(UserError, match="nowhere: no such folder"):
        open_embedder(parse(TestConfig, ["--from", "nowhere", "--gpu_ids", "-1"]))


@pytest.mark.parametrize("name", ["README.md", "config.json"])
def test_a_file_of_somebody_else_is_not_replaced(name):
    save_run()
    Path("folder").mkdir()
    Path("folder", name).write_text('{"library": "timm"}')
    for refusing in (
        lambda: save_pretrained(network_of_run("run"), "folder"),
        lambda: command.main(["--name", "run", "--output", "folder"]),
    ):
        with pytest.raises(
            UserError, match=f"folder: holds {name}, not written by save_pretrained"
        ):
            refusing()
    assert Path("folder", name).read_text() == '{"library": "timm"}'
    assert len(list(Path("folder").iterdir())) == 1
    Path("folder", name).unlink()
    for _ in range(2):  # its own are
        save_pretrained(network_of_run("run"), "folder")
    with pytest.raises(UserError, match="a file; expected the name of a folder"):
        save_pretrained(network_of_run("run"), Path("folder", "README.md"))


def test_a_folder_on_a_full_disk_stays_what_it_was(folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(publish, "write_json", full)
    with pytest.raises(OSError, match="No space left"):
        save_pretrained(network_of_run("run"), "folder", threshold=0.5)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_training_starts_from_a_folder(folder):
    network = create_model("test_resnet", 7, weights="none", size=(64, 32))
    report = load_weights(network, folder)
    saved = torch.load("model/run/net_last.pth", weights_only=True)
    assert torch.equal(network.state_dict()["model.conv1.0.weight"], saved["model.conv1.0.weight"])
    assert len(report.mismatched) == 2  # the classifier of five other people


def test_the_card_says_what_was_measured(tmp_path, capsys):
    draw_people(tmp_path / "people", 2, 2, 2, 2, 2, 2)
    save_run("--data_dir", "people/pytorch")
    words = [
        "--name",
        "run",
        "--output",
        "out/net",
        "--test_dirs",
        "people/pytorch",
        "--threshold",
        "0.75",
    ]
    command.main([*words, "--gpu_ids", "-1"])
    (line,) = [
        line
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("synthetic people: Rank@1")
    ]
    card = (tmp_path / "out" / "net" / "README.md").read_text(encoding="utf-8")
    config = json.loads((tmp_path / "out" / "net" / "config.json").read_text(encoding="utf-8"))
    assert line.split()[3] in card
    assert "trained on its other people" in card
    assert "from 0.7500 on" in card
    assert config["threshold"] == 0.75
    assert config["network"]["backbone"] == "test_resnet"
    assert config["num_classes"] == 5
    assert "Not measured" not in card
    assert "{{" not in card
    machine = re.search(r"on a CPU \((.*), \d+ threads; one view", card)
    assert machine
    assert machine[1] in (platform.processor(), platform.machine())
    assert machine[1]
    command.main(["--name", "run", "--output", "not measured"])
    assert capsys.readouterr().out.endswith(f"python test.py --from {quoted('not measured')}\n")
    assert "Not measured" in (tmp_path / "not measured" / "README.md").read_text(encoding="utf-8")


def test_the_card_knows_each_data_set_that_was_trained_on(tmp_path, monkeypatch):
    for name in ("people", "others"):
        draw_people(tmp_path / name, 2, 2, 2, 2, 2, 2)
    monkeypatch.setattr(command, "about_data", lambda root: (str(root), f"those of {root}"))
    monkeypatch.setattr(publish, "about_data", lambda root: (str(root), f"those of {root}"))
    sets = ["people/pytorch", "others/pytorch"]
    save_run("--data_dir", sets[0], "--train_with", sets[1])
    words = ["--name", "run", "--output", "net", "--test_dirs", *sets]
    command.main([*words, "--gpu_ids", "-1"])
    card = (tmp_path / "net" / "README.md").read_text(encoding="utf-8")
    assert card.count("trained on its other people") == 2
    assert f"{sets[0]} + {sets[1]}. Terms: those of {sets[0]}; those of {sets[1]}." in card
    assert "Tested on" not in card

    for module in (command, publish):
        monkeypatch.setattr(module, "about_data", lambda _: ("Market-1501 + 500k", "research"))
    command.main([*words[:3], "more", *words[4:], "--gpu_ids", "-1"])
    card = (tmp_path / "more" / "README.md").read_text(encoding="utf-8")
    assert card.count("trained on its other people") == 2


def test_a_folder_keeps_the_threshold_and_its_bound(tmp_path, capsys):
    save_run()
    promise: dict[str, Any] = {
        "threshold": 0.75,
        "rate": 0.001,
        "confidence": 0.95,
        "people": 750,
        "gallery_size": 1,
    }
    Path("threshold.json").write_text(json.dumps({"threshold": 0.75, "promise": promise}))
    command.main(["--name", "run", "--output", "with", "--threshold", "threshold.json"])
    embedder = Embedder.from_pretrained("with", device="cpu")
    assert embedder.threshold == 0.75
    assert embedder.bound == Bound(**promise) == load_bound("with")
    assert "from 0.7500 on, which accepts at most 0.001 of pairs" in Path(
        "with", "README.md"
    ).read_text(encoding="utf-8")
    command.main(["--from", "with", "--output", "copy"])  # it has been measured on this network
    assert load_threshold("copy") == 0.75
    assert load_bound("copy") == Bound(**promise)
    Image.new("RGB", (32, 64)).save("a.png")
    Path("threshold.json").unlink()
    compare.main(["a.png", "a.png", "--from", "with", "--gpu_ids", "-1"])
    assert (
        "≥ threshold 0.7500 (with/config.json: accepts at most 0.001 of pairs"
        in capsys.readouterr().out
    )
    command.main(["--name", "run", "--output", "without"])
    embedder = Embedder.from_pretrained("without", device="cpu")
    assert embedder.threshold is None
    assert embedder.bound is None


def change(spec=(), **entries):
    """A damage: other entries of config.json. spec: the entries of its network."""

    def damage(folder):
        config = json.loads((folder / "config.json").read_text())
        config["network"] |= spec
        (folder / "config.json").write_text(json.dumps(config | entries))

    return damage


def change_preprocessing(name, value):
    def damage(folder):
        config = json.loads((folder / "config.json").read_text())
        config["preprocessing"][name] = value
        (folder / "config.json").write_text(json.dumps(config))

    return damage


# Values of another type and values out of range for every entry of config.json.
WRONG_LAYERS = [
    *[
        (name, value)
        for name in ("height", "width")
        for value in (0, -1, 4097, 1e9, "64", True, 64.0)
    ],
    *[("linear_num", value) for value in (-1, 65537, "512", 0.5, True)],
    *[
        (name, value)
        for name in ("droprate", "drop_path")
        for value in (-0.1, 1.5, 1e300, "0.5", True)
    ],
    *[("stride", value) for value in (0, 3, "2", True)],
    *[
        (name, value)
        for name in ("pool", "neck", "head", "attention", "backbone")
        for value in (3, True)
    ],
    *[(name, value) for name in ("usam", "PCB") for value in (0, "yes", None)],
]
WRONG_COUNTS = [
    *[("num_classes", value) for value in ("5", 0, -1, 10**12, True, 5.0)],
    *[("feature_size", value) for value in ("512", 0, -1, True, None)],
]
WRONG_IMAGES = [
    ("height", 0), ("height", 128), ("width", "32"), ("resize", "bilinear"),
    ("channels", "BGR"), ("mean", [0, 0, 0]), ("std", None), ("mirrored_image_added", False),
    ("mirrored_image_added", 1), ("feature", "as it is"),
]  # fmt: skip
NO_COSINES = [85, -3, 1.01, True, "0.7", [0.7]]
PROMISE = {"threshold": 0.5, "rate": 0.1, "confidence": 0.9, "people": 60, "gallery_size": 1}
WRONG_PROMISES = [
    {name: value}
    for name in PROMISE
    for value in (
        -3,
        "0.5",
        True,
        None,
        *([85] if name not in ("people", "gallery_size") else [0.5]),
    )
]


def flip(folder):
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda folder: (folder / "config.json").unlink(),
            r"config\.json: No such file.*Expected a folder",
        ),
        (
            lambda folder: (folder / "model.safetensors").unlink(),
            r"model\.safetensors: No such file",
        ),
        (
            lambda folder: (folder / "config.json").write_text("[]"),
            r"config\.json: not written by save_pretrained",
        ),
        (
            lambda folder: (folder / "config.json").write_text('{"model_type": "bert"}'),
            "not written by save_pretrained",
        ),
        (
            lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe"),
            "not written by save_pretrained",
        ),
        (flip, r"model\.safetensors: not the weights that config\.json describes"),
        (change(network={"backbone": "test_resnet"}), "not written by save_pretrained"),
        (change(sha256="0"), "the checksums differ"),
        (change(sha256=None), "the checksums differ"),
        (change({"PCB": 1}), "PCB=1"),
        (change({"backbone": "resnet81"}), "81"),
        (change({"linear_num": 16}), "the weights of another network"),
    ],
)
def test_a_damaged_or_foreign_folder_gives_one_line(damage, message, folder):
    damage(folder)
    with pytest.raises(UserError, match=message) as error:
        Embedder.from_pretrained(folder, device="cpu")
    assert "\n" not in str(error.value)


def test_no_entry_of_the_configuration_has_another_type_or_is_out_of_range(folder):
    whole = (folder / "config.json").read_text()
    damages = [(change({name: value}), f"damaged ({name}") for name, value in WRONG_LAYERS]
    damages += [
        (change(**{name: value}), f"{name} {value!r}: expected") for name, value in WRONG_COUNTS
    ]
    damages += [
        (change_preprocessing(name, value), f"preprocessing: {name} {value!r}")
        for name, value in WRONG_IMAGES
    ]
    damages += [(change(threshold=value), " threshold in it") for value in NO_COSINES]
    damages += [
        (change(promise=PROMISE | entry), "the bound in it is damaged") for entry in WRONG_PROMISES
    ]
    for damage, words in [*damages, (change(promise=3), "the bound in it is damaged")]:
        damage(folder)
        with pytest.raises(UserError, match=rf"config\.json: .*{escape(words)}") as error:
            open_pretrained(folder)
        assert "\n" not in str(error.value)
        (folder / "config.json").write_text(whole)
    assert open_pretrained(folder).size == (64, 32)


def test_a_hub_that_cannot_be_reached_says_where_to_put_the_files(monkeypatch):
    import huggingface_hub

    def unreachable(*_, **__):
        raise OSError("Name or service not known")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(
        UserError,
        match=r"Name or service.*Put config\.json and model\.safetensors of https://hugg.*/o/n",
    ):
        open_pretrained("o/n")
    with pytest.raises(UserError, match="no such folder; expected"):
        open_pretrained("a/b/c")


def test_what_the_hub_gives_is_read_like_a_folder(folder, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda name, **_: {"o/n": "folder"}[name]
    )
    assert open_pretrained("o/n") == open_pretrained(folder)


def test_flags_beside_a_folder_are_refused():
    with pytest.raises(
        UserError, match=r"PCB would be ignored: config\.json in folder describes the network"
    ):
        open_embedder(parse(TestConfig, ["--from", "folder", "--PCB"]))
    with pytest.raises(UserError, match="from_run was decided"):
        open_embedder(parse(TestConfig, ["--from", "folder", "--engine", "net.onnx"]))


def test_no_pickle_is_read_on_the_way(folder, monkeypatch):
    expected = Embedder("run", device="cpu")(CROPS)
    for module, name in ((torch, "load"), (pickle, "load"), (pickle, "loads")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("a pickle"))
    np.testing.assert_array_equal(Embedder.from_pretrained(folder, device="cpu")(CROPS), expected)


def test_a_part_of_a_data_set_does_not_bear_its_name():
    folder = Path("part", "pytorch")
    folder.mkdir(parents=True)
    for images, name in ((3368, "Market-1501"), (40, "part")):
        files = [f"query/0001/{number}.jpg" for number in range(images)]
        record = {"source": "..", "data_set": "Market-1501", "files": files}
        (folder / ".prepared.json").write_text(json.dumps(record))
        assert about_data(folder)[0] == name


def test_the_network_in_the_package_is_the_default_and_every_name_of_it_means_the_same(capsys):
    embed = Embedder(device="cpu")
    expected = embed(CROPS)
    assert embed.threshold == load_threshold(PACKAGED / PACKAGED_NETWORK)
    assert (PACKAGED / PACKAGED_NETWORK / "model.safetensors").stat().st_size < 5e6
    for words in (["--weights", PACKAGED_NETWORK], ["--from", PACKAGED_NETWORK]):
        named = open_embedder(parse(TestConfig, [*words, "--gpu_ids", "-1"]))
        np.testing.assert_array_equal(named(CROPS), expected)
    # Training starts from it as from any weights.
    assert parse(TrainConfig, ["--weights", PACKAGED_NETWORK]).backbone == "osnet_lct_x1_0"
    network = create_model("osnet_lct_x1_0", weights=PACKAGED_NETWORK).eval()
    np.testing.assert_allclose(Embedder(network, device="cpu")(CROPS), expected, atol=1e-5)

    for name in ("a.png", "b.png"):
        Image.fromarray(CROPS[0]).save(name)
    compare.main(["a.png", "b.png", "--gpu_ids", "-1"])
    assert "same person: similarity 1.0000" in capsys.readouterr().out


def test_a_folder_with_the_name_of_the_network_in_the_package_is_opened_instead():
    shutil.copytree(PACKAGED / PACKAGED_NETWORK, PACKAGED_NETWORK)
    config = Path(PACKAGED_NETWORK, "config.json")
    described = json.loads(config.read_text())
    config.write_text(json.dumps(described | {"threshold": 0.123}))
    for embed in (Embedder(device="cpu"), Embedder.from_pretrained(PACKAGED_NETWORK, device="cpu")):
        assert embed.threshold == 0.123


def test_a_damaged_network_in_the_package_is_named(here, monkeypatch):
    folder = here / "weights" / PACKAGED_NETWORK
    shutil.copytree(PACKAGED / PACKAGED_NETWORK, folder)
    monkeypatch.setattr(zoo, "PACKAGED", folder.parent)
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match=r"model.safetensors: not the weights.*Install the package"):
        Embedder()
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"config.json"):
        Embedder()


def test_the_terms_of_the_network_in_the_package_are_said_once(caplog):
    caplog.set_level("INFO", "person_reid")
    pretrained._tell_terms.cache_clear()
    for _ in range(2):
        assert pretrained.find_folder(PACKAGED_NETWORK).is_dir()
    assert caplog.text.count("Its training images are for research only") == 1
