"""Build the parts of a training run from its configuration, for train.py, DDP and `fit`.

Modules that only one flag needs are imported where they are used, because retrieval and deploy load
slowly.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml

from person_reid.config import FitOptions, TrainConfig
from person_reid.config.forms import listed_numbers
from person_reid.config.network import PUBLISHED_CLASSES
from person_reid.config.train import LossOptions
from person_reid.data.images.augment import Augment
from person_reid.data.images.bank import BatchSource, load_bank
from person_reid.data.layout import join_splits, read_training_splits, read_unlabelled
from person_reid.data.summary import remark_twins
from person_reid.errors import UserError
from person_reid.losses.plan import learns, loss_plan, taught_losses
from person_reid.models.factory import (
    build_network,
    check_network,
    input_size,
    parameter_count,
)
from person_reid.models.network import Network, check_size
from person_reid.models.surgery import balance
from person_reid.run_folder import RunFolder
from person_reid.training.criterion import Criterion
from person_reid.training.step import Averaging, ExtraLoss
from person_reid.training.training_images import TrainingImages
from person_reid.training.writers import check_writers, recorded_options

AVERAGE_FROM = 0.8  # fraction of the epochs after which --wa averages
if TYPE_CHECKING:
    from person_reid.deploy.embedder import Embedder

log = logging.getLogger(__name__)


def check_training(config: TrainConfig) -> None:
    """Raise UserError if the network or the losses would ignore an option."""
    check_network(config)
    check_options(config, config.head, input_size(config))


def check_options(config: FitOptions, head: str, size: tuple[int, int]) -> None:
    """Raise UserError if a network would ignore an option; train.py and `fit` both ask.

    head: the network's classifier. size: (height, width) of its images. Warns about options that
    take effect too late.
    """
    plan = loss_plan(config, head)
    if config.prototype_lr and not learns(plan) and config.prototype_lr != config.lr:
        raise UserError(
            f"prototype_lr={config.prototype_lr} would be ignored without a loss with its own "
            "weights, such as arcface."
        )
    weights = [spec.weight for spec in (plan.classification, *plan.added, *plan.taught)]
    if not any(weights) and not config.adv and not getattr(config, "DG", False):
        raise UserError(
            f"loss={config.loss}: every loss has the weight 0, so there is nothing to learn. "
            "Give one a weight, such as triplet:1."
        )
    if config.sizes and config.sizes[-1][1] != size:
        raise UserError(
            f"resize_schedule={config.resize_schedule}: the last size is that of the trained "
            f"network, which is height={size[0]} and width={size[1]}."
        )
    epochs = config.total_epoch
    if config.warm_epoch > epochs:
        log.warning(
            "The training ends before the learning rate has risen: "
            "--warm_epoch is more than --total_epoch."
        )
    if config.schedule == "multistep" and listed_numbers(config.milestones, int)[0] >= epochs:
        log.warning(
            "The learning rate never drops: --milestones %s are not below --total_epoch.",
            config.milestones,
        )
    if config.freeze_epochs >= epochs:
        log.warning("The backbone learns nothing: --freeze_epochs is not less than --total_epoch.")


def check_run(config: TrainConfig, images: TrainingImages) -> None:
    """Raise UserError, before any work, for a run that cannot be trained.

    For example, there is a single identity, another process trains the run, or a package is
    missing.
    """
    # Without labels, clusters replace identities; a teacher or unlabelled images suffice as well.
    taught = config.teacher or config.DG or not config.labelled
    if images.num_classes < 2 and not taught:
        raise UserError(
            f"{config.roots[0] / config.split}: a single identity, {images.split.classes[0]}, "
            "so there is nothing to learn. A network learns to tell two or more apart."
        )
    check_writers(config)
    if config.sync_bn and images.device.type != "cuda":
        raise UserError(
            "sync_bn: PyTorch synchronises batch norms on GPUs only, and this runs on "
            f"{images.device}."
        )
    if config.sync_bn and images.world.size == 1:
        log.warning("--sync_bn changes nothing: one process has the whole batch.")
    if images.world.is_main:
        RunFolder(config.name).check_unused()
    if config.runtime:
        from person_reid.deploy.runtimes import check_runtime

        check_runtime(config.runtime, images.device)


def load_state(config: TrainConfig, images: TrainingImages) -> dict[str, Any] | None:
    """Return the state that a run resumes from, or None for a new run.

    Raises UserError if the state was made with other images or another number of processes.
    """
    folder, world = RunFolder(config.name), images.world
    # torchrun restarts the processes after one of them died.
    restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0

    def read() -> dict[str, Any] | None:
        state = folder.load_state(images.device if world.size == 1 else torch.device("cpu"))
        if state and state.get("images", images.fingerprint) != images.fingerprint:
            raise UserError(
                f"resume: {folder.path} was trained on images other than those "
                f"of {', '.join(map(str, config.roots))}. Name their folder with data_dir, "
                "or start a run of another name."
            )
        if state and state.get("processes", world.size) != world.size:
            raise UserError(
                f"resume: {folder.path} was trained by {state['processes']} processes, "
                f"and this is {world.size}. Batches and learning rates depend on the number: "
                "start as many as before."
            )
        return state

    return world.from_leader(read) if config.resume or restarted else None


def create_network(config: TrainConfig, num_classes: int, resumed: bool = False) -> Network:
    """Build the network of a run. resumed: whether its weights will be loaded from a state.

    Raises UserError if it cannot process images of the sizes used in training.
    """
    network = build_network(config, num_classes, "none" if resumed else config.weights)
    for size in (network.size, *(size for _, size in config.sizes)):
        check_size(network, config.backbone, size, config.batchsize)
    if config.balance and not resumed:
        balance(network, config.balance, network.size)
    if config.sync_bn:
        network = torch.nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return network


def create_criterion(
    config: LossOptions, network: Network, teacher: Embedder | None = None
) -> Criterion:
    """Build the criterion of a run.

    teacher: the network with which the teacher_ losses compare `network`.
    """
    return Criterion(loss_plan(config, network.head_name), network, teacher.dim if teacher else 0)


def weight_averaging(options: FitOptions) -> Averaging | None:
    """Return the moving average of --wa, or None without --wa.

    --DG also needs it, because its teacher is the average.
    """
    return Averaging(first_epoch=int(AVERAGE_FROM * options.total_epoch)) if options.wa else None


def losses_beside(
    options: LossOptions, images: TrainingImages, teacher: Embedder | None, *others: ExtraLoss
) -> list[ExtraLoss]:
    """Return `others` and the losses of --adv and --teacher, to add to the criterion's losses."""
    found = [*others]
    if options.adv:
        from person_reid.training.extra_losses import Adversarial

        found.insert(0, Adversarial(options.adv, options.aiter))
    if teacher:
        from person_reid.training.extra_losses import Distillation, teacher_features

        taught = teacher_features(teacher, images.splits)
        found.append(
            Distillation(
                taught, images.targets.cpu(), images.device, images.world, taught_losses(options)
            )
        )
    return found


