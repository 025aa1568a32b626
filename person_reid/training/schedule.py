"""Build a run's optimiser, with parameter groups, and its learning-rate schedule."""

import math
from bisect import bisect_right
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RAdam, RMSprop
from torch.optim.lr_scheduler import LambdaLR

from person_reid.config.forms import listed_numbers
from person_reid.config.train import SCHEDULE_NAMES, OptimizerOptions
from person_reid.errors import UserError
from person_reid.registration import Registry

IN_BACKBONE = ("model.", "usam_")  # prefixes of its parameters' names
WARM_FROM = 0.1  # fraction of the learning rate at which a warm-up begins
DROP = 0.1  # factor of each step down
# one_cycle has PyTorch's pct_start, div_factor and final_div_factor.
ONE_CYCLE_RISE = 0.3
START = 25
ONE_CYCLE_END = 1e4
COSINE_FLOOR = 0.01  # fraction of --lr at which the cosine schedules end


def build_optimizer(
    network: nn.Module, criterion: nn.Module, options: OptimizerOptions
) -> Optimizer:
    """Build the optimiser of `--optimizer`, whose groups have names in `group["name"]`.

    backbone: `model.*` and the attention of --usam, at `backbone_lr`; with --layer_decay, a group
        for each layer.
    head: the rest of the network, at `lr`.
    prototypes: the weights of losses, at `prototype_lr`.

    A group without trainable weights is skipped. Raises UserError if all groups are, and for
    --layer_decay of a backbone whose layers are unknown.

    Weight decay applies to all weights. --no_decay_1d exempts norms and biases, which splits each
    group in two. sgd has Nesterov momentum 0.9, rmsprop momentum 0.9, radam decoupled weight decay
    as in its authors' code; the rest is PyTorch's default. Fused kernels are used wherever PyTorch
    has one, so --FSGD changes nothing.
    """
    of_backbone, of_head, of_losses = options.learning_rates
    backbone: list[nn.Parameter] = []
    head: list[nn.Parameter] = []
    for name, weight in network.named_parameters():
        (backbone if name.startswith(IN_BACKBONE) else head).append(weight)
    layers = {of_backbone: backbone}
    if options.layer_decay:
        layers = _decayed(network, backbone, of_backbone, options.layer_decay)
    parts = [
        *(("backbone", weights, rate) for rate, weights in layers.items()),
        ("head", head, of_head),
        ("prototypes", list(criterion.parameters()), of_losses),
    ]
    groups: list[dict[str, Any]] = []
    for name, weights, rate in parts:
        learnt = [weight for weight in weights if weight.requires_grad]
        flat = [weight for weight in learnt if options.no_decay_1d and weight.ndim < 2]
        decayed = [weight for weight in learnt if not options.no_decay_1d or weight.ndim >= 2]
        groups.append({"name": name, "params": decayed, "lr": rate})
        groups.append({"name": name, "params": flat, "lr": rate, "weight_decay": 0.0})
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise UserError("All weights are frozen, so there is nothing to learn.")
    kinds: dict[str, Callable[..., Optimizer]] = {
        "sgd": partial(SGD, momentum=0.9, nesterov=True, fused=True),
        "adam": partial(Adam, fused=True),
        "adamw": partial(AdamW, fused=True),
        "amsgrad": partial(Adam, amsgrad=True, fused=True),
        "radam": partial(RAdam, decoupled_weight_decay=True),
        "rmsprop": partial(RMSprop, momentum=0.9),
    }
    return kinds[options.optimizer](groups, lr=options.lr, weight_decay=options.weight_decay)


def _decayed(
    network: Any, backbone: list[nn.Parameter], rate: float, decay: float
) -> dict[float, list[nn.Parameter]]:
    """Return {learning rate: weights} of a backbone; layer i of n has rate · decay^(n − i).

    Clark, Luong, Le, Manning, ELECTRA, ICLR 2020, with the layers that timm's networks define: the
    embedding, each block, and the layers after the blocks.
    """
    from timm.models import group_parameters  # loads slowly

    if not hasattr(network.module, "group_matcher"):
        raise UserError(
            f"layer_decay={decay}: this backbone does not say what its layers are; timm's do."
        )
    layer_of = group_parameters(network.module, network.module.group_matcher(), reverse=True)
    last = max(layer_of.values())
    depths = {weight: layer_of[name] for name, weight in network.module.named_parameters()}
    layers: dict[float, list[nn.Parameter]] = {}
    for weight in backbone:
        layers.setdefault(rate * decay ** (last - depths.get(weight, last)), []).append(weight)
    return layers


class Update(NamedTuple):
    """The position of an update in a run, as passed to a schedule.

    step: its number in the run, from 0. steps_per_epoch: the number of updates in an epoch.
    floor: the factor at which the learning rate of its group is --lr / 100.
    """

    step: int
    steps_per_epoch: int
    floor: float = 0.0

    @property
    def epoch(self) -> int:
        """The number of the epoch, from 0."""
        return self.step // self.steps_per_epoch


