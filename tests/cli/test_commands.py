"""Every published command parses to what it says, and the training commands resolve without touching anything."""

import shlex

import pytest
import yaml

import demo
import evaluate
import evaluate_gpu
import evaluate_rerank
import prepare
import train
from person_reid.basics import UserError
from person_reid.cli.flags import NETWORK_FLAGS, testing_parser
from tests.support import FIXTURES

LINES = (FIXTURES / "commands.txt").read_text().splitlines()
COMMANDS = [shlex.split(line)[1:] for line in LINES if line.strip()]
ABBREVIATIONS = {"batch": "batchsize", "warm": "warm_epoch", "total": "total_epoch"}


def commands(script):
    return [pytest.param(words[1:], id=" ".join(words)) for words in COMMANDS if words[0] == script]


def said(words):
    """What the words of a command say, read without argparse: option → value, True for a bare flag."""
    pairs = {}
    for position, word in enumerate(words):
        if word.startswith("--"):
            following = words[position + 1 : position + 2]
            value = following[0] if following and not following[0].startswith("--") else True
            pairs[ABBREVIATIONS.get(word[2:], word[2:])] = value
    return pairs


def check_options(options, expected):
    for name, value in expected.items():
        assert options[name] == (value if isinstance(value, bool) else type(options[name])(value)), name


def test_there_are_commands_for_every_script():
    assert {words[0] for words in COMMANDS} >= {"prepare.py", "train.py", "test.py", "evaluate.py", "demo.py"}


@pytest.mark.parametrize("words", commands("train.py"))
def test_training_command_resolves_to_what_it_says_and_touches_nothing(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
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
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", commands("test.py"))
def test_test_command_parses_to_what_it_says(words):
    check_options(vars(testing_parser().parse_args(words)), said(words))


@pytest.mark.parametrize(
    ("script", "module"),
    [("evaluate.py", evaluate), ("evaluate_gpu.py", evaluate_gpu), ("evaluate_rerank.py", evaluate_rerank)],
)
def test_evaluation_commands_ask_for_features_first(script, module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for parameter in commands(script):
        with pytest.raises(UserError, match=r"pytorch_result\.mat: no features there"):
            module.main(parameter.values[0])


@pytest.mark.parametrize("words", commands("demo.py"))
def test_demo_commands_ask_for_features_first(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"pytorch_result\.mat: no features there"):
        demo.main(words)


def test_prepare_says_where_it_looked_and_how_to_get_data(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(UserError, match=r"(?s)Market-1501-v15\.09\.15.*--synthetic"):
        prepare.main([])
