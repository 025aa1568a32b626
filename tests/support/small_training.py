"""A training of a small network on a few made images, which the tests of this folder share."""

from pathlib import Path

import numpy as np
import pytest
import torch

import train_DDP
from person_reid.config import TrainConfig
from person_reid.console import parse
from person_reid.data.images.augment import Augment
from person_reid.data.images.bank import BatchSource
from person_reid.data.layout import Split
from person_reid.device import seed_everything
from person_reid.models.factory import create_model
from person_reid.training.build import check_training, create_criterion, weight_averaging
from person_reid.training.step import TrainingStep, prepare_modules
from person_reid.training.training_images import TrainingImages
from person_reid.training.training_run import Journal

IMAGES = 24
IDENTITIES = 4
SIZE = (32, 16)
CPU = torch.device("cpu")


def trained_as(*flags):
    """The training that flags of train.py describe."""
    config = parse(TrainConfig, [*flags])
    check_training(config)
    return config


def started_as(monkeypatch, *words):
    """The training that train_DDP.py is about to start for these words."""
    started = []

    def end(config):
        started.append(config)
        raise SystemExit

    monkeypatch.setattr("person_reid.check_training", end)
    with pytest.raises(SystemExit):
        train_DDP.main([*words])
    return started[0]


def small_data():
    """Images whose brightness tells their identity, and the identities."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(IMAGES) % IDENTITIES
    noise = torch.randint(0, 40, (IMAGES, *SIZE, 3), generator=generator)
    return (noise + 50 * targets[:, None, None, None]).to(torch.uint8), targets


def made_split(targets, cameras=None):
    """A split of images that are not on the disk."""
    targets = np.asarray(targets)
    paths = [Path(f"made/train/{target}/{number}.jpg") for number, target in enumerate(targets)]
    cameras = np.zeros_like(targets) if cameras is None else cameras
    return Split(paths, targets, cameras, [str(name) for name in np.unique(targets)], targets)


class MadeImages(TrainingImages):
    """The images of small_data, which are also those of the validation."""

    def decode(self, size, padding=Augment.padding):
        self.bank = small_data()[0]
        height, width = size
        augment = Augment.of(self.options, height, width, padding)
        self.source = BatchSource(self.bank, augment, self.device)
        self.validation = small_data()


class Trained:
    """A training with its images, step and journal."""

    def __init__(self, config, network):
        splits = [(Path("made/train"), made_split(small_data()[1].numpy()))]
        self.config, self.images = config, MadeImages(splits, config, CPU, seed=config.seed)
        self.images.decode(SIZE, padding=2)
        criterion = create_criterion(config, network)
        prepare_modules(network, criterion, config, CPU)
        self.step = TrainingStep(
            network, criterion, config, self.images, averaging=weight_averaging(config)
        )
        self.journal = Journal(self.step, config.total_epoch)
        self.network, self.criterion = network, criterion

    @property
    def history(self):
        return self.journal.history

    def train_epoch(self, stop=lambda: False):
        """Train what is left of an epoch without a validation, and return its record."""
        self.journal.should_stop = stop
        for epoch in self.journal.epochs():
            self.journal.training.begin_epoch(epoch)
            for batch in self.images.epoch(epoch, self.journal.step):
                self.journal.count(self.step(batch))
            self.journal.finish({})
            return self.history[-1]

    def state_dict(self):
        return self.journal.state_dict()

    def load_state_dict(self, state):
        self.journal.load_state_dict(state)


def trainer(*flags, total=3, backbone="test_resnet"):
    usual = ["--batchsize", "8", "--total", str(total), "--lr", "0.05", "--backbone_lr", "0.05"]
    config = trained_as(*usual, *flags, "--backbone", backbone, "--weights", "none")
    seed_everything(config.seed)
    network = create_model(
        backbone, IDENTITIES, linear_num=16, weights="none", size=SIZE, usam=config.usam
    )
    return Trained(config, network)


def without_numbers(batch):
    """The batch with images of NaN."""
    return batch._replace(images=batch.images * float("nan"))


def run(trained):
    while trained.journal.epoch < trained.config.total_epoch:
        trained.train_epoch()
    return trained
