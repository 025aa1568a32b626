"""adapt.py as a user meets it: a folder without labels in, a run that test.py takes out."""

import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.support.people import write_people
from person_reid.config.adapt import AdaptConfig
from person_reid.deploy.engine import Engine
from person_reid.deploy.load import network_of_run
from person_reid.deploy.publish import save_pretrained
from person_reid.training.adaptation import LEAST_KEPT, started
from person_reid.training.step import TrainingStep
from tests.support.runs import equal_weights, killed_in, log, weights
from tests.support.scripts import refused, run
from tools import adapt

SMALL = [
    "--height",
    "32",
    "--width",
    "16",
    "--gpu_ids",
    "-1",
    "--batchsize",
    "8",
    "--instances",
    "4",
    "--steps",
    "3",
]
SMALL += ["--total_epoch", "2", "--k1", "6", "--k2", "2", "--min_samples", "2", "--radius", "0.7"]
START = ["--backbone", "test_resnet", "--weights", "none"]


@pytest.fixture(scope="module", autouse=True)
def small_sheets():
    """Sheets of few clusters: drawing photographs takes longer than learning from them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("person_reid.show.image_sheets.CLUSTERS_OF_KIND", 1)
        yield


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Ten people, eight images each, whose colours any network tells apart."""
    folder = tmp_path_factory.mktemp("people")
    write_people(folder / "train_all", 10, 8)
    return folder


@pytest.fixture(scope="module")
def cwd(people, tmp_path_factory):
    """A folder with the run `whole`."""
    folder = tmp_path_factory.mktemp("cwd")
    adapted(people, "whole", folder, "--report_labels")
    return folder


def adapted(folder, name, cwd, *flags, start=START):
    return run("adapt", "--data_dir", folder, "--name", name, *SMALL, *start, *flags, cwd=cwd)


def test_the_result_is_a_run(people, cwd):
    records = log("whole", cwd)
    assert [record["epoch"] for record in records] == [1, 2]
    assert all(
        {"clusters", "clustered", "agreement", "kept", "purity", "own_mAP", "loss"} <= set(r)
        for r in records
    )
    assert all(1 < record["clusters"] <= 40 and 0.1 < record["kept"] <= 1 for record in records)
    assert (cwd / "model" / "whole" / "clusters.jpg").stat().st_size > 5_000
    test = people / "test"
    for split in ("query", "gallery"):
        if not (test / split).exists():
            shutil.copytree(people / "train_all", test / split)
    output = run("test", "--name", "whole", "--test_dir", test, "--gpu_ids", "-1", cwd=cwd)
    assert "mAP" in output


@pytest.mark.slow
def test_another_runtime_finds_the_same_clusters(people, cwd, monkeypatch):
    pytest.importorskip("onnxruntime")
    used: list[str] = []
    original = Engine.features

    def features(engine, *asked, **named):
        used.append(engine.kind)
        return original(engine, *asked, **named)

    monkeypatch.setattr(Engine, "features", features)
    adapted(
        people,
        "other",
        cwd,
        "--report_labels",
        "--runtime",
        "onnxruntime",
        "--total_epoch",
        "1",
    )
    assert used == ["onnx", "onnx"]
    (record,), first = log("other", cwd), log("whole", cwd)[0]
    assert {name: record[name] for name in ("clusters", "clustered")} == {
        name: first[name] for name in ("clusters", "clustered")
    }
    assert record["own_mAP"] == pytest.approx(first["own_mAP"], abs=0.01)


def test_learning_moves_the_network_and_its_teacher(cwd):
    last, average = weights("whole", cwd=cwd), weights("whole", "net_average.pth", cwd)
    state = weights("whole", "resume.pth", cwd)
    start = state["adaptation"]["start"]
    assert not equal_weights(start, average)
    assert not equal_weights(state["network"], average)
    assert state["adaptation"]["kept"] > LEAST_KEPT
    assert equal_weights(last, average)


