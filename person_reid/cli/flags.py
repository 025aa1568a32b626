"""Every flag of train.py and test.py, declared once.

The published flags keep their names, defaults and abbreviations (`--batch 16`, `--warm 10`, `--total 100`).
"""

import argparse
from collections.abc import Iterable
from typing import Any

from person_reid.cli.parser import Parser
from person_reid.cli.values import (
    bounded,
    devices,
    file_ending_in,
    fraction,
    part,
    positive,
    side,
    some_text,
    some_texts,
    three,
    weight,
    whole,
)
from person_reid.losses import HEADS, PUBLISHED
from person_reid.models.spec import NETWORK_FLAGS

# The published flags; abbreviations that once named only one of them still do.
OF_TRAIN = (
    *NETWORK_FLAGS, *PUBLISHED, "gpu_ids", "name", "data_dir", "train_all", "batchsize", "color_jitter", "erasing_p",
    "DG", "lr", "weight_decay", "total_epoch", "fp16", "bf16", "cosine", "FSGD", "wa", "linear_num", "stride",
    "droprate", "usam", "PCB", "warm_epoch", "ins_gamma", "adv", "aiter",
)  # fmt: skip
OF_TEST = (
    "gpu_ids", "which_epoch", "test_dir", "name", "batchsize", "linear_num", "use_dense", "use_efficient", "use_hr",
    "PCB", "multi", "fp16", "ibn", "ms", "usam",
)  # fmt: skip
POOLS = ("avg", "max", "avgmax", "gem", "gemp")
NECKS = ("linear", "bnneck", "none")
SAMPLERS = ("shuffle", "pk", "pk_camera")
RUNTIMES = ("torch", "onnxruntime", "openvino", "auto")
OPTIMIZERS = ("sgd", "adam", "adamw", "amsgrad", "radam", "rmsprop")
SCHEDULES = ("step", "cosine", "multistep", "warmup_cosine", "one_cycle")
MILESTONES = "40,70"
SHAPE = ("PCB", "usam", "stride", "attention", "pool", "neck", "head", "linear_num")  # those of add_shape_flags
# Flags of test.py that name a run, that name a weight file, and that describe the network of either.
NETWORK_OF_RUN = ("name", "which_epoch")
NETWORK_OF_FILE = ("backbone", "weights", "seed")
DESCRIPTION = (*NETWORK_FLAGS, *SHAPE)

COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")


def training_parser(text: str | None = "") -> Parser:
    """Return the parser of train.py. text: see Parser."""
    parser = Parser(text)
    parser.first_meant = frozenset(f"--{name}" for name in OF_TRAIN)
    add_run_flags(parser.add_argument_group("run"))
    add_data_flags(parser.add_argument_group("data"))
    add_augmentation_flags(parser.add_argument_group("augmentation"))
    add_network_flags(parser.add_argument_group("network"))
    add_training_flags(parser.add_argument_group("training"))
    add_loss_flags(parser.add_argument_group("losses (added to cross entropy)"))
    return parser


def add_run_flags(group: argparse._ArgumentGroup) -> None:
    """Add the flags for the name, device and records of a run."""
    group.add_argument("--gpu_ids", type=devices, default="0", help="GPUs, such as 0 or 0,1; -1 for the CPU")
    group.add_argument("--name", default="ft_ResNet50", help="name of the run: its files go to model/NAME")
    group.add_argument("--seed", type=whole, default=0, help="the same seed on the same machine gives the same network")
    group.add_argument("--resume", action="store_true", help="continue after the last finished epoch of model/NAME")
    group.add_argument(
        "--config", nargs="+", metavar=("FILE", "KEY=VALUE"),
        help="YAML file of options, and values that replace some of them; flags override both",
    )  # fmt: skip
    group.add_argument("--dry_run", action="store_true", help="only print the options and the size of the network")
    group.add_argument("--tensorboard", action="store_true", help="also write TensorBoard events to model/NAME")
    group.add_argument(
        "--wandb", action="store_true", help="also log to Weights & Biases (with WANDB_MODE=offline, to files)"
    )
    group.add_argument("--mlflow", action="store_true", help="also log to MLflow at MLFLOW_TRACKING_URI")
    group.add_argument("--eval_every", type=whole, default=0, help="test every N epochs; 0 for never")
    add_runtime(group)
    group.add_argument("--keep", type=whole, default=0, help="number of numbered checkpoints to keep; 0 keeps all")


