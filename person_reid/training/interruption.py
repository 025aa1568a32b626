"""End a training run early, by a signal or a loss that is not finite, and check a resumed state."""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from person_reid.config.option import OptionError
from person_reid.errors import first_line
from person_reid.run_folder import RunFolder
from person_reid.text import quoted

MORE_PRECISE: dict[torch.dtype | None, str] = {  # what else to try, by the dtype of the training
    torch.float16: ", --bf16 instead of --fp16, or",
    torch.bfloat16: ", no --bf16, or",
}
STOPPED = 128 + signal.SIGTERM  # the exit status of a process ended by that signal


class NotFinite(Exception):
    """The loss of a step, counted from 0 within its epoch, or what it leaves is NaN or infinite.

    what: is not finite, with its verb.
    """

    def __init__(self, epoch: int, step: int, what: str = "loss is") -> None:
        super().__init__(f"The {what} not finite in epoch {epoch + 1}, batch {step + 1}.")
        self.epoch, self.step = epoch, step


class Stopped(Exception):
    """The epoch was left early because `stop` asked for it.

    `state_dict` can be saved and resumed.
    """


@contextmanager
def stop_signal() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether SIGTERM has come.

    The process can then end at its next safe point.

    Ctrl-C raises KeyboardInterrupt as ever and, if Python has lost that in a callback, at the next
    call.
    """
    received: list[int] = []
    # Python allows signal handlers only there
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def interrupt(number: int, _: Any) -> None:
        received.append(number)
        raise KeyboardInterrupt

    def stop() -> bool:
        if signal.SIGINT in received:
            raise KeyboardInterrupt
        return bool(received)

    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    }
    # A process that nohup started ignores the signal, and goes on ignoring it.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        before[signal.SIGINT] = signal.signal(signal.SIGINT, interrupt)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def not_finite_advice(
    error: NotFinite,
    paths: Sequence[Path],
    run: RunFolder,
    dtype: torch.dtype | None = None,
    adapts: bool = False,
) -> str:
    """Return what to do about a loss that is not finite.

    paths: the images of the batch. run: whose not_finite.txt lists them. dtype: of autocast, or
        None for float32.
    adapts: whether tools/adapt.py trains.
    """
    good = (
        f"{run.path}/net_last.pth is of epoch {error.epoch}"
        if error.epoch
        else "No epoch was finished"
    )
    advice = f"Start again with a lower --lr{MORE_PRECISE.get(dtype, ' or')} a --warm_epoch."
    if error.epoch:
        last = quoted(run.path / "net_last.pth")
        start = f"--from {quoted(run.name)}" if adapts else f"--weights {last}"
        advice = (
            "--resume would take the same steps to the same loss. "
            f"{advice} To begin with the weights of {last}, add {start} --name OTHER."
        )
    return (
        f"{error} Its {len(paths)} images, {paths[0]} among them, are listed in "
        f"{run.not_finite}. {good}. {advice}"
    )


def check_resumed(
    state: Mapping[str, Any], folder: RunFolder, data: Iterable[Path], images: str, processes: int
) -> None:
    """Raise UserError if a state is of other images or of another number of processes.

    data: where the images are, for the message. images: their fingerprint.
    """
    if state.get("images", images) != images:
        raise OptionError(
            f"{{resume}}: {folder.path} was trained on images other than those "
            f"of {', '.join(map(str, data))}. Name their folder with {{data_dir}}, "
            "or start a run of another {name}."
        )
    if state.get("processes", processes) != processes:
        raise OptionError(
            f"{{resume}}: {folder.path} was trained by {state['processes']} processes, "
            f"and this is {processes}. Batches and learning rates depend on the number: "
            "start as many as before."
        )


@contextmanager
def state_that_fits(folder: RunFolder) -> Iterator[None]:
    """Raise UserError if the state loaded in the with block does not fit.

    It may lack a part, or be of another network.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise OptionError(
            f"{folder.state_file}: not the state of the training that opts.yaml beside it "
            f"describes ({first_line(error)}). Start a new run under another {{name}}."
        ) from error
