"""A training leaves dead channels out; its files have them, and a resumed one ends with the same bits."""

import pytest
import torch

import train
from person_reid.models.factory import create_model
from tests.support.networks import with_dead_filters
from tests.support.people import write_people
from tests.support.runs import equal_weights, killed_in, weights

FLAGS = [
    "--backbone", "osnet_x0_25", "--weights", "dead.pth", "--height", "64", "--width", "32", "--neck", "bnneck",
    "--batchsize", "8", "--gpu_ids", "-1", "--train_all", "--data_dir", "people", "--total", "3", "--wa",
    "--optimizer", "adam", "--lr", "1e-3",
]  # fmt: skip


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A folder with people, weights with dead filters, and a run of them that was not stopped, `whole`."""
    folder = tmp_path_factory.mktemp("dead")
    write_people(folder / "people" / "train_all", people=4, images=4)
    torch.save(with_dead_filters().model.state_dict(), folder / "dead.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train.main([*FLAGS, "--name", "whole"])
    return folder


@pytest.mark.parametrize("file", ["net_last.pth", "net_average.pth", "net_average_bn.pth"])
def test_the_files_are_those_of_the_whole_network(room, file):
    found = {name.removeprefix("module."): value for name, value in weights("whole", file, room).items()}
    found.pop("n_averaged", None)
    expected = create_model("osnet_x0_25", 4, weights="none", size=(64, 32), neck="bnneck").state_dict()
    assert {name: value.shape for name, value in found.items()} == {n: value.shape for n, value in expected.items()}
    before = torch.load(room / "dead.pth", weights_only=True)["conv2.0.conv2a.conv2.weight"]
    after = found["model.conv2.0.conv2a.conv2.weight"]
    assert not torch.equal(after[:4], before[:4])
    assert int((after.abs().amax((1, 2, 3)) < 1e-12).sum()) == 8


def test_the_log_says_how_many_are_left_out(room, monkeypatch, capsys):
    monkeypatch.chdir(room)
    train.main([*FLAGS, "--name", "told", "--total", "1"])
    assert "channels that were zero for every image are left out of the training." in capsys.readouterr().out


def test_a_resumed_run_ends_with_the_same_weights(room, monkeypatch):
    monkeypatch.chdir(room)
    with killed_in(epoch=1):
        train.main([*FLAGS, "--name", "part"])
    train.main([*FLAGS, "--name", "part", "--resume"])
    for file in ("net_last.pth", "net_average.pth", "net_average_bn.pth"):
        assert equal_weights(weights("whole", file), weights("part", file))
