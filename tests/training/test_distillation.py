"""--teacher: whose features are learnt from, where they are kept, and what is refused."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import train
from benchmarks.support.people import write_people
from person_reid import losses
from person_reid.config.tested import TestConfig
from person_reid.console import parse
from person_reid.console.named_network import network_named
from person_reid.data.layout import read_split
from person_reid.deploy.embedder import Embedder
from person_reid.deploy.find import open_embedder
from person_reid.distributed import World
from person_reid.errors import UserError
from person_reid.losses.distillation import FeaturesLoss
from person_reid.losses.plan import LossPlan, LossSpec
from person_reid.run_folder import RunFolder
from person_reid.training.criterion import Criterion
from person_reid.training.extra_losses import Distillation, teacher_features
from person_reid.training.training_images import Batch
from tests.support.flags import SMALLEST
from tests.support.runs import equal_weights, killed_in, log, weights

SMALL = [*SMALLEST, "--train_all"]
SMALL += [
    "--batchsize",
    "8",
    "--gpu_ids",
    "-1",
    "--data_dir",
    "people",
    "--lr",
    "0.02",
    "--total",
    "3",
]
TAUGHT = ["--teacher", "teacher", "--loss"]


@pytest.fixture(scope="module")
def cwd(tmp_path_factory):
    """A folder with people, and a run "teacher" of larger images."""
    folder = tmp_path_factory.mktemp("taught")
    write_people(folder / "people" / "train_all", people=6, images=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train.main(
            [
                *SMALL,
                "--height",
                "48",
                "--width",
                "24",
                "--linear_num",
                "16",
                "--name",
                "teacher",
                "--seed",
                "1",
            ]
        )
    return folder


@pytest.fixture(autouse=True)
def here(cwd, monkeypatch):
    monkeypatch.chdir(cwd)


def kept():
    return list(Path("people/.cache").glob("teacher_*.npy"))


def test_a_name_in_use_is_refused_before_the_teacher_looks_at_an_image(monkeypatch):
    monkeypatch.setattr(
        "person_reid.training.extra_losses.teacher_features",
        lambda *_: pytest.fail("features were computed"),
    )
    with (
        RunFolder("used").writing(),
        pytest.raises(UserError, match=r"model.used: another process is writing there"),
    ):
        train.main([*SMALL, *TAUGHT, "teacher_features", "--name", "used"])
    with pytest.raises(UserError, match="nowhere"):
        train.main([*SMALL, "--data_dir", "nowhere", "--name", "refused"])
    assert not Path("model", ".refused.lock").exists()


def test_the_teachers_features_are_those_of_its_embedder_and_are_computed_once():
    for file in kept():  # by another test
        file.unlink()
    train.main(
        [
            *SMALL,
            *TAUGHT,
            "teacher_classes:1,teacher_features:0.5",
            "--name",
            "taught",
        ]
    )
    (file,) = kept()
    paths = read_split("people", "train_all").paths
    torch.testing.assert_close(
        np.load(file), Embedder("teacher", device="cpu")(paths), rtol=1e-5, atol=1e-5
    )

    stored = np.load(file)
    np.save(file, stored[::-1])  # what is read next time, if it is read
    before = weights("taught")
    train.main(
        [
            *SMALL,
            *TAUGHT,
            "teacher_classes:1,teacher_features:0.5",
            "--name",
            "again",
        ]
    )
    assert not equal_weights(before, weights("again"))
    file.write_bytes(file.read_bytes()[:-8])  # damaged
    train.main(
        [
            *SMALL,
            *TAUGHT,
            "teacher_classes:1,teacher_features:0.5",
            "--name",
            "again",
        ]
    )
    assert equal_weights(before, weights("again"))
    assert np.array_equal(np.load(file), stored)


def test_a_run_that_is_killed_goes_on_to_the_same_bits():
    flags = [*SMALL, *TAUGHT, "teacher_classes:1,teacher_features:2,triplet", "--erasing_p", "0.5"]
    train.main([*flags, "--name", "whole"])

    with killed_in(epoch=2):
        train.main([*flags, "--name", "killed"])
    train.main([*flags, "--name", "killed", "--resume"])
    assert equal_weights(weights("whole"), weights("killed"))
    assert [record["loss"] for record in log("whole")] == [
        record["loss"] for record in log("killed")
    ]


def test_another_teacher_has_features_of_its_own():
    before = set(kept())
    train.main(
        [
            *SMALL,
            "--teacher",
            "teacher --no_flip",
            "--loss",
            "teacher_features",
            "--name",
            "other",
        ]
    )
    assert len(set(kept()) - before) == 1


def test_features_that_cannot_be_kept_are_used_all_the_same(monkeypatch, caplog):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("person_reid.training.extra_losses.atomic_write", full)
    names: Any = {"probe": lambda: np.zeros(2), "dim": 4, "size": (8, 4)}
    teacher: Any = SimpleNamespace(
        features=lambda bank, name: np.ones((len(bank), 4), np.float32), resize="bicubic", **names
    )
    found = teacher_features(
        teacher, [(Path("people/train_all"), read_split("people", "train_all"))]
    )
    assert found.shape == (24, 4)
    assert "the next run computes the teacher's features again" in caplog.text


def test_features_of_images_that_have_changed_are_computed_again(tmp_path):
    write_people(tmp_path / "train_all", people=2, images=2)
    computed = []

    def features(bank, name):
        computed.append(name)
        return np.zeros((len(bank), 4), np.float32)

    teacher: Any = SimpleNamespace(
        probe=lambda: np.zeros(2), dim=4, size=(8, 4), resize="bicubic", features=features
    )
    for time in (None, None, 0):
        split = read_split(tmp_path, "train_all")
        if time is not None:
            os.utime(split.paths[0], (time, time))
        teacher_features(teacher, [(tmp_path / "train_all", split)])
    assert len(computed) == 2


class Pair(World):
    """A world whose other process has the same part of the batch, in reverse."""

    def gather(self, tensor):
        return torch.cat([tensor, tensor.flip(0)])


def test_every_process_computes_the_loss_of_the_whole_batch_and_every_part_learns():
    generator = torch.Generator().manual_seed(0)
    taught, targets = torch.randn(10, 6, generator=generator), torch.arange(10) % 3
    features = torch.randn(4, 2, 5, generator=generator)
    logits = torch.randn(4, 2, 3, generator=generator)
    plan = LossPlan(taught=(LossSpec("teacher_features", 2.0), LossSpec("teacher_classes", 0.5)))
    network: Any = torch.nn.Module()
    vars(network).update(num_classes=3, metric_dim=5, parts=2)
    criterion = Criterion(plan, network, taught_dim=6)
    indices = torch.tensor([7, 1, 4, 2])
    batch = Batch(torch.zeros(4, 3, 2, 2), targets[indices], indices, epoch=0, step=0, seed=0)
    step: Any = SimpleNamespace(criterion=criterion)
    # As with --bf16; the loss is computed in float32 all the same.
    with torch.autocast("cpu", torch.bfloat16):
        found = Distillation(
            taught.numpy(), targets, torch.device("cpu"), Pair(), list(criterion.taught)
        )(step, batch, features, logits)
    unit = torch.nn.functional.normalize(taught)
    means = torch.stack([unit[targets == c].mean(0) for c in range(3)])
    cosines = unit @ torch.nn.functional.normalize(means).T
    order = [7, 1, 4, 2, 2, 4, 1, 7]
    rows = [0, 1, 2, 3, 3, 2, 1, 0]
    reaching = [loss for loss in criterion.modules() if isinstance(loss, FeaturesLoss)]
    expected = sum(
        2 * reaching[part](features[rows, part], taught[order])
        + 0.5 * losses.create_loss("teacher_classes")(logits[rows, part], cosines[order])
        for part in (0, 1)
    )
    torch.testing.assert_close(found.sum(), expected)


@pytest.mark.parametrize("words, message", [
    (["--loss", "teacher_features"], "teacher_features needs a teacher: teacher"),
    (["--teacher", "teacher"], "teacher=teacher would be ignored. "
                               "Say how to learn: loss=teacher_features:5"),
    ([*TAUGHT, "teacher_classes", "--head", "cosine"], "teacher_classes needs class scores"),
    (["--teacher", "nobody", "--loss", "teacher_features"], "nobody"),
    (["--teacher", "teacher --multi", "--loss", "teacher_features"], "multi would be ignored"),
    (["--teacher", "teacher --bgr", "--loss", "teacher_features"], "bgr would be "
                                                                     "ignored without engine"),
])  # fmt: skip
def test_mistakes_are_told_before_anything_is_written(words, message):
    with pytest.raises((UserError, FileNotFoundError), match=message):
        train.main([*SMALL, *words, "--name", "wrong"])
    assert not Path("model/wrong").exists()


def test_a_weight_file_with_the_flags_of_test_py_is_a_teacher():
    torch.save(weights("teacher"), "teacher.pth")
    shape = "--linear_num 16 --height 48 --width 24"
    words = f"--backbone test_resnet --weights teacher.pth {shape} --gpu_ids -1"
    tested = open_embedder(parse(TestConfig, words.split()))
    taught = open_embedder(
        network_named(f"test_resnet=teacher.pth {shape}", "teacher"), device=torch.device("cpu")
    )
    images = [np.full((64, 32, 3), 90, np.uint8)]
    assert np.array_equal(taught(images), tested(images))
