"""The journal of a training: where it is, its figures and the files of its run."""

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

import torch

from person_reid.config import TrainConfig
from person_reid.errors import UserError
from person_reid.files import write_text
from person_reid.models.factory import parameter_count
from person_reid.progress import progress
from person_reid.registration import OWN_CLASS, files_of_plugins
from person_reid.run_folder import RunFolder
from person_reid.text import as_command, counted, quoted
from person_reid.training.interruption import (
    STOPPED,
    NotFinite,
    Stopped,
    not_finite_advice,
    state_that_fits,
    stop_signal,
)
from person_reid.training.step import Outcome, TrainingStep
from person_reid.training.writers import drawing, log_line, open_writers
from person_reid.versions import versions

CHECKPOINT_EVERY = 10  # epochs
# Steps from one reading of the loss to the next; each makes the host wait for the accelerator.
READ_EVERY = 10
DRAW_EVERY = 10  # seconds; drawing the curves can take as long as a short epoch
log = logging.getLogger(__name__)


class Journal:
    """Count the steps of a training, and yield its epochs.

    Without a folder, only the figures are kept.

        for epoch in journal.epochs():
            step.begin_epoch(epoch)
            for batch in images.epoch(epoch, journal.step):
                journal.count(step(batch))
            journal.finish(step.validate())

    training: what is trained. last: the number of epochs in all.
    """

    def __init__(self, training: TrainingStep, last: int) -> None:
        self.training = training
        self.world = training.world
        self.last = last
        self.history: list[dict[str, float]] = []
        self.epoch = self.step = 0  # finished epochs, and finished steps of the next one
        # The sums of that epoch: loss, wrong predictions, images.
        self.totals = torch.zeros(3, device=training.device)
        self.spent = 0.0  # seconds on that epoch, before a stop
        self.stop: Callable[[], bool] = lambda: False

    def epochs(self) -> Iterator[int]:
        """Yield the epochs that are left, counted from 0."""
        while self.epoch < self.last:
            steps = len(self.training.images)
            self.losses = torch.zeros(steps, device=self.totals.device)
            self.began, self.unseen = time.perf_counter(), float(self.totals[2])
            with progress(  # over all epochs, so that it says when the training ends
                total=steps * self.last,
                initial=steps * self.epoch + self.step,
                desc=f"epoch {self.epoch + 1}/{self.last}",
            ) as self.bar:
                yield self.epoch

    def count(self, outcome: Outcome) -> None:
        """Count a step.

        Raises NotFinite if the loss is not finite, and Stopped if the training was asked to end.
        """
        loss, images = outcome.loss, torch.full_like(outcome.loss, outcome.images)
        self.losses[self.step] = loss
        self.totals += torch.stack([loss * images, outcome.wrong, images])
        self.step += 1
        self.bar.update()
        if self.step % READ_EVERY == 0 and self.step < len(self.losses):
            mean_loss, error, seen = self._read()
            speed = (seen - self.unseen) / (time.perf_counter() - self.began)
            self.bar.set_postfix_str(
                f"loss {mean_loss:.3f}, accuracy {1 - error:.1%}, {speed:.0f} images/s",
                refresh=False,
            )
        if outcome.updated and self._agreed_to_stop():
            self._read()  # a loss that is not finite must not be saved
            self.spent += time.perf_counter() - self.began
            raise Stopped

    def finish(self, found: dict[str, float]) -> None:
        """End an epoch. found: what was measured besides loss and error, such as the validation.

        Raises NotFinite, before anything is written, if the network has diverged.
        """
        record = self._figures() | found
        self._check(found)
        self.epoch += 1
        self.step = 0
        self.spent = 0.0
        self.totals.zero_()
        rounded = {name: float(f"{value:.6g}") for name, value in record.items()}
        self.history.append({"epoch": self.epoch, **rounded})
        if self.world.leads:
            self._write()

    def _check(self, found: dict[str, float]) -> None:
        """Raise NotFinite for a network that has diverged in the last update.

        Its loss was computed before.
        """
        what = "" if self.training.weights_are_finite() else "weights are"
        if not what and self.epoch + 1 == self.last:  # a later step would tell
            finite = all(map(math.isfinite, found.values())) and self.training.outputs_are_finite()
            what = "" if finite else "network's output is"
        if what:
            raise NotFinite(self.epoch, len(self.losses) - 1, what)

    def _figures(self) -> dict[str, float]:
        """Return the figures of the epoch.

        They are mean loss, top-1 error, learning rate, images per second and seconds.
        """
        loss, error, seen = self._read(together=True)
        elapsed = time.perf_counter() - self.began
        images = self.world.size * (seen / self.world.size - self.unseen)
        return {
            "loss": loss,
            "error": error,
            "lr": self.training.rate,
            "images_per_second": round(images / elapsed, 1),
            "seconds": round(self.spent + elapsed, 2),
        }

    def _write(self) -> None:
        """Log a finished epoch."""
        log.info(log_line(self.history[-1], self.last))
        if self.history[-1]["loss"] == 0:
            log.warning("Nothing was learnt in this epoch: the loss of every batch was 0.")

    def _read(self, together: bool = False) -> tuple[float, float, float]:
        """Return mean loss, error and number of images so far, of this process or of all.

        Raises NotFinite.
        """
        total, wrong, seen = (self.world.sum(self.totals) if together else self.totals).tolist()
        if not math.isfinite(total):
            raise NotFinite(self.epoch, int((~self.losses.isfinite()).int().argmax()))
        return total / seen, wrong / seen, seen

    def _agreed_to_stop(self) -> bool:
        """Return whether any process wants to stop.

        Several processes ask at readings of the loss and at the last step.
        """
        if self.world.size == 1:
            return self.stop()
        accumulate = self.training.options.accumulate
        asks = self.step % READ_EVERY < accumulate or self.step == len(self.losses)
        return asks and bool(self.world.sum(torch.tensor([int(self.stop())]))[0] > 0)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs."""
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


class RunJournal(Journal):
    """A journal that writes the files of a run after each epoch.

    resume.pth is written after the checkpoints it relies on.

    training: what is trained. config: the training's; its name names the folder.
    adapts: whether tools/adapt.py trains, for messages.
    """

    adapts = False

    def __init__(self, training: TrainingStep, config: TrainConfig) -> None:
        super().__init__(training, config.total_epoch)
        self.config = config
        self.folder = RunFolder(config.name)
        self.drawn = -math.inf
        self.send: Callable[[dict[str, float]], None] = lambda record: None

    def begin(self, resumed: bool) -> None:
        """Prepare the folder, or continue in it, and log what is trained."""
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
            self.folder.save_options({**asdict(self.config), **about})
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

    def _write(self) -> None:
        folder, weights = self.folder, self.weights
        if self.epoch % CHECKPOINT_EVERY == 0:
            folder.save_weights(self.epoch, weights)
        folder.save_weights("last", weights)
        folder.save_state(self.state_dict())
        folder.save_log(self.history)
        if self.config.keep:
            folder.keep_latest(self.config.keep)
        if self.epoch == self.last or time.monotonic() > self.drawn + DRAW_EVERY:
            with drawing(folder.curves):
                # matplotlib loads slowly, and only the first process draws.
                from person_reid.show.curves import draw_curves

                draw_curves(self.history, folder.curves)
            self.drawn = time.monotonic()
        super()._write()
        self.send(self.history[-1])

    def conclude(self) -> None:
        """End the training: write the averaged weights, if any, and say how to test the run."""
        if self.training.average is not None:
            self._save("average", self.training.average.state_dict())
            self._save("average_bn", self.training.averaged_statistics())
        self.tell()

    def tell(self) -> None:
        """Say where the network is, and how to test it."""
        if self.world.leads:
            root = self.config.roots[0]
            tested = all((root / name).is_dir() for name in ("query", "gallery"))
            place = f" --test_dir {quoted(root)}" if tested else ""
            own = OWN_CLASS.fullmatch(self.config.backbone)
            plugins = filter(None, (self.config.plugin, own and own["plugin"]))
            place += "".join(f" --plugin {quoted(plugin)}" for plugin in plugins)
            log.info(
                f"Done: %s/net_last.pth. Test it: {as_command('test.py')} --name %s%s",
                self.folder.path,
                quoted(self.folder.name),
                place,
            )

    def _save(self, label: str, weights: dict[str, Any]) -> None:
        if self.world.leads:
            self.folder.save_weights(label, weights)

    def stopped(self) -> None:
        """Save the state on SIGTERM, which a cluster sends before it withdraws the machine."""
        if self.world.leads:
            self.folder.save_state(self.state_dict())
            log.info(
                "Stopped by SIGTERM in epoch %d after batch %d; %s holds it. "
                "To continue: the same command with --resume.",
                self.epoch + 1,
                self.step,
                self.folder.state_file,
            )
        self.world.wait()

    def interrupted(self) -> None:
        """Say how to go on after Ctrl-C."""
        if self.world.leads and self.folder.state_file.exists():
            log.info(
                "Interrupted in epoch %d. To continue after the last finished epoch: the same "
                "command with --resume.",
                self.epoch + 1,
            )

    def not_finite(self, error: NotFinite) -> UserError:
        """Return what to do about a loss that is not finite.

        The batch's images are listed in not_finite.txt.
        """
        paths = self.training.images.paths_of(error.epoch, error.step)
        write_text(self.folder.not_finite, "".join(f"{path}\n" for path in paths))
        advice = not_finite_advice(error, paths, self.folder, self.training.dtype, self.adapts)
        return UserError(advice)


@contextmanager
def open_journal(journal: RunJournal, state: dict[str, Any] | None) -> Iterator[RunJournal]:
    """Open the folder of a run, and keep a journal there.

    state: what the training continues from, or None.

    Ends the process after SIGTERM, once the state is saved. Raises UserError if the loss is not
    finite.
    """
    world, folder = journal.world, journal.folder
    if state:
        with state_that_fits(folder):
            journal.load_state_dict(state)
    with ExitStack() as stack:
        if world.leads:
            stack.enter_context(folder.writing())
            journal.begin(resumed=bool(state))
        world.wait()
        journal.stop = stack.enter_context(stop_signal())
        if world.leads:
            writers = open_writers(journal.config, folder.path, journal.history)
            journal.send = stack.enter_context(writers)
        try:
            yield journal
        except Stopped:
            journal.stopped()
            raise SystemExit(STOPPED) from None
        except KeyboardInterrupt:
            journal.interrupted()
            raise
        except NotFinite as error:
            raise journal.not_finite(error) from error
