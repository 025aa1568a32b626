"""The parser of every script: readable help that ends with examples, and shell completion.

    parser = Parser(__doc__)  # the docstring says what the script does and shows commands
    parser.add_argument("--top", type=int, default=10, help="number of gallery images")
    options = parser.parse_args(argv)

This module must stay fast to import.
"""

import argparse
import contextlib
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NoReturn, TypeVar

from person_reid.config.option import ALIASES, DeclaredOption, Option
from person_reid.console.main import as_installed
from person_reid.console.script import print_remarks, said_before
from person_reid.text import as_command, did_you_mean

DEVICES = {"cpu": "-1", "cuda": "0", "gpu": "0", "mps": "0"}  # values of --device, besides cuda:1
OTHER_TOOLBOXES = ""  # any script
# {guess: {flag that a script must have: what to do}}; the first flag that it has counts
HINTS: dict[str, dict[str, str]] = {
    "workers": {OTHER_TOOLBOXES: "There are no workers: images are decoded once, and kept."},
    "pretrained": {
        "weights": "--weights FILE begins with a file; "
                   "--weights imagenet and none are the other choices.",
    },
    "config_file": {"config": "--config FILE reads options from a file."},
    "output": {
        "save": "--save FILE says what to write.",
        "save_dir": "--save_dir FOLDER says where to write.",
        "result": "--result FILE says where the features are.",
        "total_epoch": "--name NAME says where to write: model/NAME.",
    },
    "rerank": {"result": f"{as_command('evaluate_rerank.py')} re-ranks the gallery."},
    "model": {
        "backbone": f"--backbone NAME chooses the network; {as_command('model.py')} lists them.",
        "name": "--name NAME chooses the run.",
    },
    "dataset": {"data_dir": "--data_dir FOLDER is what prepare.py laid out."},
    "checkpoint": {"which_epoch": "--name NAME --which_epoch N chooses a checkpoint, "
                                  "and --weights FILE any file.",
                   "weights": "--weights FILE begins with a file."},
    "learning_rate": {"lr": "--lr X is the learning rate."},
    "amp": {"bf16": "--bf16 computes in half precision; so does --fp16."},
    "eval": {"eval_every": "--eval_every N tests every N epochs, and "
                           f"{as_command('test.py')} tests a run."},
}  # fmt: skip
SAME_FLAGS = {  # guesses that mean the same as another
    "num_workers": "workers", "cfg": "config_file", "output_dir": "output", "out": "output",
    "re_rank": "rerank", "re_ranking": "rerank", "arch": "model", "network": "model",
    "ckpt": "checkpoint", "eval_only": "eval", "evaluate": "eval", "test_only": "eval",
}  # fmt: skip
BARE_VALUES = ("--query_index", "--identity", "--name")  # flags whose value people type alone


def as_meant(words: Sequence[str], flags: Collection[str]) -> list[str]:
    """Return a command line with aliases and hyphenated names replaced with a parser's flags.

    flags: the parser's flags, such as --batchsize. `--batch-size 8` becomes `--batchsize 8`, and
    `--device cpu` becomes `--gpu_ids -1`.
    """
    found: list[str] = []
    for place, word in enumerate(words):
        if word == "--":
            return [*found, *words[place:]]
        flag, equals, value = word.partition("=")
        if found and found[-1] == "--gpu_ids" and words[place - 1] == "--device":
            word = _device(word)
        elif flag.startswith("--") and flag not in flags:
            name = flag[2:].replace("-", "_")
            meant = f"--{ALIASES.get(name, name)}"
            if meant in flags:
                value = _device(value) if name == "device" else value
                word = f"{meant}{equals}{value}"
        found.append(word)
    return found


def _device(text: str) -> str:
    """Return the value of --gpu_ids that corresponds to a value of --device."""
    return DEVICES.get(text, text.removeprefix("cuda:"))


