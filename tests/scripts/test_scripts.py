"""The scripts as a user runs them: in order, by hand, and with everything that goes wrong."""

import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch

from person_reid.device import emulates
from person_reid.models.factory import create_model
from tests.support.flags import NETWORK
from tests.support.no_curves import no_curves
from tests.support.runs import equal_weights, log, weights
from tests.support.scripts import begin, refused, run, run_process

__all__ = ["no_curves"]

SMALL = [*NETWORK, "--batchsize", "8"]
PEOPLE = ["--identities", "6", "--test_identities", "5", "--cameras", "3", "--images", "2"]
MOVED = ["--name", "moved", "--total", "1", *SMALL]
METRICS = r"Rank@1:\d\.\d{6} Rank@5:\d\.\d{6} Rank@10:\d\.\d{6} mAP:\d\.\d{6} mINP:\d\.\d{6}"


@pytest.fixture(scope="session")
def people(tmp_path_factory):
    """A small synthetic data set, laid out."""
    folder = tmp_path_factory.mktemp("people")
    arguments = [*PEOPLE, "--distractors", "6", "--junk", "4", "--data_dir", "people"]
    run("prepare", "--synthetic", *arguments, cwd=folder)
    return folder / "people" / "pytorch"


@pytest.fixture(scope="session")
def trained(people, tmp_path_factory):
    """A folder in which a network was trained for two epochs and tested."""
    folder = tmp_path_factory.mktemp("trained")
    arguments = ["--data_dir", people, "--name", "small", "--total", "2", *SMALL]
    run("train", *arguments, cwd=folder)
    run("test", "--name", "small", "--test_dir", people, "--multi", cwd=folder)
    return folder


@pytest.fixture
def copy(trained, tmp_path):
    """The same, to be broken."""
    return Path(shutil.copytree(trained, tmp_path / "copy"))


def test_a_training_and_a_test_leave_all_their_files(trained):
    folder = trained / "model" / "small"
    files = {path.name for path in folder.iterdir()}
    expected = {
        "opts.yaml",
        "versions.jsonl",
        "net_last.pth",
        "resume.pth",
        "log.jsonl",
        "result.txt",
    }
    assert files - {"train.jpg"} == expected
    records = log("small", trained)
    assert [record["epoch"] for record in records] == [1, 2]
    assert {"loss", "error", "val_loss", "val_error", "lr", "images_per_second"} <= records[
        0
    ].keys()
    assert "nclasses: 6" in (folder / "opts.yaml").read_text()
    assert re.search(
        rf"small last .*: {METRICS}\nsmall last .*: multi {METRICS}\n",
        (folder / "result.txt").read_text(),
    )


def test_evaluation_prints_the_lines_that_test_printed(trained, people):
    tested = (trained / "model" / "small" / "result.txt").read_text()
    lines = [line.split(": ", 1)[1] for line in tested.splitlines()]
    evaluated = run_process("evaluate", cwd=trained)
    assert all(line in evaluated.splitlines() for line in lines)
    assert lines[0] in run("evaluate_gpu", cwd=trained)
    ranked = run("evaluate_rerank", "--k1", "5", "--k2", "2", cwd=trained)
    assert re.search(f"^re-ranked {METRICS}$", ranked, re.M)


def test_the_result_file_has_the_published_keys(trained, people):
    result = scipy.io.loadmat(trained / "pytorch_result.mat")
    count = sum(1 for _ in (people / "gallery").rglob("*.jpg"))
    assert result["gallery_f"].shape == (count, 512)
    assert result["gallery_f"].dtype == np.float32
    assert result["gallery_label"].shape == result["gallery_cam"].shape == (1, count)
    np.testing.assert_allclose(np.linalg.norm(result["query_f"], axis=1), 1, rtol=1e-5)
    assert scipy.io.loadmat(trained / "multi_query.mat")["mquery_f"].shape[1] == 512


def test_options_of_test_change_the_features(copy, people):
    plain = scipy.io.loadmat(copy / "pytorch_result.mat")["query_f"]
    changes = [["--ms", "1,1.21"], ["--no_flip"], ["--height", "48"]]
    if not emulates(torch.device("cpu"), torch.bfloat16):
        changes.append(["--bf16"])
    for number, flags in enumerate(changes):
        run(
            "test",
            "--name",
            "small",
            "--test_dir",
            people,
            "--result",
            f"{number}.mat",
            *flags,
            cwd=copy,
        )
        other = scipy.io.loadmat(copy / f"{number}.mat")["query_f"]
        cosines = (plain * other).sum(1)
        assert 0.5 < cosines.mean() < 1 - 1e-7, flags


