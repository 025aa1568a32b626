import re
from pathlib import Path

import pytest
import torch

import test as test_script
from benchmarks.support.people import draw_people
from person_reid.console import parse
from person_reid.deploy.engine import Engine
from person_reid.deploy.exported_files import Contents
from person_reid.errors import UserError
from person_reid.models.factory import create_model
from tests.support.flags import ON_THE_PROCESSOR as NETWORK
from tools import export
from tools.export import ExportConfig


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """A small synthetic test set."""
    return draw_people(
        tmp_path_factory.mktemp("people"), 4, tested=5, cameras=3, distractors=6, junk=4
    )


def figures(capsys):
    """The figures that were printed, a list of strings for each line."""
    return re.findall(r"Rank@1:.*", capsys.readouterr().out)


def test_an_exported_file_is_tested_with_the_same_figures(people, here, capsys):
    test_script.main([*NETWORK, "--test_dir", str(people)])
    (network,) = figures(capsys)
    for name, flags in (("net.pt2", []), ("net.pt", ["--normalise_input", "--flip", "--l2"])):
        export.main([*NETWORK, "--output", name, *flags, "--test_dir", str(people)])
        assert figures(capsys) == [network, network]
        test_script.main(
            [
                "--engine",
                name,
                "--gpu_ids",
                "-1",
                "--test_dir",
                str(people),
                "--result",
                "engine.mat",
            ]
        )
        assert figures(capsys) == [network]
    assert not (here / "model").exists()


def test_onnx_is_the_default_and_int8_says_what_it_costs(people, here, capsys):
    pytest.importorskip("onnxruntime")
    export.main([*NETWORK, "--int8", "--tensorrt", "--test_dir", str(people)])
    output = capsys.readouterr().out
    assert "test_resnet.onnx: float32 (B, 3, 64, 32) → (B, 96), int8" in output
    assert re.search(r"(?s)network +Rank@1.*\nfile +Rank@1", output)
    assert "trtexec --onnx=test_resnet.onnx --saveEngine=test_resnet.engine" in output
    contents = Engine("test_resnet.onnx").contents
    assert (contents.precision, contents.tensorrt, contents.source) == (
        "int8",
        True,
        "test_resnet none",
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--output", "net.pth"],
            r"output=net\.pth: expected a name that ends in \.onnx, \.pt, \.pt2",
        ),
        (["--output", "net.pt", "--format", "onnx"], r"expected a name that ends in \.onnx\."),
        (
            ["--format", "export", "--int8"],
            "format=export: int8 and tensorrt need format=onnx",
        ),
        (["--fp16", "--int8"], "exclude each other"),
        (["--test_dir", "absent"], "absent: no such folder"),
    ],
)
def test_mistakes_are_named_before_anything_is_written(here, flags, message):
    with pytest.raises(UserError, match=message):
        export.main([*NETWORK, *flags])
    assert list(here.iterdir()) == []


def test_an_ending_in_capitals_is_the_same():
    config = parse(ExportConfig, [*NETWORK, "--output", "NET.PT2"])
    assert export.chosen_format(config) == ("export", Path("NET.PT2"))


def test_the_weight_file_itself_is_not_replaced(here):
    torch.save(create_model("test_resnet", weights="none").model.state_dict(), "test_resnet.pt")
    before = (here / "test_resnet.pt").read_bytes()
    with pytest.raises(UserError, match=r"output=test_resnet\.pt: this command reads that file"):
        export.main(
            [*NETWORK[:3], str(here / "test_resnet.pt"), *NETWORK[4:], "--format", "torchscript"]
        )
    assert (here / "test_resnet.pt").read_bytes() == before


def test_the_size_of_a_file_is_printed_in_megabytes(tmp_path, capsys):
    (tmp_path / "net.pt2").write_bytes(bytes(2_540_000))
    export.say(tmp_path / "net.pt2", Contents(64, 32, 128), None)
    assert "(B, 128), float32, 2.5 MB\n" in capsys.readouterr().out
