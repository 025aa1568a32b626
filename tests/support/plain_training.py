"""Trainings that one process and two must agree on.

Images stay as they are and batch norms keep their statistics: what is drawn at random, and what
PyTorch does not synchronise on a CPU, would differ by its nature.
"""

import re

import pytest
from torch import nn

import train
from person_reid.config import TrainConfig
from person_reid.console import parse
from person_reid.data.images.augment import Augment, normalise
from person_reid.distributed import join_world
from person_reid.training.build import check_training
from person_reid.training.step import TrainingStep

SMALL = ["--backbone", "test_resnet", "--weights", "none", "--height", "64", "--width", "32"]
SMALL += ["--gpu_ids", "-1", "--linear_num", "0", "--droprate", "0", "--data_dir", "people"]
SMALL += ["--train_all", "--lr", "0.005"]
TAUGHT = "--teacher=test_resnet=teacher.pth --loss triplet,teacher_features,teacher_classes"
RUNS = ["--wa --arcface --loss center:0.01", f"--sampler pk --circle {TAUGHT}"]


def name_of(flags, processes):
    """The run of some flags by so many processes."""
    return "plain" + re.sub("[ :]", "", flags) + str(processes)


def train_plainly(*words):
    """Train each of RUNS with further flags, alone or as one of several processes."""
    begin = TrainingStep.begin_epoch

    def begin_plainly(step, epoch):
        begin(step, epoch)
        for module in step.network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()

    with pytest.MonkeyPatch.context() as patch, join_world() as world:
        patch.setattr(TrainingStep, "begin_epoch", begin_plainly)
        patch.setattr(
            Augment, "__call__", lambda augment, bank, indices, generator: normalise(bank[indices])
        )
        patch.setattr("person_reid.show.charts.draw_curves", lambda *_: None)
        for flags in RUNS:
            name = ["--name", name_of(flags, world.size)]
            config = parse(TrainConfig, [*SMALL, "--total", "3", *flags.split(), *words, *name])
            check_training(config)
            train.train(config, world)
