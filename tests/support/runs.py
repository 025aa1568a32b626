"""What a run left on the disk, for tests that compare runs."""

import json
from pathlib import Path

import torch


def weights(name, file="net_last.pth", room="."):
    """A checkpoint of the run room/model/NAME."""
    return torch.load(Path(room, "model", name, file), weights_only=True)


def log(name, room="."):
    """The records of a run's epochs."""
    return [json.loads(line) for line in Path(room, "model", name, "log.jsonl").read_text().splitlines()]


def equal_weights(first, second):
    """Whether two state dicts are the same to the last bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
