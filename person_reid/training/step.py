"""Update the weights for a batch, and everything that changes with them."""

import logging
import math
import warnings
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, get_ema_multi_avg_fn

from person_reid.config.train import OptimizerOptions
from person_reid.device import autocast, computed_in, dtype_of, memory_format, seeded
from person_reid.distributed import World
from person_reid.errors import first_line
from person_reid.fused.layers import fuse, is_fused
from person_reid.models.network import Network
from person_reid.models.surgery import layers_named
from person_reid.training.criterion import Criterion, predicted
from person_reid.training.schedule import IN_BACKBONE, Schedule, build_optimizer, build_scheduler
from person_reid.training.training_images import Batch, Batches

log = logging.getLogger(__name__)


class Recorded:
    """Record a training step once on a GPU, and replay it.

    The CPU then launches two graphs instead of a thousand kernels.

    Launching takes longer than computing unless the network is large: a step of OSNet takes as long
    at 128×64 as at 256×128. CUDA graphs hold all its kernels and their addresses
    (torch.cuda.make_graphed_callables). The numbers are the same as in a step that is not recorded.
    A new image shape, at the start of an epoch, is recorded anew.

    An objective that cannot be recorded, because the host reads a number from the GPU or because
    there is too little memory, is called directly.

    module: on the GPU, in training mode. Make a new Recorded when its trainable parameters change.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module, self.call = module, module
        self.shape: torch.Size | None = None

    def __call__(self, images: Tensor, targets: Tensor) -> Any:
        """Return the module's outputs. The next call overwrites these tensors."""
        if images.shape != self.shape:
            self.call = self.module  # the earlier recording's memory is free for the new one
            self.shape = images.shape
            try:
                self.call = recorded_step(self.module, images, targets)
            except RuntimeError as error:
                log.info("The steps are launched one by one: %s", first_line(error))
        return self.call(images, targets)


def recorded_step(module: nn.Module, images: Tensor, targets: Tensor) -> nn.Module:
    """Return a module that replays module(images, targets) and its gradients.

    It works for other images of the same shape.

    The module runs inside the autocast that is active now. Recording runs it several times, and
    then restores its statistics and the state of the random numbers. Raises RuntimeError if it
    cannot be recorded.
    """
    before = [buffer.clone() for buffer in module.buffers()]
    generator = torch.cuda.default_generators[images.get_device()]
    random = generator.clone_state()
    call = _Call(module)
    # Every recording causes this warning: gradients are added up on the stream that recorded them.
    warnings.filterwarnings("ignore", "The AccumulateGrad node's stream does not match")
    try:
        # The backward pass has no autocast.
        with torch.random.fork_rng([images.device]), torch.autocast("cuda", enabled=False):
            torch.cuda.make_graphed_callables(
                call, (images.clone(), targets.clone()), allow_unused_input=True
            )
    except RuntimeError:
        generator.graphsafe_set_state(random)  # the generator believes that it is still recorded
        raise
    finally:
        for buffer, values in zip(module.buffers(), before, strict=True):
            buffer.copy_(values)
    return call


class _Call(nn.Module):
    """Call a module under the autocast settings that are active when this object is created.

    The cache of weights is disabled, because the weights change.

    The recording replaces this forward, not the module's own.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.enabled = torch.is_autocast_enabled("cuda")
        self.dtype = torch.get_autocast_dtype("cuda")

    def forward(self, images: Tensor, targets: Tensor) -> Any:
        with torch.autocast("cuda", self.dtype, self.enabled, cache_enabled=False):
            return self.module(images, targets)


CRITERION_DECAY = 0.996  # for the average of the losses' own weights


class Outcome(NamedTuple):
    """The result of a training step.

    losses: (T,), weighted, in the order of TrainingStep.names. wrong: a scalar, the number of
        images given a wrong identity. images: the number of images in the batch.
    updated: whether the weights have changed; with --accumulate, not every step changes them.
    """

    losses: Tensor
    wrong: Tensor
    images: int
    updated: bool

    @property
    def loss(self) -> Tensor:
        """The sum of the losses, a scalar."""
        return self.losses.sum()


class Averaging(NamedTuple):
    """A moving average of the weights that begins at an epoch.

    decay: the decay per update. first_epoch: counted from 0. buffers: whether batch-norm statistics
    are also averaged.
    """

    decay: float = 0.996
    first_epoch: int = 0
    buffers: bool = False


class ExtraLoss(Protocol):
    """Losses in addition to those of the criterion."""

    @property
    def names(self) -> Sequence[str]:
        """The names of the losses, in the order in which they are returned."""
        ...

    def __call__(
        self, step: "TrainingStep", batch: Batch, features: Tensor, logits: Tensor
    ) -> Tensor:
        """Return the losses as a tensor (len(names),), or the only loss as a scalar."""


class Objective(nn.Module):
    """The network and its criterion in one module.

    It is recorded, compiled, or synchronised between processes by DDP.

    Every process computes the loss of the whole batch, across all processes. The gradient that DDP
    averages therefore equals the gradient of one process with the whole batch (see World.gather).
    """

    def __init__(self, network: Network, criterion: Criterion, world: World) -> None:
        super().__init__()
        self.network = network
        self.criterion = criterion
        self.world = world

    def forward(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the losses, (T,), and this process's features and logits.

        images: (B, 3, H, W). targets: (B,).
        """
        features, logits = self.network.outputs(images, self.criterion.seen)
        logits = self.criterion.logits_of(features, logits)
        gather = self.world.gather
        return self.criterion(gather(features), gather(logits), gather(targets)), features, logits


