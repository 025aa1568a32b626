"""The training loop.

All randomness of a step (augmentation, dropout) is drawn from (seed, epoch, step, rank), the order of the images from
(seed, epoch). No generator's state has to be saved: a run that was stopped and resumed, even within an epoch, ends with
the weights of an uninterrupted one.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, get_ema_multi_avg_fn, update_bn

from person_reid.data.augment import normalise, scale
from person_reid.data.bank import Batch
from person_reid.device import autocast, computed_in, seed_everything
from person_reid.distributed import World
from person_reid.fused.networks import fuse
from person_reid.models.network import Network
from person_reid.progress import progress
from person_reid.training.batches import Batches
from person_reid.training.criterion import Criterion, predicted
from person_reid.training.interruption import NotFinite, Stopped
from person_reid.training.objective import Objective
from person_reid.training.recorded import Recorded
from person_reid.training.schedule import BACKBONE, HEAD, IN_BACKBONE, build_optimizer, build_scheduler
from person_reid.training.spec import TrainSpec

AVERAGE_DECAY = 0.996  # of the weight averaging, per update
AVERAGE_FROM = 0.8  # fraction of the epochs after which it begins
READ_EVERY = 10  # steps from one reading of the loss to the next; each makes the host wait for the accelerator
log = logging.getLogger(__name__)


class StepContext(NamedTuple):
    """A training step, as the terms see it.

    network: in training. teacher: the average of its weights, once there is one. batch: of this process.
    features, logits: what the network returned for it. step: of the epoch, from 0. seed: of everything drawn at random
    in this step.
    """

    network: Network
    criterion: Criterion
    teacher: AveragedModel | None
    batch: Batch
    features: Tensor
    logits: Tensor
    step: int
    seed: int


Term = Callable[[StepContext], Tensor | float]
"""A loss that is added to the criterion's."""