@pytest.mark.parametrize("moment", [1, 5])
def test_a_stopped_run_goes_on_to_the_same_bits(people, cwd, tmp_path, monkeypatch, moment):
    """Stopped by SIGTERM after a step of the first epoch, with its clusters, or of the second."""
    steps, original = [], TrainingStep.__call__

    def train_step(step, batch):
        steps.append(1)
        if len(steps) == moment:
            signal.raise_signal(signal.SIGTERM)
        return original(step, batch)

    monkeypatch.setattr(TrainingStep, "__call__", train_step)
    run(
        "adapt",
        "--data_dir",
        people,
        "--name",
        "whole",
        *SMALL,
        *START,
        "--report_labels",
        cwd=tmp_path,
        status=143,
    )
    monkeypatch.undo()
    run("adapt", "--name", "whole", "--resume", cwd=tmp_path)
    for file in ("net_last.pth", "net_average.pth"):
        assert equal_weights(weights("whole", file, tmp_path), weights("whole", file, cwd)), file
    timeless = [
        [{**r, "seconds": 0, "images_per_second": 0} for r in log("whole", r_)]
        for r_ in (tmp_path, cwd)
    ]
    assert timeless[0] == timeless[1]


def test_labelled_images_fill_half_of_each_batch(people, tmp_path, monkeypatch):
    """Their identities stay as they are; only the others are clustered.

    Stopped and resumed, to the same bits.
    """
    write_people(tmp_path / "source" / "train_all", 3, 4, seed=5)
    flags = ["--keep_source", "source", "--proxies", "--report_labels"]
    output = adapted(people, "both", tmp_path, *flags)
    assert "92 images of 3 known and of unknown people" in output
    state = weights("both", "resume.pth", tmp_path)
    assert len(state["adaptation"]["labels"]) == 80
    assert not equal_weights(weights("both", cwd=tmp_path), state["adaptation"]["start"])

    monkeypatch.chdir(tmp_path)
    with killed_in(epoch=1):
        adapt.main(["--data_dir", str(people), "--name", "killed", *SMALL, *START, *flags])
    run("adapt", "--name", "killed", "--resume", cwd=tmp_path)
    assert equal_weights(*(weights(name, cwd=tmp_path) for name in ("both", "killed")))
    words = refused("adapt", "--data_dir", people, *START, "--keep_source", people, cwd=tmp_path)
    assert "more than once" in words


def test_identities_are_never_read(people, cwd, tmp_path):
    """Other names of files and folders give the same bits.

    --report_labels, which reads them, changes nothing.
    """
    random = np.random.default_rng(0)
    for path in sorted((people / "train_all").rglob("*.png")):
        other = f"{random.integers(1, 9999):04}"
        (tmp_path / "other" / other).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "other" / other / f"{other}_{path.name.partition('_')[2]}")
    adapted(tmp_path / "other", "renamed", tmp_path)
    for file in ("net_last.pth", "net_average.pth"):
        assert equal_weights(weights("renamed", file, tmp_path), weights("whole", file, cwd))


def test_an_adaptation_starts_from_a_run_without_cameras(people, cwd):
    folder = cwd / "plain"
    folder.mkdir()
    for number, path in enumerate(sorted((people / "train_all").rglob("*.png"))):
        shutil.copy(path, folder / f"{number}.png")
    adapted(folder, "second", cwd, "--total_epoch", "1", start=["--from", "whole"])
    start = weights("second", "resume.pth", cwd)["adaptation"]["start"]
    whole = weights("whole", cwd=cwd)
    assert equal_weights(start, whole)
    words = refused(
        "adapt",
        "--data_dir",
        folder,
        "--name",
        "x",
        "--from",
        "whole",
        "--stride",
        "1",
        cwd=cwd,
    )
    assert "stride would be ignored: from_run=whole says what the network is" in words
    assert "not of the form" in refused(
        "adapt", "--data_dir", folder, *START, *SMALL, "--report_labels", cwd=cwd
    )


def test_a_folder_of_a_network_is_a_start_as_a_run_is(cwd, monkeypatch):
    monkeypatch.chdir(cwd)
    save_pretrained(network_of_run("whole"), "folder")
    options = started(adapt.parse(AdaptConfig, ["--data_dir", "x", "--from", "folder"]))
    assert (options.height, options.width, options.backbone) == (32, 16, "test_resnet")
    assert options.weights == str(Path("folder") / "model.safetensors")
    assert "nowhere/opts.yaml: no run of that name" in refused(
        "adapt", "--data_dir", "x", "--from", "nowhere", cwd=cwd
    )


