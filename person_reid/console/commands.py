"""The scripts and commands, and the names that an installed program uses for them."""

import re

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
# {command: what one can do first}
BEGINNINGS = {
    "compare A.jpg B.jpg": "decide whether two photographs show the same person",
    "search index crops --index people.index": "index a folder of people, for the next two",
    "search query A.jpg --index people.index": "find a person in it",
    "serve --index people.index": "open it in a browser, and to other programs",
    "people hall.mp4 till.mp4 --save people": "find out who is in several videos",
    "prepare --dataset market --download": "get a data set, to train and test your own network",
}
# The folder of each in a checkout.
IN_ROOT = (
    "prepare", "train", "train_DDP", "test", "evaluate", "evaluate_gpu", "evaluate_rerank", "demo",
    "model",
)  # fmt: skip
SCRIPTS = {name: "." if name in IN_ROOT else "tools" for name in COMMANDS}
SCRIPT_NAMES = re.compile(
    rf"\b(?:python (?:tools/)?|tools/|(?<=[\w;] ))({'|'.join(COMMANDS)})\.py\b"
)
# These take a module and not a command.
LAUNCHED = re.compile(r"\btorchrun |torch\.distributed\.launch ")


def as_installed(text: str) -> str:
    """Return a help in which scripts are the commands of an installed program.

    `python test.py --multi` becomes `person-reid test --multi`, and `torchrun test.py` becomes
    `torchrun -m person_reid test`.
    """
    return "\n".join(
        SCRIPT_NAMES.sub(r"-m person_reid \1" if LAUNCHED.search(line) else r"person-reid \1", line)
        for line in text.split("\n")
    )