Schedule = Callable[[Update, OptimizerOptions], float]
"""(update, options) → the factor of the learning rate."""


def build_scheduler(
    optimizer: Optimizer,
    options: OptimizerOptions,
    steps_per_epoch: int,
    schedule: Schedule | None = None,
) -> LambdaLR:
    """Build a LambdaLR that steps once per update, by the same rule for every group.

    schedule: replaces options.schedule; the warm-up of options.warm_epoch multiplies it.

    The rate depends only on the step number, so a resumed run continues exactly. Chained schedulers
    (SequentialLR) multiply the rate from step to step and accumulate rounding errors.
    """
    factor = warmed(schedule) if schedule else SCHEDULES.named(options.schedule)
    floors = [min(1.0, options.lr * COSINE_FLOOR / group["lr"]) for group in optimizer.param_groups]
    return LambdaLR(optimizer, [_of_group(factor, options, steps_per_epoch, it) for it in floors])


def _of_group(
    factor: Schedule, options: OptimizerOptions, steps_per_epoch: int, floor: float
) -> Callable[[int], float]:
    return lambda step: factor(Update(step, steps_per_epoch, floor), options)


def warmed(decay: Schedule) -> Schedule:
    """Return `decay` multiplied by a linear warm-up from WARM_FROM to 1."""

    def factor(update: Update, options: OptimizerOptions) -> float:
        steps = options.warm_epoch * update.steps_per_epoch
        warm = min(1.0, WARM_FROM + (1 - WARM_FROM) * update.step / steps) if steps else 1.0
        return warm * decay(update, options)

    return factor


def step_decay(update: Update, options: OptimizerOptions) -> float:
    """Return 1, or 0.1 after two thirds of the epochs."""
    return DROP ** (update.epoch // max(1, options.total_epoch * 2 // 3))


def multistep(update: Update, options: OptimizerOptions) -> float:
    """Return 1, multiplied by 0.1 for each milestone reached."""
    return DROP ** bisect_right(listed_numbers(options.milestones, int), update.epoch)


def cosine(update: Update, options: OptimizerOptions) -> float:
    """Return floor + (1 - floor)·(1 + cos(π·t/T))/2 at epoch t of T: it falls from 1 to `floor`.

    The rate of every group ends at --lr / 100; a rate that begins below that does not change.
    Loshchilov and Hutter, SGDR, ICLR 2017, eq. 5, without restarts.
    """
    return _half_cosine(update.epoch, options.total_epoch, update.floor)


def warmup_cosine(update: Update, options: OptimizerOptions) -> float:
    """Return `cosine` by step, not by epoch, with t and T counted from the end of the warm-up.

    WarmupCosineAnnealingLR in many re-identification toolboxes takes one step per epoch, begins its
    warm-up at a third, and ends at eta_min, by default 0.
    """
    warm_steps = options.warm_epoch * update.steps_per_epoch
    length = max(1, options.total_epoch * update.steps_per_epoch - warm_steps)
    return _half_cosine(max(0, update.step - warm_steps), length, update.floor)


def _half_cosine(position: int, length: int, floor: float) -> float:
    return floor + (1 - floor) * (1 + math.cos(math.pi * position / length)) / 2


def one_cycle(update: Update, options: OptimizerOptions) -> float:
    """Return a step's factor: from 1/25 to 1 in the warm-up, then to almost 0, along half cosines.

    The warm-up is by default 30 % of the steps. It is PyTorch's OneCycleLR (Smith and Topin,
    Super-Convergence, 2018), with constant momentum.
    """
    steps = options.total_epoch * update.steps_per_epoch
    warm_steps = options.warm_epoch * update.steps_per_epoch
    peak, last = max(0.0, (warm_steps or ONE_CYCLE_RISE * steps) - 1), steps - 1
    if update.step <= peak:
        position = update.step / peak if peak else 1.0
        start = 1 / START
        end = 1.0
    else:
        position = (update.step - peak) / max(1, last - peak)
        start = 1.0
        end = 1 / START / ONE_CYCLE_END
    return end + (start - end) * (1 + math.cos(math.pi * position)) / 2


SCHEDULES: Registry[Schedule] = Registry(
    "schedule",
    {
        "step": warmed(step_decay),
        "cosine": warmed(cosine),
        "multistep": warmed(multistep),
        "warmup_cosine": warmed(warmup_cosine),
        "one_cycle": one_cycle,  # which has its own warm-up
    },
    SCHEDULE_NAMES,
)


def register_schedule(name: str, decay: Schedule) -> None:
    """Register a schedule under a name for --schedule.

    decay: (update, options) → the factor of the learning rate, which the warm-up of --warm_epoch
    multiplies.
    """
    SCHEDULES.register(name, warmed(decay))
