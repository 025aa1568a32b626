"""Weight files with more than tensors: the tensors are taken, the rest is not imported or run."""

import collections
import datetime
import shutil
import zipfile
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch

from person_reid.errors import UserError
from person_reid.models.factory import create_model, load_weights
from person_reid.models.weight_files import read_state_dict, read_tensors

WEIGHTS = {"fc.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.ones(2)}


class CfgNode(dict):
    """The options of a training, as yacs keeps them."""


class Caller:
    """A class that a file would like to have called."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def check(path):
    found = read_state_dict(path)
    assert found.keys() == WEIGHTS.keys()
    assert all(torch.equal(value, WEIGHTS[name]) for name, value in found.items())


def renamed(path, old, new):
    """Change a module's name in the pickle of a file, as another version would have written it."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(
                name, content.replace(old, new) if name.endswith("data.pkl") else content
            )


@pytest.mark.parametrize("core", [b"numpy.core.", b"numpy._core."])
def test_a_scalar_of_either_numpy_is_read(core, tmp_path):
    path = tmp_path / "net.pth.tar"
    torch.save({"state_dict": WEIGHTS, "rank1": np.float64(0.9), "epoch": np.int32(3)}, path)
    other = {b"numpy.core.": b"numpy._core.", b"numpy._core.": b"numpy.core."}[core]
    renamed(path, other, core)
    check(path)
    assert read_tensors(path)["rank1"] == 0.9


BESIDE = {
    "options": lambda: CfgNode(a=1, b=CfgNode(c=2)),
    "flags": lambda: Namespace(out=Path("x"), device=torch.device("cpu"), ids={1, 2}),
    "collections": lambda: collections.defaultdict(list, {"a": [1]}),
    "a time": lambda: datetime.datetime(2025, 1, 1),
    "an array": lambda: np.arange(10) / 10,
    "numbers of NumPy": lambda: [
        np.float32(1),
        np.int32(1),
        np.bool_(True),
        np.arange(3, dtype="u1"),
    ],
    "a generator": lambda: np.random.default_rng(0).bit_generator.state,
}


@pytest.mark.parametrize("what", BESIDE)
def test_objects_beside_the_weights_are_left_out(what, tmp_path):
    torch.save({"state_dict": WEIGHTS, "beside": BESIDE[what]()}, tmp_path / "net.pth")
    check(tmp_path / "net.pth")


def test_what_a_file_would_have_called_is_named_and_not_called(tmp_path):
    (tmp_path / "folder").mkdir()
    call = Caller(shutil.rmtree, str(tmp_path / "folder"))
    torch.save({"state_dict": WEIGHTS, "x": call}, tmp_path / "net.pth")
    with pytest.raises(UserError, match=r"PyTorch would have to run shutil\.rmtree\. Save"):
        read_state_dict(tmp_path / "net.pth")
    assert (tmp_path / "folder").is_dir()


@pytest.mark.parametrize("key", ["net", "weights", "ema", 0])
def test_the_weights_may_be_under_any_key(key, tmp_path):
    torch.save(
        {"epoch": 3, key: {f"module.{name}": value for name, value in WEIGHTS.items()}},
        tmp_path / "net.pth",
    )
    check(tmp_path / "net.pth")


def test_of_several_groups_of_tensors_the_largest_is_read_and_named(tmp_path, caplog):
    caplog.set_level("INFO")
    torch.save(
        {"critic": {"a": torch.ones(1)}, "net": WEIGHTS, "mean": torch.ones(3)},
        tmp_path / "net.pth",
    )
    check(tmp_path / "net.pth")
    assert "the weights are those under 'net'." in caplog.text


@pytest.mark.parametrize("key", [None, "model", "ema"])
def test_a_network_that_was_saved_whole_gives_its_tensors(key, tmp_path):
    trained = create_model("test_resnet", 3, linear_num=8)
    torch.save({key: trained, "epoch": 3} if key else trained, tmp_path / "whole.pth")
    fresh = create_model("test_resnet", 3, linear_num=8)
    report = load_weights(fresh, tmp_path / "whole.pth", strict=True)
    assert not report.missing
    assert not report.unknown
    assert all(
        torch.equal(value, fresh.state_dict()[name]) for name, value in trained.state_dict().items()
    )


def test_a_file_that_refers_to_itself_is_read_to_an_end(tmp_path):
    content: dict = {"net": WEIGHTS}
    content["again"] = content
    torch.save(content, tmp_path / "net.pth")
    check(tmp_path / "net.pth")
    network = torch.nn.Linear(3, 2)
    network._modules["again"] = network
    torch.save(network, tmp_path / "net.pth")
    assert read_state_dict(tmp_path / "net.pth").keys() == {"weight", "bias"}


def test_an_object_in_a_file_of_pytorch_before_1_6_is_named(tmp_path):
    content = {"state_dict": WEIGHTS, "beside": CfgNode(a=1)}
    torch.save(content, tmp_path / "net.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(
        UserError, match=r"net\.pth: .* would have to run \S+\.CfgNode\. Save the weights alone"
    ) as error:
        read_state_dict(tmp_path / "net.pth")
    assert str(error.value).isprintable()


def test_a_reason_is_given_without_pytorchs_advice(tmp_path):
    (tmp_path / "net.pth").write_bytes(b"\x80\x02}K\x01K\x02\x85R.")
    with pytest.raises(UserError, match=r"net\.pth: not a readable weight file") as error:
        read_state_dict(tmp_path / "net.pth")
    assert str(error.value).isprintable()
    assert "weights_only" not in str(error.value)


def test_a_torchscript_file_is_an_exported_network(tmp_path):
    torch.jit.script(torch.nn.Linear(3, 2)).save(tmp_path / "net.pt")
    with pytest.raises(UserError, match=r"an exported network.*--engine \S*net\.pt$"):
        read_state_dict(tmp_path / "net.pt")
