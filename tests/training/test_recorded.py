"""What Recorded does around a recording.

tests/test_gpu.py compares what a GPU recorded with what it computes.
"""

import pytest
import torch

from person_reid.training import step as recorded
from person_reid.training.step import Recorded


class Objective(torch.nn.Module):
    def forward(self, images, targets):
        return images.sum() + targets.sum()


def batch(height):
    return torch.ones(2, 3, height, 4), torch.tensor([1, 2])


def test_each_shape_is_recorded_once(monkeypatch):
    shapes = []

    def record(module, images, targets):
        shapes.append(images.shape[2])
        return module

    monkeypatch.setattr(recorded, "recorded_step", record)
    objective = Recorded(Objective())
    assert [objective(*batch(height)).item() for height in (8, 8, 16, 16)] == [195, 195, 387, 387]
    assert shapes == [8, 16]


@pytest.mark.parametrize("height", [8, 16])
def test_what_cannot_be_recorded_runs_as_it_is(height, monkeypatch, caplog):
    def record(module, images, targets):
        raise RuntimeError("operation not permitted when stream is capturing\nand a trace")

    monkeypatch.setattr(recorded, "recorded_step", record)
    caplog.set_level("INFO")
    objective = Recorded(Objective())
    assert objective(*batch(height)) == objective(*batch(height)) == 24 * height + 3
    assert [entry.message for entry in caplog.records] == [
        "The steps are launched one by one: operation not permitted when stream is capturing"
    ]