def add_data_flags(group: argparse._ArgumentGroup) -> None:
    """Add the flags that choose the images and put them into batches."""
    group.add_argument("--data_dir", default="../Market/pytorch", help="folder that prepare.py laid out")
    group.add_argument("--train_all", action="store_true", help="train on all training images, including those of val")
    group.add_argument(
        "--train_with", type=some_texts, metavar="DIR", help="further folders with the same layout, separated by commas"
    )
    group.add_argument(
        "--batchsize", type=positive(int), default=32, help="images per batch; under torchrun, per process"
    )
    group.add_argument(
        "--sampler", choices=SAMPLERS, default="shuffle",
        help="pk: identities × instances per batch; pk_camera: the same, with the cameras of each identity mixed",
    )  # fmt: skip
    group.add_argument("--instances", type=positive(int), default=4, help="images of each identity in a batch of pk")
    group.add_argument("--height", type=side, help="height of the images (default: the network's)")
    group.add_argument("--width", type=side, help="width of the images (default: the network's)")
    group.add_argument("--DG", action="store_true", help="also learn from the unlabelled images in --DG_dir")
    group.add_argument("--DG_dir", default="../DG-Market", help="folder of unlabelled images, such as DG-Market")


def add_augmentation_flags(group: argparse._ArgumentGroup) -> None:
    """Add the flags that change the training images, each image with its own random draw."""
    group.add_argument("--color_jitter", action="store_true", help="vary brightness, contrast and saturation by 10 %%")
    group.add_argument("--erasing_p", type=fraction, default=0.0, help="probability of random erasing")
    group.add_argument("--autoaugment_p", type=fraction, default=0.0, help="probability of an AutoAugment policy")
    group.add_argument("--cutout_p", type=fraction, default=0.0, help="probability of cutting out a square")
    group.add_argument("--lgt_p", type=fraction, default=0.0, help="probability of a local grayscale transformation")
    group.add_argument("--grayscale_erasing_p", type=fraction, default=0.0, help="like --lgt_p, after normalisation")
    group.add_argument("--translation_p", type=fraction, default=0.0, help="probability of a random 2D translation")


def add_network_flags(group: argparse._ArgumentGroup) -> None:
    """Add the flags that describe a network."""
    group.add_argument("--backbone", help="network of `python model.py`, timm or torchvision (default: resnet50)")
    group.add_argument("--weights", default="imagenet", help="imagenet, none, or a file")
    add_shape_flags(group)
    group.add_argument("--droprate", type=part, default=0.5, help="dropout before the classifier")
    group.add_argument("--drop_path", type=part, help="stochastic depth, 0 to 1 (default: the network's)")
    add_published_networks(group)


def add_published_networks(group: argparse._ArgumentGroup) -> None:
    """Add the published flags that stand for a --backbone."""
    for flag, name in NETWORK_FLAGS.items():
        group.add_argument(f"--{flag}", action="store_true", help=f"the same as --backbone {name}")


def add_shape_flags(group: argparse._ArgumentGroup) -> None:
    """Add the flags that, beside --backbone, decide which layers a network has."""
    group.add_argument("--PCB", action="store_true", help="part-based convolutional baseline, six stripes")
    group.add_argument("--usam", action="store_true", help="attention after the stem and the first stage")
    group.add_argument("--stride", type=int, choices=(1, 2), default=2, help="1 keeps the last stage's resolution")
    group.add_argument("--attention", help="modules and where they go, such as cbam:layer3,layer4 or se:layer2")
    group.add_argument("--pool", choices=POOLS, help="pooling of the feature map (default: the network's)")
    group.add_argument("--neck", choices=NECKS, default="linear", help="layers between the feature and the classifier")
    group.add_argument("--head", choices=tuple(HEADS), default="linear", help="classifier, with its margin if any")
    width = bounded(int, lambda number: 0 <= number <= 65536, "from 0 to 65536")
    group.add_argument("--linear_num", type=width, default=512, help="width of the bottleneck; 0 for no linear layer")


