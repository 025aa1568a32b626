"""What a training run is told: typed, resolved, made once by the command and never changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from person_reid.data.augment import Augment
from person_reid.losses.plan import LossPlan
from person_reid.models.spec import NetworkSpec

# Flags of train.py that the trained network does not depend on.
WITHOUT_EFFECT = {
    "name", "resume", "gpu_ids", "data_dir", "tensorboard", "wandb", "mlflow", "dry_run", "config", "keep", "profile",
    "eval_every",
}  # fmt: skip


def changed_flags(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the names of the flags that differ and on which the trained network depends. Both map flags to values."""
    return [name for name in now if name not in WITHOUT_EFFECT and now[name] != before.get(name)]


@dataclass(frozen=True)
class DataSpec:
    """The images of a training, and how batches are drawn from them.

    roots: data sets laid out by prepare.py; the first also holds `val`, `query` and `gallery`.
    split: the folder of each root to train on, "train" or "train_all".
    batch_size: images per batch and process.
    sampler: "shuffle", "pk" or "pk_camera". instances: images of each identity in a batch of the last two.
    augment: how the images are changed.
    unlabelled: the folder of unlabelled images of --DG, or None.
    """

    roots: tuple[Path, ...]
    split: str
    batch_size: int
    sampler: str
    instances: int
    augment: Augment
    unlabelled: Path | None = None


@dataclass(frozen=True)
class OptimizerSpec:
    """The optimiser, and its learning rates over the epochs.

    name: "sgd", "adam", "adamw", "amsgrad", "radam" or "rmsprop".
    lr, backbone_lr, prototype_lr: of the head, of the backbone, of the weights that losses own.
    schedule: "step", "cosine", "multistep" (at `milestones`, in epochs) or "warmup_cosine".
    epochs: all of them; warm_epochs: those over which the rates rise; freeze_epochs: those in which only the head
        learns.
    accumulate: batches between two updates.
    """

    name: str
    lr: float
    backbone_lr: float
    prototype_lr: float
    weight_decay: float
    schedule: str
    milestones: tuple[int, ...]
    epochs: int
    warm_epochs: int
    freeze_epochs: int
    accumulate: int


@dataclass(frozen=True)
class TrainSpec:
    """A whole training run.

    name: of the run, whose files go to model/NAME.
    gpu_ids: "0", "0,1", or "-1" for the CPU.
    weights: "imagenet", "none" or a file.
    dtype: of autocast; None computes in float32. tf32: whether GPUs may use it.
    compile: the mode of torch.compile, or None.
    average: whether the weights are averaged over the last epochs.
    adversarial: weight of the loss on adversarial images, 0 for none; adversarial_every: batches between two.
    evaluate_every: epochs between two tests on query and gallery; 0 for none.
    keep: numbered checkpoints to keep; 0 for all.
    writers: those of "tensorboard", "wandb" and "mlflow" that are wanted.
    flags: {flag: value}, what opts.yaml is to hold.
    """

    name: str
    gpu_ids: str
    seed: int
    resume: bool
    network: NetworkSpec
    weights: str
    data: DataSpec
    losses: LossPlan
    optimizer: OptimizerSpec
    dtype: torch.dtype | None
    tf32: bool
    compile: str | None
    sync_bn: bool
    average: bool
    adversarial: float
    adversarial_every: float
    evaluate_every: int
    keep: int
    profile: bool
    writers: tuple[str, ...]
    flags: Mapping[str, Any]
