"""The command `person-reid`, which has every script of the repository as a subcommand with the same name and flags.

person-reid train --name ft_ResNet50 --train_all
person-reid test --name ft_ResNet50
"""

import importlib
import io
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from person_reid.basics import LostProcessError, UserError, describe, did_you_mean, first_line, printable
from person_reid.cli import let_the_first_speak

NO_MEMORY = ("out of memory", "DefaultCPUAllocator: ")  # in PyTorch's messages of an accelerator and of a processor
LESS_MEMORY = (
    "A network needs less memory with a smaller --batchsize or smaller images (--height, --width), in training also "
    "with --bf16; re-ranking with a smaller --memory_gb."
)
NO_THREADS = "can't start new thread"  # Python's words
MORE_THREADS = "The user or the container may have no more processes and threads: raise ulimit -u or --pids-limit."
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
    run_script(importlib.import_module(f"person_reid.cli.{name.lower()}").main)


def usage() -> str:
    """Return the help text of the command itself."""
    lines = [f"  {name:<17}{summary}" for name, summary in COMMANDS.items()]
    head = "usage: person-reid COMMAND [flags]\n\nPerson re-identification. Each command has its own --help.\n\n"
    return head + "\n".join(["commands:", *lines])


def fail(message: str) -> NoReturn:
    """Print an error, and exit with status 1."""
    print(printable(f"error: {message}"), file=sys.stderr)
    sys.exit(1)


def run_script(main: Callable[[], object]) -> None:
    """Call `main()` as a script: an error the user can fix ends in one line and status 1, an interruption in 130.

    A UserError, an OSError (no such file, disk full), or too little memory or too few threads prints no traceback. Any
    other exception is a bug and keeps it.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # no name of a file may end a program that prints it
    try:
        main()
        if sys.stdout:  # not of a program without a console
            sys.stdout.flush()
    except (UserError, OSError) as error:
        if isinstance(error, BrokenPipeError) and error.filename is None and sys.stdout:
            # The program that reads the output, such as head, has ended. What is left goes nowhere, also at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        if not isinstance(error, LostProcessError):
            let_the_first_speak()
        fail(describe(error))
    except (MemoryError, RuntimeError) as error:
        if str(error) == NO_THREADS:
            let_the_first_speak()
            fail(f"{error}. {MORE_THREADS}")
        if not (isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY)):
            raise
        said = first_line(error, 1000).rstrip(".").rpartition("DefaultCPUAllocator: ")[2]
        said = ". ".join(said.split(". ")[:2])  # of a GPU's long paragraph
        let_the_first_speak()
        fail(f"{said}. {LESS_MEMORY}")
    except KeyboardInterrupt:
        if "LOCAL_RANK" not in os.environ:  # else the process that started several says so
            print("interrupted", file=sys.stderr)
        sys.exit(130)
