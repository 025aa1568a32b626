"""Help is complete and no wider than a page, its examples parse, and the shell completes flags."""

import importlib
import os
import subprocess
import sys
from unittest.mock import patch

import pytest

from person_reid.console.parser import Parser, example_lines
from tests.docs.test_pages import SCRIPTS, refusal
from tests.support import ROOT
from tests.support.pages import Block, in_block


def parser_of(path):
    """The parser of a script, whose --help ends with status 0."""
    found = []
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    with (
        patch.object(Parser, "print_help", lambda parser: found.append(parser)),
        pytest.raises(SystemExit) as end,
    ):
        module.main(["--help"])
    assert end.value.code in (None, 0)
    assert len(found) == 1
    return found[0]


def commands_of(parser):
    """The parsers of its commands, where it has any."""
    return [
        command
        for action in parser._actions
        if action.nargs == "A..."
        for command in action.choices.values()
    ]


@pytest.mark.parametrize("path", SCRIPTS)
def test_help_is_complete_and_ends_with_commands_that_parse(path, here, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    parser = parser_of(path)
    for shown in (parser, *commands_of(parser)):
        text = shown.format_help()
        assert max(map(len, text.splitlines())) <= 120
        assert "(default: None)" not in text
        assert "(default: False)" not in text
        assert "==SUPPRESS==" not in text
        without = [
            action.dest for action in shown._actions if not action.help and action.nargs != "A..."
        ]
        assert not without
        ending = text.partition("\nexamples:\n")[2]
        examples = in_block(Block(0, "bash", ending, ""))
        assert path in {example.script for example in examples}
        # Every line is a command.
        assert len(examples) == len(ending.replace("\\\n", "").splitlines())
        assert [refused for example in examples if (refused := refusal(example))] == []


def test_the_short_help_names_the_common_flags_alone():
    text = parser_of("tools/serve.py").format_help()
    assert "--tokens FILE" in text
    assert "--audit FILE" not in text


@pytest.mark.parametrize("path", SCRIPTS)
def test_every_script_can_be_completed(path):
    # argcomplete reads no more than 1,024 bytes.
    assert b"PYTHON_ARGCOMPLETE_OK" in (ROOT / path).read_bytes()[:1024]


DOCSTRING = """What it does, with 10 % of the work.

    python do.py --top 3        # one
    OMP_NUM_THREADS=1 python do.py go \\
        --further

More about it.

    not = a_command()
"""


def test_the_commands_of_a_docstring_go_to_the_end():
    parser = Parser(DOCSTRING, prog="do.py")
    parser.add_argument("--top", type=int, default=10, help="how many")
    parser.add_argument("--share", type=float, default=0.5, help="of 100 %%")
    parser.add_argument("--names", nargs="+", default=["a", "50%"], help="which")
    parser.add_argument("--given", default=3, help="said (default: three)")
    assert parser.format_help().splitlines() == [
        "usage: do.py [-h] [--top N] [--share X] [--names NAMES [NAMES ...]]",
        "             [--given GIVEN]",
        "",
        "What it does, with 10 % of the work.",
        "",
        "More about it.",
        "",
        "    not = a_command()",
        "",
        "options:",
        "  -h, --help                show this help message and exit",
        "  --top N                   how many (default: 10)",
        "  --share X                 of 100 % (default: 0.5)",
        "  --names NAMES [NAMES ...]",
        "                            which (default: a 50%)",
        "  --given GIVEN             said (default: three)",
        "",
        "examples:",
        "  python do.py --top 3        # one",
        "  OMP_NUM_THREADS=1 python do.py go \\",
        "      --further",
    ]
    assert example_lines(DOCSTRING, "go") == ["OMP_NUM_THREADS=1 python do.py go \\"]


def test_commands_that_a_colon_introduces_stay_below_it():
    text = "Draw.\n\n    python do.py\n\nThen look at it:\n\n    python see.py go\n\nThe end."
    shown = Parser(text, prog="do.py", add_help=False).format_help()
    assert "Then look at it:\n\n    python see.py go\n\nThe end.\n" in shown
    assert shown.endswith("examples:\n  python do.py\n")
    assert example_lines(text, "go") == []


@pytest.mark.parametrize("path", SCRIPTS)
def test_every_colon_of_a_help_introduces_something(path, here):
    parser = parser_of(path)
    for shown in (parser, *commands_of(parser)):
        paragraphs = [*filter(str.strip, (shown.description or "").split("\n\n"))]
        followed = zip(paragraphs, [*paragraphs[1:], ""], strict=True)
        assert [part for part, below in followed if part.endswith(":") and below[:1] != " "] == []


def test_the_installed_command_shows_its_own_name_in_examples():
    text = "Draw.\n\n    python tools/figures.py map --save map.png"
    assert (
        Parser(text, prog="person-reid figures")
        .format_help()
        .endswith("  person-reid figures map --save map.png\n")
    )
    assert (
        Parser(text, prog="figures.py")
        .format_help()
        .endswith("  python tools/figures.py map --save map.png\n")
    )


def test_the_usage_of_many_flags_names_what_must_be_there():
    parser = Parser("", prog="do.py")
    parser.add_argument("image", help="an image")
    parser.add_argument("--index", required=True, help="an index")
    for name in "abcdef":
        parser.add_argument(f"--{name}", help="a flag")
    assert parser.format_usage() == "usage: do.py --index INDEX [flags] image\n"


def test_the_shell_completes_a_flag_of_train_py(tmp_path):
    """As bash asks: the words so far in the environment, the answer in a file."""
    pytest.importorskip("argcomplete")
    line = "python train.py --eval"
    asked = {"_ARGCOMPLETE": "2", "COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9"}
    asked |= {"_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "answer"), "_ARGCOMPLETE_IFS": "\n"}
    done = subprocess.run(
        [sys.executable, ROOT / "train.py"], env={**os.environ, **asked}, cwd=tmp_path, timeout=60
    )
    assert done.returncode == 0
    assert (tmp_path / "answer").read_text().split() == ["--eval_every"]
    assert [path.name for path in tmp_path.iterdir()] == ["answer"]


def test_without_argcomplete_a_shell_that_asks_gets_no_answer(monkeypatch):
    monkeypatch.setenv("_ARGCOMPLETE", "1")
    monkeypatch.setitem(sys.modules, "argcomplete", None)
    assert Parser("").parse_args([]) is not None


def test_a_wrong_flag_of_several_processes_is_said_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    for rank in ("1", "0"):
        (tmp_path / rank).mkdir()
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / rank / "error.json"))
        with pytest.raises(SystemExit, match="2"):
            Parser(prog="do.py").parse_args(["--nonsense"])
    assert capsys.readouterr().err.count("error") == 1
