"""train.py and test.py on networks of every kind, and test.py on checkpoints that something has wrapped."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import scipy.io
import torch
from torch.optim.swa_utils import AveragedModel

import train
from person_reid.cli.options import parse_train
from person_reid.models.factory import build_model
from person_reid.models.spec import NetworkSpec
from person_reid.run_folder import RunFolder
from tests.support.people import draw_people

WRAPPERS = {
    "plain": lambda state: state,
    "DataParallel and DDP": lambda state: {f"module.{name}": value for name, value in state.items()},
    "compiled DDP": lambda state: {f"module._orig_mod.{name}": value for name, value in state.items()},
}


@pytest.fixture(scope="module")
def script():
    """test.py, whose name is also a package's of Python."""
    found = importlib.util.spec_from_file_location("test_script", Path(__file__).parents[2] / "test.py")
    assert found and found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return draw_people(tmp_path_factory.mktemp("people"), 3, tested=3)


@pytest.mark.parametrize("flags", [["--pool", "gemp", "--neck", "bnneck", "--attention", "gc:layer4"], ["--PCB"]])
def test_a_wrapped_checkpoint_gives_the_features_of_the_plain_one(flags, script, people, here):
    small = ["--backbone", "test_resnet", "--height", "64", "--width", "32", "--name", "run"]
    options = parse_train([*small, *flags])
    options.nclasses = 3
    RunFolder("run").save_options(vars(options))
    network = build_model(NetworkSpec.of(vars(options)), 3, "none")
    state = network.state_dict()
    compiled: Any = torch.compile(network)
    states = {name: wrap(state) for name, wrap in WRAPPERS.items()}
    states |= {"compiled": compiled.state_dict(), "averaged": AveragedModel(network).state_dict()}
    results = {}
    for name, wrapped in states.items():
        torch.save(wrapped, RunFolder("run").options_file.with_name("net_last.pth"))
        script.main(["--name", "run", "--test_dir", str(people), "--gpu_ids", "-1"])
        results[name] = scipy.io.loadmat("pytorch_result.mat")["gallery_f"]
    assert results["plain"].std() > 0
    assert all((result == results["plain"]).all() for result in results.values())


@pytest.mark.parametrize(
    ("flags", "dim"),
    [
        (["--PCB", "--triplet", "--arcface", "--backbone", "test_resnet"], 6 * 96),
        (
            ["--backbone", "lightmbn", "--attention", "gc:conv3", "--pool", "gemp", "--loss", "triplet,center:1e-3"],
            3584,
        ),
        (["--usam", "--backbone", "resnet18", "--neck", "bnneck", "--head", "arcface", "--wa"], 512),
    ],
)
def test_networks_train_and_test_from_the_command_line(flags, dim, script, people, here):
    run = ["--name", "run", "--gpu_ids", "-1"]
    small = ["--weights", "none", "--height", "64", "--width", "32", "--batchsize", "8", "--total", "2", "--lr", "0.01"]
    train.main([*run, "--data_dir", str(people), "--train_all", *small, *flags])
    history = torch.load("model/run/resume.pth", weights_only=True)["history"]
    assert all(0 < record["loss"] < 1000 and 0 <= record["val_error"] <= 1 for record in history)
    script.main([*run, "--test_dir", str(people)])
    features = torch.from_numpy(scipy.io.loadmat("pytorch_result.mat")["gallery_f"])
    assert features.shape[1] == dim
    torch.testing.assert_close(features.norm(dim=1), torch.ones(len(features)))
