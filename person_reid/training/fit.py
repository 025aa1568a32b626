"""Train a network in one call from Python, as train.py does, but without writing files."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils import data

from person_reid.config import FitOptions
from person_reid.config.option import resolve
from person_reid.config.train import AugmentationOptions, BatchOptions
from person_reid.data.images.augment import Augment
from person_reid.data.images.bank import BatchSource
from person_reid.data.samplers import MakeSampler
from person_reid.data.torch_dataset import Dataset, decode_items
from person_reid.deploy.embedder import Embedder
from person_reid.device import choose_backends, process_as_it_was, seeded, usable_device
from person_reid.errors import UserError
from person_reid.fused.layers import unfuse
from person_reid.models.network import Network, check_size
from person_reid.models.surgery import balance
from person_reid.training.build import (
    check_options,
    create_criterion,
    losses_beside,
    weight_averaging,
)
from person_reid.training.schedule import Schedule
from person_reid.training.step import ExtraLoss, TrainingStep, prepare_modules
from person_reid.training.training_images import Batches, LoadedBatches, TrainingImages
from person_reid.training.training_run import Journal
from person_reid.training.validation import statistics_of_average, validate

log = logging.getLogger(__name__)


@process_as_it_was()
def fit(
    network: Network,
    dataset: Dataset | data.Dataset[Any] | data.DataLoader[Any],
    options: FitOptions | None = None,
    device: str | torch.device | None = None,
    seed: int = 0,
    teacher: Embedder | None = None,
    sampler: MakeSampler | None = None,
    schedule: Schedule | None = None,
    on_epoch_end: Callable[[int, dict[str, float]], object] | None = None,
) -> list[dict[str, float]]:
    """Train a network on a data set, and return the history: a record for each epoch.

    network: from create_model, with dataset.num_classes classes. It is changed in place, and keeps
        its mode.
    dataset: from read_dataset; or any torch Dataset of (image, identity, camera), whose images are
        decoded once and augmented as the options say; or a DataLoader of (images, identities,
        cameras), whose normalised images (B, 3, H, W) and classes are used unchanged. An epoch has
        as many batches as the loader; a batch of one image is skipped.
    options: how to train; FitOptions() has the defaults of train.py.
    device: such as "cpu" or "cuda:1"; by default the first GPU, or else the CPU.
    seed: the same seed on the same machine gives the same network, whatever else draws from torch's
        generators. Their states do not change, except for what a DataLoader draws from them.
    teacher: a network whose features the losses called teacher_… learn from, such as
        Embedder("RUN"); options.teacher only names one.
    sampler: (images, options, seed, rank, world_size) → BatchSampler, in place of options.sampler.
    schedule: (update, options) → factor of the learning rate, in place of options.schedule.
    on_epoch_end: called with the number of the finished epoch, from 1, and its metrics; if it
        returns a true value, the training ends.

    With options.wa, the network ends up with the average of its weights. Ctrl-C ends training after
    the last finished step; the history then has the finished epochs. The settings of the process do
    not change; on a CPU, device.keep_memory makes training faster.

    >>> network = create_model("osnet_x0_25", dataset.num_classes, size=(128, 64))
    >>> history = fit(network, dataset, FitOptions(total_epoch=20, triplet=True, lr=0.05))
    >>> history[-1]["loss"]
    0.71

    Raises UserError for options that cannot work, and for a network with another number
    of classes.
    """
    options = _settled(options or FitOptions(), teacher, network)
    _check(network, options)
    place = usable_device(device)
    choose_backends(place, tf32=not options.no_tf32)

    images = _images(network, dataset, options, place, seed, sampler, teacher)
    with as_it_was(network):
        check_size(network, network.architecture.name, network.size, options.batchsize)
        if options.balance:
            balance(network, options.balance, network.size)
        with seeded(seed):  # losses draw their own weights
            criterion = create_criterion(options, network, teacher)
        extra: list[ExtraLoss] = []
        if isinstance(images, TrainingImages):
            images.decode(network.size, network.padding)
            extra = losses_beside(options, images, teacher)
        prepare_modules(network, criterion, options, place)
        averaging = weight_averaging(options)
        step = TrainingStep(
            network, criterion, options, images, None, extra, averaging, schedule=schedule
        )
        journal = Journal(step, options.total_epoch)
        try:
            for epoch in journal.epochs():
                step.begin_epoch(epoch)
                for batch in images.epoch(epoch):
                    journal.count(step(batch))
                journal.finish(validate(step))
                if on_epoch_end and on_epoch_end(epoch + 1, journal.history[-1]):
                    break
        except KeyboardInterrupt:
            log.info("Interrupted in epoch %d of %d.", journal.epoch + 1, options.total_epoch)
        else:
            if step.average is not None:
                statistics_of_average(step)
                network.load_state_dict(step.average.module.state_dict())
    return journal.history


def _settled(options: FitOptions, teacher: Embedder | None, network: Network) -> FitOptions:
    """Resolve the options, and name the teacher.

    Raises UserError for options that would be ignored.
    """
    options = resolve(type(options), options.not_default(options.declared()))
    if teacher:
        options = replace(options, teacher=options.teacher or "given")
    check_options(options, network.head_name, network.size)
    if options.teacher and not teacher:
        raise UserError(
            f"teacher={options.teacher} only names a network. Open it: "
            "fit(..., teacher=Embedder(...))."
        )
    return options


def _images(
    network: Network,
    dataset: Any,
    options: FitOptions,
    device: torch.device,
    seed: int,
    sampler: MakeSampler | None,
    teacher: Embedder | None,
) -> Batches:
    """Return the batches of `dataset`, which is of any kind that `fit` takes.

    Raises UserError if the network cannot learn these identities, and for arguments that would be
    ignored.
    """
    if isinstance(dataset, Dataset):
        _check_classes(network, dataset.num_classes)
        splits = [(dataset.folder / dataset.split, dataset.train)]
        return TrainingImages(splits, options, device, seed=seed, sampler=sampler)
    if teacher or options.adv:
        what = "a teacher" if teacher else "adv"
        raise UserError(f"fit: {what} needs a data set from read_dataset.")
    if isinstance(dataset, data.DataLoader):
        if sampler:
            raise UserError("fit: a DataLoader has a sampler already.")
        of_images = {**AugmentationOptions.declared(), **BatchOptions.declared()}
        if ignored := options.not_default(of_images):
            raise UserError(f"fit: {', '.join(ignored)} would be ignored with a DataLoader.")
        _check_classes(network)
        return LoadedBatches(dataset, network.num_classes or 0, options, device, seed)
    split, bank = decode_items(dataset, network.size)
    _check_classes(network, len(split.classes))
    source = BatchSource(bank, Augment.of(options, *network.size, network.padding), device)
    return TrainingImages(
        [(Path(), split)], options, device, seed=seed, sampler=sampler, source=source
    )


def _check_classes(network: Network, expected: int | None = None) -> None:
    """Raise UserError if the network has no classes, or not as many as the data set has."""
    if not network.num_classes or expected not in (None, network.num_classes):
        raise UserError(
            f"The network has {network.num_classes or 0} classes, "
            f"and the data set {'some' if expected is None else expected} identities: "
            f"create_model(..., num_classes={expected or 'N'})."
        )


def _check(network: Network, options: FitOptions) -> None:
    """Raise UserError if the network cannot learn with these options."""
    kinds = {weight.dtype for weight in network.parameters()}
    if kinds != {torch.float32}:
        found = ", ".join(sorted(map(str, kinds)))
        raise UserError(
            f"The network has weights of {found}. Training updates weights of torch.float32, also "
            "with fp16 or bf16: network.float()."
        )
    if options.sync_bn:
        raise UserError(
            "sync_bn: batch norms are synchronised between processes, "
            "and fit has one. Use train_DDP.py."
        )


@contextmanager
def as_it_was(network: Network) -> Iterator[None]:
    """On exit, unfuse a network, and restore its mode and the set of its trainable weights."""
    training = {module: module.training for module in network.modules()}
    learns = {weight: weight.requires_grad for weight in network.parameters()}
    try:
        yield
    finally:
        unfuse(network)
        for module, mode in training.items():
            module.training = mode
        for weight, learning in learns.items():
            weight.requires_grad_(learning)
