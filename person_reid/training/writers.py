"""Where the figures of an epoch go beside log.jsonl, for those who ask: --tensorboard, --wandb, --mlflow.

A package is imported when its flag is given and at no other time. Where it writes, under which project, and whether it
may use the network are for its own environment variables to say:

WANDB_MODE=offline python train.py --wandb                  # files in model/NAME/wandb; `wandb sync` uploads them
MLFLOW_TRACKING_URI=file:runs python train.py --mlflow      # files in runs/
"""

import importlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from person_reid.basics import UserError
from person_reid.training.spec import TrainSpec


def to_tensorboard(spec, folder):
    """Events in the folder of the run, in place of those that an interrupted run has left there."""
    from torch.utils.tensorboard import SummaryWriter

    board = SummaryWriter(folder, purge_step=0)

    def write(record):
        for name, value in record.items():
            board.add_scalar(name, value, record["epoch"])

    return board, write


def to_wandb(spec, folder):
    """A run of Weights & Biases, with the flags as its configuration."""
    import wandb

    run = wandb.init(name=spec.name, config=dict(spec.flags), dir=folder)
    return run, lambda record: run.log(record, step=record["epoch"])


def to_mlflow(spec, folder):
    """A run of MLflow, with the flags as its parameters."""
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow 3 would refuse a file: URI that the user names
    import mlflow

    run = mlflow.start_run(run_name=spec.name)
    mlflow.log_params(dict(spec.flags))
    return run, lambda record: mlflow.log_metrics(record, step=record["epoch"])


WRITERS = {"tensorboard": to_tensorboard, "wandb": to_wandb, "mlflow": to_mlflow}  # by flag and package
"""Each is called as writer(spec, folder of the run) → (a context manager that closes it, write(record))."""


def check_writers(names: Iterable[str]) -> None:
    """Raise UserError if the package of a writer is not installed."""
    for name in names:
        try:
            module = importlib.import_module(name)
        except ImportError:
            module = None
        if getattr(module, "__file__", None) is None:  # a folder of that name, which is no package, is imported as well
            raise UserError(f"--{name} needs the package {name}: python -m pip install {name}")


@contextmanager
def open_writers(spec: TrainSpec, folder: Path, history: Iterable[dict] = ()) -> Iterator[Callable[[dict], None]]:
    """Yield write(record), which hands the figures of an epoch, {name: number}, to every writer of the run.

    history: the records of the epochs before, for a run that goes on: it begins anew there, and is whole again. Raises
    UserError where a writer cannot begin, for lack of a login for instance.
    """
    with ExitStack() as stack:
        writes = []
        for name in spec.writers:
            try:
                closing, write = WRITERS[name](spec, folder)
            except Exception as error:  # each package fails in its own ways
                reason = " ".join(str(error).split())[:200]
                raise UserError(f"--{name}: {name} could not begin ({reason}).") from error
            stack.enter_context(closing)
            writes.append(write)

        def write_all(record):
            for write in writes:
                write(record)

        for record in history:
            write_all(record)
        yield write_all
