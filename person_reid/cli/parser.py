"""The parser of every script: help that reads well, with examples at its end, and completion by the shell.

    parser = Parser(__doc__)          # of a script whose docstring says what it does and shows commands that run
    parser.add_argument("--top", type=int, default=10, help="how many gallery images")
    options = parser.parse_args(argv)

Nothing here takes long to import.
"""

import argparse
import os
import re
import shutil
import textwrap

from person_reid.cli import print_remarks

WIDEST = 120  # columns of the help, at most
FEW = 5  # flags that the line of usage names; more would hide the rest of it
METAVARS = {"int": "N", "float": "X", "Path": "FILE"}  # what stands for a value of a type
COMMAND = re.compile(r"\s*(?:\w+=\S+ +)*(?:python|bash|torchrun) ")


class Parser(argparse.ArgumentParser):
    """argparse's parser for a script.

    text: the docstring of the script, whose paragraphs of commands go to the end of the help. examples: lines to show
    there in their place, such as example_lines(text, word) gives for one of several commands. settings: argparse's own.

    Where argcomplete is installed and the shell asks for completions (README.md says how), parsing answers and ends
    the process.
    """

    completing = False

    def __init__(self, text="", examples=None, **settings):
        text = text or ""  # python -OO leaves docstrings out
        prose = "\n\n".join(part for part in paragraphs(text) if not COMMAND.match(part))
        lines = example_lines(text) if examples is None else examples
        epilog = "\n".join(["examples:", *(f"  {line}" for line in lines)]) if lines else None
        print_remarks()
        super().__init__(description=prose, epilog=epilog, formatter_class=Help, **settings)

    def parse_known_args(self, args=None, namespace=None):
        if "_ARGCOMPLETE" in os.environ and not self.completing:
            self.completing = True  # argcomplete itself parses what has been typed
            offer_completions(self)
        return super().parse_known_args(args, namespace)


class Help(argparse.RawDescriptionHelpFormatter):
    """No wider than a page; a default is told where there is one and the help has not said it; numbers are N and X."""

    def __init__(self, prog, **settings):
        width = min(shutil.get_terminal_size().columns - 2, WIDEST)
        super().__init__(prog, **{"max_help_position": 28, "width": width, **settings})

    def add_usage(self, usage, actions, groups, prefix=None):
        flags = [action for action in actions if action.option_strings and not action.required]
        if len(flags) > FEW:
            several = argparse.Action([], dest="flags", metavar="[flags]")
            actions, groups = [several, *(action for action in actions if action not in flags)], []
        super().add_usage(usage, actions, groups, prefix)

    def _get_default_metavar_for_optional(self, action):
        return METAVARS.get(getattr(action.type, "__name__", ""), super()._get_default_metavar_for_optional(action))

    def _get_help_string(self, action):
        text, default = action.help or "", action.default
        if default is None or default is False or default in ([], argparse.SUPPRESS) or "default:" in text:
            return text
        shown = " ".join(map(str, default)) if isinstance(default, list | tuple) else str(default)
        return f"{text} (default: {shown.replace('%', '%%')})"


def paragraphs(text):
    """The paragraphs of a docstring."""
    return [part.strip("\n") for part in re.split(r"\n\s*\n", text.rstrip()) if part.strip()]


def example_lines(text, word=""):
    """The lines of a docstring that are commands and hold a word, without their margin."""
    lines = "\n".join(part for part in paragraphs(text) if COMMAND.match(part))
    return [line for line in textwrap.dedent(lines).splitlines() if word in line.split() or not word]


def offer_completions(parser):
    """Answer a shell that asks how the line could go on, and end the process; without argcomplete do nothing."""
    try:
        import argcomplete
    except ImportError:
        return
    argcomplete.autocomplete(parser)
