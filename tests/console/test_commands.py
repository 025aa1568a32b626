"""Every published command resolves to what it says; nothing is trained, tested or touched."""

import re
import shlex
from dataclasses import asdict

import pytest
import yaml

import demo
import evaluate
import evaluate_gpu
import evaluate_rerank
import prepare
import train
from person_reid.config.network import NETWORK_FLAGS, NetworkOptions
from person_reid.config.prepare import PrepareConfig
from person_reid.config.tested import TestConfig
from person_reid.console import parse
from person_reid.deploy.find import run_to_test
from person_reid.deploy.network_names import run_of
from person_reid.errors import UserError
from person_reid.run_folder import RunFolder
from person_reid.training import build
from person_reid.training.writers import recorded_options
from tests.support import FIXTURES, ROOT
from tests.support.pages import commands as in_page
from tests.support.small_training import started_as, trained_as

LINES = (FIXTURES / "commands.txt").read_text().splitlines()
LINES += ["python train_DDP.py"]  # of DDP.sh, under torch.distributed.launch
LINES += [
    "python train.py --gpu_ids 0 --name ft_ResNet50 "
    "--alpha 1.0 --batchsize 32 --data_dir your_data_path"
]
# Published scripts that are a flag of another here.
RENAMED = {"train_new.py": ["train.py"], "prepare_Duke.py": ["prepare.py", "--dataset", "duke"]}
COMMANDS = [shlex.split(line)[1:] for line in LINES if line.strip()]
BUILT: dict = {}
ABBREVIATIONS = {"batch": "batchsize", "warm": "warm_epoch", "total": "total_epoch"}


def commands(script):
    return [pytest.param(words[1:], id=" ".join(words)) for words in COMMANDS if words[0] == script]


def said(words):
    """The options that the words of a command give, read without argparse: {option: value}.

    A bare flag is True.
    """
    pairs = {}
    for position, word in enumerate(words):
        if word.startswith("--"):
            following = words[position + 1 : position + 2]
            value = following[0] if following and not following[0].startswith("--") else True
            pairs[ABBREVIATIONS.get(word[2:], word[2:])] = value
    return pairs


def check_options(options, expected):
    for name, value in expected.items():
        assert options[name] == (
            value if isinstance(value, bool) else type(options[name])(value)
        ), name


@pytest.fixture
def built_once(monkeypatch):
    """Commands that differ in the training alone have one network."""

    def built(config, classes, weights, original=build.build_network):
        key = classes, *(getattr(config, name) for name in NetworkOptions.declared())
        if key not in BUILT:
            BUILT[key] = original(config, classes, weights)
        return BUILT[key]

    monkeypatch.setattr(build, "build_network", built)


def test_there_are_commands_for_every_script():
    assert {words[0] for words in COMMANDS} >= {
        "prepare.py",
        "train.py",
        "test.py",
        "evaluate.py",
        "demo.py",
    }


@pytest.mark.parametrize("words", commands("train.py"))
def test_training_command_resolves_to_what_it_says_and_touches_nothing(
    words, here, capsys, built_once
):
    expected = said(words)
    train.main([*words, "--dry_run"])
    output = capsys.readouterr().out
    options = yaml.safe_load(output)
    check_options(options, expected)
    network = next((NETWORK_FLAGS[name] for name in expected if name in NETWORK_FLAGS), "resnet50")
    assert options["backbone"] == network
    size = (384, 192) if "PCB" in expected else (224, 224) if network == "swin_base" else (256, 128)
    assert (options["height"], options["width"]) == size
    assert "M parameters, 751 identities" in output
    assert list(here.iterdir()) == []


def trained(name):
    """The options of the run that a published command trains under this name.

    Any other name has train.py's defaults.
    """
    runs = [
        words[1:]
        for words in COMMANDS
        if words[0] == "train.py" and said(words).get("name") == name
    ]
    return trained_as(*(runs[-1] if runs else ["--name", name]))


@pytest.mark.parametrize("words", commands("test.py"))
def test_test_command_resolves_to_the_network_that_its_run_trained(words, here):
    options = parse(TestConfig, words)
    check_options(vars(options), said(words))
    name = run_of(options) or ""
    run = recorded_options(trained(name))
    RunFolder(name).save_options(run)
    found = run_to_test(options)
    described = ("backbone", "PCB", "usam", "stride", "linear_num", "height", "width")
    assert {name: getattr(found, name) for name in described} == {
        name: run[name] for name in described
    }


def test_the_network_of_a_run_may_be_named_again(here):
    RunFolder("PCB-64").save_options(asdict(trained_as("--PCB")))
    assert run_to_test(parse(TestConfig, ["--PCB", "--name", "PCB-64"])).PCB


@pytest.mark.parametrize("words", commands("train_DDP.py"))
def test_training_command_of_several_processes_resolves(words, monkeypatch):
    # As torch.distributed.launch calls it.
    started = started_as(monkeypatch, "--local-rank=0", *words)
    check_options(asdict(started), said(words))


def test_every_command_of_suites_with_configuration_files_is_mapped():
    """Their scripts, flags and keys are on the page that says what stands in place of each."""
    page = (ROOT / "docs" / "coming-from-torchreid.md").read_text(encoding="utf-8")
    theirs = in_page((FIXTURES / "commands_of_other_suites.md").read_text(encoding="utf-8"))
    assert {command.script for command in theirs} >= {
        "src/engine/train.py",
        "tools/train.py",
        "tools/test.py",
    }
    for command in theirs:
        named = [
            word.partition("=")[0] for word in command.arguments if re.match(r"--|[A-Z]+\.", word)
        ]
        assert [word for word in [command.script, *named] if word not in page] == []


def test_the_script_of_another_data_set_is_a_flag():
    assert parse(PrepareConfig, RENAMED["prepare_Duke.py"][1:]).dataset == "duke"


@pytest.mark.parametrize("module", [evaluate, evaluate_gpu, evaluate_rerank, demo])
def test_commands_for_features_ask_for_them_first(module, here):
    for parameter in commands(f"{module.__name__}.py"):
        with pytest.raises(UserError, match=r"pytorch_result\.mat: no features there"):
            module.main(parameter.values[0])


def test_prepare_says_where_it_looked_and_how_to_get_data(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(UserError, match=r"(?s)Market-1501-v15\.09\.15.*--synthetic"):
        prepare.main([])
