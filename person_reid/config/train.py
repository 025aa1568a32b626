"""All options of train.py, including those of `fit`."""

from dataclasses import field, fields
from pathlib import Path
from typing import Any, ClassVar

from person_reid.config.forms import Sizes, image_sizes, milestones, sizes, texts
from person_reid.config.network import NetworkOptions, PublishedNetworks, WeightOptions
from person_reid.config.option import (
    ANY,
    FRACTION,
    PART,
    POSITIVE,
    WEIGHT,
    WHOLE,
    Option,
    Options,
    Range,
    option,
)
from person_reid.config.run import RecordOptions, RunOptions
from person_reid.errors import UserError

SAMPLER_NAMES = ["shuffle", "pk", "pk_camera"]
AUGMENTATION_NAMES: list[str] = []  # registered by plugins


def chances(text: str | None) -> dict[str, float]:
    """Return the probabilities in a text such as "fog:0.5,rain:0.1", as {name: probability}."""
    pairs = (part.partition(":") for part in (text or "").split(",") if part)
    return {name: float(chance) for name, _, chance in pairs}


def augmentations(text: str) -> str:
    """Check names and probabilities, such as fog:0.5,rain:0.1."""
    text = texts(text)
    try:
        found = chances(text)
    except ValueError:
        raise ValueError(f"{text}: expected names and probabilities, such as fog:0.5") from None
    if not all(0 <= chance <= 1 for chance in found.values()):
        raise ValueError(f"{text}: expected probabilities from 0 to 1")
    if unknown := [name for name in found if name not in AUGMENTATION_NAMES]:
        there = ", ".join(AUGMENTATION_NAMES) or "none, see --plugin"
        raise ValueError(f"{unknown[0]}: no such augmentation. There are: {there}")
    return text


class ImageOptions(Options, title="images"):
    """The images that a run trains on."""

    data_dir: str = option(
        "../Market/pytorch",
        "folder that prepare.py laid out",
        published=True,
        common=True,
        effect=False,
    )
    train_all: bool = option(
        False, "train on all training images, including those of val", published=True, common=True
    )
    train_with: str | None = option(
        None, "further folders with the same layout, separated by commas", form=texts, metavar="DIR"
    )
    DG: bool = option(
        False,
        "also learn from the unlabelled images in --DG_dir",
        published=True,
        stands_for=("wa", True),
    )
    DG_dir: str = option(
        "../DG-Market", "folder of unlabelled images, such as DG-Market", needs={"DG": ANY}
    )

    @property
    def roots(self) -> tuple[Path, ...]:
        """The data sets; the first provides val, query and gallery."""
        further = self.train_with.split(",") if self.train_with else []
        return Path(self.data_dir), *map(Path, further)

    @property
    def split(self) -> str:
        """The training folder of the first data set."""
        return "train_all" if self.train_all else "train"


class BatchOptions(Options, title="batches"):
    """The grouping of images into batches, and the sizes of both."""

    batchsize: int = option(
        32,
        "images per batch; under torchrun, per process",
        range=POSITIVE,
        published=True,
        common=True,
    )
    sampler: str = option(
        "shuffle",
        "pk: identities × instances per batch; pk_camera: the same, "
        "with the cameras of each identity mixed",
        choices=SAMPLER_NAMES,
        common=True,
    )
    instances: int = option(
        4,
        "images of each identity in a batch of pk",
        range=POSITIVE,
        needs={"sampler": ("pk", "pk_camera")},
    )
    resize_schedule: str | None = option(
        None,
        "sizes to train at in turn, such as 128x64,192x96,256x128; the last is height × width",
        form=sizes,
        metavar="SIZES",
    )


