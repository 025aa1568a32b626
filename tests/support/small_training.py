"""A trainer of a small network on a few made images, which the tests of this folder share."""

import torch

from person_reid.basics import seed_everything
from person_reid.cli.options import parse_train
from person_reid.data.augment import Augment
from person_reid.data.samplers import ShuffleSampler
from person_reid.models.factory import build_model
from person_reid.training.criterion import Criterion
from person_reid.training.trainer import Trainer

IMAGES, IDENTITIES, SIZE = 24, 4, (32, 16)
CPU = torch.device("cpu")


def small_data():
    """Images whose brightness tells their identity, and the identities."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(IMAGES) % IDENTITIES
    noise = torch.randint(0, 40, (IMAGES, *SIZE, 3), generator=generator)
    return (noise + 50 * targets[:, None, None, None]).to(torch.uint8), targets


def trainer(*flags, total=3):
    usual = ["--batchsize", "8", "--total", str(total), "--lr", "0.05", "--backbone_lr", "0.05"]
    options = parse_train([*usual, *flags, "--backbone", "osnet_x0_25", "--weights", "none"])
    seed_everything(options.seed)
    network = build_model("osnet_x0_25", IDENTITIES, linear_num=16, weights="none", size=SIZE)
    bank, targets = small_data()
    augment = Augment(*SIZE, padding=2, erasing_p=options.erasing_p, color_jitter=options.color_jitter)
    sampler = ShuffleSampler(IMAGES, options.batchsize, options.seed)
    criterion = Criterion(options, IDENTITIES, network.dim)
    return Trainer(network, criterion, bank, targets, sampler, augment, options, CPU)


def run(trained):
    while trained.epoch < trained.options.total_epoch:
        trained.history.append(trained.train_epoch())
    return trained


def check_equal_weights(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
