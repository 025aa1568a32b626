"""The command person-reid, whose subcommands are the scripts."""

import re
import runpy
import sys
from pathlib import Path

from person_reid.files import PACKAGE
from person_reid.text import did_you_mean

# {name: summary for the help}
COMMANDS = {
    "prepare": "lay out a data set, or draw one",
    "train": "train a network",
    "train_DDP": "train under torchrun, one process per device",
    "adapt": "adapt a network to images without labels",
    "test": "extract the features of query and gallery, and evaluate them",
    "evaluate": "compute Rank@k, mAP and mINP from extracted features",
    "evaluate_gpu": "the same on an accelerator",
    "evaluate_rerank": "the same after re-ranking",
    "demo": "print and draw the rankings of queries",
    "model": "list the networks, or describe one",
    "search": "index folders of crops and search them by picture",
    "gallery": "say what an index holds, check, copy and move it, or give it another network",
    "people": "find out who is in several videos",
    "serve": "answer other programs over HTTP: embed, search, identify, enroll, forget",
    "across": "link the tracks of several cameras into people",
    "threshold": "measure the similarity above which two images show the same person",
    "compare": "decide whether two images show the same person",
    "export": "write a network to an ONNX, TorchScript or torch.export file",
    "save_pretrained": "write a network to a folder that explains itself",
    "compare_networks": "compare the accuracy, time and size of networks",
    "heatmap": "draw where a network looks",
    "figures": "draw curves, CMC, histograms and maps, or print a table",
    "report": "write everything about a run on one page",
    "explore": "write a folder in which to explore a result with a browser",
    "label_errors": "list images whose identity looks wrong",
    "augmentations": "draw what each augmentation does",
    "reproduce": "run recipes and compare them with the published figures",
    "ablation": "train and test a network for every row of a table, over several seeds",
}
# {command: what to try first}
BEGINNINGS = {
    "compare A.jpg B.jpg": "decide whether two photographs show the same person",
    "search index crops --index people.index": "index a folder of people, for the next two",
    "search query A.jpg --index people.index": "find a person in it",
    "serve --index people.index": "open it in a browser, and to other programs",
    "people hall.mp4 till.mp4 --save people": "find out who is in several videos",
    "prepare --dataset market --download": "get a data set, to train and test your own network",
}
# {command: the folder of its script in a checkout}
IN_ROOT = (
    "prepare", "train", "train_DDP", "test", "evaluate", "evaluate_gpu", "evaluate_rerank", "demo",
    "model",
)  # fmt: skip
SCRIPTS = {name: "." if name in IN_ROOT else "tools" for name in COMMANDS}
SCRIPT_NAMES = re.compile(
    rf"\b(?:python (?:tools/)?|tools/|(?<=[\w;] ))({'|'.join(COMMANDS)})\.py\b"
)
# Programs that take a module, and not a command.
LAUNCHED = re.compile(r"\btorchrun |torch\.distributed\.launch ")


def as_installed(text: str) -> str:
    """Return a help text with the installed program's commands in place of scripts.

    `python test.py --multi` becomes `person-reid test --multi`, and `torchrun test.py` becomes
    `torchrun -m person_reid test`.
    """
    return "\n".join(
        SCRIPT_NAMES.sub(r"-m person_reid \1" if LAUNCHED.search(line) else r"person-reid \1", line)
        for line in text.split("\n")
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the subcommand in the arguments, or print an overview."""
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
    """Return the file of a script, in the wheel or in the checkout that contains the package."""
    packed = PACKAGE / "scripts"
    return (packed if packed.is_dir() else PACKAGE.parent) / SCRIPTS[name] / f"{name}.py"


def first_commands() -> str:
    """Return a text with six commands to begin with."""
    width = max(map(len, BEGINNINGS))
    lines = [
        f"  person-reid {command:<{width}}  {purpose}" for command, purpose in BEGINNINGS.items()
    ]
    return "\n".join(["Begin with one of these:", "", *lines, "", "person-reid --help lists all."])


def usage() -> str:
    """Return the help text of the command person-reid itself."""
    lines = [f"  {name:<17}{summary}" for name, summary in COMMANDS.items()]
    head = (
        "usage: person-reid COMMAND [flags]\n\nPerson re-identification. "
        "Each command has its own --help.\n\n"
    )
    return head + "\n".join(["commands:", *lines])
