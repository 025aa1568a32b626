"""The command `person-reid`, which has every script of the repository as a subcommand with the same name and flags.

person-reid train --name ft_ResNet50 --train_all
person-reid test --name ft_ResNet50
"""

import importlib
import runpy
import sys
from pathlib import Path

from person_reid.basics import did_you_mean
from person_reid.console.script import run_script as run_script

# Scripts that hold what they do, and their folder in a checkout; the other commands are in this package.
SCRIPTS = {
    "train": ".", "train_DDP": ".", "evaluate": ".", "evaluate_gpu": ".", "evaluate_rerank": ".", "adapt": "tools",
}  # fmt: skip
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
    "threshold": "measure the similarity above which two images show the same person",
    "compare": "decide whether two images show the same person",
    "export": "write a network to an ONNX, TorchScript or torch.export file",
    "save_pretrained": "write a network to a folder that explains itself",
    "compare_networks": "compare the accuracy, time and size of networks",
    "heatmap": "draw where a network looks",
    "figures": "draw curves, CMC, histograms and maps",
    "report": "write everything about a run on one page",
    "explore": "write a folder in which to explore a result with a browser",
    "label_errors": "list images whose identity looks wrong",
    "augmentations": "draw what each augmentation does",
    "reproduce": "run recipes and compare them with the published figures",
}


def main(arguments: list[str] | None = None) -> None:
    """Run the subcommand that the arguments name, or list them all if there is none."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return
    if arguments[0] == "--version":
        from person_reid import __version__

        print(f"person-reid {__version__}")
        return
    name, *rest = arguments
    if name not in COMMANDS:
        known = f"{did_you_mean(name, COMMANDS)} There are: {', '.join(COMMANDS)}."
        print(f"error: no command {name!r}.{known}", file=sys.stderr)
        sys.exit(2)
    sys.argv = [f"person-reid {name}", *rest]  # what argparse and torchrun read
    if name in SCRIPTS:
        file = script(name)
        sys.path.insert(0, str(file.parent))  # as Python does for a script, which can import its neighbours
        runpy.run_path(str(file), run_name="__main__")
    else:
        run_script(importlib.import_module(f"person_reid.cli.{name.lower()}").main)


def script(name: str) -> Path:
    """Return the file of a script: the one in the wheel, or that of the checkout that the package belongs to."""
    package = Path(__file__).resolve().parent.parent
    packed = package / "scripts"
    return (packed if packed.is_dir() else package.parent) / SCRIPTS[name] / f"{name}.py"


def usage() -> str:
    """Return the help text of the command itself."""
    lines = [f"  {name:<17}{summary}" for name, summary in COMMANDS.items()]
    head = "usage: person-reid COMMAND [flags]\n\nPerson re-identification. Each command has its own --help.\n\n"
    return head + "\n".join(["commands:", *lines])
