"""Networks of every kind beside each other."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from benchmarks.support.people import draw_people
from person_reid import UserError, evaluate, paired_differences, save_pretrained
from person_reid.config.look import TableForm
from person_reid.console.named_network import network_named
from person_reid.retrieval.results import FeatureSet, save_result
from tests.deploy.test_load import SMALL, save_run
from tests.support.scripts import run
from tools import compare_networks, export
from tools.compare_networks import measure, short_names, table


def test_a_run_a_folder_a_file_and_weights_are_compared(here, capsys, monkeypatch):
    monkeypatch.setattr("person_reid.deploy.publish.TIMED_IMAGES", 2)
    draw_people(here / "people", 2, 2, 2, 2, 2, 2)
    save_run("--neck", "none", backbone="test_resnet")
    save_pretrained("run", "as_folder")
    export.main(["--name", "run", "--output", "as_file.pt", "--gpu_ids", "-1"])
    bare = " ".join(["test_resnet=model/run/net_last.pth --neck none", *SMALL])
    words = [
        "--networks",
        "run",
        "as_folder",
        "as_file.pt",
        bare,
        "--test_dirs",
        "people/pytorch",
        "people/pytorch",
    ]
    export.main(["--name", "run", "--output", "mirrored.pt", "--flip", "--gpu_ids", "-1"])
    capsys.readouterr()
    compare_networks.main(
        ["--networks", "mirrored.pt", "--test_dirs", "people/pytorch", "--gpu_ids", "-1"]
    )
    assert "| mirrored | " in capsys.readouterr().out
    with pytest.raises(
        UserError, match=r"--networks run --camera_norm: --camera_norm would be ignored"
    ):
        compare_networks.main(["--networks", "run --camera_norm", "--test_dirs", "people/pytorch"])
    with pytest.raises(
        UserError,
        match=r"expected a network, and perhaps flags of test\.py \(No closing quotation\)",
    ):
        compare_networks.main(["--networks", "run 'x", "--test_dirs", "people/pytorch"])
    words += ["--gpu_ids", "-1", "--bootstrap", "100"]
    compare_networks.main([*words, "--json", "out.json", "--save", "out.png"])
    first, second = (each.splitlines() for each in capsys.readouterr().out.split("\n\n"))
    head, _, *lines = [line for line in first if line.startswith("|")]
    assert (
        second[2] == "| synthetic people | as_folder - run | Rank@1 | 0.00 | 0.00 | 0.00 | 1.0000 |"
    )
    assert len(second) == 2 + 3 * 2 * 3  # networks, test sets, figures
    of_sets = " | ".join(
        f"{name}: Rank@1 / mAP, %" for name in ("synthetic people", "people/pytorch")
    )
    assert head == f"| network | {of_sets} | ms an image | MB |"
    assert [line.split(" | ")[0] for line in lines] == [
        "| run",
        "| as_folder",
        "| as_file",
        "| net_last",
    ]
    rows = json.loads((here / "out.json").read_text())
    figures = [row["accuracy"]["synthetic people"] for row in rows]
    assert figures == [figures[0]] * 4
    assert rows[0]["accuracy"]["people/pytorch"] == figures[0]
    assert all(row["milliseconds"] > 0 for row in rows)
    assert "differences" not in rows[0]
    assert rows[1]["compared_with"] == "run"
    none = {"value": 0, "low": 0, "high": 0, "p": 1}
    assert rows[1]["differences"]["people/pytorch"] == dict.fromkeys(("rank1", "mAP", "mINP"), none)
    run(
        "test",
        "--name",
        "run",
        "--test_dir",
        "people/pytorch",
        "--json",
        "test.json",
        "--gpu_ids",
        "-1",
        cwd=here,
    )
    # The same keys, in the same unit.
    tested = json.loads((here / "test.json").read_text())["single"]
    for name in ("rank1", "mAP"):
        assert figures[0][name] == pytest.approx(tested[name], abs=1e-4)
    assert f"| {100 * figures[0]['rank1']:.2f} / {100 * figures[0]['mAP']:.2f} |" in lines[0]
    megabytes = (here / "model" / "run" / "net_last.pth").stat().st_size / 1e6
    assert rows[0]["megabytes"] == pytest.approx(megabytes, abs=0.01)
    assert Image.open(here / "out.png").size[0] > 1000


def test_a_table_for_a_file_has_a_column_for_each_figure():
    accuracy = {"Market": {"rank1": 0.5, "mAP": 0.25}}
    row = {"network": "a_b", "milliseconds": 3.0, "megabytes": 1.5, "accuracy": accuracy}
    assert table([row], TableForm(csv=True)).splitlines() == [
        'network,"Market: Rank@1, %","Market: mAP, %",ms an image,MB',
        "a_b,50.00,25.00,3.0,1.5",
    ]
    assert r"a\_b & 50.00 & 25.00 & 3.0 & 1.5 \\" in table([row], TableForm(latex=True))


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        (["a/b/one.onnx --bgr", "two", "test_resnet=c/net.pth"], ["one", "two", "net"]),
        (["a/net.onnx", "b/net.onnx"], ["a/net.onnx", "b/net.onnx"]),
        (["run.2"], ["run.2"]),
    ],
)
def test_short_names_differ(texts, names):
    assert short_names(texts) == names


def test_flags_after_a_network_are_those_of_test_py():
    flags = network_named("reid.xml --bgr --range 0..255", "networks", "-1")
    assert (flags.engine, flags.bgr, flags.range, flags.gpu_ids) == (
        "reid.xml",
        True,
        "0..255",
        "-1",
    )
    assert network_named("test_resnet=none --seed 3", "networks", "-1").seed == 3


def test_the_time_is_that_of_one_view_on_the_cpu(monkeypatch):
    opened = []

    def open_embedder(flags):
        opened.append((flags.no_flip, flags.gpu_ids))
        return SimpleNamespace(flips_inside=False)

    monkeypatch.setattr("person_reid.open_embedder", open_embedder)
    for name in ("milliseconds", "megabytes"):
        monkeypatch.setattr(compare_networks, name, lambda _: 1.0)
    measure("random", network_named("test_resnet=none", "networks", "0"), [])
    assert opened == [(False, "0"), (True, "-1")]


def test_a_missing_test_set_is_found_before_the_work(here):
    with pytest.raises(UserError, match="nowhere: no such folder"):
        compare_networks.main(["--networks", "run", "--test_dirs", "nowhere", "--gpu_ids", "-1"])


def test_a_network_alone_is_not_compared(monkeypatch):
    monkeypatch.setattr(compare_networks, "check_test_sets", lambda _: None)
    with pytest.raises(UserError, match=r"^bootstrap: expected two networks or more\.$"):
        compare_networks.main(
            ["--networks", "a", "--test_dirs", "people/pytorch", "--bootstrap", "--gpu_ids", "-1"]
        )


@pytest.fixture
def results(published, here):
    """a.mat, and b.mat of the same images by another network."""
    query, gallery, *_ = published
    save_result("a.mat", query, gallery)
    random, others = np.random.default_rng(0), []
    for images in (query, gallery):
        noise = 0.3 * random.normal(size=images.features.shape)
        others.append(FeatureSet(images.features + noise, images.labels, images.cameras))
    save_result("b.mat", others[0], others[1])
    return (query, gallery), others


def test_results_are_compared_as_they_are(results, capsys):
    compare_networks.main(["--results", "a.mat", "b.mat", "--json", "out.json", "--csv"])
    rows = list(csv.reader(capsys.readouterr().out.splitlines()))
    first, second = (evaluate(*sets) for sets in results)
    found = paired_differences(first, second, (1,), draws=10_000)
    assert rows[1] == ["a", f"{100 * first.rank(1):.2f}", f"{100 * first.mAP:.2f}"]
    value, low, high, p = found["mAP"]
    figures = [f"{100 * end:.2f}" for end in (value, low, high)]
    assert rows[6] == ["60 queries, 520 gallery images", "b - a", "mAP", *figures, f"{p:.4f}"]


def test_no_output_replaces_a_result(results, here):
    (here / "a.json").hardlink_to(here / "a.mat")
    with pytest.raises(UserError, match=r"json=a\.json: this command reads that file"):
        compare_networks.main(["--results", "a.mat", "b.mat", "--json", "a.json"])


def test_results_of_other_queries_are_refused_in_one_line(results):
    (query, gallery), _ = results
    turned = query.select(np.arange(len(query))[::-1])
    save_result("c.mat", turned, gallery)
    with pytest.raises(UserError, match=r"^c\.mat: its 60 query images are not the 60 of a\.mat\."):
        compare_networks.main(["--results", "a.mat", "b.mat", "c.mat"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--results", "a.mat"], "results: expected two files or more."),
        (["--networks", "a"], "Expected networks and test_dirs, or results."),
        (
            ["--results", "a.mat", "b.mat", "--test_dirs", "x", "--save", "x.png"],
            "test_dirs, save would be ignored: results are compared as they are.",
        ),
    ],
)
def test_either_networks_or_results_are_compared(words, message, here):
    with pytest.raises(UserError) as error:
        compare_networks.main(words)
    assert str(error.value) == message


def test_backslashes_on_windows_separate_folders(monkeypatch):
    monkeypatch.setattr("sys.platform", "win32")
    network = network_named(r'resnet50="C:\runs of May\net.pth" --seed 3', "networks", "-1")
    assert (network.weights, network.seed) == (r"C:\runs of May\net.pth", 3)