class AugmentationOptions(Options, title="augmentation"):
    """The augmentation of training images, each with its own random numbers."""

    color_jitter: bool = option(
        False, "vary brightness, contrast and saturation by 10 %", published=True
    )
    flip_p: float = option(
        0.5, "probability of a horizontal flip; 0 if left and right differ", range=FRACTION
    )
    erasing_p: float = option(
        0.0, "probability of random erasing", range=FRACTION, published=True, common=True
    )
    autoaugment_p: float = option(0.0, "probability of an AutoAugment policy", range=FRACTION)
    cutout_p: float = option(0.0, "probability of cutting out a square", range=FRACTION)
    lgt_p: float = option(0.0, "probability of a local grayscale transformation", range=FRACTION)
    grayscale_erasing_p: float = option(0.0, "like lgt_p, after normalisation", range=FRACTION)
    translation_p: float = option(0.0, "probability of a random 2D translation", range=FRACTION)
    augment: str | None = option(
        None,
        "registered augmentations and their probabilities, such as fog:0.5",
        form=augmentations,
        names=AUGMENTATION_NAMES,
        metavar="LIST",
    )


def _loss(name: str, per_image: bool = False) -> Any:
    """Declare a published flag that adds the loss of the same name, with weight 1.

    per_image: whether the published training divides the loss by the number of images.
    """
    about = Option(f"add the {name} loss", published=True)
    return field(default=False, metadata={"option": about, "per_image": per_image})


class LossOptions(Options, title="losses (added to cross entropy)"):
    """The losses added to cross entropy."""

    loss: str | None = option(
        None,
        "losses with weights: triplet:1.0,center:1e-3; list shows all",
        form=texts,
        metavar="LIST",
        common=True,
    )
    teacher: str | None = option(
        None,
        "what the teacher_ losses learn from: a run, a folder, an exported file, or BACKBONE=FILE",
        metavar="NETWORK",
    )
    label_smoothing: float = option(
        0.0, "smoothing in the cross entropy, below 1", range=PART, published=True
    )
    arcface: bool = _loss("arcface", per_image=True)
    circle: bool = _loss("circle", per_image=True)
    contrast: bool = _loss("contrast")
    cosface: bool = _loss("cosface", per_image=True)
    instance: bool = _loss("instance", per_image=True)
    instance_id: bool = _loss("instance_id", per_image=True)
    lifted: bool = _loss("lifted")
    sphere: bool = _loss("sphere", per_image=True)
    triplet: bool = _loss("triplet")
    ins_gamma: float = option(
        32,
        "scale of the instance losses",
        range=POSITIVE,
        published=True,
        needs={"instance": ANY, "instance_id": ANY},
    )
    alpha: float = option(0.0, "weight of the verification loss", range=WEIGHT)
    adv: float = option(
        0.0, "weight of the loss on adversarial images", range=WEIGHT, published=True
    )
    aiter: float = option(
        10, "apply --adv every N batches", range=POSITIVE, published=True, needs={"adv": ANY}
    )


# The flags that add a loss, and whether the published training divides it by the number of images.
PUBLISHED_LOSSES: dict[str, bool] = {
    each.name: each.metadata["per_image"]
    for each in fields(LossOptions)
    if "per_image" in each.metadata
}


OPTIMIZERS = ("sgd", "adam", "adamw", "amsgrad", "radam", "rmsprop")
SCHEDULE_NAMES = ["step", "cosine", "multistep", "warmup_cosine", "one_cycle"]
DECAY = Range("above 0 and up to 1", lambda number: 0 < number <= 1)
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")


class PrecisionOptions(Options, title="precision"):
    """The number formats used in computation."""

    fp16: bool = option(False, "mixed precision with float16", published=True)
    bf16: bool = option(False, "mixed precision with bfloat16", published=True, common=True)

    def fault(self) -> str:
        """Return why the options conflict, or an empty string if they do not."""
        both = self.fp16 and self.bf16
        return "fp16 and bf16 exclude each other: choose one." if both else ""


