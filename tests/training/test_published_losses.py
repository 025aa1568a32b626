"""Every published training command with its own loss, in process, on a few people.

Each trains for two epochs.
"""

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import train
from benchmarks.support.people import write_people
from person_reid.config.network import NETWORK_FLAGS
from person_reid.errors import UserError
from person_reid.losses import PUBLISHED_LOSSES
from person_reid.training.extra_losses import Generalisation
from tests.support import FIXTURES, runs
from tests.support.beginnings import begun
from tests.support.runs import equal_weights

LINES = (FIXTURES / "commands.txt").read_text().splitlines()
SMALL = "--backbone test_resnet --weights none --height 64 --width 32 --batchsize 8 --gpu_ids -1"
# How many words each adds.
TERMS = {
    "--adv": 2,
    "--aiter": 2,
    "--DG": 1,
    "--ins_gamma": 2,
    **{f"--{name}": 1 for name in PUBLISHED_LOSSES},
}
# These say which data and run, not what is learnt, nor how.
WHICH = {"--name": 2, "--data_dir": 2, "--batchsize": 2, "--batch": 2, "--total": 2}
WHICH |= {f"--{flag}": 1 for flag in NETWORK_FLAGS}


@pytest.fixture(scope="module")
def cwd(tmp_path_factory):
    """A folder with labelled and unlabelled people, and what the runs leave."""
    folder = tmp_path_factory.mktemp("cwd")
    write_people(folder / "people" / "train_all", people=6, images=4, seed=0)
    write_people(folder / "people" / "train", people=6, images=4, seed=0)
    write_people(folder / "people" / "val", people=6, images=1, seed=0)
    write_people(folder / "DG-Market", people=1, images=12, seed=1)
    return folder


@pytest.fixture
def here(cwd, monkeypatch):
    monkeypatch.chdir(cwd)
    return cwd


def run(words, name):
    """The weights and the log of a run of that name, which is trained unless it has been."""
    if not Path("model", name).exists():
        folders = ["--data_dir", "people", *(["--DG_dir", "DG-Market"] if "--DG" in words else [])]
        train.main([*SMALL.split(), *folders, *words, "--name", name])
    return runs.weights(name), runs.log(name)


def without(words, flags):
    """A command without some flags and their values; flags: flag → how many words it has."""
    left, kept = list(words), []
    while left:
        length = flags.get(left[0], 0)
        kept += [] if length else left[:1]
        del left[: max(1, length)]
    return kept


def published():
    """The training commands that add a loss, each once.

    The words for data, network and run are left out.
    """
    commands = [shlex.split(line)[2:] for line in LINES if line.startswith("python train.py")]
    commands = [
        without(words, WHICH)
        for words in commands
        if set(words) & TERMS.keys() and "--PCB" not in words
    ]
    distinct = {
        frozenset(words).intersection(TERMS): words for words in [*commands, ["--instance_id"]]
    }
    return [pytest.param(words, id=" ".join(words)) for words in distinct.values()]


@pytest.mark.parametrize("words", published())
def test_a_published_command_trains_and_its_losses_change_the_weights(words, here):
    check_that_terms_teach([*words, "--total", "2"])


@pytest.mark.parametrize(
    "terms",
    [
        ["--circle", "--DG"],
        ["--contrast", "--sphere"],
        ["--triplet"],
        ["--adv", "0.1", "--aiter", "4"],
    ],
    ids=str,
)
def test_a_part_network_learns_from_them_too(terms, here):
    check_that_terms_teach(["--PCB", "--total", "2", *terms])


def check_that_terms_teach(words):
    weights, log = run(words, name_of(words))
    assert len(log) == 2
    assert all(np.isfinite([epoch["loss"], epoch["val_loss"]]).all() for epoch in log)
    # The images of a few are told apart at once: at 64 the softmax is 1 to the last bit.
    if "--ins_gamma" in words:
        words = [*words, "--ins_gamma", "1"]
        weights, _ = run(words, name_of(words))
    plain_words = without(words, {"--DG": 1} if "--DG" in words else TERMS)
    plain, _ = run(plain_words, name_of(plain_words))
    backbone = "model.conv1.0.weight"
    assert weights[backbone].isfinite().all()
    assert not torch.equal(weights[backbone], plain[backbone])


@pytest.mark.parametrize(
    ("words", "drops"), [("--alpha 1", False), ("--loss verification", False), ("--triplet", True)]
)
def test_the_verification_loss_sees_features_before_the_dropout_of_the_neck(words, drops, here):
    training: Any = begun([*SMALL.split(), "--data_dir", "people", *words.split()]).training
    assert training.criterion.seen.dropped is drops


@pytest.mark.parametrize(("batch", "size"), [(8, 8), (20, 10)])
def test_a_step_draws_half_as_many_unlabelled_images_as_labelled_ones_and_eight_at_least(
    batch, size, here
):
    words = [
        *SMALL.split(),
        "--data_dir",
        "people",
        "--DG",
        "--DG_dir",
        "DG-Market",
        "--batchsize",
        str(batch),
    ]
    (term,) = begun(words).training.extra
    assert isinstance(term, Generalisation)
    assert term.size == size


@pytest.mark.parametrize(
    ("words", "epoch"),
    [
        (["--adv", "0.1", "--aiter", "3", "--total", "2"], 1),
        (["--alpha", "1.0", "--total", "2"], 1),
        (["--DG", "--arcface", "--bf16", "--total", "6", "--lr", "0.01"], 5),
    ],
    ids=str,
)
def test_a_run_that_was_killed_and_resumed_ends_with_the_same_bits(words, epoch, here):
    """With --DG it is killed between the two epochs that average."""
    whole, log = run(words, name_of(words))

    name = name_of(["killed", *words])
    with runs.killed_in(epoch):
        run(words, name)
    train.main(["--resume", "--name", name])
    weights, resumed_log = run(words, name)
    assert equal_weights(weights, whole)
    assert [epoch["loss"] for epoch in resumed_log] == [epoch["loss"] for epoch in log]
    assert Path("model", name, "net_average.pth").exists() == ("--DG" in words)
    if "--DG" in words:
        assert equal_weights(
            *(runs.weights(run_name, "net_average.pth") for run_name in (name_of(words), name))
        )


def test_a_missing_folder_of_unlabelled_images_is_named_before_anything_is_written(here):
    def written():
        return {path for path in here.rglob("*") if ".cache" not in path.parts}

    before = written()
    missing = ["--data_dir", "people", "--DG_dir", "nowhere", "--name", "refused"]
    with pytest.raises(UserError, match=r"(?s)nowhere: no such folder.*DG-Market.*DG_dir"):
        train.main(["--DG", *SMALL.split(), *missing])
    assert written() == before


def name_of(words):
    return "".join(words).replace("--", "+").replace(".", "_")