class Trainer:
    """Train a network; hold everything that changes from step to step.

    network: returns features and logits. criterion: (features, logits, labels) → scalar. batches: the images; their
    device is the trainer's. spec: of the run. terms: further losses. world: the processes that train together.
    """

    def __init__(
        self,
        network: Network,
        criterion: Criterion,
        batches: Batches,
        spec: TrainSpec,
        terms: Sequence[Term] = (),
        world: World | None = None,
    ) -> None:
        self.batches, self.device, self.spec, self.terms = batches, batches.device, spec, terms
        self.network = network.to(self.device).to(memory_format=torch.channels_last)
        self.criterion = criterion.to(self.device)
        self.world = world or World()
        self.module = Objective(self.network, self.criterion, self.world)
        self.objective: Any = self.module  # with several processes, in DDP
        self.optimizer = build_optimizer(network, criterion, spec.optimizer)
        steps = math.ceil(len(batches) / spec.optimizer.accumulate)
        self.scheduler = build_scheduler(self.optimizer, spec.optimizer, steps)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=spec.dtype == torch.float16)
        self.average: AveragedModel | None = None
        self.average_criterion: AveragedModel | None = None  # of the weights that losses own
        self.history: list[dict[str, float]] = []
        self.epoch = self.step = 0  # finished epochs, and finished steps of the next epoch
        self.totals = torch.zeros(3, device=self.device)  # of that epoch: Σ loss, Σ wrong, images
        self.spent = 0.0  # seconds on that epoch, before a stop
        if not self._fuse() and spec.compile:
            if self.device.type == "cuda" and spec.compile == "default":
                log.info("--compile: on a GPU, --compile reduce-overhead gains far more; it also records the steps.")
            self.module.compile(mode=spec.compile, dynamic=False)

    def _records(self) -> bool:
        """Return whether the steps are recorded, on a GPU, where nothing else sees to the objective or its gradients.

        DDP hooks into the gradients, a recording overwrites those that --accumulate would add to, the memory of an
        adaptation changes its size, and --compile has a mode of its own for it.
        """
        spec = self.spec
        alone = self.world.size == 1 and spec.optimizer.accumulate == 1
        return self.device.type == "cuda" and alone and not spec.adapt and not spec.compile

    def _fuse(self) -> bool:
        """Fuse the network's layers if that is the fastest way to train it here. Say whether they are fused."""
        spec = self.spec
        possible = self.device.type == "cpu" and computed_in(self.device, spec.dtype) is None
        fused = possible and spec.compile in (None, "default") and fuse(self.network)
        if fused and spec.compile:
            log.info("--compile: in float32 on a processor, fused layers are faster, and take its place.")
        return fused

    def train_epoch(self, stop: Callable[[], bool] = lambda: False) -> dict[str, float]:
        """Train what is left of an epoch; return its mean loss, top-1 error, learning rate, images per second, seconds.

        stop: asked after every update. Once it returns True in any process, the epoch is left: raises Stopped.
        Raises NotFinite if the loss is not finite.
        """
        epoch, steps = self.epoch, len(self.batches)
        self.begin_epoch(epoch)
        began, unseen = time.perf_counter(), float(self.totals[2])
        losses = torch.zeros(steps, device=self.device)
        with progress(total=steps, initial=self.step, desc=f"epoch {epoch + 1}/{self.spec.optimizer.epochs}") as bar:
            for batch in self.batches.of(epoch, self.step):
                seed_everything(self.batches.seed_of(epoch, self.step))  # dropout
                targets = batch.targets
                loss, logits = self.train_step(batch, self.step)
                losses[self.step] = loss
                wrong = (predicted(logits) != targets).sum()
                self.totals += torch.stack([loss * len(targets), wrong, torch.full_like(loss, len(targets))])
                self.step += 1
                bar.update()
                if self.step % READ_EVERY == 0 and self.step < steps:
                    mean_loss, error, seen = self._read(epoch, losses)
                    speed = (seen - unseen) / (time.perf_counter() - began)
                    figures = f"loss {mean_loss:.3f}, accuracy {1 - error:.1%}, {speed:.0f} images/s"
                    bar.set_postfix_str(figures, refresh=False)
                if self._updates(self.step - 1) and self._agreed(stop):
                    self._read(epoch, losses)  # a loss that is not finite must not be saved
                    self.spent += time.perf_counter() - began
                    raise Stopped
        mean_loss, error, seen = self._read(epoch, losses, together=True)
        self.epoch, self.step = epoch + 1, 0
        self.totals.zero_()
        elapsed = time.perf_counter() - began
        seconds, self.spent = self.spent + elapsed, 0.0
        self.world.follow(self.network.buffers())  # saved batch-norm statistics are those that are evaluated
        speed = self.world.size * (seen / self.world.size - unseen) / elapsed
        speeds = {"images_per_second": round(speed, 1), "seconds": round(seconds, 2)}
        return {"loss": mean_loss, "error": error, "lr": self._last_rate(), **speeds}

    def _last_rate(self) -> float:
        """Return the head's learning rate at the last update, or the backbone's if no head learns."""
        rates, group = self.scheduler, min(HEAD, len(self.scheduler.base_lrs) - 1)
        return float(rates.base_lrs[group] * rates.lr_lambdas[group](rates.last_epoch - 1))

    def train_step(self, batch: Batch, step: int = 0) -> tuple[Tensor, Tensor]:
        """Run the epoch's batch `step`; update after every --accumulate batches. Return loss and logits, detached."""
        updates = self._updates(step)
        with nullcontext() if updates or self.world.size == 1 else self.objective.no_sync():
            with autocast(self.device, self.spec.dtype):
                loss, features, logits = self.objective(batch.images, batch.targets)
                seed = self.batches.seed_of(self.epoch, step)
                context = StepContext(self.network, self.criterion, self.average, batch, features, logits, step, seed)
                loss = loss + sum((term(context) for term in self.terms), 0.0)
            accumulate = self.spec.optimizer.accumulate
            group = min(accumulate, len(self.batches) - (step - step % accumulate))
            self.scaler.scale(loss / group).backward()
        if updates:
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
            self.scheduler.step()
            if self.average is not None and self.average_criterion is not None:
                self.average.update_parameters(self.network)
                self.average_criterion.update_parameters(self.criterion)
        return loss.detach(), logits.detach()

    def _updates(self, step: int) -> bool:
        """Return whether the weights are updated after this step."""
        return (step + 1) % self.spec.optimizer.accumulate == 0 or step + 1 == len(self.batches)

    def _read(self, epoch: int, losses: Tensor, together: bool = False) -> tuple[float, float, float]:
        """Return mean loss, error and number of images so far, of this process or of all. Raises NotFinite."""
        total, wrong, seen = (self.world.sum(self.totals) if together else self.totals).tolist()
        if not math.isfinite(total):
            raise NotFinite(epoch, int((~losses.isfinite()).int().argmax()))
        return total / seen, wrong / seen, seen

    def _agreed(self, stop: Callable[[], bool]) -> bool:
        """Return whether any process wants to stop; several ask at readings of the loss and at the last step."""
        if self.world.size == 1:
            return stop()
        asks = self.step % READ_EVERY < self.spec.optimizer.accumulate or self.step == len(self.batches)
        return asks and bool(self.world.sum(np.array([int(stop())]))[0] > 0)

    def begin_epoch(self, epoch: int) -> None:
        """Switch to training mode, all but the backbone in the first `freeze_epochs`: until then it keeps its weights
        and its batch-norm statistics, while the schedule continues, as with torchreid's fixbase_epoch."""
        self.network.train()
        self.criterion.train()
        backbone_learns = epoch >= self.spec.optimizer.freeze_epochs
        for name, module in self.network.named_children():
            if f"{name}.".startswith(IN_BACKBONE):
                module.train(backbone_learns)
        for parameter in self.optimizer.param_groups[BACKBONE]["params"]:  # not of unused classifiers
            parameter.requires_grad_(backbone_learns)
        if self.world.size > 1:  # new each epoch: DDP relies on which parameters learn
            self.objective = DistributedDataParallel(self.module)
        elif self._records() and (self.objective is self.module or epoch == self.spec.optimizer.freeze_epochs):
            self.objective = Recorded(self.module)
        begins = 0 if self.spec.adapt else int(AVERAGE_FROM * self.spec.optimizer.epochs)
        if self.spec.average and self.average is None and epoch >= begins:
            self._begin_average()

    @torch.inference_mode()
    def validate(self, bank: Tensor, targets: Tensor) -> dict[str, float]:
        """Return "val_loss", the classifier's without margin or smoothing, and "val_error", top-1, not augmented.

        The images have the size of the epoch before: a network that learns at 128×64 fails at 256×128 for a while.
        """
        self.network.eval()
        self.criterion.eval()
        size = self.batches.size_of(self.epoch - 1)
        totals = torch.zeros(2, device=self.device)
        mine = self.world.share(torch.arange(len(bank)))
        for indices in progress(mine.split(self.spec.data.batch_size) if len(mine) else (), desc="validation"):
            labels = targets[indices].to(self.device)
            with autocast(self.device, self.spec.dtype):
                _, logits = self.network(scale(normalise(bank[indices].to(self.device)), size))
            loss = self.criterion.classify(logits, labels) * len(labels)
            totals += torch.stack([loss, (predicted(logits) != labels).sum()])
        loss, error = (self.world.sum(totals) / len(bank)).tolist()
        return {"val_loss": loss, "val_error": error}

    def averaged_statistics(self) -> dict[str, Any]:
        """Return the averaged network's state dict with batch-norm statistics of its own, from one more pass.

        They are means over the batches, with several processes over those of all, as for one with smaller batches.
        """
        assert self.average is not None, "only --wa averages"
        seed_everything(self.batches.seed_of(self.epoch, 0))  # dropout
        images = (batch.images for batch in self.batches.of(self.epoch))
        update_bn(progress(images, desc="batch-norm statistics", total=len(self.batches)), self.average)
        for name, statistic in self.average.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                statistic.copy_(self.world.sum(statistic) / self.world.size)
        return self.average.state_dict()

    def state_dict(self) -> dict[str, Any]:
        """Return all that `load_state_dict` needs to continue after the last update as if nothing had happened."""
        parts = {name: getattr(self, name).state_dict() for name in self._parts()}
        place = {"epoch": self.epoch, "step": self.step, "totals": self.totals, "spent": self.spent}
        return {**parts, **place, "history": self.history}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state that `state_dict` returned."""
        if "average" in state:
            self._begin_average()
        for name in self._parts():
            getattr(self, name).load_state_dict(state[name])
        self.epoch, self.step, self.history = state["epoch"], state["step"], state["history"]
        self.totals, self.spent = state["totals"].to(self.device), state.get("spent", 0.0)

    def _parts(self) -> list[str]:
        parts = ["network", "criterion", "optimizer", "scheduler", "scaler"]
        return parts if self.average is None else [*parts, "average", "average_criterion"]

    def _begin_average(self) -> None:
        """Begin the moving averages of the network and of the weights that losses own, from their present values."""
        decay, adapts = (self.spec.adapt.decay, True) if self.spec.adapt else (AVERAGE_DECAY, False)
        self.average = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=adapts)
        self.average.eval()  # as the teacher of --DG; no gradient trains the average
        # Most losses own no weights, and the multi-tensor function fails on an empty list.
        self.average_criterion = AveragedModel(self.criterion, avg_fn=get_ema_avg_fn(AVERAGE_DECAY))
