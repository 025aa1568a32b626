"""Values of train.py's flags that make no sense: one line, before anything is written."""

import argparse
import os

import pytest
import yaml

from person_reid.config import TrainConfig
from person_reid.config.adapt import AdaptConfig
from person_reid.config.option import configured
from person_reid.config.tested import parse_scales
from person_reid.console.main import COMMANDS
from person_reid.console.parser import Parser
from person_reid.errors import UserError
from tests.support.scripts import module_of, refused, run


@pytest.mark.parametrize(
    ("flags", "expected", "status"),
    [
        (["--gpu_ids", ""], "expected a value, found an empty one", 2),
        (["--gpu_ids", "0,0"], "0,0: expected numbers of GPUs", 2),
        (["--gpu_ids", "abc,def"], "abc,def: expected numbers of GPUs", 2),
        (["--gpu_ids", "0,"], "0,: expected numbers of GPUs", 2),
        (["--gpu_ids", "0,-1"], "0,-1: expected numbers of GPUs", 2),
        (["--gpu_ids=-2"], "-2: expected numbers of GPUs", 2),
        (["--gpu_ids", "1" * 30], "expected a number of at most 18 digits", 2),
        (["--loss", "triplet::"], "expected name:weight", 1),
        (["--loss", ":1"], "no loss ''", 1),
        (["--loss", ","], "found an empty one", 2),
        (["--loss", "triplet,"], "found an empty one", 2),
        (["--loss", "a" * 5000], "aaa…: expected at most 4,096 characters", 2),
        (["--attention", ":;"], "unknown kind ''", 1),
        (
            ["--resize_schedule", "128x64,"],
            "expected values separated by commas, found an empty one",
            2,
        ),
        (
            ["--resize_schedule", "128:64,256x128"],
            "expected sizes such as 128x64,192x96,256x128",
            2,
        ),
        (["--resize_schedule", "128x64:3,192x96,256x128"], "with epochs for all but the last", 2),
        (["--resize_schedule", "128x64:3,256x128:2"], "with epochs for all but the last", 2),
        (
            ["--resize_schedule", "128x64:60,256x128"],
            "not every size has an epoch of total_epoch=60",
            1,
        ),
        (["--resize_schedule", "128x64,256x128", "--total", "1"], "not every size has an epoch", 1),
        (["--resize_schedule", "128x64,192x96"], "the last size is that of the trained network", 1),
        (["--train_with", ",,"], "found an empty one", 2),
        (["--train_with", "people,"], "found an empty one", 2),
        (
            ["--config", "empty.yaml"],
            "empty.yaml: expected options as 'name: value' lines, found nothing",
            1,
        ),
        (["--lr", "nan"], "nan: expected a finite number", 2),
        (["--lr", "-1"], "-1: expected a number above 0", 2),
        (["--erasing_p", "1.5"], "1.5: expected a number from 0 to 1", 2),
        (["--batchsize", "many"], "invalid int value: 'many'", 2),
        (["--batchsize", "0"], "0: expected a number above 0", 2),
        (["--stride", "4"], "argument --stride: expected one of 1, 2", 2),
        (["--seed", "-1"], "-1: expected a number of 0 or above", 2),
        (["--weight_decay", "inf"], "inf: expected a finite number", 2),
        (["--seed", "9" * 26], "expected a number of at most 18 digits", 2),
        (["--height", "100000"], "100000: expected a number from 16 to 2048 pixels", 2),
        (["--height", "7", "--width", "3"], "7: expected a number from 16 to 2048 pixels", 2),
        (["--linear_num", "100000000000"], "expected a number from 0 to 65536", 2),
        (["--droprate", "1"], "1: expected a number from 0 to below 1", 2),
        (["--data_dir", ""], "expected a value, found an empty one", 2),
        (["--config", "."], ".: a folder; expected a file of options", 1),
        (["--config", os.devnull], "a device; expected a file of options", 1),
        (["--config", "absent.yaml"], "absent.yaml: no such options file", 1),
        (
            ["--config", "gpus.yaml"],
            "gpus.yaml: gpu_ids: 'a,b' does not fit (a,b: expected numbers of GPUs",
            1,
        ),
        (["--config", "named.yaml"], "name='../a': expected a plain name", 1),
        (["--name", "a\x1b[31m"], "expected a plain name", 1),
        (["--name", "x" * 300], "expected at most 200 bytes, found 300", 1),
        (["--name", "x."], "expected a plain name", 1),
        (["--name=-x", "--dry_run"], "expected a plain name", 1),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_before_anything_is_written(
    flags, expected, status, tmp_path
):
    files = {
        "empty.yaml": "",
        "gpus.yaml": "gpu_ids: [a, b]",
        "named.yaml": yaml.safe_dump({"name": "../a"}),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    said = (refused if status == 1 else run)("train", *flags, cwd=tmp_path, status=status)
    assert expected in said
    assert "\x1b" not in said
    assert {path.name for path in tmp_path.iterdir()} == files.keys()


def test_epochs_that_never_come_are_remarked_on(tmp_path):
    late = [
        "--warm_epoch",
        "6",
        "--freeze_epochs",
        "5",
        "--schedule",
        "multistep",
        "--milestones",
        "5,7",
    ]
    output = run("train", "--dry_run", "--total_epoch", "5", *late, cwd=tmp_path)
    assert "ends before the learning rate has risen" in output
    assert "The backbone learns nothing" in output
    assert "The learning rate never drops: --milestones 5,7" in output


@pytest.mark.parametrize(
    "listed", ["cross_entropy:0", "cross_entropy:0,triplet:0", "center:0,cross_entropy:0.0"]
)
def test_a_training_of_losses_without_weight_is_refused(listed, tmp_path):
    output = refused("train", "--dry_run", "--loss", listed, cwd=tmp_path)
    assert f"loss={listed}: every loss has the weight 0, so there is nothing to learn" in output
    run("train", "--dry_run", "--loss", listed, "--DG", cwd=tmp_path)


@pytest.mark.parametrize(
    ("flag", "place", "words"),
    [
        ("--result", ".", "a folder; expected the name of a file"),
        ("--result", "file/deeper.mat", "file"),
        ("--json", "folder.json", "a folder; expected the name of a file"),
        ("--json", "file/deeper.json", "file"),
    ],
)
def test_a_place_that_cannot_be_written_is_known_before_the_work(flag, place, words, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder.json").mkdir()
    assert words in refused("test", flag, place, "--name", "nobody", cwd=tmp_path)


def test_figures_do_not_replace_what_is_read(tmp_path):
    words = "result.mat: expected the name of a file that ends in .json"
    assert words in run("evaluate", "--json", "result.mat", cwd=tmp_path, status=2)


NUMBERS = {
    "evaluate_rerank": ["--alpha", "--lambda_value", "--memory_gb", "--k1", "--augment"],
    "demo": ["--top"], "prepare": ["--test_fraction", "--cameras"],
    "train": ["--backbone_lr", "--erasing_p", "--alpha"],
}  # fmt: skip


def parser_of(script, monkeypatch):
    """The parser of a script, without those of its commands."""
    found = []

    def stop(parser, *_):
        found.append(parser)
        raise SystemExit

    monkeypatch.setattr(Parser, "parse_known_args", stop)
    with pytest.raises(SystemExit):
        module_of(script).main([])
    return found[0]


def numeric_flags(parser):
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from numeric_flags(command)
        elif getattr(action.type, "__name__", "") in ("int", "float") or action.type in (
            int,
            float,
        ):
            yield parser, action


@pytest.mark.parametrize("kind", [TrainConfig, AdaptConfig])
def test_no_number_of_a_configuration_is_finite_but_absurd(kind):
    for name, each in kind.declared().items():
        texts = {float: ["1e300", "-1e300", "1e10", "1e-300"], int: ["9" * 30, "99999999999"]}.get(
            each.kind, []
        )
        for text in texts[: 1 if name == "seed" else None]:
            for value in (text, each.kind(text)):
                with pytest.raises(UserError, match=name):
                    configured(kind, {name: value})


@pytest.mark.parametrize("script", COMMANDS)
def test_no_number_is_finite_but_absurd(script, monkeypatch):
    for parser, action in numeric_flags(parser_of(script, monkeypatch)):
        absurd = ["1e300", "-1e300", "1e10", "1e-300"] if "float" in action.type.__name__ else []
        absurd += [
            "-" + "9" * 30,
            "9" * 30,
            *(["99999999999"] if "seed" not in action.dest else []),
        ]
        for text in absurd if not action.choices else ():
            with pytest.raises(argparse.ArgumentError):
                parser._get_value(action, text)


@pytest.mark.parametrize("value", ["1e300", "1e-300", "1e10"])
def test_numbers_in_texts_are_not_absurd_either(value, tmp_path):
    for flags in (
        ["--loss", f"triplet:{value}"], ["--loss", f"triplet:1:margin={value}"],
        ["--loss", f"circle:gamma={value}"],
    ):  # fmt: skip
        assert "expected" in refused("train", "--dry_run", *flags, cwd=tmp_path)
    epochs = ["--milestones", "40,99999999999", "--schedule", "multistep"]
    assert "expected epochs in ascending order" in run(
        "train", "--dry_run", *epochs, cwd=tmp_path, status=2
    )
    for flag in ("--mean", "--std"):
        said = run("test", "--engine", "a.onnx", flag, f"1,1,{value}", cwd=tmp_path, status=2)
        assert f"{value}: expected 0, or a number between 1e-12 and 1e+09" in said
    with pytest.raises(UserError, match="ms=.*: expected numbers from"):
        parse_scales(f"1,{value}")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(
    ("script", "flag"), [(script, flag) for script, flags in NUMBERS.items() for flag in flags]
)
def test_no_number_is_infinite_or_none(script, flag, value, tmp_path):
    said = run(script, f"{flag}={value}", cwd=tmp_path, status=2)
    assert f"argument {flag}" in said
    assert f"{value}: expected a finite number" in said or "invalid int value" in said
