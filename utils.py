"""The former name of person_reid.basics, .device and .progress: messages, safe files, the device and the seed."""

from person_reid.basics import UserError, atomic_write, describe, did_you_mean
from person_reid.cli.main import run_script
from person_reid.device import autocast, seed_everything, select_device
from person_reid.progress import progress

__all__ = [
    "UserError", "atomic_write", "autocast", "describe", "did_you_mean", "progress", "run_script", "seed_everything",
    "select_device",
]  # fmt: skip
