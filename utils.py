"""Messages, safe files, the device and the seed under their former names; they live in person_reid.basics."""

from person_reid.basics import (
    UserError,
    atomic_write,
    autocast,
    describe,
    did_you_mean,
    progress,
    seed_everything,
    select_device,
)
from person_reid.cli.main import run_script

__all__ = [
    "UserError",
    "atomic_write",
    "autocast",
    "describe",
    "did_you_mean",
    "progress",
    "run_script",
    "seed_everything",
    "select_device",
]
