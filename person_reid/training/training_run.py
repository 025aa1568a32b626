"""A training run: its progress, metrics and files, and how it ends early."""

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from person_reid.config import TrainConfig
from person_reid.device import peak_memory
from person_reid.errors import UserError, first_line
from person_reid.files import write_text
from person_reid.models.factory import parameter_count
from person_reid.progress import progress
from person_reid.registration import OWN_CLASS, files_of_plugins
from person_reid.run_folder import RunFolder
from person_reid.text import as_command, counted, quoted
from person_reid.training.step import Outcome, TrainingStep
from person_reid.training.validation import diverged, statistics_of_average
from person_reid.training.writers import drawing, log_line, open_writers, recorded_options, summands
from person_reid.versions import versions

log = logging.getLogger(__name__)
MORE_PRECISE: dict[torch.dtype | None, str] = {  # what else to try, by the dtype of the run
    torch.float16: ", --bf16 instead of --fp16, or",
    torch.bfloat16: ", no --bf16, or",
}
STOPPED = 128 + signal.SIGTERM  # the exit status of a process ended by that signal


class NotFinite(Exception):
    """The loss or the result of a step is NaN or infinite; steps are counted from 0 in each epoch.

    what: the subject and its verb, for the message.
    """

    def __init__(self, epoch: int, step: int, what: str = "loss is") -> None:
        super().__init__(f"The {what} not finite in epoch {epoch + 1}, batch {step + 1}.")
        self.epoch, self.step = epoch, step


class Stopped(Exception):
    """The epoch ended early because `stop` requested it.

    The state from `state_dict` can be saved and resumed.
    """


@contextmanager
def stop_signal() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether SIGTERM has arrived.

    The process can then end at its next safe point.

    Ctrl-C raises KeyboardInterrupt as usual or, if Python lost it in a callback, at the next call.
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
    # A process that nohup started ignores the signal, and must keep ignoring it.
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
    """Return advice on what to do about a loss that is not finite.

    paths: the images of the batch. run: the run whose not_finite.txt lists them. dtype: autocast's,
        or None for float32.
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


CHECKPOINT_EVERY = 10  # epochs
# Steps from one reading of the loss to the next; each makes the host wait for the accelerator.
READ_EVERY = 10
DRAW_EVERY = 10  # seconds; drawing the curves can take as long as a short epoch


class Journal:
    """Count the steps of a run, yield its epochs, and keep their metrics.

        for epoch in journal.epochs():
            step.begin_epoch(epoch)
            for batch in images.epoch(epoch, journal.step):
                journal.count(step(batch))
            journal.finish(validate(step))

    training: the TrainingStep. last: the total number of epochs.
    """

    def __init__(self, training: TrainingStep, last: int) -> None:
        self.training = training
        self.world = training.world
        self.last = last
        self.history: list[dict[str, float]] = []
        self.epoch = self.step = 0  # finished epochs, and finished steps of the next one
        # The sums of that epoch: each loss, wrong predictions, images.
        self.totals = torch.zeros(len(training.names) + 2, device=training.device)
        self.spent = 0.0  # seconds on that epoch, before a stop
        self.should_stop: Callable[[], bool] = lambda: False

    def epochs(self) -> Iterator[int]:
        """Yield the remaining epochs, counted from 0."""
        while self.epoch < self.last:
            steps = self.training.steps
            self.losses = torch.zeros(steps, device=self.totals.device)
            self.began, self.unseen = time.perf_counter(), float(self.totals[-1])
            with progress(  # over all epochs, so that it shows when the training ends
                total=steps * self.last,
                initial=steps * self.epoch + self.step,
                desc=f"epoch {self.epoch + 1}/{self.last}",
            ) as self.bar:
                yield self.epoch

    def count(self, outcome: Outcome) -> None:
        """Count a step.

        Raises NotFinite if the loss is not finite, and Stopped if the run was asked to stop.
        """
        self.losses[self.step] = loss = outcome.loss
        images = torch.full_like(loss, outcome.images)
        self.totals += torch.stack([*outcome.losses * images, outcome.wrong, images])
        self.step += 1
        self.bar.update()
        if self.step % READ_EVERY == 0 and self.step < len(self.losses):
            losses, error, seen = self._read()
            speed = (seen - self.unseen) / (time.perf_counter() - self.began)
            self.bar.set_postfix_str(
                f"loss {sum(losses.values()):.3f}{summands(losses)}, accuracy {1 - error:.1%}, "
                f"{speed:.0f} images/s",
                refresh=False,
            )
        if outcome.updated and self._agreed_to_stop():
            self._read()  # a loss that is not finite must not be saved
            self.spent += time.perf_counter() - self.began
            raise Stopped

    def finish(self, figures: dict[str, float]) -> None:
        """End an epoch. figures: metrics besides losses and error, such as those from validate().

        Its record has the mean loss, each of its summands if there are several, the top-1 error,
        the learning rate, images per second, and seconds. Raises NotFinite if the network has
        diverged.
        """
        losses, error, seen = self._read(together=True)
        elapsed = time.perf_counter() - self.began
        images = self.world.size * (seen / self.world.size - self.unseen)
        record = {
            "loss": sum(losses.values()),
            **{f"loss_{name}": loss for name, loss in losses.items() if len(losses) > 1},
            "error": error,
            "lr": self.training.head_lr,
            "images_per_second": round(images / elapsed, 1),
            "seconds": round(self.spent + elapsed, 2),
            **figures,
        }
        if what := diverged(self.training, figures, last=self.epoch + 1 == self.last):
            raise NotFinite(self.epoch, len(self.losses) - 1, what)
        self.epoch += 1
        self.step = 0
        self.spent = 0.0
        self.totals.zero_()
        rounded = {name: float(f"{value:.6g}") for name, value in record.items()}
        self.history.append({"epoch": self.epoch, **rounded})
        if self.world.is_main:
            log.info(log_line(self.history[-1], self.last))
            if record["loss"] == 0:
                log.warning("Nothing was learned in this epoch: the loss of every batch was 0.")

    def _read(self, together: bool = False) -> tuple[dict[str, float], float, float]:
        """Return {name: mean loss}, error and number of images so far, in this or all processes.

        Raises NotFinite if a loss is not finite.
        """
        *sums, wrong, seen = (self.world.sum(self.totals) if together else self.totals).tolist()
        if not math.isfinite(sum(sums)):
            raise NotFinite(self.epoch, int((~self.losses.isfinite()).int().argmax()))
        means = [total / seen for total in sums]
        return dict(zip(self.training.names, means, strict=True)), wrong / seen, seen

    def _agreed_to_stop(self) -> bool:
        """Return whether any process should stop.

        Several processes agree when the loss is read and at the last step.
        """
        if self.world.size == 1:
            return self.should_stop()
        accumulate = self.training.options.accumulate
        asks = self.step % READ_EVERY < accumulate or self.step == len(self.losses)
        return asks and bool(self.world.sum(torch.tensor([int(self.should_stop())]))[0] > 0)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {
            **self.training.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "totals": self.totals,
            "spent": self.spent,
            "history": self.history,
            "images": self.training.images.fingerprint,
            "processes": self.world.size,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state that `state_dict` returned."""
        self.training.load_state_dict(state)
        self.epoch = state["epoch"]
        self.step = state["step"]
        self.history = state["history"]
        self.totals, self.spent = state["totals"].to(self.totals.device), state.get("spent", 0.0)


