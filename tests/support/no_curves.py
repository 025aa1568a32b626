"""A fixture for files whose tests train often: runs draw no curves, which takes half their time."""

import pytest

from person_reid.training.training_run import Run


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    monkeypatch.setattr(Run, "_draw", lambda run: None)
