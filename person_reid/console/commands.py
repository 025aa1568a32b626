"""The scripts and commands, and the names that an installed program uses for them."""

import io
import re
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
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
# The folder of each in a checkout.
IN_ROOT = (
    "prepare", "train", "train_DDP", "test", "evaluate", "evaluate_gpu", "evaluate_rerank", "demo",
    "model",
)  # fmt: skip
SCRIPTS = {name: "." if name in IN_ROOT else "tools" for name in COMMANDS}
# A script as commands and sentences name it; what follows a colon or a quote is somebody's file.
SCRIPT_NAMES = re.compile(
    rf"(?<![\w./\\-])(?:python (?:tools/)?|tools/|(?<=[\w;] ))({'|'.join(COMMANDS)})\.py\b"
)
# These take a module and not a command.
LAUNCHED = re.compile(r"\btorchrun |torch\.distributed\.launch ")
PAGES = re.compile(r"(?<![\w./\\-])((?:docs|recipes)/[\w/-]+\.(?:md|yaml))\b")


def installed() -> bool:
    """Return whether the user has typed `person-reid NAME`, and may have no checkout."""
    return sys.argv[0].startswith("person-reid ")


def as_installed(text: str) -> str:
    """Return a text in which scripts are commands, and pages are where an installation has them.

    `python test.py --multi` becomes `person-reid test --multi`, and `torchrun test.py` becomes
    `torchrun -m person_reid test`.
    """
    lines = text.split("\n")
    commands = (
        SCRIPT_NAMES.sub(r"-m person_reid \1" if LAUNCHED.search(line) else r"person-reid \1", line)
        for line in lines
    )
    return PAGES.sub(lambda found: str(shipped(found[1])), "\n".join(commands))


def shipped(path: str | Path) -> Path:
    """Return a recipe or a page: the file itself, or else the one that the package holds."""
    kept = [folder / path for folder in (PACKAGE, PACKAGE.parent) if (folder / path).is_file()]
    return Path(path) if Path(path).exists() or not kept else kept[0]


class InstalledTerminal(io.TextIOWrapper):
    """A terminal on which an installed program names its own commands."""

    def write(self, text: str) -> int:
        """Write a text, see as_installed."""
        super().write(as_installed(text))
        return len(text)
