"""The options of tools/adapt.py, including train.py's options that need no labels."""

from typing import ClassVar

from person_reid.config.network import PublishedNetworks
from person_reid.config.option import (
    PART,
    POSITIVE,
    SHARE,
    Options,
    Range,
    option,
    redeclared,
)
from person_reid.config.train import LossOptions, TrainConfig

WARM = Range("of 0.001 or above", lambda heat: heat >= 0.001)  # a divisor of similarities
CAMERA_SOURCES = ("names", "folders", "none")
# Options of train.py that concern labels, classifiers, or the learning rates of several parts.
WITHOUT_LABELS = {
    "train_all", "sampler", "resize_schedule", "DG", "DG_dir", "eval_every", "dry_run", "PCB",
    "head", "droprate", "backbone_lr", "prototype_lr", "cosine", "freeze_epochs", "sync_bn",
    "compile", "FSGD", "wa", "layer_decay", *LossOptions.declared(),
}  # fmt: skip


class ClusterOptions(Options, title="clusters"):
    """The clustering of unlabelled images, and the way a network learns from the clusters."""

    steps: int | None = option(
        None, "batches per epoch (default: by the number of images)", range=POSITIVE, common=True
    )
    radius: float = option(0.5, "largest Jaccard distance of neighbours", range=SHARE, common=True)
    min_samples: int = option(4, "neighbours needed to begin a cluster", range=POSITIVE)
    k1: int = option(20, "size of the reciprocal neighbourhoods", range=POSITIVE)
    k2: int = option(6, "neighbours that are averaged", range=POSITIVE)
    momentum: float = option(0.1, "momentum of the cluster memory", range=PART)
    temperature: float = option(0.05, "temperature of the loss", range=WARM)
    decay: float | None = option(
        None, "decay of the mean teacher, per step (default: it averages over an epoch)", range=PART
    )
    proxies: bool = option(
        False, "tell a cluster's parts in different cameras apart (CAP)", common=True
    )


class UnlabelledOptions(Options, title="images without labels"):
    """The unlabelled images, the source of their cameras, and the starting network."""

    cameras: str = option(
        "names", "where the camera of an image is read from", choices=CAMERA_SOURCES, common=True
    )
    pattern: str | None = option(
        None, "regular expression with the group camera, searched in names and paths"
    )
    skip_unreadable: bool = option(False, "list unreadable images, and continue without them")
    report_labels: bool = option(False, "also report purity and mAP by the labels")
    from_run: str | None = option(
        None,
        "start from a run, or from a folder of save_pretrained",
        flags=("--from",),
        metavar="RUN",
        common=True,
    )


class AdaptConfig(ClusterOptions, UnlabelledOptions, TrainConfig):
    """All options of tools/adapt.py."""

    labelled: ClassVar[bool] = False
    left_out: ClassVar[frozenset[str]] = frozenset(
        WITHOUT_LABELS | PublishedNetworks.declared().keys()
    )

    name: str = redeclared(
        TrainConfig, "name", "adapted", help="name of the run, whose files go to model/NAME"
    )
    batchsize: int = redeclared(TrainConfig, "batchsize", 64)
    instances: int = redeclared(TrainConfig, "instances", 4, needs={})
    erasing_p: float = redeclared(TrainConfig, "erasing_p", 0.5)
    neck: str = redeclared(TrainConfig, "neck", "none")
    total_epoch: int = redeclared(
        TrainConfig, "total_epoch", 8, help="most epochs; fewer if the clusters no longer change"
    )
    lr: float = redeclared(
        TrainConfig, "lr", None, help="learning rate (default: 0.001 for OSNet, else 0.00035)"
    )
    balance: float | None = redeclared(
        TrainConfig,
        "balance",
        None,
        help="scale of the convolutions in front of batch norms (default: 0.1 for OSNet, else 0, "
        "which leaves them as they are)",
    )
    schedule: str = redeclared(TrainConfig, "schedule", "warmup_cosine")
    warm_epoch: int = redeclared(TrainConfig, "warm_epoch", 1)
    optimizer: str = redeclared(TrainConfig, "optimizer", "adam")
    runtime: str | None = redeclared(TrainConfig, "runtime", None, needs={})
    train_with: str | None = redeclared(
        TrainConfig,
        "train_with",
        None,
        help="layouts with labels, separated by commas, that provide half of every batch",
        flags=("--keep_source",),
    )

    @property
    def learning_rates(self) -> tuple[float, float, float]:
        """The same learning rate for the whole network, because the network has no new head."""
        return self.lr, self.lr, self.lr
