"""The settings of a training run: typed, resolved, created once by the command and never changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from person_reid.data.augment import Augment
from person_reid.losses.plan import LossPlan
from person_reid.models.spec import NetworkSpec

if TYPE_CHECKING:  # most trainings have no teacher
    from person_reid.deploy.embedder import Embedder

# Flags of train.py that do not affect the trained network.
WITHOUT_EFFECT = {
    "name", "resume", "gpu_ids", "data_dir", "tensorboard", "wandb", "mlflow", "dry_run", "config", "keep",
    "eval_every",
}  # fmt: skip


def changed_flags(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the flags that differ and affect the trained network. Both arguments map flags to values."""
    return [name for name in now if name not in WITHOUT_EFFECT and now[name] != before.get(name)]


Sizes = Sequence[tuple[int, tuple[int, int]]]
"""(first epoch, (height, width)) of the sizes of a training, in order."""


@dataclass(frozen=True)
class DataSpec:
    """The training images, and how batches are drawn from them.

    roots: data sets laid out by prepare.py; `val`, `query` and `gallery` are those of the first. Without labels, the
        first is any folder of images, and the further ones have labels.
    split: the folder of the first root to train on, "train" or "train_all".
    batch_size: images per batch and process.
    sampler: "shuffle", "pk" or "pk_camera". instances: images per identity in a batch of the last two.
    augment: the augmentation.
    sizes: the sizes that augmented images are scaled to; none leaves them as they are.
    unlabelled: the folder of --DG's unlabelled images, or None.
    """

    roots: tuple[Path, ...]
    split: str
    batch_size: int
    sampler: str
    instances: int
    augment: Augment
    sizes: Sizes = ()
    unlabelled: Path | None = None


@dataclass(frozen=True)
class OptimizerSpec:
    """The optimiser and its learning rates over the epochs.

    name: "sgd", "adam", "adamw", "amsgrad", "radam" or "rmsprop".
    lr, backbone_lr, prototype_lr: of the head, of the backbone, of the weights that losses own.
    schedule: "step", "cosine", "multistep" (at `milestones`, in epochs), "warmup_cosine" or "one_cycle".
    epochs: in all; warm_epochs: those over which the rates rise; freeze_epochs: those in which only the head learns.
    accumulate: batches per update.
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
class AdaptSpec:
    """How to learn from images without labels: the clusters they form are the classes of the next epoch.

    cameras, pattern: see data.unlabelled.read_people.
    steps: batches per epoch.
    radius, min_samples, k1, k2: of the clustering; see retrieval.clusters.
    momentum, temperature: of the memory; see losses.cluster_memory.
    decay: of the mean teacher, whose features are clustered, per step.
    camera_norm: whether the features of every camera get the same mean before they are clustered.
    outliers: "drop" leaves them out of the batches, "instances" makes each a cluster of its own.
    reliable: whether images whose cluster depends on the radius are outliers, too; see retrieval.clusters.reliable.
    proxies: whether the parts of a cluster in each camera are told apart; see losses.cluster_memory.
    report_labels: whether labels in the names are read, to report the purity of the clusters and the mAP.
    """

    cameras: str = "names"
    pattern: str | None = None
    steps: int = 200
    radius: float = 0.5
    min_samples: int = 4
    k1: int = 20
    k2: int = 6
    momentum: float = 0.1
    temperature: float = 0.05
    decay: float = 0.995
    camera_norm: bool = True
    outliers: str = "drop"
    reliable: bool = False
    proxies: bool = False
    report_labels: bool = False


@dataclass(frozen=True)
class TrainSpec:
    """A whole training run.

    name: of the run; its files go to model/NAME.
    gpu_ids: "0", "0,1", or "-1" for the CPU.
    weights: "imagenet", "none" or a file.
    balance: the root mean square of convolutions at the start; see models.balance. None and 0 leave them.
    dtype: of autocast; None computes in float32. tf32: whether GPUs may use TF32.
    compile: the mode of torch.compile, or None.
    average: whether the weights are averaged over the last epochs.
    adversarial: weight of the loss on adversarial images, 0 for none; adversarial_every: batches from one to the next.
    evaluate_every: epochs from one evaluation on query and gallery to the next; 0 for none.
    runtime: what extracts features on the way; see deploy.runtimes.
    keep: how many numbered checkpoints to keep; 0 for all.
    writers: any of "tensorboard", "wandb" and "mlflow".
    flags: {flag: value}, for opts.yaml.
    adapt: how to learn from images without labels, or None for a training with labels.
    teacher: opens the Embedder of the teacher on a device=…, or None.
    """

    name: str
    gpu_ids: str
    seed: int
    resume: bool
    network: NetworkSpec
    weights: str
    balance: float | None
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
    runtime: str
    keep: int
    writers: tuple[str, ...]
    flags: Mapping[str, Any]
    adapt: AdaptSpec | None = None
    teacher: Callable[..., Embedder] | None = None
