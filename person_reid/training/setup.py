"""From the options of a run to a Trainer: images, sampler, network, criterion, and what is added to the loss."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from person_reid import losses
from person_reid.basics import UserError, seed_everything
from person_reid.cli.options import training_roots, training_split
from person_reid.data.augment import Augment
from person_reid.data.bank import load_bank
from person_reid.data.layout import Split, join_splits, read_split, read_training_splits, read_unlabelled
from person_reid.data.samplers import PKSampler, ShuffleSampler, expected_pairs
from person_reid.distributed import World
from person_reid.models.factory import build_from_options
from person_reid.training.adversarial import AdversarialTerm
from person_reid.training.batches import BatchSource
from person_reid.training.criterion import Criterion
from person_reid.training.evaluation import Evaluation
from person_reid.training.generalisation import GeneralisationTerm
from person_reid.training.trainer import Trainer

FEW_PAIRS = 0.25  # pairs of one identity for each image of a batch; the balanced sampler's 4 instances give 1.5


class Setup(NamedTuple):
    """What a run trains with. validation: bank and targets of `val`, or None. evaluation: of --eval_every, or None."""

    trainer: Trainer
    split: Split
    validation: tuple | None
    evaluation: Evaluation | None


def set_up(options, world=None, state=None, after_step=None):
    """The Setup that the options describe; nothing but the caches of decoded images is written.

    world: the processes that train together. state: of a run that goes on, so that no weights need be loaded.
    after_step: see Trainer. Sets options.nclasses. Raises UserError for all that can be wrong before the first batch.
    """
    world = world or World()
    device = world.device(options.gpu_ids)
    _set_precision(options, device)
    seed_everything(options.seed)
    splits = read_training_splits(training_roots(options), training_split(options))
    split = join_splits(splits)
    unlabelled = read_unlabelled(options.DG_dir) if options.DG else []
    evaluation = Evaluation(options.data_dir) if options.eval_every else None
    sampler = build_sampler(options, split, world)
    options.nclasses = len(split.classes)
    network = build_from_options(options, len(split.classes), "none" if state else options.weights)
    if options.sync_bn:
        network = _with_synchronised_norms(network, device)
    augment = Augment.from_options(options)
    with world.leader_first():  # one process decodes; the others find its caches
        validation = _validation_data(options, split.classes)
        banks = [_bank(options, part.paths, folder) for folder, part in splits]
        terms = _extra_terms(options, unlabelled, augment, device)
        if evaluation:
            evaluation.decode(options.height, options.width)
    bank = banks[0] if len(banks) == 1 else torch.cat(banks)  # one stays the memory-mapped file that it is
    criterion = Criterion(options, len(split.classes), network.metric_dim, network.parts)
    trainer = Trainer(
        network, criterion, bank, split.targets, sampler, augment, options, device, terms, world, after_step
    )
    if state:
        trainer.load_state_dict(state)
    return Setup(trainer, split, validation, evaluation)


def _set_precision(options, device):
    """TF32 on the tensor cores of a GPU, ten bits of mantissa in place of 23, unless --no_tf32."""
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = not options.no_tf32


def _with_synchronised_norms(network, device):
    if device.type != "cuda":
        raise UserError(f"--sync_bn: PyTorch synchronises batch norms on GPUs only, and this runs on {device}.")
    return torch.nn.SyncBatchNorm.convert_sync_batchnorm(network)


def build_sampler(options, split, world):
    """The sampler of `--sampler`; says so where a shuffled batch hardly holds what the losses learn from."""
    ranks = (world.rank, world.size)
    if options.sampler != "shuffle":
        cameras = split.cameras if options.sampler == "pk_camera" else None
        return PKSampler(split.targets, options.batchsize, options.instances, options.seed, cameras, *ranks)
    batch = options.batchsize * world.size
    pairs = expected_pairs(split.targets, batch)
    hungry = [name for name in losses.names_in(options) if losses.REGISTRY[name].needs_positives]
    if hungry and pairs < FEW_PAIRS * batch and world.leads:
        print(
            f"A shuffled batch of {batch} images holds {pairs:.1f} pairs of one identity on average, and "
            f"{', '.join(hungry)} learn from such pairs. --sampler pk puts {options.instances} images of each identity "
            "into a batch."
        )
    return ShuffleSampler(len(split), options.batchsize, options.seed, True, *ranks)


def _extra_terms(options, unlabelled, augment, device):
    """What --adv and --DG add to the loss. unlabelled: the paths of the images of --DG_dir."""
    terms: list = []
    if options.adv:
        terms.append(AdversarialTerm(options.adv, options.aiter))
    if options.DG:
        cache = Path(options.DG_dir) / ".cache"
        if not cache.is_dir() and not os.access(options.DG_dir, os.W_OK):
            cache = Path(options.data_dir) / ".cache"
        bank = load_bank(unlabelled, options.height, options.width, cache, "unlabelled")
        size = max(8, options.batchsize // 2)  # the published number
        terms.append(GeneralisationTerm(BatchSource(bank, augment, device), size))
    return terms


def _validation_data(options, classes):
    """The bank (N, H, W, 3) and targets (N,) of the val split, or None where there is none. Identities that are not
    trained are left out."""
    if not (Path(options.data_dir) / "val").is_dir():
        return None
    split = read_split(options.data_dir, "val", cameras_required=False)
    position = {name: index for index, name in enumerate(classes)}
    targets = np.array([position.get(split.classes[target], -1) for target in split.targets])
    known = np.flatnonzero(targets >= 0)
    if len(known) == 0:
        return None
    bank = _bank(options, split.paths, Path(options.data_dir) / "val")
    return bank[torch.from_numpy(known)], torch.from_numpy(targets[known])


def _bank(options, paths, folder):
    return load_bank(paths, options.height, options.width, folder.parent / ".cache", folder.name)