class OptimizerOptions(PrecisionOptions, title="optimisation"):
    """The updates of the weights, and the learning rate over the epochs."""

    total_epoch: int = option(60, "number of epochs", range=POSITIVE, published=True, common=True)
    lr: float = option(
        0.05, "learning rate of the head", range=POSITIVE, published=True, common=True
    )
    backbone_lr: float | None = option(
        None, "learning rate of the backbone (default: lr / 10)", range=POSITIVE
    )
    prototype_lr: float | None = option(
        None, "learning rate of the losses' own weights (default: lr)", range=POSITIVE
    )
    optimizer: str = option(
        "sgd", "optimiser; sgd uses Nesterov momentum 0.9", choices=OPTIMIZERS, common=True
    )
    weight_decay: float = option(
        5e-4, "weight decay, applied to all weights", range=WEIGHT, published=True
    )
    no_decay_1d: bool = option(
        False, "no weight decay for norms and biases, which have one dimension"
    )
    balance: float | None = option(
        None,
        "first scale the convolutions in front of batch norms to this root mean square, "
        "such as 0.1: the network computes the same, and Adam trains its layers at similar rates; "
        "0 leaves them as they are",
        range=WEIGHT,
        metavar="SCALE",
    )
    schedule: str = option("step", "schedule of the learning rate", choices=SCHEDULE_NAMES)
    cosine: bool = option(
        False, "the same as --schedule cosine", stands_for=("schedule", "cosine"), published=True
    )
    milestones: str = option(
        "40,70",
        "epochs after which multistep divides the rate by ten",
        form=milestones,
        needs={"schedule": ("multistep",)},
    )
    warm_epoch: int = option(
        0, "epochs over which the learning rate rises", range=WHOLE, published=True, common=True
    )
    freeze_epochs: int = option(
        0, "epochs in which only the head learns", range=WHOLE, published=True
    )
    freeze_layers: str | None = option(
        None,
        "layers that keep their weights and statistics, such as conv1,layer1",
        form=texts,
        metavar="LIST",
    )
    layer_decay: float | None = option(
        None,
        "factor of the backbone's rate from each layer to the one before it, such as 0.75 for a "
        "ViT of timm",
        range=DECAY,
    )
    clip_grad: float | None = option(
        None, "largest norm of the gradient of all weights", range=POSITIVE, metavar="NORM"
    )
    accumulate: int = option(1, "batches per update of the weights", range=POSITIVE)
    sync_bn: bool = option(False, "compute batch norm over the batches of all GPUs")
    compile: str | None = option(
        None,
        "mode of torch.compile; on a CPU, OSNet's fused layers may replace the default mode",
        choices=COMPILE_MODES,
        bare="default",
    )
    no_tf32: bool = option(False, "use full float32 on GPUs that support TF32")
    FSGD: bool = option(False, "fused SGD, which is used with or without this flag", published=True)
    wa: bool = option(
        False, "average the weights over the last fifth of the epochs", published=True
    )

    @property
    def learning_rates(self) -> tuple[float, float, float]:
        """The learning rates for the backbone, the head and the losses' own weights."""
        return self.backbone_lr or 0.1 * self.lr, self.lr, self.prototype_lr or self.lr


class FitOptions(LossOptions, OptimizerOptions, AugmentationOptions, BatchOptions):
    """The settings of training itself, such as losses and batches: no paths, names or layers.

    >>> FitOptions(total_epoch=20, lr=0.02, triplet=True, sampler="pk").erasing_p
    0.0
    """

    @property
    def sizes(self) -> Sizes:
        """The image sizes in resize_schedule, and the epochs at which they begin.

        Raises UserError for unused sizes.
        """
        try:
            return image_sizes(self.resize_schedule, self.total_epoch)
        except ValueError as error:
            raise UserError(
                f"resize_schedule={self.resize_schedule}: {error} "
                f"of total_epoch={self.total_epoch}."
            ) from None


class TrainConfig(
    PublishedNetworks,
    FitOptions,
    NetworkOptions,
    WeightOptions,
    RecordOptions,
    ImageOptions,
    RunOptions,
):
    """All options of train.py.

    labelled: whether the images have identities to learn.
    """

    labelled: ClassVar[bool] = True