class Run(Journal):
    """A journal that also writes the files of a run after each epoch.

    training: the TrainingStep. config: the configuration of the run; its name names the folder.
    adapts: whether tools/adapt.py trains, for messages.
    """

    adapts = False

    def __init__(self, training: TrainingStep, config: TrainConfig) -> None:
        super().__init__(training, config.total_epoch)
        self.config = config
        self.folder = RunFolder(config.name)
        self.drawn = -math.inf
        self.write_metrics: Callable[[dict[str, float]], None] = lambda record: None

    def begin(self, resumed: bool) -> None:
        """Prepare the folder, or continue in it, and log a summary of the run."""
        images = self.training.images
        if resumed:
            log.info(
                "%s: continuing after epoch %d, batch %d.", self.folder.path, self.epoch, self.step
            )
            if self.history:
                # The end may have come between resume.pth and the log.
                self.folder.save_log(self.history)
        else:
            if self.config.resume:
                log.info("%s: nothing to resume yet, so the training begins.", self.folder.path)
            self.folder.set_aside()
            about: dict[str, Any] = {"nclasses": images.num_classes}
            if self.config.plugin:
                about["plugin_files"] = files_of_plugins(self.config.plugin)
            self.folder.save_options({**recorded_options(self.config), **about})
        self.folder.save_versions({"epoch": self.epoch, **versions()}, resumed)
        several = f", {self.world.size} processes" if self.world.size > 1 else ""
        log.info(
            "%s, %.2f M parameters; %d images of %s; %s on %s%s.",
            self.config.backbone,
            parameter_count(self.training.network) / 1e6,
            len(images.split),
            self.people(),
            counted(self.last, "epoch"),
            images.device,
            several,
        )

    def people(self) -> str:
        """Describe the people in the images."""
        return f"{self.training.images.num_classes} identities"

    @property
    def weights(self) -> dict[str, Any]:
        """The weights that net_last.pth holds."""
        return self.training.network.state_dict()

    def save(self, figures: dict[str, float]) -> None:
        """End an epoch, and write its checkpoints, state, log, curves and metrics.

        figures: see finish. Raises NotFinite, before anything is written, if the network has
        diverged.
        """
        self.finish(figures)
        if not self.world.is_main:
            return
        folder, weights = self.folder, self.weights
        if self.epoch % CHECKPOINT_EVERY == 0:
            folder.save_weights(self.epoch, weights)
        folder.save_weights("last", weights)
        folder.save_state(self.state_dict())  # after the checkpoints, on which it relies
        folder.save_log(self.history)
        if self.config.keep:
            folder.keep_latest(self.config.keep)
        if self.epoch == self.last or time.monotonic() > self.drawn + DRAW_EVERY:
            self._draw()
        self.write_metrics(self.history[-1])

    def _draw(self) -> None:
        """Draw the training curves."""
        with drawing(self.folder.curves):
            # matplotlib loads slowly, and only the first process draws.
            from person_reid.show.charts import draw_curves

            draw_curves(self.history, self.folder.curves)
        self.drawn = time.monotonic()

    def conclude(self) -> None:
        """End the training: write the averaged weights, if any, and log how to test the run."""
        if self.training.average is not None:
            self._save("average", self.training.average.state_dict())
            self._save("average_bn", statistics_of_average(self.training))  # changes the average
        self.say_done()

    def _save(self, label: str, weights: dict[str, Any]) -> None:
        if self.world.is_main:
            self.folder.save_weights(label, weights)

    def say_done(self) -> None:
        """Log where the network is, how to test it, and how much memory the run used."""
        if self.world.is_main:
            root = self.config.roots[0]
            tested = all((root / name).is_dir() for name in ("query", "gallery"))
            place = f" --test_dir {quoted(root)}" if tested else ""
            own = OWN_CLASS.fullmatch(self.config.backbone)
            plugins = filter(None, (self.config.plugin, own and own["plugin"]))
            place += "".join(f" --plugin {quoted(plugin)}" for plugin in plugins)
            if used := peak_memory(self.training.device):
                log.info("Peak memory: %s.", used)
            log.info(
                f"Done: %s/net_last.pth. Test it: {as_command('test.py')} --name %s%s",
                self.folder.path,
                quoted(self.folder.name),
                place,
            )

    def save_stopped(self) -> None:
        """Save the state after SIGTERM, which a cluster sends before it reclaims the machine."""
        if self.world.is_main:
            self.folder.save_state(self.state_dict())
            log.info(
                "Stopped by SIGTERM in epoch %d after batch %d; %s holds it. "
                "To continue: the same command with --resume.",
                self.epoch + 1,
                self.step,
                self.folder.state_file,
            )
        self.world.wait()

    def not_finite(self, error: NotFinite) -> UserError:
        """Return an error that says what to do about a loss that is not finite.

        The batch's images are listed in not_finite.txt.
        """
        paths = self.training.images.paths_of(error.epoch, error.step)
        write_text(self.folder.not_finite, "".join(f"{path}\n" for path in paths))
        advice = not_finite_advice(error, paths, self.folder, self.training.dtype, self.adapts)
        return UserError(advice)