def test_features_that_keep_their_length_are_ranked_by_euclidean_distance(copy, people):
    tested = run("test", "--name", "small", "--data_dir", people, "--no_norm", "--multi", cwd=copy)
    assert "python demo.py --query_index 0\n" in tested
    features = scipy.io.loadmat(copy / "pytorch_result.mat")["query_f"]
    assert np.linalg.norm(features, axis=1).std() > 1e-3
    lines = re.findall(rf"(?:multi )?{METRICS} \(Euclidean distance\)", tested)
    assert len(lines) == 2
    assert "python evaluate.py --distance euclidean" in tested
    assert run("evaluate", "--distance", "euclidean", cwd=copy).splitlines()[:2] == lines
    said = run("evaluate", cwd=copy)
    assert "not of unit length. These are cosines; --distance euclidean" in said


def test_multiple_queries_without_an_image_repeat_no_figure(copy, people, tmp_path):
    """Its multi-query folder shows other people, then all but one."""
    layout = tmp_path / "layout"
    asked = ["test", "--name", "small", "--no_flip", "--multi", "--test_dir"]
    for split in ("query", "gallery"):
        shutil.copytree(people / split, layout / split)
    shutil.copytree(people / "train", layout / "multi-query")
    output = run(*asked, layout, cwd=copy)
    assert output.count("mAP:") == 1
    assert "no image of any query in its camera, so no multiple query" in output
    shutil.rmtree(layout / "multi-query")
    shutil.copytree(people / "multi-query", layout / "multi-query")
    shutil.rmtree(min((layout / "multi-query").iterdir()))
    output = run(*asked, layout, cwd=copy)
    assert output.count("mAP:") == 2
    assert output.count("3 of 15 queries have no image there and keep their own feature") == 1


@pytest.mark.parametrize(
    ("script", "flags", "split"),
    [
        ("test", ["--name", "small", "--no_flip", "--test_dir"], "query"),
        ("train", [*MOVED, "--train_all", "--data_dir"], "train_all"),
        ("train", [*MOVED, "--train_all", "--data_dir"], "val"),
        ("train", [*MOVED, "--eval_every", "1", "--data_dir"], "gallery"),
        ("prepare", ["--check", "--data_dir"], "train_all"),
    ],
)
def test_an_image_in_the_folder_of_another_person_is_named(
    script, flags, split, copy, people, tmp_path
):
    layout = tmp_path / "layout"
    shutil.copytree(people, layout, ignore=shutil.ignore_patterns(".cache"))
    first, second, *_ = sorted(
        folder for folder in (layout / split).iterdir() if folder.name > "0000"
    )
    moved = next(first.iterdir()).rename(second / "moved.jpg")
    moved = moved.rename(second / f"{first.name}_c1_moved.jpg")
    shutil.copy(moved, layout / split / "loose.jpg")
    output = run(script, *flags, layout, cwd=copy)
    who = f"{moved}: {int(first.name)} in the name, {int(second.name)} by the folder"
    assert output.count("1 image with a name that contradicts the folder") == output.count(who) == 1
    assert output.count("skipped 1 image directly in it, such as loose.jpg") == 1


def test_figures_name_the_flags_that_changed_the_features(copy, people):
    run("test", "--name", "small", "--test_dir", people, "--no_flip", "--ms", "1,1.21", cwd=copy)
    tested = (copy / "model" / "small" / "result.txt").read_text().splitlines()[-1]
    assert f"{people} --ms 1,1.21 --no_flip: Rank@1" in tested
    run(
        "report", "--name", "small", "--no_images", "--no_rerank", "--save", "report.html", cwd=copy
    )
    page = (copy / "report.html").read_text(encoding="utf-8")
    assert "pytorch_result.mat of test.py --ms 1,1.21 --no_flip" in page


def test_a_weight_file_is_tested_without_a_run(trained, people, tmp_path):
    weights = trained / "model" / "small" / "net_last.pth"
    flags = ["--backbone", "test_resnet", "--test_dir", people, "--height", "64", "--width", "32"]
    output = run("test", *flags, "--weights", weights, cwd=tmp_path)
    assert re.search(METRICS, output)
    assert "tensors loaded" in output
    assert not (tmp_path / "model").exists()
    state = torch.load(weights, weights_only=True)
    bare = {
        name.removeprefix("model."): value
        for name, value in state.items()
        if name.startswith("model.")
    }
    torch.save(bare, tmp_path / "bare.pth")  # as torchreid's files
    assert re.search(
        METRICS, run("test", *flags, "--weights", "bare.pth", "--neck", "none", cwd=tmp_path)
    )
    run("test", *flags, "--weights", "none", "--result", "random.mat", cwd=tmp_path)
    assert "needs weights=FILE" in refused("test", *flags, cwd=tmp_path)


