"""The command `person-reid`: each script of the repository is a subcommand with the same flags.

person-reid train --name ft_ResNet50 --train_all
person-reid test --name ft_ResNet50
"""

import runpy
import sys
from pathlib import Path

from person_reid.console.commands import BEGINNINGS, COMMANDS, SCRIPTS
from person_reid.files import PACKAGE
from person_reid.text import did_you_mean


def main(arguments: list[str] | None = None) -> None:
    """Run the subcommand that the arguments name, or print what one can do."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments:
        print(first_commands())
        return
    if arguments[0] in ("-h", "--help"):
        print(usage())
        return
    if arguments[0] == "--version":
        from person_reid import __version__

        print(f"person-reid {__version__}")
        return
    name, *rest = arguments
    if name not in COMMANDS:
        print(
            f"error: no command {name!r}.{did_you_mean(name, COMMANDS)} "
            f"There are: {', '.join(COMMANDS)}.",
            file=sys.stderr,
        )
        sys.exit(2)
    sys.argv = [f"person-reid {name}", *rest]  # what argparse and torchrun read
    sys.path.insert(0, str(script(name).parent))  # as for a script, which imports its neighbours
    runpy.run_module(name, run_name="__main__")


def script(name: str) -> Path:
    """Return the file of a script, in the wheel or in the checkout that the package belongs to."""
    packed = PACKAGE / "scripts"
    return (packed if packed.is_dir() else PACKAGE.parent) / SCRIPTS[name] / f"{name}.py"


def first_commands() -> str:
    """Return six commands to begin with."""
    width = max(map(len, BEGINNINGS))
    lines = [
        f"  person-reid {command:<{width}}  {purpose}" for command, purpose in BEGINNINGS.items()
    ]
    return "\n".join(["Begin with one of these:", "", *lines, "", "person-reid --help lists all."])


def usage() -> str:
    """Return the help text of the command itself."""
    lines = [f"  {name:<17}{summary}" for name, summary in COMMANDS.items()]
    head = (
        "usage: person-reid COMMAND [flags]\n\nPerson re-identification. "
        "Each command has its own --help.\n\n"
    )
    return head + "\n".join(["commands:", *lines])