@contextmanager
def open_run(run: Run, state: dict[str, Any] | None) -> Iterator[Run]:
    """Open the folder of a run for training.

    state: the state from which the run resumes, or None.

    Ends the process after SIGTERM, once the state is saved. Raises UserError if the loss is not
    finite.
    """
    world, folder = run.world, run.folder
    if state:
        try:
            run.load_state_dict(state)
        # It may be incomplete, or of another network.
        except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise UserError(
                f"{folder.state_file}: not the state of the training that opts.yaml beside it "
                f"describes ({first_line(error)}). Start a new run under another name."
            ) from error
    with ExitStack() as stack:
        if world.is_main:
            stack.enter_context(folder.writing())
            run.begin(resumed=bool(state))
        world.wait()
        run.should_stop = stack.enter_context(stop_signal())
        if world.is_main:
            writers = open_writers(run.config, folder.path, run.history)
            run.write_metrics = stack.enter_context(writers)
        try:
            yield run
        except Stopped:
            run.save_stopped()
            raise SystemExit(STOPPED) from None
        except KeyboardInterrupt:
            if world.is_main and folder.state_file.exists():
                log.info(
                    "Interrupted in epoch %d. To continue from the last saved state: the same "
                    "command with --resume.",
                    run.epoch + 1,
                )
            raise
        except NotFinite as error:
            raise run.not_finite(error) from error
