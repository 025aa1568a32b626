"""--tensorboard, --wandb: imported when asked for, told every epoch once, closed.

With stand-ins.
"""

import contextlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import train
from benchmarks.support.people import write_people
from person_reid.config import TrainConfig
from person_reid.errors import UserError
from person_reid.training import writers
from tests.support.flags import ON_THE_PROCESSOR
from tests.support.runs import killed_in, log

SMALL = [*ON_THE_PROCESSOR, "--batchsize", "4", "--data_dir", "people", "--train_all"]
SMALL += ["--total", "2", "--name", "small"]

RUN = """
said = []

class Run:
    def log(self, record, step):
        said.append((step, record))
    def __enter__(self):
        return self
    def __exit__(self, kind, *_):
        said.append(f"closed {kind.__name__ if kind else 'well'}")
"""
WANDB = """
def init(**settings):
    said.append(settings)
    return Run()
"""
STANDINS = {"wandb": RUN + WANDB}


@pytest.fixture
def here(here):
    """A folder with people to train on."""
    write_people(here / "people" / "train_all", people=2, images=2)
    return here


@pytest.fixture
def standin(here, monkeypatch):
    """A function that installs the stand-in of a package and returns the module."""

    def install(name):
        folder = here / "packages"
        folder.mkdir(exist_ok=True)
        for each in STANDINS:
            monkeypatch.delitem(sys.modules, each, raising=False)
            (folder / f"{each}.py").write_text(STANDINS[each])
        monkeypatch.syspath_prepend(folder)
        return __import__(name)

    yield install
    for each in STANDINS:
        sys.modules.pop(each, None)


def test_every_epoch_is_handed_on_once_and_the_run_is_closed(standin):
    module = standin("wandb")
    train.main([*SMALL, "--wandb"])
    settings, *said = module.said
    assert said == [*((record["epoch"], record) for record in log("small")), "closed well"]
    assert settings["name"] == "small"
    assert settings["config"]["backbone"] == "test_resnet"


def test_a_resumed_run_is_whole_in_each_writer(standin, monkeypatch):
    module = standin("wandb")
    with killed_in(1):
        train.main([*SMALL, "--wandb"])
    assert [step for step, _ in module.said[1:-1]] == [1]
    assert module.said[-1] == "closed KeyboardInterrupt"
    module.said.clear()
    train.main([*SMALL, "--wandb", "--resume"])
    assert [step for step, _ in module.said[1:-1]] == [1, 2]
    assert len(log("small")) == 2
    versions = [
        json.loads(line) for line in Path("model/small/versions.jsonl").read_text().splitlines()
    ]
    assert [line["epoch"] for line in versions] == [0, 1]


def test_tensorboard_forgets_the_epochs_of_an_interrupted_run(tmp_path):
    config = TrainConfig(tensorboard=True)
    for loss, history in ((0.5, []), (0.25, [{"epoch": 0, "loss": 0.25}])):
        with writers.open_writers(config, tmp_path, history) as write:
            write({"epoch": len(history), "loss": loss})
    events = EventAccumulator(str(tmp_path)).Reload().Scalars("loss")
    assert [(event.step, event.value) for event in events] == [(0, 0.25), (1, 0.25)]


def test_a_writer_that_fails_ends_no_training_and_hides_no_other_error(
    tmp_path, monkeypatch, caplog
):
    def full(config, folder):
        def write(record):
            raise OSError(28, "No space left on device")

        return contextlib.closing(SimpleNamespace(close=lambda: write({}))), write

    monkeypatch.setitem(writers.METRIC_WRITERS, "tensorboard", full)
    config = TrainConfig(tensorboard=True)
    with writers.open_writers(config, tmp_path, [{"epoch": 1}]) as send:
        send({"epoch": 2, "loss": 0.5})
    assert caplog.text.count("--tensorboard: figures are lost there") == 1  # and not once an epoch
    with pytest.raises(OSError, match=r"net_last\.pth"), writers.open_writers(config, tmp_path):
        raise OSError(28, "No space left on device", "net_last.pth")


@pytest.mark.parametrize("name", list(writers.METRIC_WRITERS))
def test_a_missing_package_is_one_line_before_anything_is_written(name, here, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    before = set(here.rglob("*"))
    with pytest.raises(
        UserError, match=f"^{name} needs the package {name}: python -m pip install {name}$"
    ):
        train.main([*SMALL, f"--{name}"])
    assert set(here.rglob("*")) == before


def test_a_folder_of_that_name_is_not_the_package(tmp_path, monkeypatch):
    (tmp_path / "wandb" / "run-1").mkdir(parents=True)  # as wandb leaves where it runs
    # What is imported here is forgotten afterwards.
    monkeypatch.setitem(sys.modules, "wandb", None)
    del sys.modules["wandb"]
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(UserError, match="wandb needs the package wandb"):
        writers.check_writers(TrainConfig(wandb=True))


def test_no_package_is_imported_that_nobody_asked_for(here, monkeypatch):
    for name in writers.METRIC_WRITERS:
        monkeypatch.setitem(sys.modules, name, None)
    train.main([*SMALL, "--total", "1"])
    assert len(log("small")) == 1


def test_a_package_that_cannot_begin_ends_in_one_line(standin):
    standin("wandb").init = lambda **_: 1 / 0
    with pytest.raises(UserError, match=r"wandb could not start \(division by zero\)"):
        train.main([*SMALL, "--wandb"])


def test_weights_and_biases_works_offline(here, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    train.main([*SMALL, "--wandb"])
    assert list(Path("model/small/wandb").glob("offline-run-*/*.wandb"))


def test_the_log_names_the_losses_of_which_the_loss_is_the_sum(here, caplog):
    caplog.set_level("INFO", "person_reid")
    train.main([*SMALL, "--total", "1", "--loss", "triplet:0.5,center:0.01"])
    (record,) = log("small")
    losses = {name: record[f"loss_{name}"] for name in ("cross_entropy", "triplet", "center")}
    assert record["loss"] == pytest.approx(sum(losses.values()), rel=1e-4)
    listed = ", ".join(f"{name} {loss:.3g}" for name, loss in losses.items())
    assert f"({listed})  error" in caplog.text
