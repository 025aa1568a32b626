"""`--eval_every`: what it measures, when, and that training does not notice."""

import re
import shutil
import sys
from pathlib import Path

import pytest

import test as test_script
import train
from benchmarks.support.people import write_people
from person_reid.config import TrainConfig
from person_reid.errors import UserError
from person_reid.training.evaluation import Evaluation
from tests.support.flags import NETWORK
from tests.support.runs import equal_weights, killed_in, log, weights

SMALL = [*NETWORK, "--batchsize", "8", "--gpu_ids", "-1", "--train_all"]
FLAGS = ["--data_dir", "people", "--total", "5", "--lr", "0.02", "--erasing_p", "0.5", "--wa"]


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated") / "people"
    write_people(folder / "train_all", people=6, images=4)
    write_people(folder / "query", people=6, images=2, seed=1)
    write_people(folder / "gallery", people=6, images=4, seed=1)
    return folder


@pytest.fixture(scope="module")
def runs(people):
    """Two runs that differ in nothing but --eval_every."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(people.parent)
        for name, flags in (("plain", []), ("evaluated", ["--eval_every", "2", "--tensorboard"])):
            train.main([*SMALL, *FLAGS, *flags, "--name", name])
    return people.parent


@pytest.fixture
def here(runs, monkeypatch):
    monkeypatch.chdir(runs)


@pytest.mark.parametrize("file", ["net_last.pth", "net_average.pth", "net_average_bn.pth"])
def test_an_evaluated_run_ends_with_the_bits_of_a_plain_one(here, file):
    assert equal_weights(weights("plain", file), weights("evaluated", file))
    assert [record["loss"] for record in log("plain")] == [
        record["loss"] for record in log("evaluated")
    ]


def test_every_so_many_epochs_and_the_last_are_measured(here):
    assert [
        record["epoch"] for record in log("evaluated") if "mAP" in record and "rank1" in record
    ] == [2, 4, 5]
    assert not any("mAP" in record or "rank1" in record for record in log("plain"))
    assert list(Path("model/evaluated").glob("events.out.tfevents.*"))


def test_the_last_record_has_the_figures_of_test_py(here, capsys):
    test_script.main(["--name", "evaluated", "--test_dir", "people", "--gpu_ids", "-1"])
    found = dict(re.findall(r"(Rank@1|mAP):([\d.]+)", capsys.readouterr().out))
    record = log("evaluated")[-1]
    assert 0 < record["mAP"] < 1
    assert (record["rank1"], record["mAP"]) == pytest.approx(
        (float(found["Rank@1"]), float(found["mAP"])), abs=1e-5
    )


def test_a_killed_run_goes_on_with_the_same_bits_and_records(here):
    with killed_in(epoch=3):
        train.main([*SMALL, *FLAGS, "--name", "killed"])
    # The resumed run evaluates, although it did not begin so.
    train.main(["--resume", "--name", "killed", "--eval_every", "2"])
    assert equal_weights(weights("plain"), weights("killed"))
    measured = {record["epoch"]: record["mAP"] for record in log("evaluated") if "mAP" in record}
    assert {record["epoch"]: record["mAP"] for record in log("killed") if "mAP" in record} == {
        epoch: measured[epoch] for epoch in (4, 5)
    }


@pytest.mark.parametrize(
    "runtime", ["torch", "onnxruntime", pytest.param("auto", marks=pytest.mark.slow)]
)
def test_the_network_is_left_as_it_was_whatever_computes_the_features(here, runtime):
    from tests.support.small_training import trainer

    if runtime != "torch":
        pytest.importorskip("onnxruntime")
    trained = trainer()
    trained.network.train()
    trained.network.model.conv1.eval()
    before = {name: module.training for name, module in trained.network.named_modules()}
    state = {name: value.clone() for name, value in trained.network.state_dict().items()}
    learns = [parameter.requires_grad for parameter in trained.network.parameters()]
    figures = []
    for name in ("torch", runtime):
        evaluation = Evaluation(TrainConfig(data_dir="people", runtime=name, batchsize=8))
        evaluation.decode(trained.network)
        figures.append(evaluation(trained.network, trained.step.device, trained.step.world))
    assert figures[0].keys() == {"rank1", "mAP"}
    assert figures[1] == pytest.approx(figures[0], abs=1e-3)
    assert {name: module.training for name, module in trained.network.named_modules()} == before
    assert equal_weights(trained.network.state_dict(), state)
    assert [parameter.requires_grad for parameter in trained.network.parameters()] == learns


def test_a_runtime_that_could_not_be_used_is_refused_before_the_first_batch(here, monkeypatch):
    with pytest.raises(UserError, match="runtime=auto would be ignored without eval_every"):
        train.main([*SMALL, *FLAGS, "--runtime", "auto", "--name", "ignored"])
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match="pip install openvino"):
        train.main(
            [*SMALL, *FLAGS, "--runtime", "openvino", "--eval_every", "1", "--name", "refused"]
        )
    assert not Path("model/ignored").exists()
    assert not Path("model/refused").exists()


@pytest.mark.parametrize("missing", ["query", "gallery"])
def test_a_missing_folder_is_named_before_anything_is_written(
    people, tmp_path, monkeypatch, missing
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(people, "people", ignore=shutil.ignore_patterns(missing, ".cache"))
    with pytest.raises(UserError, match=rf"people.{missing}: no such folder.*python prepare\.py"):
        train.main([*SMALL, *FLAGS, "--eval_every", "1", "--name", "refused"])
    assert [path.name for path in tmp_path.iterdir()] == ["people"]
    assert not Path("people/.cache").exists()


def test_a_test_set_of_one_camera_is_refused_at_once(people, tmp_path):
    for split in ("query", "gallery"):
        for path in (people / split).rglob("*_c1_*"):
            target = tmp_path / path.relative_to(people)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    with pytest.raises(UserError, match="all images are of camera 1"):
        Evaluation(TrainConfig(data_dir=str(tmp_path)))


def test_images_that_are_trained_on_validate_nothing(people, tmp_path, monkeypatch, capsys):
    """With --train_all, as prepare.py lays a data set out: `train_all` is `train` and `val`."""
    layout = Path(shutil.copytree(people, tmp_path / "people"))
    shutil.copytree(layout / "train_all", layout / "train")
    for first in layout.glob("train/*/*_c1_0.png"):
        (layout / "val" / first.parent.name).mkdir(parents=True)
        first.rename(layout / "val" / first.parent.name / first.name)
    monkeypatch.chdir(tmp_path)
    flags = ["--data_dir", "people", "--total", "1"]
    train.main([*SMALL, *flags, "--name", "all"])
    told = f"No validation: the images in {Path('people', 'val')} are trained on."
    printed = capsys.readouterr().out
    assert told in printed
    assert "val loss" not in printed
    assert not {"val_loss", "val_error"} & log("all")[0].keys()
    train.main([*SMALL[:-1], *flags, "--name", "part"])
    printed = capsys.readouterr().out
    assert told not in printed
    assert "val loss" in printed
    assert {"val_loss", "val_error"} <= log("part")[0].keys()