def test_query_and_gallery_alone_are_for_testing(trained, people, tmp_path):
    shutil.copytree(people.parent / "query", tmp_path / "other" / "query")
    shutil.copytree(people.parent / "bounding_box_test", tmp_path / "other" / "bounding_box_test")
    output = run("prepare", "--data_dir", tmp_path / "other", cwd=tmp_path)
    laid_out = tmp_path / "other" / "pytorch"
    assert output.endswith(f"Next: python test.py --name NAME --test_dir {laid_out}\n")
    tested = run(
        "test",
        "--name",
        "small",
        "--test_dir",
        laid_out,
        "--result",
        tmp_path / "other.mat",
        cwd=trained,
    )
    assert f"python demo.py --query_index 0 --result {tmp_path / 'other.mat'}\n" in tested
    before = run("evaluate", cwd=trained)  # of the same images, within their whole data set
    assert re.findall(METRICS, tested) == re.findall(METRICS, before)[:1] != []
    output = refused("train", "--data_dir", laid_out, *SMALL, cwd=tmp_path)
    assert "has nothing to train on. Test on it with python test.py" in output


def test_training_can_average_and_be_tested_by_epoch(people, tmp_path):
    flags = [
        "--total",
        "10",
        "--wa",
        "--tensorboard",
        "--lr",
        "0.01",
        "--name",
        "averaged",
        "--batchsize",
        "24",
    ]
    flags += ["--backbone", "test_resnet"]
    run("train", "--data_dir", people, *SMALL, *flags, cwd=tmp_path)
    folder = tmp_path / "model" / "averaged"
    assert list(folder.glob("events.out.tfevents.*"))
    for which in ("10", "9", "average", "average_bn"):
        output = run(
            "test", "--name", "averaged", "--test_dir", people, "--which_epoch", which, cwd=tmp_path
        )
        assert re.search(METRICS, output), which
    last, average, own = (
        torch.load(folder / f"net_{name}.pth") for name in ("last", "average", "average_bn")
    )
    statistics = [name for name in last if name.endswith("running_mean")]
    for saved, kept in ((average, True), (own, False)):
        assert {torch.equal(last[name], saved[f"module.{name}"]) for name in statistics} == {kept}


def test_killed_at_any_moment_and_resumed_training_ends_with_the_same_weights(people, tmp_path):
    torch.manual_seed(1)  # weights that the run, whose seed is 0, would not draw itself
    start = create_model("test_resnet", weights="none").model.state_dict()
    torch.save(start, tmp_path / "start.pth")
    flags = [
        "--data_dir",
        people,
        "--name",
        "small",
        "--total",
        "3",
        "--gpu_ids",
        "-1",
        "--erasing_p",
        "0.5",
        *SMALL,
    ]
    flags += ["--backbone", "test_resnet", "--weights", tmp_path / "start.pth"]
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    run("train", *flags, cwd=tmp_path / "whole")
    folder = tmp_path / "killed" / "model" / "small"
    # Before the first epoch has ended, then as soon as the files of the second are being written.
    for epoch in (0, 2):
        process = begin("train", *flags, "--resume", cwd=tmp_path / "killed")
        deadline = time.monotonic() + 120
        while not reached(folder, epoch) and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.005)
        process.kill()
        process.join()
        for path in folder.glob("net_*.pth"):
            torch.load(path, weights_only=True)
    assert "continuing after epoch" in run("train", *flags, "--resume", cwd=tmp_path / "killed")
    whole, resumed = (weights("small", cwd=tmp_path / cwd) for cwd in ("whole", "killed"))
    assert equal_weights(whole, resumed)
    assert epochs_logged(folder) == 3


def reached(folder, epoch):
    """Whether a run has written its options (0), or the log of that epoch."""
    return epochs_logged(folder) >= epoch if epoch else (folder / "opts.yaml").exists()


def epochs_logged(folder):
    log = folder / "log.jsonl"
    return len(log.read_text().splitlines()) if log.exists() else 0


def test_a_finished_run_is_kept_when_its_name_is_used_again(copy, people):
    before = {path.name: path.read_bytes() for path in (copy / "model" / "small").iterdir()}
    output = run("train", "--data_dir", people, "--name", "small", "--total", "1", *SMALL, cwd=copy)
    assert "small.previous" in output
    after = (copy / "model" / "small.previous").iterdir()
    assert {path.name: path.read_bytes() for path in after} == before