def add_training_flags(group: argparse._ArgumentGroup) -> None:
    """Add the flags of the optimiser, its schedule and its precision."""
    group.add_argument("--total_epoch", type=positive(int), default=60, help="number of epochs")
    group.add_argument("--lr", type=positive(float), default=0.05, help="learning rate of the head")
    group.add_argument("--backbone_lr", type=positive(float), help="learning rate of the backbone (default: lr / 10)")
    group.add_argument("--prototype_lr", type=positive(float), help="rate of the losses' own weights (default: lr)")
    group.add_argument("--optimizer", choices=OPTIMIZERS, default="sgd", help="sgd uses Nesterov momentum 0.9")
    group.add_argument("--weight_decay", type=weight, default=5e-4, help="weight decay, applied to all weights")
    group.add_argument("--balance", type=weight, metavar="SCALE",
        help="first scale the convolutions in front of batch norms to this root mean square, such as 0.1: the "
        "network computes the same, and with Adam its layers learn alike; 0 leaves them as they are",
    )  # fmt: skip
    group.add_argument("--schedule", choices=SCHEDULES, help="schedule of the learning rate (default: step)")
    group.add_argument("--cosine", action="store_true", help="the same as --schedule cosine")
    group.add_argument("--milestones", default=MILESTONES, help="epochs after which multistep divides the rate by ten")
    group.add_argument("--resize_schedule", type=some_texts, metavar="SIZES",
        help="sizes to train at one after the other, such as 128x64,192x96,256x128; the last is --height x --width",
    )  # fmt: skip
    group.add_argument("--warm_epoch", type=whole, default=0, help="epochs over which the learning rate rises")
    group.add_argument("--freeze_epochs", type=whole, default=0, help="epochs in which only the head learns")
    group.add_argument("--accumulate", type=positive(int), default=1, help="batches per update of the weights")
    group.add_argument("--sync_bn", action="store_true", help="compute batch norm over the batches of all GPUs")
    group.add_argument(
        "--compile",
        nargs="?",
        const="default",
        choices=COMPILE_MODES,
        help="mode of torch.compile; on a CPU, OSNet's fused layers may take the default mode's place",
    )
    group.add_argument("--no_tf32", action="store_true", help="use full float32 on GPUs that support TF32")
    group.add_argument("--FSGD", action="store_true", help="fused SGD, which is used with or without this flag")
    group.add_argument("--fp16", action="store_true", help="mixed precision with float16")
    group.add_argument("--bf16", action="store_true", help="mixed precision with bfloat16")
    group.add_argument("--wa", action="store_true", help="average the weights over the last fifth of the epochs")


def add_loss_flags(group: argparse._ArgumentGroup) -> None:
    """Add the flags that choose the losses."""
    group.add_argument(
        "--loss", type=some_texts, metavar="LIST", help="losses with weights: triplet:1.0,center:1e-3; list shows all"
    )
    group.add_argument("--teacher", type=some_text, metavar="NETWORK",
        help="what the teacher_ losses learn from: a run, a folder, an exported file, or BACKBONE=FILE",
    )  # fmt: skip
    group.add_argument("--label_smoothing", type=part, default=0.0, help="smoothing in the cross entropy, below 1")
    for name in PUBLISHED:
        group.add_argument(f"--{name}", action="store_true", help=f"add the {name} loss")
    group.add_argument("--ins_gamma", type=positive(float), default=32, help="scale of the instance losses")
    group.add_argument("--alpha", type=weight, default=0.0, help="weight of the verification loss")
    group.add_argument("--adv", type=weight, default=0.0, help="weight of the loss on adversarial images")
    group.add_argument("--aiter", type=positive(float), default=10, help="apply --adv every N batches")


