"""A training run from the options to the last checkpoint."""

import os
from pathlib import Path

import numpy as np
import torch

import losses
from model import build_from_options, parameter_count
from reid.data.augment import Augment
from reid.data.bank import load_bank
from reid.data.layout import join_splits, read_split, read_training_splits, read_unlabelled
from reid.data.samplers import PKSampler, ShuffleSampler, expected_pairs
from reid.options import options_file, save_options, training_roots, training_split
from reid.show.curves import draw_curves
from reid.training.adversarial import AdversarialTerm
from reid.training.batches import BatchSource
from reid.training.criterion import Criterion
from reid.training.generalisation import GeneralisationTerm
from reid.training.run_folder import RunFolder, check_run_name
from reid.training.trainer import Trainer
from utils import UserError, seed_everything, select_device

CHECKPOINT_EVERY = 10  # epochs
FEW_PAIRS = 0.25  # pairs of one identity for each image of a batch; the balanced sampler's 4 instances give 1.5


def run_training(options):
    """Train as the options say; returns the RunFolder. Everything is checked and decoded before anything is written."""
    check_run_name(options.name)
    device = select_device(options.gpu_ids)
    seed_everything(options.seed)
    splits = read_training_splits(training_roots(options), training_split(options))
    split = join_splits(splits)
    unlabelled = read_unlabelled(options.DG_dir) if options.DG else []
    sampler = _sampler(options, split)
    options.nclasses = len(split.classes)
    run = RunFolder(options.name)
    state = run.load_state(device) if options.resume else None
    network = build_from_options(options, len(split.classes), "none" if state else options.weights)
    validation = _validation_data(options, split.classes)
    banks = [_bank(options, part.paths, folder) for folder, part in splits]
    bank = banks[0] if len(banks) == 1 else torch.cat(banks)  # one stays the memory-mapped file that it is
    augment = Augment.from_options(options)
    criterion = Criterion(options, len(split.classes), network.metric_dim, network.parts)
    terms = _extra_terms(options, unlabelled, augment, device)
    trainer = Trainer(network, criterion, bank, split.targets, sampler, augment, options, device, terms)

    if state:
        trainer.load_state_dict(state)
        print(f"{run.path}: going on after epoch {trainer.epoch}.")
    else:
        run.set_aside()
        save_options(options, options_file(options.name))
    print(
        f"{options.backbone}, {parameter_count(network) / 1e6:.2f} M parameters; {len(split)} images of "
        f"{len(split.classes)} identities; {options.total_epoch} epochs on {device}."
    )
    _fit(trainer, run, validation, options)
    return run


def _fit(trainer, run, validation, options):
    """The epochs that are left, and what is written after each: resume.pth after the checkpoints that it promises."""
    board = _tensorboard(run.path) if options.tensorboard else None
    while trainer.epoch < options.total_epoch:
        record = trainer.train_epoch()
        if validation:
            record |= trainer.validate(*validation)
        record = {"epoch": trainer.epoch, **{name: float(f"{value:.6g}") for name, value in record.items()}}
        trainer.history.append(record)
        print(_line(record, options.total_epoch), flush=True)
        if trainer.epoch % CHECKPOINT_EVERY == 0:
            run.save_weights(trainer.epoch, trainer.network.state_dict())
        run.save_weights("last", trainer.network.state_dict())
        run.save_state(trainer.state_dict())
        run.save_log(trainer.history)
        draw_curves(trainer.history, run.path / "train.jpg")
        if board:
            for name, value in record.items():
                board.add_scalar(name, value, trainer.epoch)
    if trainer.average is not None:
        run.save_weights("average", trainer.average.state_dict())
        run.save_weights("average_bn", trainer.averaged_statistics())
    if board:
        board.close()
    print(f"Done: {run.path}/net_last.pth. Test it: python test.py --name {run.name}")


def _sampler(options, split):
    """The sampler of `--sampler`; says so where a shuffled batch hardly holds what the losses learn from."""
    if options.sampler != "shuffle":
        cameras = split.cameras if options.sampler == "pk_camera" else None
        return PKSampler(split.targets, options.batchsize, options.instances, options.seed, cameras)
    pairs = expected_pairs(split.targets, options.batchsize)
    hungry = [name for name in losses.names_in(options) if losses.REGISTRY[name].needs_positives]
    if hungry and pairs < FEW_PAIRS * options.batchsize:
        print(
            f"A shuffled batch of {options.batchsize} images holds {pairs:.1f} pairs of one identity on average, and "
            f"{', '.join(hungry)} learn from such pairs. --sampler pk puts {options.instances} images of each identity "
            "into a batch."
        )
    return ShuffleSampler(len(split), options.batchsize, seed=options.seed)


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
        terms.append(GeneralisationTerm(BatchSource(bank, augment, device), size, options.seed))
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


def _line(record, total):
    """One line of the log for people."""
    text = f"epoch {record['epoch']}/{total}  loss {record['loss']:.4f}  error {record['error']:.2%}"
    if "val_loss" in record:
        text += f"  val loss {record['val_loss']:.4f}  val error {record['val_error']:.2%}"
    return f"{text}  lr {record['lr']:.2e}  {record['images_per_second']:.0f} images/s"


def _tensorboard(path):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError("--tensorboard needs the package tensorboard: pip install tensorboard") from error
    return SummaryWriter(path)
