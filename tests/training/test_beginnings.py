"""A training moves nothing before all is checked, and only the run that was begun is resumed."""

import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

import train
from benchmarks.support.people import write_people
from person_reid.config import TrainConfig
from person_reid.config.option import changed
from person_reid.errors import UserError
from person_reid.run_folder import RunFolder
from person_reid.training import build
from person_reid.training.training_images import TrainingImages
from tests.support.flags import NETWORK
from tests.support.runs import equal_weights, weights
from tests.support.small_training import made_split

COMMON = [*NETWORK, "--batchsize", "8", "--gpu_ids", "-1", "--train_all"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with people and a run of one epoch, `run`."""
    folder = tmp_path_factory.mktemp("beginnings")
    write_people(folder / "people" / "train_all", people=4, images=4)
    write_people(folder / "others" / "train_all", people=4, images=4, seed=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train.main([*COMMON, "--data_dir", "people", "--name", "run", "--total", "1"])
    return folder


@pytest.fixture
def cwd(trained, tmp_path, monkeypatch):
    """A copy of it, to change."""
    shutil.copytree(trained, tmp_path / "cwd")
    monkeypatch.chdir(tmp_path / "cwd")


def start(*flags, data="people", total="1"):
    train.main([*COMMON, "--data_dir", data, "--name", "run", "--total", total, *flags])


def refused(words, *flags, **settings):
    """Check that a training is refused, and changes nothing."""
    before = files()
    with pytest.raises(UserError, match=words):
        start(*flags, **settings)
    assert files() == before


def files():
    return {
        path.as_posix(): path.read_bytes() for path in Path("model").rglob("*") if path.is_file()
    }


def test_two_runs_of_a_name_cannot_train_at_once(cwd):
    with RunFolder("run").writing():
        refused("model.run: another process is writing there")
        refused("another process is writing there", "--resume")
    start()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            ["--batchsize", "1"],
            "batches of 1 images of 64×32 .* Try a larger height and width, "
            "a larger batchsize, or the defaults",
        ),
        (
            ["--backbone", "inception_v3", "--height", "16", "--width", "16"],
            "inception_v3 cannot process",
        ),
        (
            ["--backbone=inception_v3", "--height=16", "--width=16", "--balance=0.1"],
            "inception_v3 cannot process",
        ),
        (
            [
                "--backbone=inception_v3",
                "--height=96",
                "--width=96",
                "--resize_schedule=16x16,96x96",
                "--total=2",
            ],
            "inception_v3 cannot process batches of 8 images of 16×16",
        ),
        (["--backbone=test_vit", "--height=50"], "test_vit cannot process .* 50×32 .* Try another"),
        (
            ["--backbone=test_convnext", "--height=16", "--stride=1"],
            "test_convnext cannot process images of 16×32",
        ),
        (
            ["--backbone=test_convnext", "--height=16", "--attention=se:stages"],
            "test_convnext cannot process",
        ),
        (["--sync_bn"], "sync_bn: PyTorch synchronises batch norms on GPUs only"),
        (["--batchsize", "64"], "64"),
    ],
)
def test_what_cannot_be_trained_displaces_nothing(cwd, flags, words):
    refused(words, *flags)


def test_a_single_identity_is_refused_and_displaces_nothing(cwd):
    write_people(Path("alone") / "train_all", people=1, images=8)
    refused(r"alone.train_all: a single identity, 0001, so there is nothing to learn", data="alone")


def test_an_epoch_without_a_loss_is_remarked_on(cwd, caplog):
    """Each of eight people has one image, so no batch holds a pair."""
    write_people(Path("single") / "train_all", people=8, images=1)
    start("--loss", "cross_entropy:0,triplet:1", data="single")
    assert "Nothing was learned in this epoch: the loss of every batch was 0." in caplog.text


def test_a_writer_that_is_not_installed_displaces_nothing(cwd, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    refused("tensorboard needs the package tensorboard", "--tensorboard")


def test_flags_of_which_the_network_knows_nothing_may_change():
    before = asdict(TrainConfig())
    free = {"resume", "tensorboard", "wandb", "dry_run"}
    words: Any = {
        "name": "other",
        "gpu_ids": "1",
        "data_dir": "elsewhere",
        "config": "a.yaml",
        "keep": 2,
        "eval_every": 5,
    }
    words |= dict.fromkeys(free, True)
    assert changed(TrainConfig, before, asdict(TrainConfig(**words))) == []
    now = TrainConfig(lr=0.2, pool="gem", neck="bnneck")
    assert sorted(changed(TrainConfig, before, asdict(now))) == ["lr", "neck", "pool"]
    del before["drop_path"]
    # an option that is new since, and has no value
    assert changed(TrainConfig, before, asdict(TrainConfig())) == []


def validated(folder, classes):
    """The images of `val` in a folder of which these identities are trained on."""
    split = made_split([*range(len(classes))] * 8)
    split.classes[:] = classes
    splits = [(folder / "train", split)]
    images = TrainingImages(splits, TrainConfig(batchsize=4), torch.device("cpu"))
    if images.val:
        split.paths[:] = images.val[0].paths[:1] * len(split)  # images that exist
        images.decode((32, 16))
    return images.validation


def test_of_other_images_those_of_the_trained_people_are_validated(tmp_path):
    write_people(tmp_path / "val", people=3, images=2)
    found = validated(tmp_path, ["0003", "0001"])
    assert found is not None
    assert found[0].shape == (4, 32, 16, 3)
    assert found[1].tolist() == [1, 1, 0, 0]
    assert validated(tmp_path, ["0009"]) is None


def test_what_is_not_validated_is_said_in_one_line(tmp_path, caplog):
    caplog.set_level("INFO")
    assert validated(tmp_path, ["0001"]) is None
    write_people(tmp_path / "val", people=3, images=2)
    for classes in (["0009"], ["0003", "0001"], ["0001", "0002", "0003"]):
        validated(tmp_path, classes)
    folder = tmp_path / "val"
    assert [message for name, _, message in caplog.record_tuples if name.endswith("images")] == [
        f"No validation: there is no folder {folder}.",
        f"No validation: none of the identities in {folder} is trained on.",
        f"Validation skips 2 of 6 images in {folder}, of 1 identity not trained on, such as 0002.",
    ]


def test_the_images_of_a_folder_that_nobody_may_write_to_are_cached_elsewhere(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(build, "load_bank", lambda *arguments, **_: arguments[3])
    places: list[Any] = [build.unlabelled_bank([], tmp_path, (32, 16), Path("run"))]
    (tmp_path / ".cache").mkdir()  # by somebody who may
    places.append(build.unlabelled_bank([], tmp_path, (32, 16), Path("run")))
    assert places == [Path("run", ".cache"), tmp_path / ".cache"]


def scales(run):
    """The root mean square of each convolution."""
    return [
        weight.square().mean().sqrt().item() for weight in weights(run).values() if weight.ndim == 4
    ]


def test_a_balanced_training_begins_with_convolutions_of_one_scale(cwd):
    start("--balance", "0.3", "--lr", "1e-9")
    found = scales("run")
    assert found == pytest.approx([0.3] * len(found), rel=1e-3)
    assert len(found) > 5


def test_a_flag_takes_back_the_scale_of_a_config(cwd):
    Path("balanced.yaml").write_text("balance: 0.3\n")
    start("--config", "balanced.yaml", "--balance", "0", "--lr", "1e-9")
    found = scales("run")
    assert max(found) > 1.5 * min(found)


def test_each_earlier_run_is_kept(cwd, capsys):
    for _ in range(3):
        start()
    assert {path.name for path in Path("model").iterdir() if path.is_dir()} == {
        "run", "run.previous", "run.previous.2", "run.previous.3",
    }  # fmt: skip
    assert "Delete it if you do not need it" in capsys.readouterr().out


def test_a_run_without_its_state_is_not_resumed(cwd):
    RunFolder("run").state_file.unlink()
    refused("resume.pth: no such file, so the run cannot be resumed", "--resume")


def test_a_run_killed_while_its_first_epoch_was_saved_begins_again(cwd, capsys):
    RunFolder("run").state_file.unlink()
    RunFolder("run").log.unlink()
    start("--resume")
    assert "nothing to resume yet" in capsys.readouterr().out


def test_a_run_without_its_options_is_not_resumed(cwd):
    RunFolder("run").options_file.unlink()
    refused("opts.yaml: no such file", "--resume")


def test_another_number_of_processes_is_refused(cwd):
    file = RunFolder("run").state_file
    torch.save(torch.load(file) | {"processes": 2}, file)
    refused(
        "was trained by 2 processes, and this is 1. Batches and learning rates depend",
        "--resume",
    )


def test_a_run_that_has_not_begun_begins(cwd, capsys):
    train.main([*COMMON, "--data_dir", "people", "--name", "new", "--total", "1", "--resume"])
    assert "nothing to resume yet" in capsys.readouterr().out


def test_other_images_are_refused_and_moved_ones_are_not(cwd):
    refused("trained on images other than those of others", "--resume", data="others")
    (Path("people") / "train_all" / "0001" / "0001_c1_0.png").unlink()
    refused("trained on images other than those of people", "--resume")


def test_a_moved_data_set_is_the_same(cwd):
    shutil.copytree("people", "elsewhere", copy_function=shutil.copyfile)  # with times of its own
    before = weights("run")
    start("--resume", data="elsewhere")
    assert equal_weights(weights("run"), before)


def flip(path):
    """Change a byte of the largest tensor."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def test_a_state_that_was_damaged_on_the_disk_is_named(cwd):
    flip(RunFolder("run").state_file)
    refused("resume.pth: not a readable weight file.*differs from its checksum", "--resume")


def test_the_state_of_another_osnet_is_refused(cwd):
    flags = ("--backbone", "osnet_x0_25")
    start(*flags)
    file = RunFolder("run").state_file
    state = torch.load(file, weights_only=True)
    narrow = {name: tensor[:8] for name, tensor in state["network"].items() if "bn.weight" in name}
    state["network"] |= narrow
    torch.save(state, file)
    refused("not the state", *flags, "--resume")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: [state], "expected the state of a training, found list"),
        (lambda state: {**state, "optimizer": 3}, "not the state of the training"),
        (
            lambda state: {name: part for name, part in state.items() if name != "scheduler"},
            "'scheduler'",
        ),
    ],
)
def test_a_file_that_is_not_a_state_is_named(cwd, change, words):
    file = RunFolder("run").state_file
    torch.save(change(torch.load(file, weights_only=True)), file)
    refused(words, "--resume")