class TestWhatGoesWrong:
    """Each mistake ends in one clear line and status 1, and loses nothing."""

    def test_a_process_ends_with_the_status_of_its_mistake(self, tmp_path):
        output = run_process("prepare", "--data_dir", "nowhere", cwd=tmp_path, status=1)
        assert output == "error: nowhere: no such folder.\n"
        output = refused("train", "--data_dir", "nowhere", *SMALL, cwd=tmp_path)
        assert output.startswith("error: nowhere: no such folder")
        assert output.count("\n") == 1
        assert not (tmp_path / "model").exists()

    def test_an_empty_split_is_named(self, people, tmp_path):
        (tmp_path / "data" / "train" / "0001").mkdir(parents=True)
        assert "no images in it" in refused("train", "--data_dir", "data", *SMALL, cwd=tmp_path)

    def test_broken_images_are_all_named(self, people, tmp_path):
        data = Path(
            shutil.copytree(people, tmp_path / "data", ignore=shutil.ignore_patterns(".cache"))
        )
        broken = sorted((data / "train").rglob("*.jpg"))[:2]
        for path in broken:
            content = path.read_bytes()
            path.unlink()  # it may be a hard link
            path.write_bytes(content[: len(content) // 2])
        output = refused("train", "--data_dir", data, *SMALL, cwd=tmp_path)
        assert all(path.name in output for path in broken)
        assert not (tmp_path / "model").exists()

    def test_a_broken_gallery_image_leaves_the_features_of_before(self, copy, people):
        data = Path(shutil.copytree(people, copy / "data", ignore=shutil.ignore_patterns(".cache")))
        broken = sorted((data / "gallery").rglob("*.jpg"))[3]
        broken.unlink()  # it may be a hard link
        broken.write_text("no image")
        before = (copy / "pytorch_result.mat").read_bytes()
        output = refused("test", "--name", "small", "--test_dir", data, cwd=copy)
        assert broken.name in output
        assert "1 of" in output
        assert (copy / "pytorch_result.mat").read_bytes() == before
        assert [path.name.split("_")[0] for path in (data / ".cache").iterdir()] == ["query"]

    def test_no_checkpoint_lists_what_there_is(self, copy, people):
        output = refused(
            "test", "--name", "small", "--test_dir", people, "--which_epoch", "40", cwd=copy
        )
        assert "There are: --which_epoch last" in output
        output = refused("test", "--name", "smal", "--test_dir", people, cwd=copy)
        assert "Did you mean 'small'?" in output

    def test_a_checkpoint_of_another_network_is_refused(self, copy, people):
        options = copy / "model" / "small" / "opts.yaml"
        options.write_text(options.read_text().replace("test_resnet", "osnet_x0_25"))
        before = (copy / "pytorch_result.mat").read_bytes()
        output = refused("test", "--name", "small", "--test_dir", people, cwd=copy)
        assert "net_last.pth: the weights of another network" in output
        assert (copy / "pytorch_result.mat").read_bytes() == before

    def test_a_batch_larger_than_the_data_is_refused(self, people, tmp_path):
        output = refused("train", "--data_dir", people, *SMALL, "--batchsize", "4000", cwd=tmp_path)
        assert "smaller batchsize" in output

    def test_a_full_disk_keeps_what_was_there(self, copy, people):
        """A file-size limit ends a write half-way with an OSError, as a full disk does."""
        resource = pytest.importorskip("resource", reason="needs a limit on file sizes")
        before = {
            path: path.read_bytes()
            for path in (copy / "pytorch_result.mat", copy / "multi_query.mat")
        }
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (30000, hard))
        try:
            output = refused("test", "--name", "small", "--test_dir", people, cwd=copy)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert "error: pytorch_result.mat: File too large" in output
        assert all(path.read_bytes() == content for path, content in before.items())
        assert not list(copy.glob(".*.partial"))


@pytest.mark.slow  # the synthetic people above go the same way
def test_real_people_go_from_download_to_ranking(real_people, tmp_path):
    """An OSNet trained on other people and fine-tuned beats itself as it was.

    The whole chain runs on photographs.
    """
    run(
        "prepare",
        "--data_dir",
        real_people,
        "--save_dir",
        tmp_path / "data",
        "--dataset",
        "market",
        cwd=tmp_path,
    )
    weights = real_people.parent / "weights" / "osnet_x0_25_msmt17.pth"
    network = [
        "--backbone",
        "osnet_x0_25",
        "--weights",
        weights,
        "--height",
        "128",
        "--width",
        "64",
    ]
    quick = ["--test_dir", "data", "--no_flip"]
    before = run("test", *network, *quick, cwd=tmp_path)
    flags = ["--train_all", "--total", "3", "--linear_num", "0", "--lr", "0.01"]
    run("train", *network, *flags, "--data_dir", "data", cwd=tmp_path)
    after = run("test", *quick, "--multi", cwd=tmp_path)
    assert mean_ap(after) > 2 * mean_ap(before), before + after
    assert "multi Rank@1" in after
    assert "re-ranked Rank@1" in run("evaluate_rerank", cwd=tmp_path)
    assert "show.png" in run("demo", cwd=tmp_path)


def mean_ap(output):
    """The first mAP that a script printed."""
    return float(re.findall(r"mAP:([\d.]+)", output)[0])