def testing_parser(text: str | None = "") -> Parser:
    """Return the parser of test.py. text: see Parser.

    The flags that describe a network are for a weight file; for a run they may only repeat what its opts.yaml says.
    """
    parser = Parser(text)
    parser.first_meant = frozenset(f"--{name}" for name in OF_TEST)
    data = parser.add_argument_group("data")
    data.add_argument("--test_dir", "--data_dir", default="../Market/pytorch", help="folder that prepare.py laid out")
    data.add_argument("--multi", action="store_true", help="evaluate multiple queries, too")
    data.add_argument("--result", default="pytorch_result.mat", help="file to write the features to")
    data.add_argument("--json", type=file_ending_in(".json"), metavar="FILE", help="write the figures to a file, too")
    add_tested_network(parser)
    add_engine(parser)
    features = parser.add_argument_group("features")
    features.add_argument("--batchsize", type=positive(int), default=256, help="images per batch")
    add_runtime(features)
    features.add_argument("--ms", default="1", help="scales whose square roots resize the image, such as 1,1.1,1.2")
    features.add_argument("--no_flip", action="store_true", help="leave out the mirrored image")
    features.add_argument("--no_norm", action="store_true", help="keep the features' length; use Euclidean distance")
    features.add_argument("--fp16", action="store_true", help="extract in float16")
    features.add_argument("--bf16", action="store_true", help="extract in bfloat16")
    features.add_argument("--adapt_bn", action="store_true", help="use batch-norm statistics of the gallery's images")
    features.add_argument(
        "--camera_norm", nargs="?", const="center", choices=("center", "standardise"),
        help="give the features of every camera the same mean (with standardise, also the same deviation)",
    )  # fmt: skip
    features.add_argument("--whiten", action="store_true", help="make the features' dimensions uncorrelated")
    return parser


def add_runtime(parser: argparse._ActionsContainer) -> None:
    """Add the flag that chooses what computes the features."""
    text = "on a CPU, what computes the features; auto is the fastest that agrees with PyTorch (default: torch)"
    parser.add_argument("--runtime", choices=RUNTIMES, help=text)


def add_tested_network(parser: argparse.ArgumentParser) -> None:
    """Add the flags that name a trained network: a run, or a weight file with the flags it was trained with."""
    parser.add_argument(
        "--gpu_ids", type=devices, default="0", help="GPU to use; -1 for the CPU, which is used if there is no GPU"
    )
    run = parser.add_argument_group("network of a run")
    run.add_argument("--name", default="ft_ResNet50", help="name of the run")
    run.add_argument("--which_epoch", default="last", help="last, average, average_bn, or an epoch such as 60")
    file = parser.add_argument_group("network of a weight file")
    file.add_argument("--backbone", help="network of a weight file that belongs to no run")
    file.add_argument("--weights", metavar="FILE", help="weight file of --backbone; none for random weights")
    file.add_argument("--seed", type=whole, default=0, help="seed of the random weights")
    folder = parser.add_argument_group("network of a folder")
    folder.add_argument("--from", metavar="FOLDER", help="from tools/save_pretrained.py, or owner/name on Hugging Face")
    described = parser.add_argument_group(
        "description of the network",
        "A run is described by model/NAME/opts.yaml; these flags must agree with it. A weight file is described by\n"
        "the flags: with --neck, --head or --linear_num its feature follows the neck, else it is the backbone's own.",
    )
    add_shape_flags(described)
    add_published_networks(described)
    parser.set_defaults(**dict.fromkeys(("stride", "neck", "head", "linear_num")))  # None: the flag was not given
    both = parser.add_argument_group("size of the images")
    both.add_argument("--height", type=side, help="height of the images (default: the network's)")
    both.add_argument("--width", type=side, help="width of the images (default: the network's)")


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add the flags that name an exported network, and say what a file of another program does not say of itself."""
    group = parser.add_argument_group(
        "an exported network",
        "A file from tools/export.py, which describes itself, or an ONNX or OpenVINO file from elsewhere that takes\n"
        "colour images; if it leaves their size open, --height and --width give it.",
    )
    group.add_argument("--engine", metavar="FILE", help="the file to run")
    group.add_argument("--range", choices=("0..1", "0..255"), help="values of the file's input (default: 0..1)")
    group.add_argument(
        "--mean", type=three, help="to subtract, such as 0.485,0.456,0.406 (default for 0..1: ImageNet's)"
    )
    group.add_argument(
        "--std", type=three, help="to divide by, such as 0.229,0.224,0.225 (default for 0..1: ImageNet's)"
    )
    group.add_argument("--bgr", action="store_true", help="the file takes the channels in the order blue, green, red")


def given_values(options: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Return {name: value} of the flags of test.py that differ from their defaults."""
    defaults = testing_parser().get_default
    return {name: value for name in names if (value := getattr(options, name)) != defaults(name)}


def given_flags(options: argparse.Namespace, names: Iterable[str]) -> str:
    """Return the flags of test.py that differ from their defaults, as in "--stride, --pool"; "" if there are none."""
    return ", ".join(f"--{name}" for name in given_values(options, names))
