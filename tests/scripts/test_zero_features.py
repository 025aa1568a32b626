"""A network that makes zeros of every image: each script that compares features says so."""

import pytest
import torch

import test
from benchmarks.support.people import write_people
from person_reid.errors import UserError
from person_reid.models.factory import create_model
from tools import compare, compare_networks, label_errors, search

NETWORK = ["--backbone", "test_resnet", "--weights", "zero.pth", "--height", "64", "--width", "32"]
IMAGE = "people/query/0001/0001_c1_0.png"
COMMANDS = {
    "compare": (compare, [IMAGE, IMAGE, "--threshold", "0.5", *NETWORK]),
    "search index": (search, ["index", "people", "--index", "people.index", *NETWORK]),
    "search enroll": (search, ["enroll", "Anna", IMAGE, "--index", "people.index", *NETWORK]),
    "test": (test, ["--test_dir", "people", *NETWORK]),
    "label_errors": (label_errors, ["--data_dir", "people", "--split", "gallery", *NETWORK]),
    "compare_networks": (
        compare_networks,
        ["--networks", "test_resnet=zero.pth --height 64 --width 32", "--test_dirs", "people"],
    ),
}


@pytest.fixture
def folder(here):
    for split in ("query", "gallery"):
        write_people(here / "people" / split, people=2, images=2)
    weights = create_model("test_resnet", weights="none").model.state_dict()
    torch.save({name: torch.zeros_like(value) for name, value in weights.items()}, "zero.pth")
    return here


@pytest.mark.parametrize("command", COMMANDS)
def test_a_network_that_makes_zeros_is_named_as_the_cause(folder, command):
    script, words = COMMANDS[command]
    with pytest.raises(UserError, match=r"features are all zero, .* The network makes them so"):
        script.main([*words, "--gpu_ids", "-1"])