def added_losses(
    config: TrainConfig, images: TrainingImages, network: Network, teacher: Embedder | None
) -> list[ExtraLoss]:
    """Return the losses of --adv, --DG and --teacher."""
    if not config.DG:
        return losses_beside(config, images, teacher)
    from person_reid.training.extra_losses import Generalisation

    folder = Path(config.DG_dir)
    bank = unlabelled_bank(read_unlabelled(folder), folder, network.size, config.roots[0])
    source = BatchSource(bank, Augment.of(config, *network.size, network.padding), images.device)
    # At least 8 images, as published.
    unlabelled = Generalisation(source, size=max(8, config.batchsize // 2))
    return losses_beside(config, images, teacher, unlabelled)


def describe_training(config: TrainConfig) -> str:
    """Return the options as YAML, and the size of the network.

    The network is built without allocating its weights.
    """
    folder = config.roots[0] / config.split
    classes = PUBLISHED_CLASSES
    if laid_out := folder.is_dir():
        splits = read_training_splits(config.roots, config.split)
        remark_twins(splits)
        classes = len(join_splits(splits).classes)
    with torch.device("meta"):
        network = build_network(config, classes, "none")
    note = "" if laid_out else f" (Market-1501's: {config.data_dir} is not laid out)"
    return (
        f"{yaml.safe_dump(recorded_options(config))}"
        f"# {parameter_count(network) / 1e6:.2f} M parameters, {classes} identities{note}"
    )


def unlabelled_bank(
    paths: list[Path], folder: Path, size: tuple[int, int], otherwise: Path
) -> torch.Tensor:
    """Return the bank of any folder of images.

    Its cache is in the folder, or below `otherwise` if the folder is not writable.
    """
    cache = folder / ".cache"
    if not cache.is_dir() and not os.access(folder, os.W_OK):
        cache = otherwise / ".cache"
    return load_bank(paths, *size, cache, "unlabelled")
