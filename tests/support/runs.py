"""Files that a run left on the disk, for tests that compare runs."""

import json
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from person_reid.training.training_images import TrainingImages


def weights(name, file="net_last.pth", cwd="."):
    """A checkpoint of the run cwd/model/NAME."""
    return torch.load(Path(cwd, "model", name, file), weights_only=True)


def log(name, cwd="."):
    """The records of a run's epochs."""
    return [
        json.loads(line) for line in Path(cwd, "model", name, "log.jsonl").read_text().splitlines()
    ]


def equal_weights(first, second):
    """Whether two state dicts are the same to the last bit."""
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


@contextmanager
def before_epoch(number, act):
    """Call act() before the first batch of an epoch, which is counted from 0."""

    def epoch(images, at, first=0, original=TrainingImages.epoch):
        if at == number:
            act()
        return original(images, at, first)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingImages, "epoch", epoch)
        yield


@contextmanager
def killed_in(epoch):
    """Kill the training in a block before its first batch of an epoch, which is counted from 0."""

    def kill():
        raise KeyboardInterrupt

    with before_epoch(epoch, kill), pytest.raises(KeyboardInterrupt):
        yield
