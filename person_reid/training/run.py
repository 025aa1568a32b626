"""Run a training from its spec to the last checkpoint: images, sampler, network, criterion, trainer, epochs."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from person_reid.basics import UserError, counted, quoted
from person_reid.data.bank import BatchSource, fingerprint
from person_reid.data.layout import Split, join_splits, read_unlabelled
from person_reid.device import prepare_training, seed_everything
from person_reid.distributed import World
from person_reid.losses.cluster_memory import ClusterMemory, ProxyMemory
from person_reid.models.balance import balance
from person_reid.models.factory import build_model, check_size, parameter_count
from person_reid.models.heads import heads_of
from person_reid.models.network import Network
from person_reid.run_folder import RunFolder, check_run_name
from person_reid.training.adversarial import AdversarialTerm
from person_reid.training.banks import check_identities, read_images, training_bank, unlabelled_bank, validation_bank
from person_reid.training.batches import Batches, build_sampler
from person_reid.training.criterion import ClusterCriterion, Criterion
from person_reid.training.distillation import DistillationTerm, teacher_features
from person_reid.training.generalisation import GeneralisationTerm
from person_reid.training.interruption import (
    STOPPED,
    NotFinite,
    Stopped,
    check_resumed,
    check_widths,
    not_finite_message,
    state_that_fits,
    stop_signal,
)
from person_reid.training.spec import TrainSpec
from person_reid.training.trainer import Term, Trainer
from person_reid.training.writers import check_writers, drawing, log_line, open_writers
from person_reid.versions import versions

if TYPE_CHECKING:  # what a training needs only with its flag is imported with it: retrieval and deploy load slowly
    from person_reid.training.adaptation import Adaptation
    from person_reid.training.evaluation import Evaluation

CHECKPOINT_EVERY = 10  # epochs
log = logging.getLogger(__name__)


class Training(NamedTuple):
    """The parts of a run.

    images: fingerprint of the training images. validation: bank and targets of `val`, or None. evaluation: of
    --eval_every, or None. adaptation: of a training without labels.
    """

    trainer: Trainer
    split: Split
    images: str
    validation: tuple[torch.Tensor, torch.Tensor] | None
    evaluation: Evaluation | None
    adaptation: Adaptation | None = None

    def state(self) -> dict[str, Any]:
        """Return what --resume needs."""
        further = {"adaptation": self.adaptation.state_dict()} if self.adaptation else {}
        return {**self.trainer.state_dict(), **further, "images": self.images, "processes": self.trainer.world.size}

    @property
    def network(self) -> Network:
        """Return the network that net_last.pth holds: the trained one, without labels its teacher."""
        return self.adaptation.network if self.adaptation else self.trainer.network


def run_training(spec: TrainSpec, world: World | None = None) -> RunFolder:
    """Train as the spec says. Everything is checked and decoded before anything but a cache is written.

    world: the processes that train together; the first of them logs and writes. Raises UserError for any fault found
    before the first batch, and if the loss is not finite.
    """
    world = world or World()
    check_run_name(spec.name)
    check_writers(spec.writers)
    run = RunFolder(spec.name)
    if world.leads:
        run.check_unused()
    restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0  # by torchrun, after a process died
    state = run.load_state(world.device(spec.gpu_ids)) if spec.resume or restarted else None
    training = set_up(spec, world, state)
    with run.writing() if world.leads else nullcontext():
        if world.leads:
            _open_folder(run, training, spec, goes_on=state is not None)
            _describe(training, spec, world)
        world.wait()
        try:
            _fit(training, run, spec, world)
        except NotFinite as error:
            sampler, adapts = training.trainer.batches.sampler, spec.adapt is not None
            message = not_finite_message(error, sampler, training.split, run, spec.dtype, adapts)
            raise UserError(message) from error
    return run


def set_up(spec: TrainSpec, world: World | None = None, state: dict[str, Any] | None = None) -> Training:
    """Build what the spec describes; write nothing but the caches of decoded images.

    world: the processes that train together. state: of a resumed run, which then needs no initial weights.
    """
    world = world or World()
    device = world.device(spec.gpu_ids)
    _check_runtime(spec, device)
    prepare_training(device, spec.tf32)
    data, augment = spec.data, spec.data.augment
    splits = read_images(spec)
    split = join_splits(splits)
    check_identities(spec, split)
    images = fingerprint(split.paths, times=False)
    check_resumed(state or {}, spec, images, world)
    unlabelled = read_unlabelled(data.unlabelled) if data.unlabelled else []
    evaluation = _evaluation(spec)
    sampler = build_sampler(spec, split, world)
    targets = torch.from_numpy(split.targets)
    assert not spec.losses.taught or spec.teacher, "the command that makes the spec opens it"
    teacher = spec.teacher(device=device) if spec.teacher else None

    seed_everything(spec.seed)
    start = replace(spec, weights="none", balance=None) if state else spec  # the state has the weights
    network, criterion = _build(start, len(split.classes), device, teacher.dim if teacher else 0)
    if state:
        with state_that_fits(spec):
            check_widths(state["network"], network, spec)
    with world.leader_first():  # one process decodes; the others open its caches
        validation = None if spec.adapt else validation_bank(data.roots[0], split.classes, augment)
        bank = training_bank(spec, splits)
        terms = _further_terms(spec, unlabelled, device)
        if teacher:
            terms.append(DistillationTerm(teacher_features(teacher, splits), targets, device, world))
        if evaluation:
            evaluation.decode(augment.height, augment.width)

    batches = Batches(BatchSource(bank, augment, device), targets, sampler, spec.seed, world.rank, data.sizes)
    trainer = Trainer(network, criterion, batches, spec, terms, world)
    adaptation = _adaptation(spec, split, bank, trainer)
    training = Training(trainer, split, images, validation, evaluation, adaptation)
    if state:
        with state_that_fits(spec):
            trainer.load_state_dict(state)
            if adaptation:
                adaptation.load_state_dict(state["adaptation"])
    return training


def _check_runtime(spec: TrainSpec, device: torch.device) -> None:
    if spec.runtime != "torch":
        from person_reid.deploy.runtimes import check_runtime

        check_runtime(spec.runtime, device)


def _evaluation(spec: TrainSpec) -> Evaluation | None:
    if not spec.evaluate_every:
        return None
    from person_reid.training.evaluation import Evaluation

    return Evaluation(spec.data.roots[0], spec.runtime)


def _adaptation(spec: TrainSpec, split: Split, bank: torch.Tensor, trainer: Trainer) -> Adaptation | None:
    if not spec.adapt:
        return None
    from person_reid.training.adaptation import Adaptation

    return Adaptation(spec.adapt, split, bank, trainer)


def _further_terms(spec: TrainSpec, unlabelled: list[Path], device: torch.device) -> list[Term]:
    """Return the terms of --adv and --DG. unlabelled: the images of the latter."""
    data, terms = spec.data, list[Term]()
    if spec.adversarial:
        terms.append(AdversarialTerm(spec.adversarial, spec.adversarial_every))
    if data.unlabelled:
        bank = unlabelled_bank(unlabelled, data.unlabelled, data.augment, data.roots[0])
        source = BatchSource(bank, data.augment, device)
        terms.append(GeneralisationTerm(source, size=max(8, data.batch_size // 2)))  # the published number
    return terms


def _build(spec: TrainSpec, num_classes: int, device: torch.device, taught_dim: int) -> tuple[Network, Criterion]:
    """Build the network and what it learns from. taught_dim: the width of a teacher's features, 0 without one."""
    data, augment = spec.data, spec.data.augment
    network = build_model(spec.network, num_classes, spec.weights)
    for size in ((augment.height, augment.width), *(size for _, size in data.sizes)):
        check_size(network, spec.network.backbone, size, data.batch_size)
    if spec.balance:
        balance(network, spec.balance, (augment.height, augment.width))
    if any(term.before_dropout for term in spec.losses.terms):
        for head in heads_of(network):
            head.drops_for_losses = False
    if spec.sync_bn:
        if device.type != "cuda":
            raise UserError(f"--sync_bn: PyTorch synchronises batch norms on GPUs only, and this runs on {device}.")
        network = torch.nn.SyncBatchNorm.convert_sync_batchnorm(network)
    if spec.adapt:
        from person_reid.training.adaptation import prepare_network

        prepare_network(network)
        memory = (ProxyMemory if spec.adapt.proxies else ClusterMemory)(spec.adapt.momentum, spec.adapt.temperature)
        return network, ClusterCriterion(network.metric_dim, memory)
    return network, Criterion(spec.losses, num_classes, network.metric_dim, network.parts, taught_dim)