def prepare_modules(
    network: Network, criterion: Criterion, options: OptimizerOptions, device: torch.device
) -> None:
    """Move network and criterion to a device, freeze layers, and fuse layers where that is faster.

    --freeze_layers names the layers to freeze. In float32 on a CPU, fused layers are faster than
    compiled ones, and replace --compile's default mode.
    """
    network.to(device).to(memory_format=memory_format(device, network))
    criterion.to(device)
    for layer in layers_named(network, options.freeze_layers):
        layer.requires_grad_(False)
    in_float32 = device.type == "cpu" and computed_in(device, dtype_of(options)) is None
    fused = in_float32 and options.compile in (None, "default") and fuse(network)
    if fused and options.compile:
        log.info("--compile: in float32 on a CPU, fused layers are faster, and take its place.")
    if device.type == "cuda" and options.compile == "default":
        log.info(
            "--compile: on a GPU, --compile reduce-overhead gains far more; it also records the "
            "steps."
        )


class TrainingStep:
    """A step that, called with a batch, updates the weights: forward, loss, backward, update.

    network, criterion: from prepare_modules, which moves them to the device of the images.
    options: the optimiser, its learning rates and the precision. images: the training images.
    world: the processes that train together. extra: losses besides the criterion's.
    averaging: how to average the weights; `average` then holds them. records: whether a GPU may
        record and replay the step. schedule: see build_scheduler.

        prepare_modules(network, criterion, options, images.device)
        step = TrainingStep(network, criterion, options, images)
        for epoch in range(options.total_epoch):
            step.begin_epoch(epoch)
            for batch in images.epoch(epoch):
                step(batch)

    A step is plain, in half precision, accumulated, shared by processes (DDP), recorded, compiled
    or fused; the numbers are the same up to rounding, and so are the calls.
    """

    def __init__(
        self,
        network: Network,
        criterion: Criterion,
        options: OptimizerOptions,
        images: Batches,
        world: World | None = None,
        extra: Sequence[ExtraLoss] = (),
        averaging: Averaging | None = None,
        records: bool = True,
        schedule: Schedule | None = None,
    ) -> None:
        self.options, self.extra = options, extra
        self.images: Any = images  # a run knows that they are TrainingImages
        self.world, self.device = world or World(), images.device
        self.averaging, self.records = averaging, records
        self.network, self.criterion = network, criterion
        self.dtype = dtype_of(options)
        self.memory_format = memory_format(self.device, network)
        self.module = Objective(network, criterion, self.world)
        self.objective: Any = self.module  # with several processes, in DDP
        self.optimizer = build_optimizer(network, criterion, options)
        self.steps = len(images)  # in an epoch
        updates = math.ceil(self.steps / options.accumulate)
        self.scheduler = build_scheduler(self.optimizer, options, updates, schedule)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.average: AveragedModel | None = None
        self.average_criterion: AveragedModel | None = None  # averages the losses' own weights
        self.epoch = -1  # the one that begin_epoch has begun
        if options.compile and not is_fused(network):
            self.module.compile(mode=options.compile, dynamic=False)

    def __call__(self, batch: Batch) -> Outcome:
        """Train on a batch; with --accumulate, update the weights only after several batches."""
        if batch.epoch != self.epoch:  # the caller's loop has not begun it
            self.begin_epoch(batch.epoch)
        images = batch.images.contiguous(memory_format=self.memory_format)
        batch = batch._replace(images=images)
        place, size = batch.step % self.options.accumulate, self.options.accumulate
        updates = place + 1 == size or batch.step + 1 == self.steps
        group = min(size, self.steps - batch.step + place)  # the batches of this update
        with nullcontext() if updates or self.world.size == 1 else self.objective.no_sync():
            # Dropout draws random numbers.
            with seeded(batch.seed, self.device), autocast(self.device, self.dtype):
                losses, features, logits = self.objective(batch.images, batch.targets)
                extra = [loss(self, batch, features, logits) for loss in self.extra]
                losses = torch.cat([losses, *map(torch.atleast_1d, extra)])
            self.scaler.scale(losses.sum() / group).backward()
        if updates:
            if self.options.clip_grad:
                self.scaler.unscale_(self.optimizer)
                groups = self.optimizer.param_groups
                learnt = [weight for group in groups for weight in group["params"]]
                nn.utils.clip_grad_norm_(learnt, self.options.clip_grad)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
            self.scheduler.step()
            if self.average is not None and self.average_criterion is not None:
                self.average.update_parameters(self.network)
                self.average_criterion.update_parameters(self.criterion)
        wrong = (predicted(logits.detach()) != batch.targets).sum()
        return Outcome(losses.detach(), wrong, len(batch.targets), updates)

    def begin_epoch(self, epoch: int) -> None:
        """Switch to training mode, except for frozen layers. epoch: counted from 0.

        In the first `freeze_epochs`, the backbone keeps its weights and its batch-norm statistics,
        while the schedule continues, as with torchreid's fixbase_epoch. The layers of
        `freeze_layers` keep theirs in all epochs.
        """
        self.epoch = epoch
        self.network.train()
        self.criterion.train()
        backbone_learns = epoch >= self.options.freeze_epochs
        for name, module in self.network.named_children():
            if f"{name}.".startswith(IN_BACKBONE):
                module.train(backbone_learns)
        for layer in layers_named(self.network, self.options.freeze_layers):
            if isinstance(layer, nn.Module):
                layer.eval()
        for group in self.optimizer.param_groups:  # which hold no frozen weights
            if group["name"] == "backbone":
                for weight in group["params"]:
                    weight.requires_grad_(backbone_learns)
        if self.world.size > 1:  # new each epoch: DDP relies on which parameters learn
            self.objective = DistributedDataParallel(self.module)
        elif self._recorded() and (
            self.objective is self.module or epoch == self.options.freeze_epochs
        ):
            self.objective = Recorded(self.module)
        if self.averaging and self.average is None and epoch >= self.averaging.first_epoch:
            self._begin_average()

    def _recorded(self) -> bool:
        """Return whether a GPU records the steps.

        It does so only if nothing else handles the objective or its gradients.

        A recording overwrites the gradients that --accumulate would add to, and --compile has its
        own mode for it.
        """
        plain = self.options.accumulate == 1 and not self.options.compile
        return self.records and self.device.type == "cuda" and plain

    @property
    def names(self) -> list[str]:
        """The names of the losses, in the order of Outcome.losses."""
        return [*self.criterion.names, *(name for loss in self.extra for name in loss.names)]

    @property
    def head_lr(self) -> float:
        """The head's learning rate at the last update, or the backbone's if no head learns."""
        names = [group["name"] for group in self.optimizer.param_groups]
        group = names.index("head") if "head" in names else names.count("backbone") - 1
        rates = self.scheduler
        return float(rates.base_lrs[group] * rates.lr_lambdas[group](rates.last_epoch - 1))

    def state_dict(self) -> dict[str, Any]:
        """Return the state after the last update, from which `load_state_dict` continues.

        The run then continues as if it had never been interrupted.
        """
        return {name: getattr(self, name).state_dict() for name in self._parts()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state that `state_dict` returned."""
        if "average" in state:
            self._begin_average()
        for name in self._parts():
            getattr(self, name).load_state_dict(state[name])

    def _parts(self) -> list[str]:
        parts = ["network", "criterion", "optimizer", "scheduler", "scaler"]
        return parts if self.average is None else [*parts, "average", "average_criterion"]

    def _begin_average(self) -> None:
        """Start the moving averages of the network and the losses at their current weights."""
        assert self.averaging is not None
        update = get_ema_multi_avg_fn(self.averaging.decay)
        self.average = AveragedModel(
            self.network, multi_avg_fn=update, use_buffers=self.averaging.buffers
        )
        self.average.eval()  # as the teacher of --DG; no gradient trains the average
        # Most losses own no weights, and the multi-tensor function fails on an empty list.
        self.average_criterion = AveragedModel(
            self.criterion, avg_fn=get_ema_avg_fn(CRITERION_DECAY)
        )


def train_one_epoch(step: TrainingStep, batches: Iterable[Batch]) -> float:
    """Update the weights for every batch, and return the mean loss per image.

    >>> for epoch in range(20):
    ...     print(train_one_epoch(step, images.epoch(epoch)))
    """
    loss: Tensor | float = 0.0
    images = 0
    for batch in batches:
        outcome = step(batch)
        loss = loss + outcome.loss * outcome.images
        images += outcome.images
    return float(loss) / images