def hint(words: Sequence[str], flags: Mapping[str, object]) -> str:
    """Return advice, after a space, about words that a parser with these flags does not know.

    The text is empty if there is no suggestion. Messages name options as `weights=none`, so a user
    may type that.
    """
    for word in words:
        option, equals, value = word.partition("=")
        if equals and f"--{option}" in flags:
            return f" Did you mean --{option} {value}?"
    guess = next((word for word in words if word.startswith("--")), "").partition("=")[0]
    if not guess and "." not in words[0]:  # a value alone: demo.py 5, search.py forget Anna
        flag = next((flag for flag in BARE_VALUES if flag in flags), None)
        return f" Did you mean {flag} {words[0]}?" if flag else ""
    name = guess[2:].replace("-", "_").lower()
    for needed, text in HINTS.get(SAME_FLAGS.get(name, name), {}).items():
        if needed == OTHER_TOOLBOXES or f"--{needed}" in flags:
            return f" {text}"
    alike = next((flag for flag in flags if flag.lower() == f"--{name}"), None)
    return did_you_mean(alike or guess, flags)


WIDEST = 120  # columns of the help, at most
MOST_FLAGS_OF_USAGE = 5  # flags that the usage line may name; more would hide the rest of the line
METAVARS = {  # placeholders for values, by type
    "int": "N", "float": "X", "Path": "FILE", "output_file": "FILE", "picture_file": "FILE",
}  # fmt: skip
COMMAND = re.compile(r"\s*(?:\w+=\S+ +)*(?:python|bash|torchrun) ")
Value = TypeVar("Value")


class Parser(argparse.ArgumentParser):
    """Parse the command line of a script.

    text: the docstring of the script, whose paragraphs of commands go to the end of the help,
        except those that a colon introduces; python -OO leaves None.
    examples: lines to show there instead, such as the result of example_lines(text, word) for one
        of several commands.
    settings: for argparse.ArgumentParser.

    If argcomplete is installed and the shell asks for completions (see README.md), parsing answers
    and ends the process.
    """

    completing = False
    words: Sequence[str] = ()  # the command line
    # Flags that win if an abbreviation is ambiguous.
    first_meant: frozenset[str] = frozenset()

    def __init__(
        self, text: str | None = "", examples: Sequence[str] | None = None, **settings: Any
    ) -> None:
        prose = "\n\n".join(part for part, example in _parts(text) if not example)
        lines = example_lines(text) if examples is None else examples
        epilog = "\n".join(["examples:", *(f"  {line}" for line in lines)]) if lines else None
        super().__init__(description=prose, epilog=epilog, formatter_class=Help, **settings)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse as argparse does, once completions have been offered."""
        print_remarks()
        if "_ARGCOMPLETE" in os.environ and not self.completing:
            self.completing = True  # argcomplete itself parses what has been typed
            with contextlib.suppress(ImportError):
                import argcomplete

                argcomplete.autocomplete(self)  # ends the process
        self.words = as_meant(sys.argv[1:] if args is None else args, self._option_string_actions)
        return super().parse_known_args(self.words, namespace)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does. The error for an unknown flag ends with a hint."""
        options, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(
                f"unrecognized arguments: {' '.join(unknown)}.{hint(unknown, self._flags())}"
            )
        return options

    def _flags(self) -> dict[str, argparse.Action]:
        """Return the flags of the parser, and the flags of the command that its words name."""
        groups = self._subparsers._group_actions if self._subparsers else []
        commands = {
            name: parser for group in groups for name, parser in dict(group.choices or {}).items()
        }
        chosen = next((commands[word] for word in self.words if word in commands), self)
        return {**self._option_string_actions, **chosen._option_string_actions}

    def error(self, message: str) -> NoReturn:
        """Print the usage and the message, and exit with status 2."""
        if said_before(message):
            sys.exit(2)
        if self._subparsers and self.words[:1] and self.words[0].startswith("--"):
            message += ". The command comes first, then its flags"
        super().error(message + self._dashed(message))

    def _dashed(self, message: str) -> str:
        """Return advice on a value that begins with a dash, if the message is about one."""
        for flag, value in pairwise(self.words):
            name = value.partition("=")[0]
            if f"argument {flag}: " in message and name[:1] == "-" and name not in self._flags():
                return f". If {value} is its value: {flag}={value}"
        return ""

    def _get_option_tuples(self, option_string: str) -> list[Any]:
        """Return the options that an abbreviation may stand for.

        That is argparse's answer, or only the flag in `first_meant` if exactly one matches.
        """
        found: list[Any] = super()._get_option_tuples(option_string)
        meant = [each for each in found if each[1] in self.first_meant]
        return meant if len(meant) == 1 else found