def _open_folder(run: RunFolder, training: Training, spec: TrainSpec, goes_on: bool) -> None:
    """Make the folder of the run ready, or go on in it."""
    trainer = training.trainer
    if goes_on:
        log.info("%s: continuing after epoch %d, batch %d.", run.path, trainer.epoch, trainer.step)
    else:
        if spec.resume:
            log.info("%s: nothing to resume yet, so the training begins.", run.path)
        run.set_aside()
        run.save_options({**spec.flags, "nclasses": len(training.split.classes)})
    run.save_versions({"epoch": trainer.epoch, **versions()}, goes_on)


def _describe(training: Training, spec: TrainSpec, world: World) -> None:
    trainer, split = training.trainer, training.split
    people = f"{len(split.classes)} identities"
    if spec.adapt:
        people = f"{len(split.classes) - 1} known and of unknown people" if len(split.classes) > 1 else "unknown people"
    log.info(
        "%s, %.2f M parameters; %d images of %s; %s on %s%s.",
        spec.network.backbone, parameter_count(trainer.network) / 1e6, len(split), people,
        counted(spec.optimizer.epochs, "epoch"), trainer.device, f", {world.size} processes" if world.size > 1 else "",
    )  # fmt: skip


def _fit(training: Training, run: RunFolder, spec: TrainSpec, world: World) -> None:
    """Train the remaining epochs; after each, write its files, resume.pth after the checkpoints it relies on."""
    trainer, leads, epochs = training.trainer, world.leads, spec.optimizer.epochs
    writers = open_writers(spec if leads else replace(spec, writers=()), run.path, trainer.history)
    with stop_signal() as stop, writers as write:
        if training.adaptation and not trainer.epoch and not trainer.step:
            training.adaptation.refresh()
        while trainer.epoch < epochs:
            try:
                record = trainer.train_epoch(stop)
            except Stopped:
                _save_and_exit(training, run, world)
            record |= _measure(training, spec, world)
            record = {"epoch": trainer.epoch, **{name: float(f"{value:.6g}") for name, value in record.items()}}
            trainer.history.append(record)
            if leads:
                _write_epoch(training, run, spec.keep)
                log.info(log_line(record, epochs))
                if record["loss"] == 0:
                    log.warning("Nothing was learnt in this epoch: the loss of every batch was 0.")
                write(record)
        if training.adaptation and leads:
            training.adaptation.conclude(run)
        if trainer.average is not None and not training.adaptation:
            if leads:
                run.save_weights("average", trainer.average.state_dict())
            averaged = trainer.averaged_statistics()
            if leads:
                run.save_weights("average_bn", averaged)
    if leads:
        root = spec.data.roots[0]
        tested = all((root / name).is_dir() for name in ("query", "gallery"))
        place = f" --test_dir {quoted(root)}" if tested else ""
        log.info("Done: %s/net_last.pth. Test it: python test.py --name %s%s", run.path, quoted(run.name), place)