def test_a_run_brings_its_size_and_its_layers(cwd, monkeypatch):
    monkeypatch.chdir(cwd)
    options = started(adapt.parse(AdaptConfig, ["--data_dir", "x", "--from", "whole"]))
    assert (options.height, options.width, options.backbone) == (32, 16, "test_resnet")


def test_the_start_may_be_in_a_configuration(tmp_path):
    (tmp_path / "a.yaml").write_text("backbone: test_resnet\nweights: none\nheight: 64\n")
    options = started(
        adapt.parse(AdaptConfig, ["--data_dir", "x", "--config", str(tmp_path / "a.yaml")])
    )
    assert (options.backbone, options.weights, options.height) == ("test_resnet", "none", 64)


def test_a_start_that_is_better_is_kept(people, tmp_path, monkeypatch):
    """A result whose neighbours have nothing to do with the first ones is judged worse.

    The run then is its start.
    """
    monkeypatch.setattr(
        "person_reid.training.adaptation.overlap", lambda first, now: LEAST_KEPT - 0.01
    )
    output = adapted(people, "bad", tmp_path, "--total_epoch", "1")
    state = weights("bad", "resume.pth", tmp_path)["adaptation"]
    assert "judged worse than the start" in output
    assert "0.09 are left" in output
    assert equal_weights(weights("bad", cwd=tmp_path), state["start"])
    assert not equal_weights(weights("bad", "net_average.pth", tmp_path), state["start"])


def image(path, colour, seed=0):
    path.parent.mkdir(exist_ok=True)
    noise = np.random.default_rng(seed).integers(-20, 20, (64, 32, 3))
    Image.fromarray((np.array(colour) + noise).astype(np.uint8)).save(path)


def test_folders_with_nothing_to_learn_from_are_refused(tmp_path):
    image(tmp_path / "one" / "a.png", (90, 90, 90))
    for number in range(12):
        image(tmp_path / "same" / f"{number}.png", (90, 90, 90))
        image(
            tmp_path / "strangers" / f"{number}.png",
            np.random.default_rng(number).integers(30, 220, 3),
            number,
        )
        image(tmp_path / "broken" / f"{number}.png", (90, 90, 90), number)
    (tmp_path / "broken" / "3.png").write_bytes(b"no image")

    def words(folder, *flags):
        return refused(
            "adapt", "--data_dir", folder, "--name", "x", *SMALL, *START, *flags, cwd=tmp_path
        )

    assert "1 image" in words("one")
    assert "1 cluster" in words("same", "--k1", "11")
    assert "0 cluster" in words("strangers", "--min_samples", "12", "--radius", "0.01")
    assert "proxies would be ignored" in words("strangers", "--cameras", "none", "--proxies")
    assert "1 of 12 images cannot be read" in words("broken")
    assert "no such folder" in words("nowhere")
    for path in (tmp_path / "same").iterdir():
        path.rename(path.with_name(f"0001_c3_{path.name}"))
    output = words("same", "--k1", "11")
    assert "1 cluster" in output
    assert "one camera" in output
    assert "proxies would be ignored" in words("same", "--k1", "11", "--proxies")
    for path in sorted((tmp_path / "same").iterdir())[::2]:
        path.rename(path.with_name(path.name.replace("_c3_", "_c4_")))
    assert "1 cluster" in words("same", "--k1", "11", "--proxies")  # two cameras are enough
    assert not (tmp_path / "model" / "x").exists()


def test_mistaken_flags_are_refused(tmp_path):
    assert "from_run=RUN" in refused("adapt", "--data_dir", "x", cwd=tmp_path)
    assert "for the parts" in refused(
        "adapt", "--data_dir", "x", "--backbone", "lightmbn", "--weights", "none", cwd=tmp_path
    )
    for flag in (
        ["--loss", "triplet"],
        ["--train_all"],
        ["--wa"],
        ["--radius", "1"],
        ["--decay", "1"],
    ):
        run("adapt", "--data_dir", "x", *START, *flag, cwd=tmp_path, status=2)
