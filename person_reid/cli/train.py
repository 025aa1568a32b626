"""Train a network to tell identities apart.

    python train.py --train_all                                       # ResNet-50 on ../Market/pytorch
    python train.py --backbone osnet_x0_25 --weights none --data_dir data/synthetic/pytorch --name small
    python train.py --name small --resume                             # continue after an interruption
    python train.py --config recipes/demo.yaml lr=0.01 --name mine    # a file of options, with one replaced
    python train.py --train_all --eval_every 10                       # Rank@1 and mAP every ten epochs
    python train.py --gpu_ids 0,1                                     # two GPUs share the batch

Writes model/NAME: opts.yaml, versions.jsonl, log.jsonl, train.jpg, and the checkpoints net_last.pth and, every ten
epochs, net_010.pth, net_020.pth, …
"""

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any

import torch
import yaml

from person_reid.basics import UserError
from person_reid.cli.options import parse_train
from person_reid.cli.specs import train_spec
from person_reid.data.layout import join_splits, read_training_splits
from person_reid.distributed import start_processes
from person_reid.models.factory import build_model, parameter_count
from person_reid.models.spec import PUBLISHED_CLASSES, NetworkSpec
from person_reid.run_folder import RunFolder
from person_reid.training.run import run_training


def main(argv: list[str] | None = None) -> None:
    """Train, or describe the training for --dry_run."""
    options = parse_train(argv, __doc__, shared=True)
    if options.dry_run:
        describe(options)
    elif "," in options.gpu_ids:
        on_several_devices(options, sys.argv[1:] if argv is None else argv)
    else:
        run_training(train_spec(options, teacher=teacher_of(options)))


def teacher_of(options: Namespace) -> Callable[..., Any] | None:
    """Return what opens the Embedder of --teacher on a device=…, or None if there is no teacher."""
    if not options.teacher:
        return None
    from person_reid.cli.tested import open_teacher  # and with it what computes features

    return open_teacher(options.teacher)


def on_several_devices(options: Namespace, arguments: Sequence[str]) -> None:
    """Start train_DDP.py on each GPU with its share of the batch. arguments: the command line of train.py."""
    count = len(options.gpu_ids.split(","))
    run = RunFolder(options.name)
    if options.resume and run.options_file.exists():
        share = run.options().get("batchsize", options.batchsize)
    elif options.batchsize % count:
        raise UserError(f"--batchsize {options.batchsize} does not divide evenly among the {count} GPUs of --gpu_ids.")
    else:
        share = options.batchsize // count
    start_processes("train_DDP", options.gpu_ids, [*arguments, "--batchsize", str(share)])


def describe(options: Namespace) -> None:
    """Print the options as YAML and the size of the network, which is built without memory for its weights."""
    data = train_spec(options).data
    laid_out = (data.roots[0] / data.split).is_dir()
    classes = len(join_splits(read_training_splits(data.roots, data.split)).classes) if laid_out else PUBLISHED_CLASSES
    with torch.device("meta"):
        network = build_model(NetworkSpec.of(vars(options)), classes, weights="none")
    print(yaml.safe_dump(vars(options)), end="")
    print(f"# {parameter_count(network) / 1e6:.2f} M parameters, {classes} identities", end="")
    print("" if laid_out else f" (Market-1501's: {options.data_dir} is not laid out)")
