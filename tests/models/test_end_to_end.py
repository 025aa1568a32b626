"""train.py and test.py on networks of every kind."""

import pytest
import scipy.io
import torch

import test as test_script
import train
from benchmarks.support.people import draw_people
from tests.support.no_curves import no_curves

__all__ = ["no_curves"]

LIGHTMBN = ["--backbone", "lightmbn", "--attention", "gc:conv3"]


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return draw_people(tmp_path_factory.mktemp("people"), 3, tested=3)


@pytest.mark.parametrize(
    ("flags", "dim"),
    [
        (["--PCB", "--triplet", "--arcface", "--backbone", "test_resnet"], 6 * 96),
        pytest.param(
            [*LIGHTMBN, "--pool", "gemp", "--loss", "triplet,center:1e-3"],
            3584,
            marks=pytest.mark.slow,  # the recipes also train this network
        ),
        (
            ["--usam", "--backbone", "resnet18", "--neck", "bnneck", "--head", "arcface", "--wa"],
            512,
        ),
    ],
)
def test_networks_train_and_test_from_the_command_line(flags, dim, people, here):
    run = ["--name", "run", "--gpu_ids", "-1"]
    small = [
        "--weights",
        "none",
        "--height",
        "64",
        "--width",
        "32",
        "--batchsize",
        "8",
        "--total",
        "2",
        "--lr",
        "0.01",
    ]
    train.main([*run, "--data_dir", str(people), *small, *flags])
    history = torch.load("model/run/resume.pth", weights_only=True)["history"]
    assert all(0 < record["loss"] < 1000 and 0 <= record["val_error"] <= 1 for record in history)
    test_script.main([*run, "--test_dir", str(people)])
    features = torch.from_numpy(scipy.io.loadmat("pytorch_result.mat")["gallery_f"])
    assert features.shape[1] == dim
    torch.testing.assert_close(features.norm(dim=1), torch.ones(len(features)))