def _measure(training: Training, spec: TrainSpec, world: World) -> dict[str, float]:
    """Validate and, if it is due, evaluate the network after an epoch."""
    trainer, found = training.trainer, dict[str, float]()
    if training.validation:
        found |= trainer.validate(*training.validation)
    if training.adaptation:
        found |= training.adaptation.refresh()
    if training.evaluation and (trainer.epoch % spec.evaluate_every == 0 or trainer.epoch == spec.optimizer.epochs):
        found |= training.evaluation(training.network, trainer.device, spec.data.batch_size, world)
    return found


def _write_epoch(training: Training, run: RunFolder, keep: int) -> None:
    trainer = training.trainer
    weights = training.network.state_dict()
    if trainer.epoch % CHECKPOINT_EVERY == 0:
        run.save_weights(trainer.epoch, weights)
    run.save_weights("last", weights)
    run.save_state(training.state())
    run.save_log(trainer.history)
    if keep:
        run.keep_latest(keep)
    with drawing(run.curves):
        from person_reid.show.curves import draw_curves  # matplotlib loads slowly: only one draws

        draw_curves(trainer.history, run.curves)


def _save_and_exit(training: Training, run: RunFolder, world: World) -> None:
    """Save the state on SIGTERM, which a cluster sends to a job before it withdraws the machine, and exit."""
    trainer = training.trainer
    if world.leads:
        run.save_state(training.state())
        log.info(
            "Stopped by SIGTERM in epoch %d after batch %d; %s holds it. To continue: the same command with --resume.",
            trainer.epoch + 1, trainer.step, run.state_file,
        )  # fmt: skip
    world.wait()
    sys.exit(STOPPED)
