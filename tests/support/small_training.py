"""A trainer of a small network on a few made images, which the tests of this folder share."""

import torch

from person_reid.cli.options import parse_train
from person_reid.cli.specs import train_spec
from person_reid.data.augment import Augment
from person_reid.data.bank import BatchSource
from person_reid.data.samplers import ShuffleSampler
from person_reid.device import seed_everything
from person_reid.models.factory import create_model
from person_reid.training.batches import Batches
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


def trainer(*flags, total=3, backbone="test_resnet"):
    usual = ["--batchsize", "8", "--total", str(total), "--lr", "0.05", "--backbone_lr", "0.05"]
    spec = train_spec(parse_train([*usual, *flags, "--backbone", backbone, "--weights", "none"]))
    seed_everything(spec.seed)
    network = create_model(backbone, IDENTITIES, linear_num=16, weights="none", size=SIZE, usam=spec.network.usam)
    bank, targets = small_data()
    asked = spec.data.augment
    augment = Augment(*SIZE, padding=2, erasing_p=asked.erasing_p, color_jitter=asked.color_jitter)
    sampler = ShuffleSampler(IMAGES, spec.data.batch_size, spec.seed)
    criterion = Criterion(spec.losses, IDENTITIES, network.dim)
    batches = Batches(BatchSource(bank, augment, CPU), targets, sampler, spec.seed, sizes=spec.data.sizes)
    return Trainer(network, criterion, batches, spec)


def without_numbers(batch):
    """The batch with images of NaN."""
    return batch._replace(images=batch.images * float("nan"))


def run(trained):
    while trained.epoch < trained.spec.optimizer.epochs:
        trained.history.append(trained.train_epoch())
    return trained
