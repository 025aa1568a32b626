"""Networks of every kind beside each other."""

import json
from types import SimpleNamespace

import pytest
from PIL import Image

from benchmarks.support.people import draw_people
from person_reid import UserError, save_pretrained
from person_reid.config.look import TableForm
from person_reid.console.named_network import network_named
from tests.deploy.test_load import SMALL, save_run
from tests.support.scripts import run
from tools import compare_networks, export
from tools.compare_networks import measure, short_names, table


def test_a_run_a_folder_a_file_and_weights_are_compared(here, capsys):
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
    compare_networks.main([*words, "--gpu_ids", "-1", "--json", "out.json", "--save", "out.png"])
    head, _, *lines = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith("|")
    ]
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
    assert figures == [figures[0]] * 4 and rows[0]["accuracy"]["people/pytorch"] == figures[0]
    assert all(row["milliseconds"] > 0 for row in rows)
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
