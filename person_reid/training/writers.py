"""Send each epoch's metrics to experiment trackers: --tensorboard, --wandb or your own.

log.jsonl also has them. Pictures of a run are drawn inside `drawing`, so that a failure does not
end the run.

A package is imported only if its flag is given. Its environment variables determine where it
writes, under which project, and whether it may use the internet:

WANDB_MODE=offline python train.py --wandb  # `wandb sync` uploads the files
"""

import importlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from person_reid.config import TrainConfig
from person_reid.config.run import WRITER_NAMES
from person_reid.errors import UserError, first_line
from person_reid.models.factory import own_settings
from person_reid.registration import Registry

log = logging.getLogger(__name__)
Write = Callable[[dict[str, float]], None]
Writer = tuple[AbstractContextManager[Any], Write]


def recorded_options(config: TrainConfig) -> dict[str, Any]:
    """Return a run's options, completed with its network's options and its learning rates."""
    backbone_lr, _, prototype_lr = config.learning_rates
    decided = {**own_settings(config), "backbone_lr": backbone_lr, "prototype_lr": prototype_lr}
    return asdict(config) | decided


def to_tensorboard(config: TrainConfig, folder: Path) -> Writer:
    """Write events to the folder of the run, replacing the events of an interrupted run."""
    from torch.utils.tensorboard import SummaryWriter

    board = SummaryWriter(folder, purge_step=0)

    def write(record: dict[str, float]) -> None:
        for name, value in record.items():
            board.add_scalar(name, value, record["epoch"])

    return board, write


def to_wandb(config: TrainConfig, folder: Path) -> Writer:
    """Log to a Weights & Biases run, with the recorded options as its configuration."""
    import wandb

    run = wandb.init(name=config.name, config=recorded_options(config), dir=folder)
    return run, lambda record: run.log(record, step=record["epoch"])


OpenWriter = Callable[[TrainConfig, Path], Writer]
# Each is named by its flag, which is also the name of the package.
METRIC_WRITERS: dict[str, OpenWriter] = {"tensorboard": to_tensorboard, "wandb": to_wandb}
OWN_WRITERS: Registry[OpenWriter] = Registry("writer", names=WRITER_NAMES)


def register_writer(name: str, writer: OpenWriter) -> None:
    """Register a metric writer under a name for --writers.

    writer: (config, folder of the run) → (what closes it, write(record)); a record has the metrics
    of an epoch, {name: number}.
    """
    OWN_WRITERS.register(name, writer)


def chosen_writers(config: TrainConfig) -> dict[str, OpenWriter]:
    """Return the requested writers by name."""
    flagged = {name: it for name, it in METRIC_WRITERS.items() if getattr(config, name)}
    own = config.writers.split(",") if config.writers else []
    return flagged | {name: OWN_WRITERS.named(name) for name in own}


def check_writers(config: TrainConfig) -> None:
    """Raise UserError for an unknown writer, and for a writer whose package is not installed."""
    for name in chosen_writers(config).keys() & METRIC_WRITERS:
        try:
            module = importlib.import_module(name)
        except ImportError:
            module = None
        # None for a mere folder of that name, which can also be imported
        if getattr(module, "__file__", None) is None:
            raise UserError(f"{name} needs the package {name}: python -m pip install {name}")


@contextmanager
def open_writers(
    config: TrainConfig, folder: Path, history: Iterable[dict[str, float]] = ()
) -> Iterator[Write]:
    """Yield write(record), which passes the metrics of an epoch to each of the run's writers.

    record: {name: number}.

    history: the records of earlier epochs. A resumed run starts anew in each writer, which first
    gets these records.
    Raises UserError if a writer cannot start, for example without a login.
    """
    with ExitStack() as stack:
        writes: dict[str, Write] = {}
        failed: set[str] = set()
        for name, open_writer in chosen_writers(config).items():
            try:
                closing, write = open_writer(config, folder)
            except Exception as error:  # each package fails in its own ways
                reason = " ".join(str(error).split())[:200]
                raise UserError(f"{name} could not start ({reason}).") from error
            closing.__enter__()
            stack.push(partial(close, closing, name, failed))
            writes[name] = write

        def write_all(record: dict[str, float]) -> None:
            for name, write in writes.items():
                with going_on(name, failed):
                    write(record)

        for record in history:
            write_all(record)
        yield write_all


def close(closing: AbstractContextManager[Any], name: str, failed: set[str], *error: Any) -> None:
    """Close a writer.

    The writer gets the error that ends the run, if any, but cannot suppress it.
    """
    with going_on(name, failed):
        closing.__exit__(*error)


@contextmanager
def going_on(name: str, failed: set[str]) -> Iterator[None]:
    """Keep a run going if a writer fails, for example on a full disk.

    It warns the first time.

    failed: the names of the writers that have failed before.
    """
    try:
        yield
    except Exception as error:  # each package fails in its own ways
        if name not in failed:
            log.warning(
                "--%s: figures are lost there (%s). log.jsonl has all of them, "
                "and the training goes on.",
                name,
                first_line(error),
            )
        failed.add(name)


@contextmanager
def drawing(picture: Path) -> Iterator[None]:
    """Run a block that draws a picture; if it fails, warn and continue training."""
    try:
        yield
    except Exception as error:
        log.warning("%s: not drawn (%s). The training goes on.", picture, first_line(error))


def log_line(record: dict[str, float], total: int) -> str:
    """Return the log line of an epoch."""
    losses = {
        name.removeprefix("loss_"): loss
        for name, loss in record.items()
        if name.startswith("loss_")
    }
    text = (
        f"epoch {record['epoch']}/{total}  loss {record['loss']:.4f}{summands(losses)}  "
        f"error {record['error']:.2%}"
    )
    if "val_loss" in record:
        text += f"  val loss {record['val_loss']:.4f}  val error {record['val_error']:.2%}"
    if "mAP" in record:
        text += f"  Rank@1 {record['rank1']:.2%}  mAP {record['mAP']:.2%}"
    return f"{text}  lr {record['lr']:.2e}  {record['images_per_second']:.0f} images/s"


def summands(losses: Mapping[str, float]) -> str:
    """Return a space and a loss's summands, or an empty string if there is only one."""
    listed = ", ".join(f"{name} {loss:.3g}" for name, loss in losses.items())
    return f" ({listed})" if len(losses) > 1 else ""