class Help(argparse.RawDescriptionHelpFormatter):
    """Format the help: no wider than a page, with N and X for numbers, and with the defaults.

    A default is added where the help text omits it.
    """

    def __init__(self, prog: str, **settings: Any) -> None:
        width = min(shutil.get_terminal_size().columns - 2, WIDEST)
        super().__init__(prog, **{"max_help_position": 28, "width": width, **settings})

    def add_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[Any],
        prefix: str | None = None,
    ) -> None:
        """Add the usage line; more than MOST_FLAGS_OF_USAGE optional flags are shown as [flags]."""
        flags = [action for action in actions if action.option_strings and not action.required]
        if len(flags) > MOST_FLAGS_OF_USAGE:
            several = argparse.Action([], dest="flags", metavar="[flags]")
            actions, groups = [several, *(action for action in actions if action not in flags)], []
        super().add_usage(usage, actions, groups, prefix)

    def format_help(self) -> str:
        """Return the help, with the names of installed commands if the user runs one."""
        text = super().format_help()
        return as_installed(text) if self._prog.startswith("person-reid ") else text

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        return METAVARS.get(
            getattr(action.type, "__name__", ""), super()._get_default_metavar_for_optional(action)
        )

    def _get_help_string(self, action: argparse.Action) -> str:
        return with_default(action.help or "", action.default)


def settings_of(each: DeclaredOption, everything: bool = True) -> dict[str, Any]:
    """Return argparse's settings for an option, except its default.

    everything: whether the help shows an option that is not common.
    """
    text, shown = help_of(each.about).replace("%", "%%"), everything or shown_first(each)
    settings: dict[str, Any] = {
        "dest": each.name,
        "help": with_default(text, each.default) if shown else argparse.SUPPRESS,
    }
    if each.kind is bool:
        return {**settings, "action": "store_true"}
    if each.about.required:
        settings |= {"required": True}
    kind = flag_type(each.checked_one, (each.about.form or each.kind).__name__)
    if each.about.several:
        settings |= {"nargs": each.about.several}
    if each.about.bare is not None:
        settings |= {"nargs": "?", "const": each.about.bare}
    if each.about.choices:
        return {**settings, "type": kind, "choices": each.about.choices}
    metavar = each.about.metavar
    return {**settings, "type": kind, **({"metavar": metavar} if metavar else {})}


def shown_first(each: DeclaredOption) -> bool:
    """Return whether a plain --help shows an option: a common one, or one that a command needs."""
    return each.about.common or each.about.required


def help_of(about: Option) -> str:
    """Return the help text of an option, followed by the names that it lists."""
    return f"{about.help}: {', '.join(about.names)}" if about.names else about.help


def with_default(text: str, default: Any) -> str:
    """Return a help text with the default added, unless it is obvious or already there."""
    obvious = default is None or default is False or default in ("", (), [], argparse.SUPPRESS)
    if obvious or "default:" in text:
        return text
    shown = " ".join(map(str, default)) if isinstance(default, list | tuple) else str(default)
    return f"{text} (default: {shown.replace('%', '%%')})"


def flag_type(check: Callable[[str], Value], name: str) -> Callable[[str], Value]:
    """Return a function for argparse that converts a flag's text.

    check: returns the value of a text, or raises ValueError, whose message the parser then prints.
    name: the name of the type, such as int; it determines the placeholder in the help.
    """

    def convert(text: str) -> Value:
        try:
            return check(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    convert.__name__ = name
    return convert


def example_lines(text: str | None, word: str = "") -> list[str]:
    """Return the lines of a docstring that are commands and contain `word`, unindented."""
    lines = "\n".join(part for part, example in _parts(text) if example)
    return [
        line for line in textwrap.dedent(lines).splitlines() if word in line.split() or not word
    ]


def _parts(text: str | None) -> list[tuple[str, bool]]:
    """Return the paragraphs of a docstring, and whether each consists of examples.

    Examples are commands that no colon introduces.
    """
    split = re.split(r"\n\s*\n", (text or "").rstrip())
    parts = [part.strip("\n") for part in split if part.strip()]
    return [
        (part, bool(COMMAND.match(part)) and not before.rstrip().endswith(":"))
        for before, part in zip(["", *parts], parts, strict=False)
    ]
