"""The options that choose the images of a training, put them into batches and augment them."""

from pathlib import Path

from person_reid.config.forms import sizes, texts
from person_reid.config.option import ANY, FRACTION, POSITIVE, Options, option

SAMPLER_NAMES = ["shuffle", "pk", "pk_camera"]
AUGMENTATION_NAMES: list[str] = []  # of one's own


def chances(text: str | None) -> dict[str, float]:
    """Return the probabilities in a text such as "fog:0.5,rain:0.1", {name: probability}."""
    pairs = (part.partition(":") for part in (text or "").split(",") if part)
    return {name: float(chance) for name, _, chance in pairs}


def augmentations(text: str) -> str:
    """Check the text of augment; `chances` reads it."""
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
    """Where the images of a training are."""

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
        """The folder of the first data set to train on."""
        return "train_all" if self.train_all else "train"


class BatchOptions(Options, title="batches"):
    """How images are put into batches, and the sizes at which a network sees them."""

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
        "sizes to train at one after the other, such as 128x64,192x96,256x128; "
        "the last is height × width",
        form=sizes,
        metavar="SIZES",
    )


class AugmentationOptions(Options, title="augmentation"):
    """How the training images are changed, each image with its own random draw."""

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
